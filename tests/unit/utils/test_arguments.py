"""What users give, in every form they give it."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pendulum
import pytest

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.utils import arguments
from airflow_provider_prefect.utils.arguments import checked_skip_on, json_object, start_time, string_list


def test_a_mapping_and_its_json_text_are_the_same() -> None:
    value = {"month": "2026-10", "regions": ["north"], "limit": None}
    assert json_object("parameters", value) == json_object("parameters", json.dumps(value)) == value


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_given_is_nothing_sent(value: Any) -> None:
    assert json_object("parameters", value) is None
    assert start_time("scheduled_start_time", value) is None
    assert string_list("tags", value) == ()


def test_an_empty_mapping_is_one() -> None:
    assert json_object("parameters", {}) == {}


@pytest.mark.parametrize("text", ["month=10", "{'month': 10}", "{"])
def test_text_that_is_no_json_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^parameters is text, but not JSON"):
        json_object("parameters", text)


@pytest.mark.parametrize("text", ["[1]", "5", '"x"', "null", "true"])
def test_json_text_that_is_no_object_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^job_variables is a JSON .*, not an object"):
        json_object("job_variables", text)


def test_what_json_has_no_form_for_is_sent_in_a_plain_one() -> None:
    sent = json_object(
        "parameters",
        {
            "at": datetime(2026, 10, 1, 12, tzinfo=UTC),
            "moment": pendulum.datetime(2026, 10, 1),
            "day": date(2026, 10, 1),
            "price": Decimal("1.10"),
            "id": UUID(int=1),
            "wait": timedelta(minutes=1),
            "regions": {"south", "north"},
            "deep": [{"days": (date(2026, 10, 2),)}],
        },
    )
    assert sent == {
        "at": "2026-10-01T12:00:00+00:00",
        "moment": "2026-10-01T00:00:00+00:00",
        "day": "2026-10-01",
        "price": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "wait": 60.0,
        "regions": ["north", "south"],
        "deep": [{"days": ["2026-10-02"]}],
    }


@pytest.mark.parametrize("value", [object(), b"bytes", float("nan"), float("inf"), bytearray()])
def test_a_value_without_a_json_form_is_refused_by_its_key(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^parameters\['month'\] cannot be sent as JSON"):
        json_object("parameters", {"year": 2026, "month": value})


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="parameters has the key 5, which is not text"):
        json_object("parameters", {5: "x"})


NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        NOON,
        datetime(2026, 10, 1, 12),
        datetime(2026, 10, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        pendulum.datetime(2026, 10, 1, 12),
        "2026-10-01T12:00:00Z",
        "2026-10-01T12:00:00",
        " 2026-10-01T14:00:00+02:00 ",
        "2026-10-01 12:00",
    ],
)
def test_a_start_is_a_datetime_or_iso_text_and_utc_without_a_zone(value: Any) -> None:
    assert start_time("scheduled_start_time", value) == NOON


@pytest.mark.parametrize("value", [timedelta(hours=5), "PT5H", "PT300M", pendulum.duration(hours=5)])
def test_a_start_may_be_told_as_how_long_from_now(value: Any) -> None:
    before = datetime.now(UTC)
    start = start_time("scheduled_start_time", value)
    assert start is not None
    assert before + timedelta(hours=5) <= start <= datetime.now(UTC) + timedelta(hours=5)


@pytest.mark.parametrize("value", ["tomorrow", "5 minutes", 300, "{{ ds }}", "12:00", "2026-10-01/2026-10-02"])
def test_a_start_that_is_no_time_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^scheduled_start_time="):
        start_time("scheduled_start_time", value)


def test_a_date_alone_is_its_midnight() -> None:
    assert start_time("scheduled_start_time", "2026-10-01") == datetime(2026, 10, 1, tzinfo=UTC)


def test_tags_are_a_list_of_texts() -> None:
    assert string_list("tags", ["sales", "nightly"]) == ("sales", "nightly")


@pytest.mark.parametrize("value", ["sales", [True], ["sales", None]])
def test_what_is_no_list_of_texts_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^tags="):
        string_list("tags", value)


# State types to skip on


def test_state_types_to_skip_on_are_those_of_an_end_in_any_case() -> None:
    assert checked_skip_on(None) == ()
    assert checked_skip_on(["cancelled", "CRASHED"]) == ("CANCELLED", "CRASHED")


@pytest.mark.parametrize("value", [["RUNNING"], ["Cancelled", "AllGood"], [""]])
def test_any_other_state_to_skip_on_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a state type that a flow run ends in: COMPLETED, FAILED"):
        checked_skip_on(value)


def test_one_text_to_skip_on_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="skip_on='CANCELLED' is not a list"):
        checked_skip_on("CANCELLED")


# Durations and deadlines


@pytest.mark.parametrize("seconds", [2.9, 0, -1, math.nan])
def test_a_poll_interval_under_three_seconds_is_refused_by_its_name(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^poke_interval=.*at least 3 seconds"):
        arguments.checked_poll_interval("poke_interval", seconds)


@pytest.mark.parametrize("seconds", [3, 3.0, 600])
def test_a_poll_interval_from_three_seconds_on_is_taken(seconds: float) -> None:
    assert arguments.checked_poll_interval("poll_interval", seconds) == seconds


@pytest.mark.parametrize("value", [-1, 0, math.inf, math.nan, "60", timedelta(seconds=-1), timedelta(0)])
def test_what_is_no_length_of_time_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout=.*above 0"):
        arguments.checked_optional_duration("timeout", value)


@pytest.mark.parametrize(("value", "seconds"), [(None, None), (60, 60.0), (0.5, 0.5), (timedelta(minutes=2), 120.0)])
def test_a_length_of_time_is_a_number_or_a_timedelta(value: Any, seconds: float | None) -> None:
    assert arguments.checked_optional_duration("timeout", value) == seconds


def finished(*given: Any) -> float:
    """Seconds from now to the deadline, which does not depend on how fast this machine is."""
    before = time.time()
    deadline = arguments.deadlines_from_now(*given).finished
    return deadline - before if math.isinf(deadline) else round(deadline - before)


def test_without_any_limit_a_wait_goes_on_for_good() -> None:
    deadlines = arguments.deadlines_from_now(None, None, None)
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
    assert round(arguments.deadlines_from_now(None, 1000, None).started - before) == 1000


def test_the_start_timeout_counts_from_a_later_scheduled_start() -> None:
    start = time.time() + 5000
    assert arguments.deadlines_from_now(None, 1000, None, start).started == start + 1000


def test_the_start_timeout_does_not_count_from_a_start_in_the_past() -> None:
    before = time.time()
    assert round(arguments.deadlines_from_now(None, 1000, None, before - 5000).started - before) == 1000


def test_a_time_that_never_comes_is_a_null_to_a_trigger() -> None:
    assert arguments.as_kwarg(math.inf) is None
    assert json.dumps(arguments.as_kwarg(12.5)) == "12.5"
