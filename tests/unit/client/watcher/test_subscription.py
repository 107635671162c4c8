"""What becomes of one poll for a wait: it ends, or the failure is tolerated; with made-up times."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any, cast

import pytest

from airflow_provider_prefect.client.errors import AuthenticationError, FlowRunNotFound, Unreachable
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.watcher.subscription import Subscription
from tests.unit.client.driving import Notes
from tests.unit.client.samples import seen

NOW, WALL = 1000.0, 1_700_000_000.0
DOWN = Unreachable("nobody is there")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """What makes a future needs one; it never runs."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def one(loop: asyncio.AbstractEventLoop, notes: Notes) -> Subscription:
    """A subscription whose wait is in ``next_state``, and that was last polled just now."""
    subscription = Subscription(cast("Any", None), "run", 10, 600, notes)
    subscription.known_state_type, subscription.polled_at = "RUNNING", NOW
    wait_again(subscription, loop)
    return subscription


def wait_again(subscription: Subscription, loop: asyncio.AbstractEventLoop) -> None:
    subscription._future = loop.create_future()


def outcome(subscription: Subscription) -> FlowRun | None:
    assert subscription._future is not None
    return subscription._future.result()


def test_the_first_failure_is_reported_and_the_next_is_not(one: Subscription, notes: Notes) -> None:
    one.poll_failed(DOWN, NOW, WALL, pause=2)
    assert (notes.trouble, one.is_pending) == (["nobody is there"], True)
    assert one.poll_due(NOW, WALL, 0) == NOW + 10
    one.poll_failed(DOWN, NOW + 5, WALL + 5, pause=20)
    assert (notes.trouble, one.is_pending) == (["nobody is there"], True)
    assert one.poll_due(NOW + 5, WALL + 5, 0) == NOW + 25


def test_an_answer_after_failures_is_reported_and_one_after_another_is_not(one: Subscription, notes: Notes) -> None:
    one.poll_failed(DOWN, NOW, WALL, pause=2)
    one.polled(NOW + 2, WALL + 2)
    one.polled(NOW + 12, WALL + 12)
    assert (notes.recoveries, one.is_pending) == (1, True)


def test_when_the_patience_ends_the_wait_fails_and_another_one_begins_afresh(one: Subscription) -> None:
    one.poll_failed(DOWN, NOW, WALL, pause=2)
    one.poll_failed(DOWN, NOW + 600, WALL + 600, pause=2)
    with pytest.raises(Unreachable, match="nobody is there"):
        outcome(one)
    assert (one.trouble.tries, one.trouble.since) == (0, None)


def test_patience_that_ends_while_nothing_waits_ends_the_next_wait(
    one: Subscription, loop: asyncio.AbstractEventLoop
) -> None:
    one.poll_failed(DOWN, NOW, WALL, pause=2)
    one._future = None
    one.poll_failed(DOWN, NOW + 600, WALL + 600, pause=2)
    wait_again(one, loop)
    one.poll_failed(DOWN, NOW + 630, WALL + 630, pause=2)
    with pytest.raises(Unreachable):
        outcome(one)


def test_a_pause_that_is_over_waits_for_the_poll_that_is_under_way(
    one: Subscription, loop: asyncio.AbstractEventLoop
) -> None:
    one.is_busy = True
    one._end_pause(WALL)
    assert one.is_pending
    one.polled(NOW, WALL + 1)
    assert outcome(one) is None
    one.is_busy, one.until = False, math.inf
    wait_again(one, loop)
    one._end_pause(WALL)
    assert not one.is_pending


def test_a_wait_that_has_no_time_left_ends_without_another_state(one: Subscription) -> None:
    one.until = WALL + 1
    one.poll_failed(DOWN, NOW + 1, WALL + 1, pause=2)
    assert outcome(one) is None


def test_refused_credentials_end_the_wait_so_that_they_are_read_again(one: Subscription) -> None:
    one.poll_failed(refused := AuthenticationError("HTTP 401", 401), NOW, WALL, pause=2)
    assert one._future is not None
    assert one._future.exception() is refused


def test_a_flow_run_that_is_not_found_ends_the_wait_the_second_time(one: Subscription) -> None:
    one.not_found(gone := FlowRunNotFound("gone"))
    assert one.is_pending
    one.not_found(gone)
    assert one._future is not None
    assert one._future.exception() is gone


def test_a_flow_run_that_was_found_in_between_is_not_gone(one: Subscription) -> None:
    one.not_found(FlowRunNotFound("gone"))
    one.trouble.found()
    one.not_found(FlowRunNotFound("gone"))
    assert one.is_pending


def test_another_state_ends_the_wait_and_its_type_is_remembered(one: Subscription) -> None:
    one.found(seen("PAUSED"))
    run = outcome(one)
    assert run is not None
    assert (run.state.type, one.known_state_type) == ("PAUSED", "PAUSED")
