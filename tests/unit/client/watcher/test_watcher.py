"""Many waits through one watcher, against a server that misbehaves in every way that was seen or can be thought of."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from airflow_provider_prefect.client import retry
from airflow_provider_prefect.client.errors import FlowRunDeleted, FlowRunNotFound, Unreachable, WaitTimeout
from airflow_provider_prefect.client.model import FlowRun, LogRecord
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request
from airflow_provider_prefect.client.wait import flow_run as waiting
from airflow_provider_prefect.client.wait.flow_run import Deadlines, wait_for_flow_run
from airflow_provider_prefect.client.watcher import watcher
from airflow_provider_prefect.client.watcher.connection import SharedConnection
from airflow_provider_prefect.client.watcher.subscription import Subscription
from tests.unit.client.driving import Notes
from tests.unit.client.watcher.busy_prefect import Asked, BusyPrefect, busy_prefect

LONG = 100_000.0
"""Seconds that no test waits."""

SOON = 5.0
"""Seconds in which what is to happen has happened, on a busy machine too."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure it is asked again at once."""
    monkeypatch.setattr(retry, "backoff", lambda tries, longest=30: 0.02)


async def waited(
    server: BusyPrefect,
    run_id: str,
    *,
    interval: float = LONG,
    patience: float = LONG,
    deadline: float = LONG**2,
    notes: Any = None,
    read: Callable[[Settings | None], Settings] | None = None,
) -> FlowRun:
    """The flow run as it has ended, waited for as the trigger does it."""

    async def settings(refused: Settings | None) -> Settings:
        return read(refused) if read else server.settings

    notes = notes or Notes()
    async with SharedConnection(settings) as connection:
        with Subscription(connection, run_id, interval, patience, notes) as subscription:
            return await wait_for_flow_run(subscription, Deadlines(finished=deadline), notes)


def start(*waits: Any) -> list[asyncio.Task[FlowRun]]:
    return [asyncio.create_task(one) for one in waits]


async def ended(tasks: list[asyncio.Task[FlowRun]], within: float = SOON) -> list[str]:
    """The state types in which the runs have ended, all within so many seconds."""
    async with asyncio.timeout(within):
        return [run.state.type for run in await asyncio.gather(*tasks)]


async def seen_once(server: BusyPrefect, number: int) -> None:
    """Comes back when so many flow runs were looked at."""
    while len({one for look in server.polls() for one in look.ids}) < number:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


# Many at once


async def test_a_thousand_waits_take_a_handful_of_requests_and_one_socket() -> None:
    async with busy_prefect() as server:
        ids = server.add(1200)
        tasks = start(*(waited(server, one) for one in ids))
        await server.has(sockets=1)
        await seen_once(server, len(ids))
        await asyncio.sleep(1.5)  # the two looks after the feed has opened
        first = len(server.polls())
        # Six pages of the first look, two looks at two batches; and the start splits some of them up.
        assert first <= 30
        assert server.sockets_ever == 1
        await asyncio.sleep(1)
        assert len(server.polls()) == first  # nothing happens, and nothing is asked
        await server.finish(ids)
        assert await ended(tasks) == ["COMPLETED"] * len(ids)
        assert server.sockets_ever == 1


async def test_polling_alone_takes_one_request_per_interval() -> None:
    async with busy_prefect(version="2.20.26") as server:
        ids = server.add(300)
        tasks = start(*(waited(server, one, interval=0.5) for one in ids))
        await seen_once(server, len(ids))
        await asyncio.sleep(1)
        before = len(server.polls())
        await asyncio.sleep(3)
        assert 4 <= len(server.polls()) - before <= 8
        assert {len(look.ids) for look in server.polls()[before:]} <= {300}
        for one in ids:
            server.put(one)
        assert set(await ended(tasks)) == {"COMPLETED"}


async def test_each_wait_keeps_its_own_interval() -> None:
    async with busy_prefect(version="2.20.26") as server:
        often, seldom = server.add(2)
        tasks = start(waited(server, often, interval=0.2), waited(server, seldom, interval=LONG))
        await seen_once(server, 2)
        server.put(often)
        assert await ended(tasks[:1]) == ["COMPLETED"]
        polls = len(server.polls())
        await asyncio.sleep(0.5)
        assert len(server.polls()) == polls
        tasks[1].cancel()


