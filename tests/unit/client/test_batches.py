"""Which flow runs are looked at together, and when; with made-up times."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_prefect.client import rest
from airflow_provider_prefect.client.batches import Batch, Pages, plan
from airflow_provider_prefect.client.call import Request
from airflow_provider_prefect.client.errors import InvalidRequest
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience, retried
from airflow_provider_prefect.client.watched import Watched
from tests.unit.client.driving import Script, answer
from tests.unit.client.samples import run_json, state_json

NOW, WALL = 1000.0, 1_700_000_000.0


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """What makes a future needs one; it never runs."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)


def watched(number: int = 0, *, every: float = 10, known: str | None = "RUNNING", **changes: Any) -> Watched:
    """One that somebody waits for and that was last looked at just now."""
    one = Watched(f"run-{number}", every, patience=600, known_type=known, looked=NOW)
    one.answer = asyncio.get_event_loop_policy().get_event_loop().create_future()
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def sizes(*those: Watched, at: float = NOW, slowest: float = 0.0, size: int = 1000) -> list[int]:
    return [len(batch.watched) for batch in plan(those, at, WALL + at - NOW, slowest, size).batches]


def test_what_was_looked_at_is_due_after_its_own_interval() -> None:
    one = watched(every=7)
    assert plan([one], NOW, WALL).again == NOW + 7
    assert sizes(one, at=NOW + 6.9) == []
    assert sizes(one, at=NOW + 7) == [1]


def test_what_was_never_looked_at_is_due_at_once() -> None:
    assert sizes(watched(looked=-math.inf, known=None)) == [1]


def test_one_that_is_due_takes_the_others_of_its_type_along() -> None:
    due, others = watched(0, looked=NOW - 10), [watched(number) for number in range(1, 5)]
    (batch,) = plan([due, *others], NOW, WALL).batches
    assert set(batch.watched) == {due, *others}
    assert batch.known_type == "RUNNING"


def test_runs_in_states_of_different_types_are_asked_for_apart() -> None:
    those = [watched(n, known=known, looked=NOW - 10) for n, known in enumerate(["RUNNING", "PENDING", "RUNNING"])]
    assert sorted((batch.known_type, len(batch.watched)) for batch in plan(those, NOW, WALL).batches) == [
        ("PENDING", 1),
        ("RUNNING", 2),
    ]


def test_who_is_not_waiting_or_is_being_looked_at_is_left_out() -> None:
    answered = watched(2, looked=-math.inf)
    assert answered.answer is not None
    answered.answer.cancel()
    assert sizes(watched(0, looked=-math.inf, answer=None), watched(1, looked=-math.inf, busy=True), answered) == []


def test_a_feed_slows_the_looks_down_and_never_speeds_them_up() -> None:
    assert plan([watched(every=10)], NOW, WALL, 60).again == NOW + 60
    assert plan([watched(every=90)], NOW, WALL, 60).again == NOW + 90


def test_an_event_makes_its_run_due_and_no_other() -> None:
    one, other = watched(0, soon=(NOW, NOW + 0.25, NOW + 1)), watched(1)
    (batch,) = plan([one, other], NOW, WALL, 60).batches
    assert batch.watched == [one]
    one.looked_at(NOW + 0.1, WALL)
    assert plan([one, other], NOW + 0.1, WALL, 60).again == NOW + 0.25
    one.looked_at(NOW + 0.3, WALL)
    one.looked_at(NOW + 1.1, WALL)
    assert plan([one, other], NOW + 1.1, WALL, 60).again == NOW + 60


def test_a_deadline_is_a_time_to_look() -> None:
    one = watched(every=100, until=WALL + 3)
    assert plan([one], NOW, WALL, 60).again == NOW + 3
    assert sizes(one, at=NOW + 3, slowest=60) == [1]


def test_trouble_is_asked_again_after_its_pause_and_when_patience_or_time_ends() -> None:
    one = watched(looked=NOW - 50, not_before=NOW + 5, trouble_since=NOW - 1)
    assert sizes(one) == []
    assert plan([one], NOW, WALL).again == NOW + 5
    one.patience = 3
    assert plan([one], NOW, WALL).again == NOW + 2
    one.until = WALL
    assert sizes(one) == [1]
    one.looked_at(NOW, WALL)
    assert (one.tries, one.trouble_since, one.not_before) == (0, None, -math.inf)


def test_one_in_trouble_is_not_taken_along() -> None:
    due, troubled = watched(0, looked=NOW - 10), watched(1, looked=NOW - 10, not_before=NOW + 5)
    assert sizes(due, troubled) == [1]


def test_one_that_may_be_gone_is_asked_for_by_itself_at_its_own_interval() -> None:
    one, other = watched(0, doubted=True, every=7), watched(1)
    assert plan([one], NOW, WALL, 60).again == NOW + 7
    assert sizes(one, other, at=NOW + 10) == [1, 1]


