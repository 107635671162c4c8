"""What becomes of the values in mappings that are sent as JSON, at any depth, and how the others are named."""

from __future__ import annotations

import json
from collections import OrderedDict, UserDict, UserList, deque, namedtuple
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.utils.arguments import json_object, run_context

try:
    from airflow.sdk.definitions.param import Param, ParamsDict
except ImportError:
    from airflow.models.param import Param, ParamsDict


class Lazy(Sequence[Any]):
    """A sequence that fetches its items one by one, as Airflow gives the XComs of a mapped task."""

    def __init__(self, *items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]


class Region(Enum):
    NORTH = "north"
    PAIR = ("a", 1)


class Text(str, Enum):  # noqa: UP042 - whose str() is its name
    DAILY = "daily"


class Number(IntEnum):
    THREE = 3


@dataclass
class Window:
    start: date
    tags: list[Any] = field(default_factory=list)
    inner: Any = None


class Model:
    """What is asked of a pydantic model."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        return self._fields


class Scalar:
    """What is asked of a number of numpy."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


class Array(Scalar):
    """What is asked of an array of numpy."""

    def tolist(self) -> Any:
        return self._value


Pair = namedtuple("Pair", "left right")
MOMENT = datetime(2026, 10, 1, 12, tzinfo=UTC)

