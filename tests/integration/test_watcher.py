"""Hundreds of triggers that wait in one event loop, on real servers and behind a proxy that counts and cuts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_prefect.client.watcher import watcher
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger
from tests.integration.conftest import NO_PARAMETERS, PREFECT
from tools import web
from tools.prefect_stack import FOR_TESTS, PrefectServer
from tools.testing import to_copy

pytestmark = pytest.mark.prefect_alone

INTERVAL = 3.0


@dataclass
class Between:
    """A proxy between the triggers and the server; it counts what goes through, and may cut the event feed."""

    port: int
    cut_after: float | None = None
    requests: list[str] = field(default_factory=list)
    sockets: int = 0
    sockets_ever: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back: asyncio.Task[None] | None = None
        is_socket = False
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.port)
            back = asyncio.create_task(self._answer(up_reader, writer))
            while piece := await reader.read(65536):
                asked = piece.split(b" ", 2)
                if asked[0] in (b"GET", b"POST") and not is_socket:
                    is_socket = asked[1].endswith(b"/events/out")
                    if is_socket:
                        self.sockets += 1
                        self.sockets_ever += 1
                        if self.cut_after:
                            asyncio.get_running_loop().call_later(self.cut_after, writer.close)
                    else:
                        self.requests.append(asked[1].decode())
                up_writer.write(piece)
            up_writer.close()
        except OSError:
            pass
        finally:
            self.sockets -= is_socket
            writer.close()
            if back is not None:
                back.cancel()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
        writer.close()


@asynccontextmanager
async def between(server: PrefectServer, patch: pytest.MonkeyPatch, **faults: Any) -> AsyncIterator[Between]:
    """Such a proxy, to which the connection ``watched`` leads."""
    proxy = Between(server.port, **faults)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        proxy.url = f"http://127.0.0.1:{port}/api"
        patch.setenv("AIRFLOW_CONN_WATCHED", json.dumps({"conn_type": "prefect", "host": proxy.url}))
        yield proxy


def create(server: PrefectServer, number: int) -> list[str]:
    """So many flow runs that nobody runs."""
    flow = server.request("POST", "/flows/", {"name": "watched"})
    deployment = server.request("POST", "/deployments/", {"name": "by-nobody", "flow_id": flow["id"], **NO_PARAMETERS})
    new = {"state": {"type": "PENDING"}}
    ids: list[str] = []
    while len(ids) < number:
        path = f"/deployments/{deployment['id']}/create_flow_run"
        try:
            made = server.request("POST", f"{path}/bulk", [new] * min(100, number - len(ids)))["results"]
            ids += [one["flow_run_id"] for one in made if one["flow_run_id"]]
        except web.HttpError as error:  # Prefect 2 makes them one by one
            if error.status not in (404, 405):
                raise
            ids.append(server.request("POST", path, new)["id"])
    return ids


async def finish(server: PrefectServer, ids: Sequence[str]) -> dict[str, float]:
    """Have these flow runs end, one by one; returns when Prefect has said so of each."""

    def one_by_one() -> dict[str, float]:
        ended = {}
        for one in ids:
            server.request("POST", f"/flow_runs/{one}/set_state", {"state": {"type": "COMPLETED"}, "force": True})
            ended[one] = time.time()
        return ended

    return await asyncio.to_thread(one_by_one)


async def event_of(run_id: str) -> tuple[Any, float]:
    """What the trigger sends, and when."""
    trigger = PrefectFlowRunTrigger(run_id, "watched", poll_interval=INTERVAL, stream_states=False)
    async for event in trigger.run():
        return event.payload, time.time()
    raise AssertionError("the trigger has sent nothing")


def start(ids: Sequence[str]) -> list[asyncio.Task[tuple[Any, float]]]:
    return [asyncio.create_task(event_of(one)) for one in ids]


async def settled(proxy: Between, sockets: int) -> None:
    """Comes back when everybody waits: the feed is open, and the looks after that are over."""
    async with asyncio.timeout(30):
        while proxy.sockets != sockets:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(3)


async def noticed(tasks: Sequence[asyncio.Task[tuple[Any, float]]], within: float) -> dict[str, float]:
    """When the end of each flow run was noticed."""
    async with asyncio.timeout(within):
        events = await asyncio.gather(*tasks)
    for event, _ in events:
        assert event["error"] is None
        assert event["flow_run"]["state_type"] == "COMPLETED"
    return {event["flow_run_id"]: when for event, when in events}


def delays(ended: dict[str, float], seen: dict[str, float]) -> list[float]:
    return sorted(seen[one] - when for one, when in ended.items())


async def test_three_hundred_triggers_take_one_socket_and_hardly_a_request(
    prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await asyncio.to_thread(create, prefect, 300)
    async with between(prefect, monkeypatch) as proxy:
        tasks = start(ids)
        await settled(proxy, sockets=1)
        assert proxy.sockets_ever == 1
        proxy.requests.clear()
        await asyncio.sleep(8)
        assert len(proxy.requests) <= 1  # one every 60 seconds; without the feed it would be three
        some, rest = ids[:30], ids[30:]
        ended = await finish(prefect, some)
        late = delays(ended, await noticed(tasks[:30], within=10))
        assert late[len(late) // 2] < 1
        for first in range(0, len(rest), 50):
            body = {
                "flow_runs": {"id": {"any_": rest[first : first + 50]}},
                "state": {"type": "COMPLETED"},
                "force": True,
                "limit": 50,
            }
            await asyncio.to_thread(prefect.request, "POST", "/flow_runs/bulk_set_state", body)
        await noticed(tasks, within=15)
        assert proxy.sockets_ever == 1
        async with asyncio.timeout(5):
            while proxy.sockets:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_a_feed_that_is_cut_every_second_changes_only_the_speed(
    prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await asyncio.to_thread(create, prefect, 40)
    async with between(prefect, monkeypatch, cut_after=1.0) as proxy:
        tasks = start(ids)
        await asyncio.sleep(2)
        ended = await finish(prefect, ids)
        assert delays(ended, await noticed(tasks, within=15))[-1] < INTERVAL + 3
        assert proxy.sockets_ever > 1


async def test_a_server_whose_events_are_switched_off_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "POLL_INTERVAL_WITH_FEED", 5.0)
    settings = {**FOR_TESTS, "PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED": "false"}
    silent = PrefectServer(PREFECT, tmp_path, settings=settings, made=to_copy("PREFECT"))
    await asyncio.to_thread(silent.start)
    try:
        ids = await asyncio.to_thread(create, silent, 20)
        async with between(silent, monkeypatch) as proxy:
            tasks = start(ids)
            await settled(proxy, sockets=1)
            ended = await finish(silent, ids[:1])
            assert delays(ended, await noticed(tasks[:1], within=15))[-1] < 5 + 3
            await asyncio.sleep(6)  # in which it could still tell that the first one has ended
            proxy.requests.clear()
            await asyncio.sleep(2 * INTERVAL)
            assert len(proxy.requests) >= 2
            ended = await finish(silent, ids[1:])
            assert delays(ended, await noticed(tasks[1:], within=15))[-1] < INTERVAL + 3
    finally:
        await asyncio.to_thread(silent.stop)


async def test_a_server_that_dies_and_comes_back_loses_nobody(
    prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await asyncio.to_thread(create, prefect, 40)
    async with between(prefect, monkeypatch) as proxy:
        tasks = start(ids)
        await settled(proxy, sockets=1)
        await asyncio.to_thread(prefect.kill_server)
        await asyncio.sleep(2)
        assert not any(task.done() for task in tasks)
        await asyncio.to_thread(prefect.start)
        await finish(prefect, ids)
        await noticed(tasks, within=45)


async def test_a_run_that_is_deleted_ends_its_own_wait_only(
    prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.watcher.watcher._COUNT_INTERVAL", 2.0)
    ids = await asyncio.to_thread(create, prefect, 5)
    async with between(prefect, monkeypatch) as proxy:
        tasks = start(ids)
        await settled(proxy, sockets=1)
        await asyncio.to_thread(prefect.request, "DELETE", f"/flow_runs/{ids[0]}")
        event, _ = await asyncio.wait_for(tasks[0], 20)
        assert event["error"]["kind"] == "FlowRunDeleted"
        assert not any(task.done() for task in tasks[1:])
        await finish(prefect, ids[1:])
        await noticed(tasks[1:], within=10)


async def test_prefect_2_is_polled_and_never_asked_for_a_socket(
    prefect_2: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await asyncio.to_thread(create, prefect_2, 30)
    async with between(prefect_2, monkeypatch) as proxy:
        tasks = start(ids)
        await asyncio.sleep(4)
        proxy.requests.clear()
        await asyncio.sleep(2 * INTERVAL)
        assert 1 <= len(proxy.requests) <= 3
        ended = await finish(prefect_2, ids)
        assert delays(ended, await noticed(tasks, within=15))[-1] < INTERVAL + 3
        assert proxy.sockets_ever == 0
