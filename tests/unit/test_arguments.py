"""What users give, in every form they give it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pendulum
import pytest

from airflow_provider_prefect.arguments import json_object, start_time, texts
from airflow_provider_prefect.client.errors import ConfigurationError


def test_a_mapping_and_its_json_text_are_the_same() -> None:
    value = {"month": "2026-10", "regions": ["north"], "limit": None}
    assert json_object("parameters", value) == json_object("parameters", json.dumps(value)) == value


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_given_is_nothing_sent(value: Any) -> None:
    assert json_object("parameters", value) is None
    assert start_time("scheduled_start_time", value) is None
    assert texts("tags", value) == ()


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


@pytest.mark.parametrize("value", [object(), b"bytes", float("nan"), float("inf"), {1, "a"}])
def test_a_value_without_a_json_form_is_refused_by_its_key(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^parameters\['month'\] cannot be sent as JSON"):
        json_object("parameters", {"year": 2026, "month": value})


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="parameters has the key 5, which is no text"):
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
    assert texts("tags", ["sales", "nightly"]) == ("sales", "nightly")


@pytest.mark.parametrize("value", ["sales", [1], ["sales", None]])
def test_what_is_no_list_of_texts_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^tags="):
        texts("tags", value)