CONVERTED: dict[str, tuple[Any, Any]] = {
    "a lazy sequence": (Lazy(1, Lazy(2)), [1, [2]]),
    "an empty lazy sequence": (Lazy(), []),
    "a range": (range(3), [0, 1, 2]),
    "a deque": (deque(["a"]), ["a"]),
    "a list of another class": (UserList([1]), [1]),
    "a named tuple": (Pair(1, "x"), [1, "x"]),
    "a set": ({"b", "c", "a"}, ["a", "b", "c"]),
    "a set of numbers": (frozenset({10, 9}), [9, 10]),
    "keys": ({"b": 1, "a": 2}.keys(), ["b", "a"]),
    "values": ({"b": 1, "a": 2}.values(), [1, 2]),
    "another mapping": (MappingProxyType({"a": OrderedDict(b=UserDict(c=1))}), {"a": {"b": {"c": 1}}}),
    "a path": (PurePosixPath("/data/x"), "/data/x"),
    "an enum": ([Region.NORTH, Region.PAIR, Text.DAILY, Number.THREE], ["north", ["a", 1], "daily", 3]),
    "a dataclass": (
        Window(date(2026, 10, 1), [Region.NORTH]),
        {"start": "2026-10-01", "tags": ["north"], "inner": None},
    ),
    "a model": (Model(a=1, rows=[{"b": 2}]), {"a": 1, "rows": [{"b": 2}]}),
    "a number of numpy": (Scalar(5), 5),
    "an array": (Array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "a date": (date(2026, 10, 1), "2026-10-01"),
    "a time": (time(10, 30), "10:30:00"),
    "a moment": (MOMENT, "2026-10-01T12:00:00+00:00"),
    "a moment of pendulum": (pendulum.instance(MOMENT), "2026-10-01T12:00:00+00:00"),
    "a date of pendulum": (pendulum.date(2026, 10, 1), "2026-10-01"),
    "a duration": (timedelta(minutes=1), 60.0),
    "a duration of pendulum": (pendulum.duration(hours=1), 3600.0),
    "a decimal": (Decimal("1.10"), "1.10"),
    "a UUID": (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "params of Airflow": (ParamsDict({"month": Param(10, type="integer")}), {"month": 10}),
    "keys that are numbers": ({1: "a", 1.5: "b", Number.THREE: "c"}, {"1": "a", "1.5": "b", "3": "c"}),
    "a key that is an enum": ({Text.DAILY: 1, Region.NORTH: 2}, {"daily": 1, "north": 2}),
    "what JSON has": ([None, True, 1, 0.5, "ü"], [None, True, 1, 0.5, "ü"]),
    "the largest integers": ([2**64 - 1, -(2**63)], [2**64 - 1, -(2**63)]),
}


@pytest.mark.parametrize("what", CONVERTED)
def test_a_value_that_has_a_form_in_json_is_sent_in_it_at_any_depth(what: str) -> None:
    value, sent = CONVERTED[what]
    for wrapped, expected in (
        ({"v": value}, {"v": sent}),
        ({"v": {"rows": [[value]]}}, {"v": {"rows": [[sent]]}}),
        ({"v": Lazy((value,), Window(date(2026, 10, 1), inner=value))}, None),
    ):
        found = json_object("parameters", wrapped)
        assert json.loads(json.dumps(found)) == found
        if expected is not None:
            assert found == expected
        else:
            assert found is not None
            assert (found["v"][0], found["v"][1]["inner"]) == ([sent], sent)


def test_text_and_numbers_are_sent_as_python_s_own_classes() -> None:
    found = json_object("parameters", {Text.DAILY: [Text.DAILY, Number.THREE]})
    assert found is not None
    ((key, (text, number)),) = found.items()
    assert (type(key), type(text), type(number)) == (str, str, int)


@pytest.mark.parametrize("value", [Window(date(2026, 10, 1)), Model(start="2026-10-01", tags=[], inner=None)])
def test_a_dataclass_or_a_model_is_taken_for_the_mapping_itself(value: Any) -> None:
    assert json_object("job_variables", value) == {"start": "2026-10-01", "tags": [], "inner": None}


def test_a_set_of_mixed_values_has_the_same_order_each_time() -> None:
    expected = json_object("parameters", {"v": [{1, "a", None, (2, 3)}]})
    assert expected == {"v": [["a", 1, [2, 3], None]]}
    assert json_object("parameters", {"v": [{(2, 3), None, "a", 1}]}) == expected


def test_sets_of_sets_are_not_sorted_as_subsets() -> None:
    value = {frozenset({3}), frozenset({1, 2}), frozenset({2})}
    assert json_object("parameters", {"v": value}) == {"v": [[1, 2], [2], [3]]}


LOOP: list[Any] = []
LOOP.append({"again": LOOP})
DEEP: Any = 1
for _ in range(5000):
    DEEP = [DEEP]

REFUSED: dict[str, tuple[Any, str]] = {
    "an object": (object(), "is of type object"),
    "a task": (BaseOperator(task_id="load"), "it is the task 'load'. Give what it returned"),
    "a class of one's own": (Lazy, "is of type abc.ABCMeta"),
    "bytes": (b"x", "is of type bytes. Decode it"),
    "a bytearray": (bytearray(b"x"), "is of type bytearray. Decode it"),
    "a generator": ((x for x in ()), "is of type generator"),
    "a complex number": (1j, "is of type complex"),
    "NaN": (float("nan"), "it is nan, which JSON does not have"),
    "infinity": (-float("inf"), "it is -inf, which JSON does not have"),
    "a decimal NaN": (Decimal("sNaN"), "it is sNaN, which JSON does not have"),
    "NaN of numpy": (Scalar(float("nan")), "it is nan"),
    "a large integer": (2**64, "it is an integer beyond 64 bits"),
    "a small integer": (-(2**63) - 1, "it is an integer beyond 64 bits"),
    "an integer of thousands of digits": (10**5000, "it is an integer beyond 64 bits"),
    "a large integer of numpy": (Scalar(2**64), "it is an integer beyond 64 bits"),
    "a large integer of a model": (Model(n=2**64), "it is an integer beyond 64 bits"),
    "half of a character": ("a\ud800", "it has half of a character in it"),
    "a key that is a tuple": ({(1, 2): 3}, r"its key (1, 2) of type tuple is not text"),
    "a key that is NaN": ({float("nan"): 3}, "its key nan of type float is not text"),
    "keys of the same text": ({1: "a", "1": "b"}, "two of its keys become '1'"),
    "what contains itself": (LOOP, "it contains itself"),
    "what is too deep": (DEEP, "it is nested too deeply"),
    "a model that cannot be dumped": (type("Bad", (), {"model_dump": lambda self, mode: 1 / 0})(), "Bad, which has no"),
    "a number that stays one": (type("Odd", (), {"item": lambda self: self})(), "Odd, which has no form"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_value_that_has_none_is_named_by_its_path_and_its_type(what: str) -> None:
    value, said = REFUSED[what]
    with pytest.raises(ConfigurationError) as raised:
        json_object("parameters", {"a": [1, Lazy(value)]})
    assert str(raised.value).startswith("parameters['a'][1][0]")
    assert " cannot be sent as JSON: " in str(raised.value)
    assert said in str(raised.value)
    assert isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [0, 0, b""]}, "parameters['a'][2]"),
        ({"a": {"b c": {1: b""}}}, "parameters['a']['b c']['1']"),
        ({"a": Window(date(2026, 10, 1), inner=(b"",))}, "parameters['a']['inner'][0]"),
        ({"a": {b""}}, "parameters['a'][…]"),
        ({"a": Array([[1], [b""]])}, "parameters['a'][1][0]"),
        ({"a": Model(b=[b""])}, "parameters['a']['b'][0]"),
        ('{"a": [{"n": 18446744073709551616}]}', "parameters['a'][0]['n']"),
        ('{"a": [NaN]}', "parameters['a'][0]"),
        ("[" * 100_000, "parameters"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "parameters"),
    ],
)
def test_the_path_is_that_of_the_value(value: Any, path: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        json_object("parameters", value)
    assert str(raised.value).startswith(f"{path} cannot be sent as JSON: ")


def test_the_message_does_not_show_the_value_which_may_be_secret() -> None:
    for value in (b"hush", Model(token=b"hush"), {"hush"} | {b""}, "hush\ud800"):
        with pytest.raises(ConfigurationError) as raised:
            json_object("parameters", {"token": [value]})
        assert "hush" not in str(raised.value)


def test_a_value_in_two_places_does_not_contain_itself() -> None:
    shared = [1]
    assert json_object("parameters", {"a": shared, "b": [shared, shared]}) == {"a": [1], "b": [[1], [1]]}


def test_a_value_may_be_nested_a_hundred_times() -> None:
    value: Any = 1
    for _ in range(99):
        value = [value]
    assert json_object("parameters", {"v": value}) == {"v": value}
    with pytest.raises(ConfigurationError, match="it is nested too deeply"):
        json_object("parameters", {"v": [value]})


@pytest.mark.parametrize("key", [5, None, (1, 2), b"a", Number.THREE])
def test_a_key_at_the_top_that_is_not_text_is_refused(key: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^job_variables has the key .*, which is not text"):
        json_object("job_variables", {key: 1})


# Text


@pytest.mark.parametrize(
    "text",
    [
        "{'a': 1}",
        "  {'a': {'b': None}}",
        '{"a": True}',
        '{"a": [None]}',
        "{1: 2}",
        "{(1, 2): 3}",
        "[{'a': 1}]",
        "('a', 1)",
        "{'at': datetime.datetime(2026, 10, 1, 0, 0)}",
        "{\"it's\": Decimal('1.10')}",
        "OrderedDict({'a': 1})",
        "defaultdict(<class 'int'>, {'a': 1})",
    ],
)
def test_what_python_writes_is_no_json_and_the_two_ways_out_are_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^parameters is text, but not JSON") as raised:
        json_object("parameters", text)
    assert "| tojson" in str(raised.value)
    assert "render_template_as_native_obj=True" in str(raised.value)


@pytest.mark.parametrize("text", ["{", "month=10", "{month: 10}", '{"a": 1,}', "October"])
def test_what_python_does_not_write_is_said_to_be_no_json(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^parameters is text, but not JSON") as raised:
        json_object("parameters", text)
    assert "tojson" not in str(raised.value)


# The context of a flow run


@pytest.mark.parametrize("value", [{"airflow": 5}, {"airflow": {}}, '{"airflow": null}', {"a": 1, "airflow": "mine"}])
def test_the_key_airflow_of_a_context_is_the_operators_own(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^context has the key 'airflow'.* Choose another key"):
        run_context("context", value)


def test_any_other_context_is_sent_as_it_is() -> None:
    assert run_context("context", {"who": "me", "in": {"airflow": 1}}) == {"who": "me", "in": {"airflow": 1}}
    assert run_context("context", "None") is None
