"""Which flow runs are polled together, and when; with made-up times."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any, cast

import pytest

from airflow_provider_prefect.client.watcher.schedule import Batch, plan
from airflow_provider_prefect.client.watcher.subscription import Subscription
from tests.unit.client.driving import Notes

NOW, WALL = 1000.0, 1_700_000_000.0


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """What makes a future needs one; it never runs."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)


def subscribed(
    number: int = 0,
    *,
    interval: float = 10,
    known: str | None = "RUNNING",
    trouble_since: float | None = None,
    waits: bool = True,
    **changes: Any,
) -> Subscription:
    """A subscription whose wait is in ``next_state``, and that was last polled just now."""
    one = Subscription(cast("Any", None), f"run-{number}", interval, 600, Notes())
    one.known_state_type, one.polled_at = known, NOW
    one.trouble.since = trouble_since
    if waits:
        one._future = asyncio.get_event_loop_policy().get_event_loop().create_future()
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def sizes(*those: Subscription, at: float = NOW, slowest: float = 0.0, size: int = 1000) -> list[int]:
    return [len(batch.subscriptions) for batch in plan(those, at, WALL + at - NOW, slowest, size).batches]


def test_what_was_polled_is_due_after_its_own_interval() -> None:
    one = subscribed(interval=7)
    assert plan([one], NOW, WALL).again == NOW + 7
    assert sizes(one, at=NOW + 6.9) == []
    assert sizes(one, at=NOW + 7) == [1]


def test_what_was_never_polled_is_due_at_once() -> None:
    assert sizes(subscribed(polled_at=-math.inf, known=None)) == [1]


def test_one_that_is_due_takes_the_others_of_its_type_along() -> None:
    due, others = subscribed(0, polled_at=NOW - 10), [subscribed(number) for number in range(1, 5)]
    (batch,) = plan([due, *others], NOW, WALL).batches
    assert set(batch.subscriptions) == {due, *others}
    assert batch.known_type == "RUNNING"


def test_runs_in_states_of_different_types_are_asked_for_apart() -> None:
    those = [
        subscribed(n, known=known, polled_at=NOW - 10) for n, known in enumerate(["RUNNING", "PENDING", "RUNNING"])
    ]
    assert sorted((batch.known_type, len(batch.subscriptions)) for batch in plan(those, NOW, WALL).batches) == [
        ("PENDING", 1),
        ("RUNNING", 2),
    ]


def test_who_is_not_waiting_or_is_being_polled_is_left_out() -> None:
    answered = subscribed(2, polled_at=-math.inf)
    assert answered._future is not None
    answered._future.cancel()
    assert (
        sizes(
            subscribed(0, polled_at=-math.inf, waits=False), subscribed(1, polled_at=-math.inf, is_busy=True), answered
        )
        == []
    )


def test_a_feed_slows_the_polls_down_and_never_speeds_them_up() -> None:
    assert plan([subscribed(interval=10)], NOW, WALL, 60).again == NOW + 60
    assert plan([subscribed(interval=90)], NOW, WALL, 60).again == NOW + 90


def test_an_event_makes_its_run_due_and_no_other() -> None:
    one, other = subscribed(0, poll_soon=(NOW, NOW + 0.25, NOW + 1)), subscribed(1)
    (batch,) = plan([one, other], NOW, WALL, 60).batches
    assert batch.subscriptions == [one]
    one.polled(NOW + 0.1, WALL)
    assert plan([one, other], NOW + 0.1, WALL, 60).again == NOW + 0.25
    one.polled(NOW + 0.3, WALL)
    one.polled(NOW + 1.1, WALL)
    assert plan([one, other], NOW + 1.1, WALL, 60).again == NOW + 60


def test_a_deadline_is_a_time_to_poll() -> None:
    one = subscribed(interval=100, until=WALL + 3)
    assert plan([one], NOW, WALL, 60).again == NOW + 3
    assert sizes(one, at=NOW + 3, slowest=60) == [1]


def test_trouble_is_asked_again_after_its_pause_and_when_patience_or_time_ends() -> None:
    one = subscribed(polled_at=NOW - 50, not_before=NOW + 5, trouble_since=NOW - 1)
    assert sizes(one) == []
    assert plan([one], NOW, WALL).again == NOW + 5
    one.trouble.patience = 3
    assert plan([one], NOW, WALL).again == NOW + 2
    one.until = WALL
    assert sizes(one) == [1]
    one.polled(NOW, WALL)
    assert (one.trouble.tries, one.trouble.since, one.not_before) == (0, None, -math.inf)


def test_one_in_trouble_is_not_taken_along() -> None:
    due, troubled = subscribed(0, polled_at=NOW - 10), subscribed(1, polled_at=NOW - 10, not_before=NOW + 5)
    assert sizes(due, troubled) == [1]


def test_one_that_may_be_gone_is_asked_for_by_itself_at_its_own_interval() -> None:
    one, other = subscribed(0, is_doubted=True, interval=7), subscribed(1)
    assert plan([one], NOW, WALL, 60).again == NOW + 7
    assert sizes(one, other, at=NOW + 10) == [1, 1]


def test_a_thousand_go_into_one_request() -> None:
    assert sizes(*(subscribed(n, polled_at=-math.inf, known=None) for n in range(2500))) == [1000, 1000, 500]


@pytest.mark.parametrize(("number", "requests"), [(100, 1), (400, 4), (1000, 10)])
def test_many_batches_are_spread_over_the_interval_and_none_is_late(number: int, requests: int) -> None:
    those = [subscribed(n) for n in range(number)]
    now, polls = NOW, []
    while now < NOW + 100:
        planned = plan(those, now, WALL + now - NOW, size=100)
        for batch in planned.batches:
            for one in batch.subscriptions:
                assert now - one.polled_at <= 10
                one.polled(now, WALL)
        polls.append((now, len(planned.batches)))
        now = now + 0.001 if planned.batches else planned.again
    settled = [(when, made) for when, made in polls if when >= NOW + 50 and made]
    assert max(made for _, made in settled) == 1
    assert len(settled) <= 5 * requests + 1


def test_different_intervals_are_all_kept() -> None:
    those = [subscribed(n, interval=3 + n % 7) for n in range(300)]
    now = NOW
    while now < NOW + 60:
        planned = plan(those, now, WALL + now - NOW, size=100)
        for batch in planned.batches:
            for one in batch.subscriptions:
                assert now - one.polled_at <= one.interval
                one.polled(now, WALL)
        now = now + 0.001 if planned.batches else planned.again


def test_the_same_id_is_asked_for_once() -> None:
    assert Batch([subscribed(1), subscribed(1), subscribed(2)], None).ids == ["run-1", "run-2"]


def test_two_halves_are_the_whole() -> None:
    whole = Batch([subscribed(n) for n in range(7)], "RUNNING")
    first, second = whole.halved()
    assert sorted(first.ids + second.ids) == sorted(whole.ids)
    assert (len(first.ids), second.known_type) == (3, "RUNNING")


def test_one_that_cannot_be_listed_is_always_asked_for_by_itself() -> None:
    one, other = subscribed(0, is_unlistable=True), subscribed(1)
    batches = plan([one, other], NOW + 10, WALL + 10).batches
    assert sorted(batch.ids for batch in batches) == [["run-0"], ["run-1"]]
