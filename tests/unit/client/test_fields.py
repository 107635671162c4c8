"""The fields of a response: each of its type, or an error that says which one is not, and never what it holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.fields import Fields, WrongShape, number, rows, text

METHODS = {
    "text": ("x", "x"),
    "identifier": ("6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11", "6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11"),
    "number": (3, 3),
    "time": ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
}
OF_EACH_TYPE: list[Any] = [True, "s3cret", 1.5, 7, ["s3cret"], {"s3cret": 1}]


@pytest.mark.parametrize("record", [None, [], "x", 3, True])
def test_only_an_object_has_fields(record: Any) -> None:
    with pytest.raises(WrongShape, match=r"^it is .* and not an object$"):
        Fields(record)


@pytest.mark.parametrize("name", METHODS)
def test_a_field_of_its_type_is_read(name: str) -> None:
    given, value = METHODS[name]
    assert getattr(Fields({"f": given}), name)("f") == value
    assert getattr(Fields({"f": given}), f"optional_{name}")("f") == value


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("record", "found"), [({}, "missing"), ({"f": None}, "null")])
def test_a_field_that_is_not_there_is_an_error_unless_it_is_optional(
    name: str, record: dict[str, Any], found: str
) -> None:
    assert getattr(Fields(record), f"optional_{name}")("f") is None
    with pytest.raises(WrongShape, match=rf"^f is {found} and not "):
        getattr(Fields(record), name)("f")


@pytest.mark.parametrize("name", [*METHODS, "flag", "mapping", "texts"])
@pytest.mark.parametrize("value", OF_EACH_TYPE, ids=lambda value: type(value).__name__)
def test_a_field_of_another_type_is_an_error_that_does_not_show_it(name: str, value: Any) -> None:
    own = {"text": str, "identifier": str, "number": int, "flag": bool, "mapping": dict, "texts": list}
    if type(value) is own.get(name):
        assert getattr(Fields({"f": value}), name)("f") is not None
        return
    with pytest.raises(WrongShape) as error:
        getattr(Fields({"f": value}), name)("f")
    assert str(error.value).startswith("f is ")
    assert name == "time" or "s3cret" not in str(error.value)


def test_an_empty_identifier_is_none() -> None:
    assert Fields({"f": ""}).optional_identifier("f") is None
    with pytest.raises(WrongShape, match=r"^f is empty and not an id$"):
        Fields({"f": ""}).identifier("f")


@pytest.mark.parametrize("value", ["../x", "a b", "a/b", "x" * 101, "ä", "a\n"])
def test_an_identifier_can_be_part_of_a_path_and_of_a_line(value: str) -> None:
    with pytest.raises(WrongShape, match=r"^f is not an id$"):
        Fields({"f": value}).identifier("f")


@pytest.mark.parametrize("value", ["soon", "2026-13-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_time_is_one_that_can_be_calculated_with(value: str) -> None:
    with pytest.raises(WrongShape, match=rf"^f is '{value}' and not a time$"):
        Fields({"f": value}).optional_time("f")


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert Fields({"f": "2026-01-02T03:04:05"}).time("f") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_no_list_flag_or_object_is_an_empty_one() -> None:
    for record in ({}, {"f": None}):
        assert (Fields(record).texts("f"), Fields(record).flag("f"), Fields(record).mapping("f")) == ((), False, {})
        assert (Fields(record).value("f"), Fields(record).optional_mapping("f")) == (None, None)


def test_half_a_character_becomes_one_that_can_be_written() -> None:
    Fields({"f": "a\ud800b"}).text("f").encode()


def test_a_name_is_one_line() -> None:
    assert Fields({"f": "calm\notter"}).name("f") == "calm otter"


def name_of(record: Any) -> str:
    return Fields(record).text("name")


def test_where_a_wrong_value_is_within_the_response_is_said() -> None:
    record = {"runs": [{"state": {"name": "a"}}, {"state": {"name": 3}}]}
    with pytest.raises(WrongShape, match=r"^runs\[1\]\.state\.name is a number and not text$"):
        Fields(record).rows("runs", lambda run: Fields(run).part("state", name_of))
    with pytest.raises(WrongShape, match=r"^\[0\] is null and not an object$"):
        rows([None], name_of)
    with pytest.raises(WrongShape, match=r"^tags\[1\] is a number and not text$"):
        Fields({"tags": ["a", 1]}).texts("tags")


def test_parts_and_rows_are_read() -> None:
    fields = Fields({"one": {"name": "a"}, "many": [{"name": "b"}, {"name": "c"}], "none": None})
    assert fields.part("one", name_of) == fields.optional_part("one", name_of) == "a"
    assert fields.rows("many", name_of) == ["b", "c"]
    assert fields.optional_part("none", name_of) is None
    for read in (fields.part, fields.rows):
        with pytest.raises(WrongShape, match=r"^none is null"):
            read("none", name_of)


def test_a_response_may_be_one_value() -> None:
    assert (text("3.8.8"), number(7)) == ("3.8.8", 7)
    with pytest.raises(WrongShape, match=r"^it is a number and not text$"):
        text(3)
    with pytest.raises(WrongShape, match=r"^it is text and not a whole number$"):
        number("3")