async def test_every_change_of_type_is_told() -> None:
    notes = Notes()
    async with busy_prefect(version="2.20.26") as server:
        (run_id,) = server.add(1, "PENDING")
        tasks = start(waited(server, run_id, interval=0.1, notes=notes))
        for type_ in ("RUNNING", "PAUSED", "RUNNING", "COMPLETED"):
            await asyncio.sleep(0.4)
            server.put(run_id, type_)
        await ended(tasks)
    assert notes.states == ["Pending", "Running", "Paused", "Running", "Completed"]


async def test_two_waits_for_the_same_run_both_end() -> None:
    async with busy_prefect() as server:
        (run_id,) = server.add()
        tasks = start(waited(server, run_id), waited(server, run_id))
        await server.has(sockets=1)
        await server.finish([run_id])
        assert await ended(tasks) == ["COMPLETED"] * 2


async def test_a_server_with_small_pages_is_asked_for_the_rest() -> None:
    async with busy_prefect(limit=50) as server:
        ids = server.add(230)
        tasks = start(*(waited(server, one, interval=0.5) for one in ids))
        await seen_once(server, len(ids))
        for one in ids:
            server.put(one)
        assert await ended(tasks) == ["COMPLETED"] * len(ids)
        assert all(look.ids for look in server.polls())


# The event feed


async def test_an_event_has_its_run_looked_at_at_once() -> None:
    async with busy_prefect() as server:
        ids = server.add(20)
        tasks = start(*(waited(server, one) for one in ids))
        await server.has(sockets=1)
        await asyncio.sleep(1.5)
        polls = len(server.polls())
        await server.finish(ids[:1])
        assert await ended(tasks[:1], within=1) == ["COMPLETED"]
        assert [look.ids for look in server.polls()[polls:]] == [ids[:1]]
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("late", [0.1, 0.6])
async def test_an_event_that_comes_before_its_state_is_confirmed(late: float) -> None:
    async with busy_prefect() as server:
        (run_id,) = server.add()
        tasks = start(waited(server, run_id))
        await server.has(sockets=1)
        await asyncio.sleep(1.5)
        await server.tell(run_id)
        await asyncio.sleep(late)
        server.put(run_id)
        assert await ended(tasks, within=2) == ["COMPLETED"]


async def test_what_never_happened_ends_nothing() -> None:
    async with busy_prefect() as server:
        (run_id,) = server.add()
        tasks = start(waited(server, run_id))
        await server.has(sockets=1)
        await asyncio.sleep(1.5)
        polls = len(server.polls())
        for _ in range(3):
            await server.tell(run_id)
            await server.tell("another-run")
        for socket in server.sockets:
            await socket.send_str("no JSON")
            await socket.send_json(
                {"type": "event", "event": {"resource": {"prefect.resource.id": "prefect.flow-run"}}}
            )
        await asyncio.sleep(1.5)
        assert not tasks[0].done()
        assert len(server.polls()) - polls <= 4
        await server.finish([run_id])
        assert await ended(tasks) == ["COMPLETED"]


async def test_a_socket_that_is_cut_again_and_again_changes_only_the_speed() -> None:
    async with busy_prefect(lives=0.15) as server:
        ids = server.add(60)
        tasks = start(*(waited(server, one, interval=0.5) for one in ids))
        for number, one in enumerate(ids):
            await asyncio.sleep(0.02)
            server.put(one) if number % 2 else await server.finish([one])
        assert await ended(tasks) == ["COMPLETED"] * len(ids)
        assert server.sockets_ever > 3


async def test_after_each_new_socket_everything_is_looked_at() -> None:
    async with busy_prefect() as server:
        ids = server.add(5)
        tasks = start(*(waited(server, one) for one in ids))
        await server.has(sockets=1)
        await asyncio.sleep(1.5)
        for one in ids:
            server.put(one)
        await server.sockets[0].close()
        assert await ended(tasks) == ["COMPLETED"] * len(ids)


