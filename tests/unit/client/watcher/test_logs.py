"""Whose log lines are asked for together, and from when on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from airflow_provider_prefect.client.model import LogRecord
from airflow_provider_prefect.client.watcher.logs import LogPosition, PageRequest, grouped

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def line(when: datetime) -> LogRecord:
    return LogRecord("l", 20, "m", when, flow_run_id="a")


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def log(last: datetime, seen: float, read: float) -> LogPosition:
    followed = LogPosition("a")
    followed.advance([line(last)], seen)
    followed.advance([], read)
    return followed


def test_of_a_run_that_has_just_logged_all_that_is_asked_for_is_read() -> None:
    assert log(NOON, seen=100, read=100).new_since(NOON - seconds(10)) == NOON - seconds(10)


def test_of_a_silent_run_nothing_is_read_from_before_its_last_look() -> None:
    assert log(NOON, seen=100, read=700).new_since(NOON - seconds(10)) == NOON + seconds(580)


def test_a_clock_that_is_off_does_not_matter() -> None:
    """Its lines carry the times of that clock, and its silence is measured by ours."""
    off = NOON - timedelta(hours=5)
    assert log(off, seen=100, read=700).new_since(off - seconds(10)) == off + seconds(580)


def test_an_older_line_takes_nothing_back() -> None:
    followed = log(NOON, seen=100, read=100)
    followed.advance([line(NOON - seconds(60))], 200)
    assert followed.last == NOON


async def test_those_whose_lines_begin_at_about_the_same_time_are_asked_for_together() -> None:
    def asked(after: datetime) -> PageRequest:
        return PageRequest(log(after, seen=0, read=0), after, asyncio.get_running_loop().create_future())

    near = [asked(NOON + seconds(number % 30)) for number in range(250)]
    far = asked(NOON - timedelta(hours=2))
    together = grouped([*near, far])
    assert [len(those) for those in together] == [1, 200, 50]
    assert together[0] == [far]
