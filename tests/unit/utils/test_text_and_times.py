"""What becomes of numbers where text is needed, of lists, and of times."""

from __future__ import annotations

from collections import UserList
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.utils.arguments import (
    checked_duration,
    checked_poll_interval,
    checked_size,
    is_nothing,
    point_in_time,
    start_time,
    string_list,
    text,
)

NOTHING = [None, "", " ", "\n", "None", " None\n"]


class Name(str, Enum):  # noqa: UP042 - whose str() is its name
    DAILY = "daily"


class Plain(Enum):
    DAILY = "daily"


class Number(IntEnum):
    THREE = 3


class Scalar:
    """What is asked of a number of numpy."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


@pytest.mark.parametrize("value", NOTHING)
def test_none_its_text_and_empty_text_are_nothing(value: Any) -> None:
    assert is_nothing(value)
    assert text("run_name", value) is None
    assert string_list("tags", value) == ()
    assert start_time("scheduled_start_time", value) is None
    assert point_in_time("since", value) is None


@pytest.mark.parametrize("value", ["none", "null", "Nonesuch", 0, False, [], {}, ()])
def test_anything_else_is_something(value: Any) -> None:
    assert not is_nothing(value)


# Text


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("sales/demo", "sales/demo"),
        (" kept as it is ", " kept as it is "),
        (5, "5"),
        (0, "0"),
        (10**20, "100000000000000000000"),
        (1.5, "1.5"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2026, 10, 1), "2026-10-01"),
        (datetime(2026, 10, 1, 12, tzinfo=UTC), "2026-10-01T12:00:00+00:00"),
        (pendulum.datetime(2026, 10, 1), "2026-10-01T00:00:00+00:00"),
        (Name.DAILY, "daily"),
        (Number.THREE, "3"),
        (Scalar(7), "7"),
    ],
)
def test_what_makes_sense_as_text_becomes_text(value: Any, taken: str) -> None:
    found = text("run_name", value)
    assert (found, type(found)) == (taken, str)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, r"run_name=True \(bool\)"),
        (float("nan"), r"run_name=nan \(float\)"),
        (float("inf"), r"run_name=inf \(float\)"),
        (Decimal("NaN"), r"run_name=Decimal\('NaN'\) \(decimal.Decimal\)"),
        (["a"], r"run_name=\['a'\] \(list\)"),
        ({"a": 1}, r"run_name=\{'a': 1\} \(dict\)"),
        (b"a", r"run_name=b'a' \(bytes\)"),
        (Plain.DAILY, r"run_name=<Plain.DAILY: 'daily'> \(.*Plain\)"),
        pytest.param(10**5000, r"run_name=… \(int\)", id="thousands of digits"),
        ("\ud800", r"run_name='\\ud800' \(str\)"),
        (["x" * 1000], r"run_name=\['x+… \(\d+ more characters are left out\) \(list\)"),
    ],
)
def test_what_makes_none_is_refused_by_field_value_and_type(value: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{shown} is neither text nor what is taken as text") as raised:
        text("run_name", value)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, AirflowFailException)


# Lists


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (("a", 5), ("a", "5")),
        ([1.5, UUID(int=1), Name.DAILY], ("1.5", "00000000-0000-0000-0000-000000000001", "daily")),
        ({"b", "a"}, ("a", "b")),
        (range(2), ("0", "1")),
        (UserList(["a"]), ("a",)),
        (Scalar(["a", 1]), ("a", "1")),
        ([], ()),
    ],
)
def test_any_sequence_or_set_of_what_makes_sense_as_text_is_a_list(value: Any, taken: tuple[str, ...]) -> None:
    assert string_list("tags", value) == taken


@pytest.mark.parametrize("value", [5, {"a": 1}, b"ab", [b"a"], [["a"]], [True], [None], object()])
def test_what_is_no_list_of_strings_is_refused_by_field_and_value(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^tags=.* is not a list of strings\.$"):
        string_list("tags", value)


@pytest.mark.parametrize("value", ["['a', 'b']", '["a"]', " [1]", "('a',)", "{'a'}"])
def test_the_text_of_a_list_is_refused_with_the_way_out(value: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^tags=.* is not a list of strings\. It is the text of one"
    ) as raised:
        string_list("tags", value)
    assert "render_template_as_native_obj=True" in str(raised.value)


# Times


@pytest.mark.parametrize("value", ["10:30", "T10:30", " 10:30 ", time(10, 30), pendulum.time(10, 30)])
def test_a_time_of_day_is_refused_as_the_user_wrote_it(value: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        start_time("scheduled_start_time", value)
    assert str(raised.value).startswith(f"scheduled_start_time={value!r} is a time of day without a date")


@pytest.mark.parametrize("value", [0, 1_700_000_000, 1.5, True, "1700000000", "300", "2026", Scalar(5)])
def test_a_number_is_no_time(value: Any) -> None:
    for read in (start_time, point_in_time):
        with pytest.raises(ConfigurationError, match=r"^at=.* is neither a datetime, nor a timedelta, nor"):
            read("at", value)


@pytest.mark.parametrize(
    "value",
    [
        "5:",
        "5:97",
        "2026-13-01",
        "P99999999999999999Y",
        "-",
        "-P",
        "--PT5M",
        "2026-10-01/P1D",
        object(),
        [],
        "\0",
    ],
)
def test_what_is_no_time_in_any_way_is_refused(value: Any) -> None:
    for read in (start_time, point_in_time):
        with pytest.raises(ConfigurationError, match=r"^at="):
            read("at", value)


class NotATime(datetime):
    """As ``NaT`` of pandas, which equals nothing, is."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__