async def test_a_feed_that_says_nothing_is_not_relied_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watcher, "POLL_INTERVAL_WITH_FEED", 1.5)
    monkeypatch.setattr("airflow_provider_prefect.client.watcher.events.FeedMonitor.__init__.__defaults__", (0.1,))
    async with busy_prefect(silent=True) as server:
        ids = server.add(3)
        tasks = start(*(waited(server, one, interval=0.1) for one in ids))
        await asyncio.sleep(2)
        server.put(ids[0])
        assert await ended(tasks[:1]) == ["COMPLETED"]  # at the safety pace
        await asyncio.sleep(0.5)
        assert caplog.text.count("does not report flow runs that end") == 1
        began = time.monotonic()
        server.put(ids[1])
        await ended(tasks[1:2])
        assert time.monotonic() - began < 1
        tasks[2].cancel()


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_server_without_a_feed_is_polled_and_that_is_said_once(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with busy_prefect(feed=status, key="pnu-secret") as server:
        (run_id,) = server.add()
        tasks = start(waited(server, run_id, interval=0.1))
        await asyncio.sleep(0.5)
        server.put(run_id)
        assert await ended(tasks) == ["COMPLETED"]
        assert server.sockets_ever > 1
    assert caplog.text.count("event feed is not available") == 1
    assert f"HTTP {status}" in caplog.text
    assert "pnu-secret" not in caplog.text


async def test_prefect_2_is_polled_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async with busy_prefect(version="2.20.26") as server:
        (run_id,) = server.add()
        tasks = start(waited(server, run_id, interval=0.1))
        await seen_once(server, 1)
        server.put(run_id)
        assert await ended(tasks) == ["COMPLETED"]
        assert server.sockets_ever == 0
    assert not [record for record in caplog.records if record.name.startswith("airflow_provider_prefect")]


# Trouble


async def test_a_server_that_is_away_for_a_while_fails_nobody() -> None:
    async with busy_prefect() as server:
        ids = server.add(50)
        notes = [Notes() for _ in ids]
        waits = zip(ids, notes, strict=True)
        tasks = start(*(waited(server, one, interval=0.1, notes=note) for one, note in waits))
        await seen_once(server, len(ids))
        server.instead = lambda asked: web.json_response({"exception_message": "Service Unavailable"}, status=503)
        await asyncio.sleep(0.5)
        server.instead = lambda asked: None
        for one in ids:
            server.put(one)
        assert await ended(tasks) == ["COMPLETED"] * len(ids)
    for note in notes:
        [trouble] = note.trouble
        assert "HTTP 503" in trouble
        assert note.recoveries <= 1  # none for a wait that has ended since: the new state says it


@pytest.mark.parametrize("status", [422, 500])
async def test_one_run_that_spoils_every_answer_is_found_and_left_alone(status: int) -> None:
    async with busy_prefect() as server:
        ids = server.add(64)
        bad = ids[7]

        def spoilt(asked: Asked) -> web.Response | None:
            listed = asked.path == "/flow_runs/filter" and bad in asked.ids
            spoils = listed or asked.path == f"/flow_runs/{bad}"
            return web.json_response({"detail": "not this one"}, status=status) if spoils else None

        server.instead = spoilt
        tasks = start(*(waited(server, one, interval=0.2, patience=2 if one == bad else LONG) for one in ids))
        good = [task for one, task in zip(ids, tasks, strict=True) if one != bad]
        await asyncio.sleep(0.5)
        for one in ids:
            server.put(one)
        assert await ended(good) == ["COMPLETED"] * 63
        with pytest.raises(Unreachable, match="not this one"):
            await tasks[7]


async def test_everyone_puts_up_with_trouble_for_as_long_as_they_said() -> None:
    async with busy_prefect() as server:
        ids = server.add(2)
        server.instead = lambda asked: web.Response(status=502, text="<html>")
        short, long = start(waited(server, ids[0], patience=0.3), waited(server, ids[1]))
        with pytest.raises(Unreachable, match=r"502.*tried \d+ times in 0 s"):
            await short
        assert not long.done()
        server.instead = lambda asked: None
        server.put(ids[1])
        assert await ended([long]) == ["COMPLETED"]


async def test_a_wait_is_not_made_longer_by_trouble() -> None:
    async with busy_prefect() as server:
        server.instead = lambda asked: web.Response(status=502, text="<html>")
        (task,) = start(waited(server, server.add()[0], deadline=time.time() + 0.4))
        with pytest.raises(WaitTimeout):
            async with asyncio.timeout(2):
                await task


async def test_a_server_that_asks_for_time_is_given_it() -> None:
    async with busy_prefect() as server:
        busy = web.json_response({"exception_message": "slow down"}, status=429, headers={"Retry-After": "1"})
        (run_id,) = server.add(1, "COMPLETED")
        first = [True]

        def once(asked: Asked) -> web.Response | None:
            return busy if asked.path == "/flow_runs/filter" and first and first.pop() else None

        server.instead = once
        began = time.monotonic()
        assert await ended(start(waited(server, run_id))) == ["COMPLETED"]
        assert time.monotonic() - began >= 1


async def test_a_key_that_was_changed_is_read_again_and_all_go_on() -> None:
    async with busy_prefect(key="old") as server:
        ids = server.add(20)
        old = server.settings
        reads: list[Settings | None] = []

        def read(refused: Settings | None) -> Settings:
            reads.append(refused)
            return old if refused is None else server.settings

        tasks = start(*(waited(server, one, interval=0.1, read=read) for one in ids))
        await seen_once(server, len(ids))
        server.key = "new"
        await asyncio.sleep(0.3)
        for one in ids:
            server.put(one)
        assert await ended(tasks) == ["COMPLETED"] * len(ids)
        assert reads.count(old) == len(ids)


async def test_a_key_that_stays_refused_is_trouble_that_ends() -> None:
    async with busy_prefect(key="right") as server:
        wrong = Settings(server.url, server.url, api_key="wrong-key-7")
        (task,) = start(waited(server, server.add()[0], patience=0.3, read=lambda refused: wrong))
        with pytest.raises(Unreachable, match="401") as caught:
            await task
        assert "wrong-key-7" not in str(caught.value)


# Flow runs that are gone


async def test_a_run_that_was_deleted_is_found_out_by_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_COUNT_INTERVAL", 0.5)
    async with busy_prefect() as server:
        ids = server.add(30)
        tasks = start(*(waited(server, one, interval=0.1) for one in ids))
        await seen_once(server, len(ids))
        await asyncio.sleep(1)
        assert not [one for one in server.asked if one.method == "GET" and one.path.startswith("/flow_runs/")]
        del server.runs[ids[3]]
        with pytest.raises(FlowRunNotFound, match=ids[3]):
            async with asyncio.timeout(SOON):
                await tasks[3]
        assert len([one for one in server.asked if one.path == f"/flow_runs/{ids[3]}"]) == 2
        assert sum(task.done() for task in tasks) == 1
        for task in tasks:
            task.cancel()


async def test_a_run_that_is_waited_for_between_two_counts_is_in_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_COUNT_INTERVAL", 0.6)
    async with busy_prefect() as server:
        first, second = server.add(2)
        (task,) = start(waited(server, first, interval=30))
        await seen_once(server, 1)
        await asyncio.sleep(0.3)
        (late,) = start(waited(server, second, interval=30))
        async with asyncio.timeout(SOON):
            while not (counts := [one for one in server.asked if one.path == "/flow_runs/count"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert set(counts[0].ids) == {first, second}
        task.cancel()
        late.cancel()


async def test_a_run_that_there_never_was_is_asked_for_twice() -> None:
    async with busy_prefect() as server:
        (task,) = start(waited(server, "00000000-0000-4000-8000-000000000001", interval=0.1))
        with pytest.raises(FlowRunNotFound):
            await task
        assert len([one for one in server.asked if one.method == "GET" and one.path.startswith("/flow_runs/")]) == 2


async def test_a_run_that_is_back_again_is_waited_for() -> None:
    async with busy_prefect() as server:
        (run_id,) = server.add()
        kept = server.runs.pop(run_id)
        tasks = start(waited(server, run_id, interval=0.3))
        while not [one for one in server.asked if one.path == f"/flow_runs/{run_id}"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        server.runs[run_id] = kept
        await asyncio.sleep(0.5)
        server.put(run_id)
        assert await ended(tasks) == ["COMPLETED"]


# Each for itself


async def test_a_wait_that_is_cancelled_leaves_the_others_alone() -> None:
    async with busy_prefect() as server:
        ids = server.add(10)
        tasks = start(*(waited(server, one) for one in ids))
        await server.has(sockets=1)
        await seen_once(server, len(ids))
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await server.finish(ids)
        assert await ended(tasks[1:]) == ["COMPLETED"] * 9
        assert server.sockets_ever == 1


async def test_a_wait_that_fails_by_itself_leaves_the_others_alone() -> None:
    class Broken(Notes):
        def on_change(self, run: FlowRun) -> None:
            raise ZeroDivisionError

    async with busy_prefect() as server:
        ids = server.add(2)
        tasks = start(waited(server, ids[0], notes=Broken()), waited(server, ids[1]))
        with pytest.raises(ZeroDivisionError):
            await tasks[0]
        await server.has(sockets=1)
        await server.finish(ids)
        assert await ended(tasks[1:]) == ["COMPLETED"]


async def test_at_its_deadline_a_run_is_looked_at_once_more() -> None:
    async with busy_prefect() as server:
        lasts, ends = server.add(2)
        deadline = time.time() + 2.5
        tasks = start(waited(server, lasts, deadline=deadline), waited(server, ends, deadline=deadline))
        await asyncio.sleep(2)
        server.put(ends)
        assert await ended(tasks[1:]) == ["COMPLETED"]
        assert time.time() >= deadline
        with pytest.raises(WaitTimeout):
            await tasks[0]


async def test_nothing_is_left_behind_when_the_last_one_leaves() -> None:
    async with busy_prefect() as server:
        before = asyncio.all_tasks()
        ids = server.add(3)
        tasks = start(*(waited(server, one) for one in ids))
        await server.has(sockets=1)
        await server.finish(ids[:1])
        await ended(tasks[:1])
        await server.has(sockets=1)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.has(sockets=0)
        ours = [task for task in asyncio.all_tasks() - before if "aiohttp/web" not in repr(task)]
        assert not ours
        polls = len(server.asked)
        await asyncio.sleep(0.3)
        assert len(server.asked) == polls


def test_each_event_loop_has_a_watcher_of_its_own() -> None:
    async def one_run() -> list[str]:
        async with busy_prefect() as server:
            (run_id,) = server.add()
            tasks = start(waited(server, run_id))
            await server.has(sockets=1)
            await server.finish([run_id])
            return await ended(tasks)

    assert [asyncio.run(one_run()) for _ in range(3)] == [["COMPLETED"]] * 3


# Whose log


task_of: contextvars.ContextVar[str] = contextvars.ContextVar("task_of", default="nobody")
"""What Airflow tells the logs of two tasks apart by is of this kind too."""


@pytest.fixture
def whose(caplog: pytest.LogCaptureFixture) -> Iterator[list[tuple[str, str]]]:
    """Which task each line belongs to, and the line."""
    caplog.set_level(logging.INFO)
    lines: list[tuple[str, str]] = []

    class Whose(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            lines.append((task_of.get(), record.getMessage()))
            return True

    caplog.handler.addFilter(noting := Whose())
    yield lines
    caplog.handler.removeFilter(noting)


async def waited_by(task: str, server: BusyPrefect, run_id: str, **wanted: Any) -> FlowRun:
    task_of.set(task)
    return await waited(server, run_id, **wanted)


async def test_what_is_logged_in_the_background_belongs_to_no_task(whose: list[tuple[str, str]]) -> None:
    async with busy_prefect(feed=403) as server:
        (run_id,) = server.add()
        tasks = start(waited_by("the first one", server, run_id, interval=0.1))
        await asyncio.sleep(0.3)
        server.put(run_id)
        await ended(tasks)
    assert {task for task, _ in whose} == {"nobody"}


@pytest.mark.parametrize("status", [401, 503])
async def test_each_wait_reports_once_that_prefect_is_not_answering_and_that_it_is_again(status: int) -> None:
    async with busy_prefect() as server:
        ids = server.add(2)
        notes = [Notes(), Notes()]
        waits = zip(ids, notes, strict=True)
        tasks = start(*(waited(server, one, interval=0.1, notes=note) for one, note in waits))
        await seen_once(server, len(ids))
        server.instead = lambda asked: web.json_response({"detail": "No."}, status=status)
        await asyncio.sleep(0.5)
        server.instead = lambda asked: None
        await asyncio.sleep(0.5)
        for one in ids:
            server.put(one)
        assert await ended(tasks) == ["COMPLETED"] * 2
    for note in notes:
        [trouble] = note.trouble
        assert str(status) in trouble
        assert note.recoveries == 1


# Log lines


def line(run_id: str, number: int, when: datetime) -> dict[str, Any]:
    return {
        "id": f"{run_id}-{number}",
        "level": 20,
        "message": f"line {number}",
        "timestamp": when.isoformat(),
        "flow_run_id": run_id,
    }


class Following(Notes):
    """Shows a flow run's log lines."""

    def __init__(self) -> None:
        super().__init__(follows_logs=True)
        self.shown: list[str] = []

    def on_log_line(self, record: LogRecord, task_name: str | None) -> None:
        self.shown.append(record.id)


async def test_a_flood_of_one_runs_lines_hides_no_line_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.wait.flow_run.LOG_INTERVAL", 0.5)
    monkeypatch.setattr("airflow_provider_prefect.client.wait.logs._LATE_INTERVAL", 0.3)
    monkeypatch.setattr("airflow_provider_prefect.client.watcher.logs._GATHER_FOR", 0.2)
    async with busy_prefect() as server:
        ids = server.add(20)
        floods = ids[0]
        notes = {one: Following() for one in ids}
        tasks = start(*(waited(server, one, notes=notes[one]) for one in ids))
        await server.has(sockets=1)
        for number in range(12):
            now = datetime.now(UTC)
            server.lines += [line(one, number, now) for one in ids if number % 3 == 0 or one == floods]
            server.lines += [line(floods, 1000 * (number + 1) + more, now) for more in range(60)]
            await asyncio.sleep(0.25)
        await server.finish(ids)
        await ended(tasks, within=15)
        for one in ids:
            assert sorted(notes[one].shown) == sorted(each["id"] for each in server.lines if each["flow_run_id"] == one)


@pytest.mark.parametrize("feed", [None, 403])
async def test_a_server_that_answers_slower_than_lines_are_read_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, feed: int | None
) -> None:
    monkeypatch.setattr(waiting, "LOG_INTERVAL", 0.2)
    async with busy_prefect(feed=feed) as server:
        (run_id,) = server.add()
        server.lines.append(line(run_id, 1, datetime.now(UTC)))
        (task,) = start(waited(server, run_id, interval=0.1, notes=Following()))
        await seen_once(server, 1)
        await asyncio.sleep(1)  # from then on its lines are read together with those of others, a second later
        server.slow = 0.5
        await asyncio.sleep(1)
        await server.finish([run_id])
        assert await ended([task], within=15) == ["COMPLETED"]


async def test_a_server_that_never_answers_in_time_ends_a_wait_that_reads_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "LOG_INTERVAL", 0.2)
    async with busy_prefect(feed=403) as server:
        (run_id,) = server.add()
        server.lines.append(line(run_id, 1, datetime.now(UTC)))
        (task,) = start(waited(server, run_id, interval=0.1, patience=2, notes=Following()))
        await seen_once(server, 1)
        await asyncio.sleep(1)  # from then on its lines are read together with those of others, a second later
        server.slow = 0.5
        server.instead = lambda asked: web.Response(status=503) if asked.path == "/flow_runs/filter" else None
        async with asyncio.timeout(15):
            with pytest.raises(Unreachable, match="503"):
                await task


async def test_while_little_is_logged_all_runs_are_asked_about_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.wait.flow_run.LOG_INTERVAL", 0.5)
    monkeypatch.setattr("airflow_provider_prefect.client.watcher.logs._GATHER_FOR", 0.2)
    async with busy_prefect() as server:
        ids = server.add(40)
        server.lines += [line(one, 0, datetime.now(UTC)) for one in ids]
        tasks = start(*(waited(server, one, notes=Following()) for one in ids))
        await asyncio.sleep(2)
        before = len(server.asked)
        await asyncio.sleep(3)
        # Every 0.7 seconds a look and a page, for all of them; each alone would have asked 40 times as often.
        assert len(server.asked) - before <= 16
        for task in tasks:
            task.cancel()


async def test_to_warn_of_a_late_start_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LATE_START_AFTER", 0.5)
    async with busy_prefect(version="2.20.26") as server:
        ids = server.add(100, "PENDING")
        notes = [Notes() for _ in ids]
        tasks = start(*(waited(server, one, notes=note) for one, note in zip(ids, notes, strict=True)))
        await seen_once(server, len(ids))
        polls = len(server.polls())
        async with asyncio.timeout(SOON):
            while not all(note.late for note in notes):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert len(server.polls()) == polls
        for task in tasks:
            task.cancel()


async def test_what_keeps_many_runs_from_starting_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.wait.flow_run.LATE_START_AFTER", 0.2)
    async with busy_prefect() as server:
        ids = server.add(30, "PENDING")
        for one in ids:
            server.runs[one]["expected_start_time"] = None
        deployment = {"id": "d", "name": "n", "flow_id": "f", "status": "NOT_READY"}
        server.instead = lambda asked: web.json_response(deployment) if asked.path.startswith("/deployments/") else None
        notes = [Notes() for _ in ids]
        tasks = start(*(waited(server, one, notes=note) for one, note in zip(ids, notes, strict=True)))
        await asyncio.sleep(1.5)
        assert all("no serving process has polled" in note.late[0][0] for note in notes)
        assert len([one for one in server.asked if one.path.startswith("/deployments/")]) == 1
        for task in tasks:
            task.cancel()


def test_the_body_of_a_look_is_what_prefect_knows() -> None:
    """Its facts: neither not_any_ nor an empty any_, and a limit that is the server's or lower."""

    async def bodies() -> list[Any]:
        async with busy_prefect() as server:
            (run_id,) = server.add()
            tasks = start(waited(server, run_id))
            await server.has(sockets=1)
            await server.finish([run_id])
            await ended(tasks)
            return [look.body for look in server.polls()]

    for body in asyncio.run(bodies()):
        assert "not_any_" not in json.dumps(body)
        assert body["limit"] == 200
        assert body["flow_runs"]["id"]["any_"]


# What was deleted, what cannot be listed, what is read again


async def test_a_run_that_is_deleted_as_it_completes_ends_as_the_feed_has_said() -> None:
    async with busy_prefect() as server:
        (run_id,) = server.add()
        notes = Notes()
        tasks = start(waited(server, run_id, interval=0.2, notes=notes))
        await server.has(sockets=1)
        await seen_once(server, 1)
        await server.tell(run_id)
        del server.runs[run_id]
        assert await ended(tasks) == ["COMPLETED"]
    assert notes.deleted == ["Completed"]


async def test_a_run_that_is_deleted_without_a_word_is_an_error_that_says_what_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watcher, "_COUNT_INTERVAL", 0.3)
    async with busy_prefect() as server:
        (run_id,) = server.add()
        (task,) = start(waited(server, run_id, interval=0.2))
        await seen_once(server, 1)
        del server.runs[run_id]
        with pytest.raises(FlowRunDeleted, match="whether it has done its work is not known"):
            async with asyncio.timeout(SOON):
                await task


async def test_a_run_that_cannot_be_listed_is_read_by_itself_and_completes() -> None:
    async with busy_prefect() as server:
        ids = server.add(16)
        bad = ids[3]

        def unlistable(asked: Asked) -> web.Response | None:
            listed = asked.path == "/flow_runs/filter" and bad in asked.ids
            return web.json_response({"exception_message": "Internal Server Error"}, status=500) if listed else None

        server.instead = unlistable
        tasks = start(*(waited(server, one, interval=0.2, patience=2) for one in ids))
        await asyncio.sleep(1)
        for one in ids:
            server.put(one)
        assert await ended(tasks) == ["COMPLETED"] * len(ids)


async def test_only_the_reasons_for_a_late_start_are_shared_and_kept() -> None:
    async with busy_prefect() as server:
        (run_id,) = server.add()

        async def settings(refused: Settings | None) -> Settings:
            return server.settings

        async with SharedConnection(settings) as connection:
            with Subscription(connection, run_id, 10, 60, Notes()) as subscription:
                for type_ in ("RUNNING", "PAUSED"):
                    server.put(run_id, type_)
                    assert (await subscription.api.read_flow_run(run_id)).state.type == type_
            for _ in range(2):
                await connection.send(Request("GET", "/admin/version"))
        assert len([one for one in server.asked if one.path == f"/flow_runs/{run_id}"]) == 2
        assert len([one for one in server.asked if one.path == "/admin/version"]) == 2