def test_a_thousand_go_into_one_request() -> None:
    assert sizes(*(watched(n, looked=-math.inf, known=None) for n in range(2500))) == [1000, 1000, 500]


@pytest.mark.parametrize(("number", "requests"), [(100, 1), (400, 4), (1000, 10)])
def test_many_batches_are_spread_over_the_interval_and_none_is_late(number: int, requests: int) -> None:
    those = [watched(n) for n in range(number)]
    now, looks = NOW, []
    while now < NOW + 100:
        planned = plan(those, now, WALL + now - NOW, size=100)
        for batch in planned.batches:
            for one in batch.watched:
                assert now - one.looked <= 10
                one.looked_at(now, WALL)
        looks.append((now, len(planned.batches)))
        now = now + 0.001 if planned.batches else planned.again
    settled = [(when, made) for when, made in looks if when >= NOW + 50 and made]
    assert max(made for _, made in settled) == 1
    assert len(settled) <= 5 * requests + 1


def test_different_intervals_are_all_kept() -> None:
    those = [watched(n, every=3 + n % 7) for n in range(300)]
    now = NOW
    while now < NOW + 60:
        planned = plan(those, now, WALL + now - NOW, size=100)
        for batch in planned.batches:
            for one in batch.watched:
                assert now - one.looked <= one.every
                one.looked_at(now, WALL)
        now = now + 0.001 if planned.batches else planned.again


def test_the_same_id_is_asked_for_once() -> None:
    assert Batch([watched(1), watched(1), watched(2)], None).ids == ["run-1", "run-2"]


def test_two_halves_are_the_whole() -> None:
    whole = Batch([watched(n) for n in range(7)], "RUNNING")
    first, second = whole.halved()
    assert sorted(first.ids + second.ids) == sorted(whole.ids)
    assert (len(first.ids), second.known_type) == (3, "RUNNING")


# Pages


def rows(*ids: str) -> Any:
    return answer([run_json(state_json("COMPLETED"), id=one) for one in ids])


def read(script: Script, ids: list[str], pages: Pages | None = None, known: str | None = "RUNNING") -> list[str]:
    shown: list[FlowRun] = []
    call = (pages or Pages()).read_changed(rest, ids, known, shown.extend)
    seen = script.run(retried(call, Patience(0)))
    assert seen == {run.id for run in shown}
    return [run.id for run in shown]


def test_while_nothing_has_changed_one_request_is_enough() -> None:
    script = Script([answer([])])
    assert read(script, ["a", "b"]) == []
    (request,) = script.requests
    criteria = request.body["flow_runs"]
    assert criteria["id"] == {"any_": ["a", "b"]}
    assert sorted(criteria["state"]["type"]["any_"]) == sorted(
        ["SCHEDULED", "PENDING", "PAUSED", "CANCELLING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
    )


def test_of_a_long_page_few_are_told_at_once() -> None:
    ids = [f"run-{number}" for number in range(50)]
    told: list[int] = []
    script = Script([rows(*ids)])
    script.run(Pages().read_changed(rest, ids, "RUNNING", lambda runs: told.append(len(runs))))
    assert told == [20, 20, 10]
    assert script.sleeps == [0, 0, 0]


def test_a_full_page_is_followed_by_the_rest_and_never_by_nothing() -> None:
    pages = Pages()
    pages.limit = 2
    script = Script([rows("a", "b"), rows("c", "d"), rows("e")])
    assert read(script, list("abcdef"), pages) == list("abcde")
    assert [request.body["flow_runs"]["id"]["any_"] for request in script.requests] == [
        list("abcdef"),
        list("cdef"),
        list("ef"),
    ]
    script = Script([rows("a", "b")])
    assert read(script, ["a", "b"], pages) == ["a", "b"]


def test_a_page_that_the_server_finds_too_long_is_made_shorter_once_and_for_all() -> None:
    too_long = answer({"detail": "Invalid limit: must be less than or equal to 50."}, 422)
    pages, script = Pages(), Script([too_long, too_long, rows("a"), answer([])])
    assert read(script, ["a", "b"], pages) == ["a"]
    assert [request.body["limit"] for request in script.requests] == [200, 100, 50]
    assert pages.limit == 50


def test_any_other_refusal_is_an_error() -> None:
    with pytest.raises(InvalidRequest):
        read(Script([answer({"detail": "no"}, 422)]), ["a"])


def test_what_is_not_known_yet_is_asked_for_in_any_state() -> None:
    script = Script([rows("a")])
    assert read(script, ["a"], known=None) == ["a"]
    assert isinstance(script.requests[0], Request)
    assert "state" not in script.requests[0].body["flow_runs"]
