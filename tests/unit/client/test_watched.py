"""What becomes of one look: it is answered, or put up with; with made-up times."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator

import pytest

from airflow_provider_prefect.client.errors import AuthenticationError, Unreachable
from airflow_provider_prefect.client.watched import Told, Watched

NOW, WALL = 1000.0, 1_700_000_000.0
GONE = Unreachable("nobody is there")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """What makes a future needs one; it never runs."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def one(loop: asyncio.AbstractEventLoop) -> Watched:
    watched = Watched("run", every=10, patience=600, known_type="RUNNING", looked=NOW)
    watched.answer = loop.create_future()
    return watched


def told(one: Watched) -> Told:
    assert one.answer is not None
    answer = one.answer.result()
    assert isinstance(answer, Told)
    return answer


def test_the_first_failure_is_told_and_the_next_is_not(one: Watched, loop: asyncio.AbstractEventLoop) -> None:
    one.put_up_with(GONE, NOW, WALL, pause=2)
    assert told(one).level == logging.WARNING
    assert "nobody is there" in told(one).text
    assert one.due(NOW, WALL, 0) == NOW + 10
    one.answer = loop.create_future()
    one.put_up_with(GONE, NOW + 5, WALL + 5, pause=20)
    assert one.pending
    assert one.due(NOW + 5, WALL + 5, 0) == NOW + 25


def test_an_answer_after_failures_is_told_and_one_after_another_is_not(
    one: Watched, loop: asyncio.AbstractEventLoop
) -> None:
    one.put_up_with(GONE, NOW, WALL, pause=2)
    one.answer = loop.create_future()
    one.looked_at(NOW + 2, WALL + 2)
    assert told(one) == Told(logging.INFO, "Prefect answers again.")
    one.answer = loop.create_future()
    one.looked_at(NOW + 12, WALL + 12)
    assert one.pending


def test_when_patience_ends_the_look_fails_and_a_new_one_begins_afresh(
    one: Watched, loop: asyncio.AbstractEventLoop
) -> None:
    one.put_up_with(GONE, NOW, WALL, pause=2)
    one.answer = loop.create_future()
    one.put_up_with(GONE, NOW + 600, WALL + 600, pause=2)
    with pytest.raises(Unreachable, match="nobody is there"):
        one.answer.result()
    assert (one.tries, one.trouble_since) == (0, None)


def test_patience_that_ends_while_nobody_looks_ends_the_next_look(
    one: Watched, loop: asyncio.AbstractEventLoop
) -> None:
    one.put_up_with(GONE, NOW, WALL, pause=2)
    one.answer = None
    one.put_up_with(GONE, NOW + 600, WALL + 600, pause=2)
    one.answer = loop.create_future()
    one.put_up_with(GONE, NOW + 630, WALL + 630, pause=2)
    assert isinstance(one.answer.exception(), Unreachable)


def test_trouble_that_could_not_be_told_is_told_the_next_time(one: Watched, loop: asyncio.AbstractEventLoop) -> None:
    one.until = WALL
    one.put_up_with(GONE, NOW, WALL, pause=2)
    one.until, one.answer = math.inf, loop.create_future()
    one.put_up_with(GONE, NOW + 3, WALL + 3, pause=2)
    assert told(one).level == logging.WARNING


def test_a_look_whose_time_is_up_waits_for_the_request_that_is_under_way(
    one: Watched, loop: asyncio.AbstractEventLoop
) -> None:
    one.busy = True
    one.time_is_up(WALL)
    assert one.pending
    one.looked_at(NOW, WALL + 1)
    assert one.answer is not None
    assert one.answer.result() is None
    one.busy, one.until, one.answer = False, math.inf, loop.create_future()
    one.time_is_up(WALL)
    assert one.answer.done()


def test_a_look_that_has_no_time_left_is_answered_with_nothing(one: Watched) -> None:
    one.until = WALL + 1
    one.put_up_with(GONE, NOW + 1, WALL + 1, pause=2)
    assert one.answer is not None
    assert one.answer.result() is None


def test_refused_credentials_end_the_look_so_that_they_are_read_again(one: Watched) -> None:
    one.put_up_with(refused := AuthenticationError("HTTP 401", 401), NOW, WALL, pause=2)
    assert one.answer is not None
    assert one.answer.exception() is refused
