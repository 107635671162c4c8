from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from airflow_provider_prefect.client import retry
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.wait.flow_run import Deadlines, wait_for_flow_run
from airflow_provider_prefect.client.watcher.connection import SharedConnection
from airflow_provider_prefect.client.watcher.metrics import Metrics
from airflow_provider_prefect.client.watcher.subscription import Subscription
from tests.unit.client.driving import Notes
from tests.unit.client.watcher.busy_prefect import BusyPrefect, busy_prefect


class Recorder(Metrics):
    """Keeps every value that it is told, by name."""

    def __init__(self) -> None:
        self.told: dict[str, list[float]] = defaultdict(list)

    def incr(self, name: str) -> None:
        self.told[name].append(1)

    def gauge(self, name: str, value: float) -> None:
        self.told[name].append(value)

    def timing(self, name: str, seconds: float) -> None:
        self.told[name].append(seconds)


async def wait(server: BusyPrefect, run_id: str, recorder: Recorder, notes: Any = None) -> str:
    async def settings(_: Settings | None) -> Settings:
        return server.settings

    notes = notes or Notes()
    async with SharedConnection(settings, lambda _: recorder) as connection:
        with Subscription(connection, run_id, 0.2, 60, notes) as subscription:
            return (await wait_for_flow_run(subscription, Deadlines(), notes)).state.type


async def test_waits_polls_and_the_delay_of_each_end_are_measured() -> None:
    recorder = Recorder()
    async with busy_prefect(version="2.20.26") as server:
        ids = server.add(3)
        tasks = [asyncio.create_task(wait(server, one, recorder)) for one in ids]
        await asyncio.sleep(1)
        for one in ids:
            server.put(one)
            server.runs[one]["state"]["timestamp"] = datetime.now(UTC).isoformat()
        assert set(await asyncio.gather(*tasks)) == {"COMPLETED"}
    assert max(recorder.told["waits"]) == 3
    assert recorder.told["waits"][-1] == 0
    assert len(recorder.told["polls"]) == len(server.polls())
    assert len(recorder.told["detection_delay"]) == 3
    assert all(0 <= seconds < 5 for seconds in recorder.told["detection_delay"])
    assert "event_feed" not in recorder.told


async def test_the_state_of_the_event_feed_is_measured() -> None:
    recorder = Recorder()
    async with busy_prefect() as server:
        (run_id,) = server.add(1)
        task = asyncio.create_task(wait(server, run_id, recorder))
        await server.has(sockets=1)
        await asyncio.sleep(0.5)
        assert recorder.told["event_feed"] == [1]
        server.put(run_id)
        assert await task == "COMPLETED"


async def test_polls_that_fail_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "backoff", lambda tries, longest=30: 0.02)
    recorder = Recorder()
    async with busy_prefect(version="2.20.26") as server:
        (run_id,) = server.add(1)
        server.instead = lambda asked: web.json_response({}, status=503) if "filter" in asked.path else None
        task = asyncio.create_task(wait(server, run_id, recorder))
        await asyncio.sleep(0.5)
        assert recorder.told["polls_failed"]
        assert "polls" not in recorder.told
        server.instead = lambda asked: None
        server.put(run_id)
        assert await task == "COMPLETED"
