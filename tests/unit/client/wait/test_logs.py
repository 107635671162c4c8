from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import Unreachable
from airflow_provider_prefect.client.graphql import GraphqlApi
from airflow_provider_prefect.client.model import FlowRun, LogRecord
from airflow_provider_prefect.client.rest import RestApi
from airflow_provider_prefect.client.transport import Request, Response, run
from airflow_provider_prefect.client.wait.flow_run import Deadlines, wait_for_flow_run
from airflow_provider_prefect.client.wait.logs import LogFollower
from tests.unit.client.driving import BUSY, NO_CONTENT, NOON, Again, Notes, Script, ScriptedSource, answer, page
from tests.unit.client.samples import RUN_ID, seen, state_json

BEGIN = datetime.fromisoformat("2026-01-02T03:00:00Z")
GARBAGE = [answer({"detail": 1}), answer(None), answer([{"no": "id"}]), answer(["x"]), answer([{"id": 1}]), NO_CONTENT]


@dataclass
class Server(Script):
    """Keeps log lines and task runs, and answers as Prefect does; ``limit`` is the longest page it makes.

    ``trouble`` is what it answers instead, after the ``troubles``, which are one for each request. ``coming`` is what
    happens when a call sleeps, in order.
    """

    answers: Iterable[Any] = ()
    limit: int = 200
    lines: list[dict[str, Any]] = field(default_factory=list)
    task_runs: dict[str, str] = field(default_factory=dict)
    trouble: Response | Exception | None = None
    troubles: list[Response | Exception | None] = field(default_factory=list)
    coming: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers = [Again(self._answer)]
        super().__post_init__()

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

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.coming:
            self.coming.pop(0)()

    def _answer(self, request: Request) -> Response | Exception:
        trouble = self.troubles.pop(0) if self.troubles else self.trouble
        return trouble or answer(self._found(request))

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


def following(server: Server, shown: Shown, **limit: int) -> LogFollower:
    return LogFollower(ScriptedSource((), server), shown, **limit)


def read(follower: LogFollower, times: int = 1) -> list[int]:
    return [run(follower.read_new()) for _ in range(times)]


def numbers(first: int, beyond: int) -> list[str]:
    return [str(number) for number in range(first, beyond)]


# Each line once, in order


