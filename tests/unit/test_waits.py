"""How long a task waits, and what it says to an impossible answer."""

from __future__ import annotations

import json
import math
import time
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_prefect import waits
from airflow_provider_prefect.client.errors import ConfigurationError


@pytest.mark.parametrize("seconds", [2.9, 0, -1, math.nan])
def test_a_poll_interval_under_three_seconds_is_refused_by_its_name(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^poke_interval=.*at least 3 seconds"):
        waits.checked_poll_interval("poke_interval", seconds)


@pytest.mark.parametrize("seconds", [3, 3.0, 600])
def test_a_poll_interval_from_three_seconds_on_is_taken(seconds: float) -> None:
    assert waits.checked_poll_interval("poll_interval", seconds) == seconds


@pytest.mark.parametrize("value", [-1, 0, math.inf, math.nan, "60", timedelta(seconds=-1), timedelta(0)])
def test_what_is_no_length_of_time_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout=.*above 0"):
        waits.checked_seconds("timeout", value)


@pytest.mark.parametrize(("value", "seconds"), [(None, None), (60, 60.0), (0.5, 0.5), (timedelta(minutes=2), 120.0)])
def test_a_length_of_time_is_a_number_or_a_timedelta(value: Any, seconds: float | None) -> None:
    assert waits.checked_seconds("timeout", value) == seconds


def finished(*arguments: Any) -> float:
    """Seconds from now to the deadline, which does not depend on how fast this machine is."""
    before = time.time()
    deadline = waits.deadlines_from_now(*arguments).finished
    return deadline - before if math.isinf(deadline) else round(deadline - before)


def test_without_any_limit_a_wait_goes_on_for_good() -> None:
    deadlines = waits.deadlines_from_now(None, None, None)
    assert (deadlines.finished, deadlines.started) == (math.inf, math.inf)


def test_the_timeout_ends_the_wait() -> None:
    assert finished(1000, None, None) == 1000


def test_an_execution_timeout_that_is_shorter_than_the_timeout_counts() -> None:
    assert finished(10_000, None, timedelta(seconds=1000)) == 995


def test_an_execution_timeout_that_is_longer_than_the_timeout_does_not() -> None:
    assert finished(1000, None, timedelta(seconds=10_000)) == 1000


def test_a_short_execution_timeout_leaves_time_to_wait() -> None:
    assert finished(None, None, timedelta(seconds=4)) == 3


def test_the_execution_timeout_counts_from_the_beginning_of_the_task() -> None:
    assert finished(None, None, timedelta(seconds=1000), None, time.time() - 300) == 695


def test_the_timeout_counts_from_the_beginning_of_the_wait() -> None:
    assert finished(1000, None, None, None, time.time() - 300) == 1000


def test_the_start_timeout_counts_from_now() -> None:
    before = time.time()
    assert round(waits.deadlines_from_now(None, 1000, None).started - before) == 1000


def test_the_start_timeout_counts_from_a_later_scheduled_start() -> None:
    start = time.time() + 5000
    assert waits.deadlines_from_now(None, 1000, None, start).started == start + 1000


def test_the_start_timeout_does_not_count_from_a_start_in_the_past() -> None:
    before = time.time()
    assert round(waits.deadlines_from_now(None, 1000, None, before - 5000).started - before) == 1000


def test_a_time_that_never_comes_is_a_null_to_a_trigger() -> None:
    assert waits.as_kwarg(math.inf) is None
    assert json.dumps(waits.as_kwarg(12.5)) == "12.5"


def test_an_event_is_held_back_for_as_long_as_a_workers_report_may_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "700")
    assert round(waits.hold_back() - time.time()) == 701
