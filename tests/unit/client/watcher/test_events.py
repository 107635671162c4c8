"""The event feed: what is said to the server, what its messages mean, and when silence tells something."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from airflow_provider_prefect.client import retry
from airflow_provider_prefect.client.errors import Unreachable
from airflow_provider_prefect.client.http.aio import AioTransport
from airflow_provider_prefect.client.model import FlowRun, State
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request
from airflow_provider_prefect.client.watcher.events import (
    Event,
    EventFeed,
    FeedMonitor,
    auth_message,
    filter_message,
    parse_event,
)
from tests.unit.client.http.serving import Reply, proxying, serving
from tests.unit.client.watcher.busy_prefect import busy_prefect

RUN = "e1dbe583-0000-4000-8000-000000000000"


def message(name: str = f"prefect.flow-run.{RUN}", **labels: str) -> str:
    resource = {"prefect.resource.id": name, "prefect.state-type": "FAILED", **labels}
    return json.dumps({"type": "event", "event": {"event": "prefect.flow-run.MyFail", "resource": resource}})


@pytest.mark.parametrize(
    ("fields", "token"),
    [
        ({}, None),
        ({"api_key": "pnu_x"}, "pnu_x"),
        ({"user": "airflow", "password": "open:sesame"}, "airflow:open:sesame"),
    ],
)
def test_the_token_is_the_key_or_user_and_password(fields: dict[str, Any], token: str | None) -> None:
    assert auth_message(Settings("http://a", "", **fields)) == {"type": "auth", "token": token}


def test_the_filter_goes_on_for_years_and_names_no_run() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    sent = filter_message(now)
    assert json.loads(json.dumps(sent)) == sent
    assert datetime.fromisoformat(sent["filter"]["occurred"]["until"]) > now + timedelta(days=365)
    assert sent["filter"]["resource"]["labels"]["prefect.resource.id"] == "prefect.flow-run.*"
    assert "related" not in json.dumps(sent)
    assert sent["backfill"] is False


def test_an_event_tells_whose_state_is_of_which_type() -> None:
    event = parse_event(message(**{"prefect.resource.name": "brave-otter", "prefect.state-name": "MyFail"}))
    assert event is not None
    assert (event.flow_run_id, event.run.name, str(event.run.state)) == (RUN, "brave-otter", "MyFail (FAILED)")
    assert event.is_final
    running = parse_event(message(**{"prefect.state-type": "RUNNING"}))
    assert running is not None
    assert not running.is_final


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"event": null}',
        '{"event": {"resource": []}}',
        message("prefect.task-run.x"),
        '{"event": {"resource": {"prefect.resource.id": "prefect.flow-run.x"}}}',  # a heartbeat
        '{"event": {"resource": {"prefect.resource.id": 1, "prefect.state-type": "FAILED"}}}',
    ],
)
def test_anything_else_is_no_event(text: str) -> None:
    assert parse_event(text) is None


def of(flow_run_id: str, type_: str) -> Event:
    return Event(FlowRun(flow_run_id, "", State("", type_, type_.capitalize())))


def test_silence_is_certain_when_an_end_stays_without_an_event() -> None:
    monitor = FeedMonitor(5)
    assert monitor.check_at == math.inf
    monitor.flow_run_ended("a", now=10)
    assert monitor.check_at == 15
    assert not monitor.check(14.9)
    assert monitor.check(15)
    assert monitor.is_silent
    assert not monitor.check(16)  # which is said once


def test_an_event_that_comes_a_little_later_is_no_silence() -> None:
    monitor = FeedMonitor(5)
    monitor.flow_run_ended("a", now=10)
    monitor.event_received(of("a", "COMPLETED"))
    assert not monitor.check(20)


def test_any_event_ends_the_silence() -> None:
    monitor = FeedMonitor(5)
    monitor.flow_run_ended("a", now=10)
    assert monitor.check(15)
    monitor.event_received(of("b", "RUNNING"))
    assert not monitor.is_silent


# The socket


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[AioTransport]:
    transport = AioTransport(settings)
    yield transport
    await transport.close()


async def test_a_socket_takes_none_of_the_places_of_the_requests() -> None:
    async with busy_prefect() as server, opened(server.settings) as http:
        sockets = [await http.connect("/events/out", "prefect") for _ in range(20)]
        async with asyncio.timeout(5):
            await asyncio.gather(*(http.send(Request("GET", "/admin/version")) for _ in range(20)))
        for socket in sockets:
            await socket.close()


async def test_a_message_may_be_much_longer_than_an_event() -> None:
    async with busy_prefect() as server, opened(server.settings) as http:
        socket = await http.connect("/events/out", "prefect")
        await socket.send_json({"type": "auth", "token": None})
        await socket.receive_json()
        await socket.send_json({})
        await server.has(sockets=1)
        await server.sockets[0].send_str("x" * 3_000_000)
        assert len((await socket.receive()).data) == 3_000_000
        await socket.close()


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_socket_that_is_refused_is_a_sentence_without_a_secret(status: int) -> None:
    async with busy_prefect(feed=status, key="pnu-secret-1") as server, opened(server.settings) as http:
        with pytest.raises(Unreachable, match=f"HTTP {status}") as caught:
            await http.connect("/events/out", "prefect")
        assert "pnu-secret-1" not in repr(caught.value)
        assert caught.value.__suppress_context__


async def test_a_socket_goes_nowhere_else() -> None:
    with serving() as elsewhere:
        target = f"{elsewhere.url}/events/out"
        with serving(lambda _: Reply(307, b"", {"Location": target})) as server:
            given = Settings(server.url, "", api_key="pnu-secret-1", headers={"X-Gate": "pass"}, timeout=5)
            async with opened(given) as http:
                with pytest.raises(Unreachable, match="redirects"):
                    await http.connect("/events/out", "prefect")
        assert elsewhere.seen == []
    assert server.seen[0].headers["authorization"] == "Bearer pnu-secret-1"
    assert server.seen[0].headers["x-gate"] == "pass"


async def test_a_socket_goes_through_the_connections_proxy() -> None:
    with serving(lambda _: Reply(404, b"")) as server, proxying() as proxy:
        http = AioTransport(Settings(server.url, "", proxy=f"http://user:word@127.0.0.1:{proxy.port}", timeout=5))
        with pytest.raises(Unreachable, match="HTTP 404"):
            await http.connect("/events/out", "prefect")
        await http.close()
    assert proxy.seen[0].headers["proxy-authorization"].startswith("Basic ")


async def test_a_feed_that_is_refused_is_tried_more_and_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    class Nobody:
        def on_feed_lost(self) -> None: ...

    def backoff(tries: int, longest: float = 30.0) -> float:
        drawn.append(min(longest, 0.5 * 2 ** (tries - 1)))
        return 0.0

    monkeypatch.setattr(retry, "backoff", backoff)
    async with busy_prefect(feed=403) as server, opened(server.settings) as http:
        feed = asyncio.create_task(EventFeed(http, cast("Any", Nobody())).run())
        while len(drawn) < 12:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        feed.cancel()
    assert drawn[:4] == [1, 2, 4, 8]
    assert drawn[-1] == 300