def test_each_line_is_shown_once_however_often_it_is_read(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.add(0, 1, 2)
    assert read(follower, 3) == [3, 0, 0]
    server.add(3, 4)
    assert read(follower, 2) == [2, 0]
    assert shown.lines == numbers(0, 5)


def test_a_line_that_arrives_after_younger_ones_is_shown(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.add(0, 20)
    read(follower)
    server.add(11)
    read(follower, 2)
    assert shown.lines == ["0", "20", "11"]


def test_lines_of_the_same_moment_are_all_shown(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.add(5, 5, 5)
    read(follower)
    server.add(5, 5)
    read(follower, 2)
    assert shown.lines == ["5"] * 5


def test_lines_come_in_the_order_of_their_times(shown: Shown) -> None:
    server = Server()
    server.add(3, 1, 2, 0)
    read(following(server, shown))
    assert shown.lines == numbers(0, 4)


def test_what_was_read_long_ago_is_not_asked_for_again(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.add(*range(100))
    read(follower)
    server.requests.clear()
    read(follower)
    assert {request.body["logs"]["timestamp"]["after_"] for request in server.requests} == {
        (BEGIN + timedelta(seconds=89)).isoformat()
    }


# Pages


@pytest.mark.parametrize("limit", [200, 7, 1])
@pytest.mark.parametrize("number", [0, 1, 7, 14, 20])
def test_all_pages_are_read_whatever_the_servers_limit(shown: Shown, limit: int, number: int) -> None:
    server = Server(limit=limit)
    server.add(*range(number))
    read(following(server, shown), 2)
    assert shown.lines == numbers(0, number)


def test_a_page_that_is_shorter_than_others_were_is_the_last(shown: Shown) -> None:
    server = Server(limit=7)
    follower = following(server, shown)
    server.add(*range(20))
    read(follower)
    assert server.pages == 3


def test_a_long_log_that_grows_meanwhile_is_shown_without_gap_or_repetition(shown: Shown) -> None:
    server = Server(limit=7)
    follower = following(server, shown)
    for first in range(0, 300, 30):
        server.add(*range(first, first + 30))
        read(follower)
    assert shown.lines == numbers(0, 300)


# Floods


def test_no_more_lines_are_shown_than_there_may_be_and_the_rest_is_counted(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown, limit=450)
    server.add(*(number / 100 for number in range(1234)))
    read(follower)
    assert len(shown.lines) == 450
    assert run(follower.read_last()) == 1234 - 450
    assert len(shown.lines) == 450


def test_beyond_the_cap_nothing_is_asked_for_any_more(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown, limit=10)
    server.add(*range(500))
    read(follower)
    assert server.pages == 1
    server.requests.clear()
    assert read(follower) == [0]
    assert server.requests == []


def test_as_many_lines_as_there_may_be_leave_none_out(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown, limit=20)
    server.add(*range(20))
    assert run(follower.read_last()) == 0


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 127, 128, 129, 1000])
def test_lines_are_counted_with_few_requests(number: int) -> None:
    server = Server()
    server.add(*range(number))
    assert run(server.api().count_logs(RUN_ID)) == number
    assert len(server.requests) <= 2 * max(number, 1).bit_length() + 2


def test_when_the_rest_cannot_be_counted_nobody_claims_to_know(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown, limit=10)
    server.add(*range(20))
    read(follower)
    server.trouble = page(403)
    assert run(follower.read_last()) is None


def test_a_long_log_does_not_grow_what_is_kept_of_it(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    for first in range(0, 5000, 50):
        server.add(*range(first, first + 50))
        read(follower)
    assert shown.lines == numbers(0, 5000)
    assert len(follower._seen) < 100


# The end


def test_late_lines_are_shown_at_the_end(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.add(0)
    server.coming = [lambda: server.add(1), lambda: None, lambda: server.add(2), lambda: None]
    assert run(follower.read_last()) == 0
    assert shown.lines == ["0", "1"]


def test_lines_that_come_up_to_two_seconds_after_the_end_are_waited_for(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.add(0)
    server.coming = [lambda: None, lambda: server.add(1)]
    run(follower.read_last())
    assert shown.lines == ["0", "1"]
    assert sum(server.sleeps[:2]) == 2


def test_lines_of_prefect_1_are_waited_for_longer_since_its_processes_send_them_every_five_seconds(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RestApi, "late_log_seconds", GraphqlApi.late_log_seconds)
    server = Server()
    follower = following(server, shown)
    server.add(0)
    server.coming = [*[lambda: None] * 4, lambda: server.add(1)]
    run(follower.read_last())
    assert shown.lines == ["0", "1"]


def test_lines_that_never_end_do_not_keep_a_run_from_having_ended(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    for second in range(1000):
        server.coming.append(lambda second=second: server.add(second))  # type: ignore[misc]
    run(follower.read_last())
    assert sum(server.sleeps) < 10


# Whose line it is


def test_lines_of_task_runs_carry_their_names_and_those_of_the_flow_none(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.task_runs = {"t1": "load-a", "t2": "load-b"}
    server.add(0)
    server.add(1, task_run="t1")
    server.add(2, task_run="t2")
    server.add(3, task_run="t1")
    read(follower)
    assert shown.tasks == [None, "load-a", "load-b", "load-a"]


def test_each_task_run_is_asked_for_once(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.task_runs = {"t1": "load-a"}
    server.add(0, 1, task_run="t1")
    read(follower)
    server.add(2, task_run="t1")
    server.requests.clear()
    read(follower, 3)
    assert {request.path for request in server.requests} == {"/logs/filter"}
    assert shown.tasks == ["load-a"] * 3


def test_a_task_run_that_prefect_does_not_know_yet_is_shown_by_its_id_and_later_by_its_name(shown: Shown) -> None:
    server = Server()
    follower = following(server, shown)
    server.add(0, task_run="0196-t1")
    read(follower)
    server.task_runs = {"0196-t1": "load-a"}
    server.add(1, task_run="0196-t1")
    read(follower)
    assert shown.tasks == ["task run 0196-t1", "load-a"]


# Trouble


@pytest.mark.parametrize("trouble", [BUSY, page(), page(401), page(403), page(404), Unreachable("down"), *GARBAGE])
def test_trouble_is_logged_once_and_left_to_the_next_time(
    shown: Shown, trouble: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    follower = following(server, shown)
    server.add(0)
    read(follower)
    server.trouble = trouble
    server.add(1)
    assert read(follower, 3) == [0, 0, 0]
    assert caplog.text.count("cannot be read at present") == 1
    server.trouble = None
    assert read(follower) == [1]
    server.trouble = trouble
    read(follower)
    assert caplog.text.count("cannot be read at present") == 2
    assert shown.lines == ["0", "1"]


@pytest.mark.parametrize("trouble", [BUSY, page(403), Unreachable("down"), *GARBAGE])
def test_trouble_with_the_log_never_ends_a_wait(trouble: Any) -> None:
    server, notes = Server(trouble=trouble), Notes(follows_logs=True)
    source = ScriptedSource([seen("RUNNING"), None, None, seen("COMPLETED")], server)
    assert run(wait_for_flow_run(source, Deadlines(), notes, server.clock)).is_final
    assert server.requests
    assert notes.trouble == []


def test_a_line_that_was_shown_before_a_page_failed_is_not_shown_again(shown: Shown) -> None:
    server = Server(limit=5)
    follower = following(server, shown)
    server.add(*range(8))
    server.troubles = [None, Unreachable("down")]
    read(follower)
    assert shown.lines == numbers(0, 5)
    read(follower)
    assert shown.lines == numbers(0, 8)


# While a flow run is waited for


def test_lines_are_read_every_five_seconds_once_the_flow_run_has_started_and_at_its_end() -> None:
    server, notes = Server(), Notes(follows_logs=True)
    asked: list[tuple[float, int]] = []

    class Source(ScriptedSource):
        async def next_state(
            self, known_state_id: str | None, until: float, *, poll_at_end: bool = True
        ) -> FlowRun | None:
            asked.append((until - server.clock.now, server.pages))
            state = await super().next_state(known_state_id, until, poll_at_end=poll_at_end)
            if state is None:
                server.add(server.clock.now - NOON)
            return state

    source = Source([seen("PENDING"), None, None, seen("RUNNING"), None, None, seen("COMPLETED")], server)
    run(wait_for_flow_run(source, Deadlines(), notes, server.clock))
    assert {pause for pause, _ in asked} == {5.0}
    assert [pages > 0 for _, pages in asked] == [False, False, False, False, False, True, True]
    assert [line for line, _ in notes.lines] == ["5", "10", "15", "20"]


def test_while_lines_are_read_the_state_is_not_polled_at_the_end_of_each_pause() -> None:
    server = Server()
    source = ScriptedSource([seen("RUNNING"), None, seen("COMPLETED")], server)
    run(wait_for_flow_run(source, Deadlines(finished=NOON + 8), Notes(follows_logs=True), server.clock))
    assert [(until - NOON, poll_at_end) for _, until, poll_at_end in source.asked] == [
        (5, False),
        (5, False),
        (8, True),
    ]


def test_what_was_left_out_is_reported_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogFollower.__init__, "__defaults__", (3,))
    server, notes = Server(), Notes(follows_logs=True)
    server.add(*range(10))
    run(wait_for_flow_run(ScriptedSource([seen("COMPLETED")], server), Deadlines(), notes, server.clock))
    assert [line for line, _ in notes.lines] == numbers(0, 3)
    assert notes.left_out == [7]


def test_nothing_is_reported_where_nothing_was_left_out() -> None:
    server, notes = Server(), Notes(follows_logs=True)
    server.add(0)
    run(wait_for_flow_run(ScriptedSource([seen("COMPLETED")], server), Deadlines(), notes, server.clock))
    assert [line for line, _ in notes.lines] == ["0"]
    assert notes.left_out == []


def test_lines_that_nobody_wants_are_not_read() -> None:
    server, notes = Server(), Notes()
    server.add(0)
    run(wait_for_flow_run(ScriptedSource([seen("COMPLETED")], server), Deadlines(), notes, server.clock))
    assert (server.requests, notes.lines) == ([], [])