def test_a_time_that_is_missing_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"^at=.* is neither a datetime"):
        start_time("at", NotATime(2026, 10, 1))
    with pytest.raises(ConfigurationError, match=r"^run_name=.* is neither text"):
        text("run_name", NotATime(2026, 10, 1))


@pytest.mark.parametrize(
    "value",
    [datetime(1999, 12, 31, tzinfo=UTC), date(1999, 12, 31), datetime.min, "1970-01-01T00:00:00Z", "0001-01-01"],
)
def test_a_start_before_the_year_2000_is_refused_and_a_since_is_not(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^scheduled_start_time=.* is before the year 2000"):
        start_time("scheduled_start_time", value)
    found = point_in_time("since", value)
    assert found is not None
    assert found.year < 2000


@pytest.mark.parametrize(
    "value", ["2000-01-01", datetime(2000, 1, 1), datetime.now(UTC) - timedelta(minutes=5), timedelta(0), "PT0S"]
)
def test_a_start_in_the_past_is_fine(value: Any) -> None:
    found = start_time("scheduled_start_time", value)
    assert found is not None
    assert found <= datetime.now(UTC)


@pytest.mark.parametrize("value", [timedelta(days=-1), timedelta(microseconds=-1), "-P1D", pendulum.duration(hours=-1)])
def test_a_negative_duration_is_refused_for_a_start_and_is_the_past_for_since(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^scheduled_start_time=.* is a negative duration"):
        start_time("scheduled_start_time", value)
    found = point_in_time("since", value)
    assert found is not None
    assert found < datetime.now(UTC)


def test_a_negative_duration_is_as_long_as_it_says() -> None:
    before = datetime.now(UTC)
    found = point_in_time("since", " -PT1H ")
    assert found is not None
    assert before - timedelta(hours=1) <= found <= datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.parametrize("value", [timedelta.max, "P999999Y"])
def test_a_duration_that_ends_after_all_time_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^scheduled_start_time=.* is a duration of too many years"):
        start_time("scheduled_start_time", value)


def test_a_text_without_a_zone_is_in_utc() -> None:
    assert start_time("at", "2026-10-01T12:00") == datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert point_in_time("at", "20261001") == datetime(2026, 10, 1, tzinfo=UTC)


# Numbers


@pytest.mark.parametrize("value", ["5", None, True, timedelta(seconds=5), [5]])
def test_what_is_no_number_of_seconds_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^poll_interval=.* is not a number of seconds"):
        checked_poll_interval("poll_interval", value)


@pytest.mark.parametrize("value", ["1MB", None, True, 0, -1, float("nan")])
def test_what_is_no_size_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^max_result_size=.* is not a number of bytes above 0"):
        checked_size("max_result_size", value)
    assert checked_size("max_result_size", 10) == 10


@pytest.mark.parametrize("value", [10**400, 1e300, float("inf"), float("nan"), "5", True])
def test_what_is_no_duration_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout=.* is not a duration"):
        checked_duration("timeout", value)
