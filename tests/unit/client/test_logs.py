from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_prefect.client import graphql, logs, rest
from airflow_provider_prefect.client.call import Effect, Look, Renew, Request, Response, Sleep, run
from airflow_provider_prefect.client.errors import Unreachable
from airflow_provider_prefect.client.logs import LogFollower
from airflow_provider_prefect.client.model import LogRecord
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.waiting import Deadlines, wait
from tests.unit.client.driving import BUSY, NO_CONTENT, NOON, Notes, answer, page
from tests.unit.client.samples import RUN_ID, seen, state_json

BEGIN = datetime.fromisoformat("2026-01-02T03:00:00Z")
GARBAGE = [answer({"detail": 1}), answer(None), answer([{"no": "id"}]), answer(["x"]), answer([{"id": 1}]), NO_CONTENT]


@dataclass
class Server:
    """Keeps log lines and task runs, and answers as Prefect does; ``limit`` is the longest page it makes.

    ``trouble`` is what it answers instead, and ``coming`` what happens when a call sleeps, in order.
    """

    limit: int = 200
    lines: list[dict[str, Any]] = field(default_factory=list)
    task_runs: dict[str, str] = field(default_factory=dict)
    trouble: Response | Exception | None = None
    coming: list[Callable[[], None]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    now: float = NOON

    def add(self, *seconds: float, task_run: str | None = None, level: int = 20) -> None:
        """Take in lines that were logged so many seconds after the beginning; each says when."""
        for second in seconds:
            self.lines.append(
                {
                    "id": f"line-{len(self.lines)}",
                    "level": level,
                    "message": f"{second:g}",
                    "timestamp": (BEGIN + timedelta(seconds=second)).isoformat(),
                    "flow_run_id": RUN_ID,
                    "task_run_id": task_run,
                }
            )

    def perform(self, effect: Effect) -> object:
        if isinstance(effect, Sleep):
            self.now += effect.seconds
            self.slept.append(effect.seconds)
            if self.coming:
                self.coming.pop(0)()
            return None
        if isinstance(effect, Renew):
            return None
        assert isinstance(effect, Request), effect
        self.requests.append(effect)
        if isinstance(self.trouble, Exception):
            raise self.trouble
        return self.trouble or answer(self._found(effect))

    def _found(self, request: Request) -> Any:
        body = request.body
        if request.path == "/task_runs/filter":
            ids = [one for one in body["task_runs"]["id"]["any_"] if one in self.task_runs][body["offset"] :]
            return [{"id": one, "name": self.task_runs[one], "state": state_json()} for one in ids]
        assert request.path == "/logs/filter"
        assert body["logs"]["flow_run_id"] == {"any_": [RUN_ID]}
        assert body.get("limit", 0) <= self.limit, "refused by the server"
        after = body["logs"].get("timestamp", {}).get("after_")
        lines = [line for line in self.lines if not after or moment(line["timestamp"]) >= moment(after)]
        lines.sort(key=lambda line: moment(line["timestamp"]), reverse=body["sort"] == "TIMESTAMP_DESC")
        offset = body["offset"]
        return lines[offset : offset + body.get("limit", self.limit)]

    @property
    def pages(self) -> int:
        return sum(request.path == "/logs/filter" and "limit" not in request.body for request in self.requests)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class Shown:
    """Keeps what a follower shows."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tasks: list[str | None] = []

    def __call__(self, record: LogRecord, task: str | None) -> None:
        self.lines.append(record.message)
        self.tasks.append(task)


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble is not waited out by the real clock."""
    monkeypatch.setattr(logs, "_PATIENCE", Patience(0))


def read(server: Server, follower: LogFollower, times: int = 1) -> list[int]:
    return [run(follower.read_new(), server.perform) for _ in range(times)]


def numbers(first: int, beyond: int) -> list[str]:
    return [str(number) for number in range(first, beyond)]


# Each line once, in order


def test_each_line_is_shown_once_however_often_it_is_read(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(0, 1, 2)
    assert read(server, follower, 3) == [3, 0, 0]
    server.add(3, 4)
    assert read(server, follower, 2) == [2, 0]
    assert shown.lines == numbers(0, 5)


def test_a_line_that_arrives_after_younger_ones_is_shown(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(0, 20)
    read(server, follower)
    server.add(11)
    read(server, follower, 2)
    assert shown.lines == ["0", "20", "11"]


def test_lines_of_the_same_moment_are_all_shown(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(5, 5, 5)
    read(server, follower)
    server.add(5, 5)
    read(server, follower, 2)
    assert shown.lines == ["5"] * 5


def test_lines_come_in_the_order_of_their_times(shown: Shown) -> None:
    server = Server()
    server.add(3, 1, 2, 0)
    read(server, LogFollower(rest, RUN_ID, shown))
    assert shown.lines == numbers(0, 4)


def test_what_was_read_long_ago_is_not_asked_for_again(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(*range(100))
    read(server, follower)
    server.requests.clear()
    read(server, follower)
    assert {request.body["logs"]["timestamp"]["after_"] for request in server.requests} == {
        (BEGIN + timedelta(seconds=89)).isoformat()
    }


# Pages


@pytest.mark.parametrize("limit", [200, 7, 1])
@pytest.mark.parametrize("number", [0, 1, 7, 14, 20])
def test_all_pages_are_read_whatever_the_servers_limit(shown: Shown, limit: int, number: int) -> None:
    server = Server(limit)
    server.add(*range(number))
    read(server, LogFollower(rest, RUN_ID, shown), 2)
    assert shown.lines == numbers(0, number)


def test_a_page_that_is_shorter_than_others_were_is_the_last(shown: Shown) -> None:
    server, follower = Server(limit=7), LogFollower(rest, RUN_ID, shown)
    server.add(*range(20))
    read(server, follower)
    assert server.pages == 3


def test_a_long_log_that_grows_meanwhile_is_shown_without_gap_or_repetition(shown: Shown) -> None:
    server, follower = Server(limit=7), LogFollower(rest, RUN_ID, shown)
    for first in range(0, 300, 30):
        server.add(*range(first, first + 30))
        read(server, follower)
    assert shown.lines == numbers(0, 300)


# Floods


def test_no_more_lines_are_shown_than_there_may_be_and_the_rest_is_counted(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown, most=450)
    server.add(*(number / 100 for number in range(1234)))
    read(server, follower)
    assert len(shown.lines) == 450
    assert run(follower.read_last(), server.perform) == 1234 - 450
    assert len(shown.lines) == 450


def test_beyond_the_cap_nothing_is_asked_for_any_more(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown, most=10)
    server.add(*range(500))
    read(server, follower)
    assert server.pages == 1
    server.requests.clear()
    assert read(server, follower) == [0]
    assert server.requests == []


def test_as_many_lines_as_there_may_be_leave_none_out(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown, most=20)
    server.add(*range(20))
    assert run(follower.read_last(), server.perform) == 0


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 127, 128, 129, 1000])
def test_lines_are_counted_with_few_requests(number: int) -> None:
    server = Server()
    server.add(*range(number))
    assert run(rest.count_logs(RUN_ID), server.perform) == number
    assert len(server.requests) <= 2 * max(number, 1).bit_length() + 2


def test_when_the_rest_cannot_be_counted_nobody_claims_to_know(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown, most=10)
    server.add(*range(20))
    read(server, follower)
    server.trouble = page(403)
    assert run(follower.read_last(), server.perform) is None


def test_a_long_log_does_not_grow_what_is_kept_of_it(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    for first in range(0, 5000, 50):
        server.add(*range(first, first + 50))
        read(server, follower)
    assert shown.lines == numbers(0, 5000)
    assert len(follower._seen) < 100


# The end


def test_late_lines_are_shown_at_the_end(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(0)
    server.coming = [lambda: server.add(1), lambda: None, lambda: server.add(2), lambda: None]
    assert run(follower.read_last(), server.perform) == 0
    assert shown.lines == ["0", "1"]


def test_lines_that_come_up_to_two_seconds_after_the_end_are_waited_for(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(0)
    server.coming = [lambda: None, lambda: server.add(1)]
    run(follower.read_last(), server.perform)
    assert shown.lines == ["0", "1"]
    assert sum(server.slept[:2]) == 2


def test_lines_of_prefect_1_are_waited_for_longer_since_its_processes_send_them_every_five_seconds(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "LOGS_LATE", graphql.LOGS_LATE)
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(0)
    server.coming = [*[lambda: None] * 4, lambda: server.add(1)]
    run(follower.read_last(), server.perform)
    assert shown.lines == ["0", "1"]


def test_lines_that_never_end_do_not_keep_a_run_from_having_ended(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    for second in range(1000):
        server.coming.append(lambda second=second: server.add(second))  # type: ignore[misc]
    run(follower.read_last(), server.perform)
    assert sum(server.slept) < 10


# Whose line it is


def test_lines_of_task_runs_carry_their_names_and_those_of_the_flow_none(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.task_runs = {"t1": "load-a", "t2": "load-b"}
    server.add(0)
    server.add(1, task_run="t1")
    server.add(2, task_run="t2")
    server.add(3, task_run="t1")
    read(server, follower)
    assert shown.tasks == [None, "load-a", "load-b", "load-a"]


def test_each_task_run_is_asked_for_once(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.task_runs = {"t1": "load-a"}
    server.add(0, 1, task_run="t1")
    read(server, follower)
    server.add(2, task_run="t1")
    server.requests.clear()
    read(server, follower, 3)
    assert {request.path for request in server.requests} == {"/logs/filter"}
    assert shown.tasks == ["load-a"] * 3


def test_a_task_run_that_prefect_does_not_know_yet_is_shown_by_its_id_and_later_by_its_name(shown: Shown) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(0, task_run="0196-t1")
    read(server, follower)
    server.task_runs = {"0196-t1": "load-a"}
    server.add(1, task_run="0196-t1")
    read(server, follower)
    assert shown.tasks == ["task run 0196-t1", "load-a"]


# Trouble


@pytest.mark.parametrize("trouble", [BUSY, page(), page(401), page(403), page(404), Unreachable("down"), *GARBAGE])
def test_trouble_is_told_once_and_left_to_the_next_time(
    shown: Shown, trouble: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, follower = Server(), LogFollower(rest, RUN_ID, shown)
    server.add(0)
    read(server, follower)
    server.trouble = trouble
    server.add(1)
    assert read(server, follower, 3) == [0, 0, 0]
    assert caplog.text.count("cannot be read at present") == 1
    server.trouble = None
    assert read(server, follower) == [1]
    server.trouble = trouble
    read(server, follower)
    assert caplog.text.count("cannot be read at present") == 2
    assert shown.lines == ["0", "1"]


@pytest.mark.parametrize("trouble", [BUSY, page(403), Unreachable("down"), *GARBAGE])
def test_trouble_with_the_log_never_ends_a_wait(shown: Shown, trouble: Any) -> None:
    server, notes = Server(trouble=trouble), Notes(logs=LogFollower(rest, RUN_ID, shown))
    looks = [seen("RUNNING"), None, None, seen("COMPLETED")]

    def perform(effect: Effect) -> object:
        if not isinstance(effect, Look):
            return server.perform(effect)
        if looks[0] is None:
            server.now = effect.until
        return looks.pop(0)

    assert run(wait(rest, RUN_ID, Deadlines(), notes, lambda: server.now), perform).is_final
    assert server.requests


def test_a_line_that_was_shown_before_a_page_failed_is_not_shown_again(shown: Shown) -> None:
    server, follower = Server(limit=5), LogFollower(rest, RUN_ID, shown)
    server.add(*range(8))
    answers = [None, Unreachable("down")]

    def perform(effect: Effect) -> object:
        server.trouble = answers.pop(0) if answers else None
        return server.perform(effect)

    run(follower.read_new(), perform)
    assert shown.lines == numbers(0, 5)
    run(follower.read_new(), perform)
    assert shown.lines == numbers(0, 8)


# While a flow run is waited for


def test_lines_are_read_every_five_seconds_once_the_flow_run_has_started_and_at_its_end(shown: Shown) -> None:
    server, notes = Server(), Notes(logs=LogFollower(rest, RUN_ID, shown))
    looks = [seen("PENDING"), None, None, seen("RUNNING"), None, None, seen("COMPLETED")]
    reads: list[tuple[float, int]] = []

    def perform(effect: Effect) -> object:
        if not isinstance(effect, Look):
            return server.perform(effect)
        reads.append((effect.until - server.now, server.pages))
        seen_now = looks.pop(0)
        if seen_now is None:
            server.now = effect.until
            server.add(server.now - NOON)
        return seen_now

    run(wait(rest, RUN_ID, Deadlines(), notes, lambda: server.now), perform)
    assert {pause for pause, _ in reads} == {5.0}
    assert [pages > 0 for _, pages in reads] == [False, False, False, False, False, True, True]
    assert shown.lines == ["5", "10", "15", "20"]


def test_what_was_left_out_is_told_at_the_end(shown: Shown) -> None:
    server, notes = Server(), Notes(logs=LogFollower(rest, RUN_ID, shown, most=3))
    server.add(*range(10))

    def perform(effect: Effect) -> object:
        return seen("COMPLETED") if isinstance(effect, Look) else server.perform(effect)

    run(wait(rest, RUN_ID, Deadlines(), notes, lambda: server.now), perform)
    assert (shown.lines, notes.left_out) == (numbers(0, 3), [7])


def test_nothing_is_told_where_nothing_was_left_out(shown: Shown) -> None:
    server, notes = Server(), Notes(logs=LogFollower(rest, RUN_ID, shown))
    server.add(0)

    def perform(effect: Effect) -> object:
        return seen("COMPLETED") if isinstance(effect, Look) else server.perform(effect)

    run(wait(rest, RUN_ID, Deadlines(), notes, lambda: server.now), perform)
    assert notes.left_out == []
