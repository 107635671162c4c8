"""What Prefect 2.20, 3.0 and 3.8 write, and what could be slipped in its place."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import pickle
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import State
from airflow_provider_prefect.client.results.formats import Record, as_xcom, checked, find_result, read

MIB = 1024 * 1024
JSON = {
    "type": "json",
    "jsonlib": "json",
    "object_encoder": "prefect.serializers.prefect_json_object_encoder",
    "object_decoder": "prefect.serializers.prefect_json_object_decoder",
    "dumps_kwargs": {},
    "loads_kwargs": {},
}
PICKLE = {"type": "pickle", "picklelib": "cloudpickle", "picklelib_version": None}
VALUE = {"a": [1, 2.5, None, "ü"]}


def as_json(value: Any) -> str:
    return json.dumps(value)


def as_pickle(value: Any) -> str:
    return base64.b64encode(pickle.dumps(value)).decode() + "\n"


def compressed(text: str, compress: Callable[[bytes], bytes] = lzma.compress) -> str:
    return base64.b64encode(compress(text.encode())).decode()


def compressed_by(serializer: dict[str, Any], library: str = "lzma") -> dict[str, Any]:
    return {"type": f"compressed/{serializer['type']}", "serializer": serializer, "compressionlib": library}


SERIALIZED = {
    "json": (JSON, as_json(VALUE)),
    "pickle": (PICKLE, as_pickle(VALUE)),
    "compressed json": (compressed_by(JSON), compressed(as_json(VALUE))),
    "compressed pickle": (compressed_by(PICKLE), compressed(as_pickle(VALUE))),
    "bz2": (compressed_by(JSON, "bz2"), compressed(as_json(VALUE), bz2.compress)),
    "twice": (compressed_by(compressed_by(JSON)), compressed(compressed(as_json(VALUE)))),
}
EACH = pytest.mark.parametrize("form", SERIALIZED)


def value_of(data: dict[str, Any], content: str, max_size: int = MIB) -> Any:
    found = find_result(State("s", "COMPLETED", "Completed", data=data), "Flow run 'x'")
    assert isinstance(found, Record)
    return read(found, content.encode(), max_size)


def envelope_of_a_task(serializer: dict[str, Any], content: str, **changes: Any) -> str:
    """The file that a task run of Prefect 3 leaves, and a flow run of 3.0.0 to 3.0.3."""
    metadata = {
        "storage_key": "1f9f",
        "expiration": None,
        "serializer": serializer,
        "prefect_version": "3.8.8",
        "storage_block_id": "74b4",
    }
    return json.dumps({"metadata": metadata, "result": content, **changes})


# The versions


@EACH
def test_a_flow_of_prefect_3(form: str) -> None:
    serializer, content = SERIALIZED[form]
    data = {"storage_key": "/r/1f9f", "expiration": None, "serializer": serializer, "storage_block_id": None}
    assert value_of(data, content) == VALUE


@EACH
def test_a_task_of_prefect_3_of_which_the_api_tells_the_type_only(form: str) -> None:
    serializer, content = SERIALIZED[form]
    data = {"storage_key": "1f9f", "serializer": {"type": serializer["type"]}, "storage_block_id": None}
    assert value_of(data, envelope_of_a_task(serializer, content)) == VALUE


@EACH
def test_a_flow_of_prefect_3_0(form: str) -> None:
    serializer, content = SERIALIZED[form]
    data = {
        "type": "reference",
        "serializer_type": serializer["type"],
        "storage_block_id": "74b4",
        "storage_key": "1f9f",
        "expiration": None,
    }
    assert value_of(data, envelope_of_a_task(serializer, content)) == VALUE


@EACH
def test_prefect_2(form: str) -> None:
    serializer, content = SERIALIZED[form]
    data = {
        "type": "reference",
        "artifact_type": "result",
        "serializer_type": serializer["type"],
        "storage_block_id": "b850",
        "storage_key": "e513",
    }
    file = json.dumps({"serializer": serializer, "data": content, "prefect_version": "2.20.26"})
    assert value_of(data, file) == VALUE


# What only looks like Prefect's wrapping


WRAPPED = json.loads(envelope_of_a_task(JSON, "1"))


@pytest.mark.parametrize(
    "value",
    [
        {"metadata": {"rows": 3}, "result": [1, 2]},
        {"metadata": None, "result": "3"},
        {"metadata": "text", "result": "3"},
        {"metadata": {"storage_key": "k", "serializer": None}, "result": "3"},
        {"metadata": {"storage_key": "k", "serializer": "json"}, "result": "3"},
        {"metadata": {"serializer": JSON}, "result": "3"},
        {**WRAPPED, "result": 1},
        {**WRAPPED, "more": 1},
        {"serializer": "x", "data": "y", "prefect_version": "z"},
        {"serializer": JSON, "data": {"a": 1}, "prefect_version": "2.20.26"},
        {"serializer": JSON, "data": "1", "prefect_version": None},
        {"serializer": JSON, "data": "1", "prefect_version": "2.20.26", "more": 1},
    ],
)
def test_a_mapping_that_a_flow_returns_is_not_taken_for_a_wrapped_value(value: Any) -> None:
    assert value_of({"storage_key": "k", "serializer": JSON}, json.dumps(value)) == value


# Types that JSON has not


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT0S", timedelta(0)),
        ("PT1M30S", timedelta(seconds=90)),
        ("P2Y70DT5.000007S", timedelta(days=800, seconds=5, microseconds=7)),
        ("-P1DT3S", -timedelta(days=1, seconds=3)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        (90.5, timedelta(seconds=90.5)),
    ],
)
def test_a_duration_is_read_as_prefect_3_writes_it(text: Any, duration: timedelta) -> None:
    content = json.dumps({"__class__": "datetime.timedelta", "data": text})
    assert value_of({"storage_key": "k", "serializer": JSON}, content) == duration


def test_sets_are_read_as_sets() -> None:
    content = json.dumps(
        [{"__class__": "builtins.set", "data": [1, "a"]}, {"__class__": "builtins.frozenset", "data": [2]}]
    )
    assert value_of({"storage_key": "k", "serializer": JSON}, content) == [{1, "a"}, frozenset({2})]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("datetime.datetime", 5),
        ("datetime.datetime", "tomorrow"),
        ("datetime.date", None),
        ("datetime.time", {}),
        ("datetime.timedelta", "P1"),
        ("datetime.timedelta", "one day"),
        ("datetime.timedelta", 1e300),
        ("datetime.timedelta", None),
        ("decimal.Decimal", "much"),
        ("decimal.Decimal", {}),
        ("uuid.UUID", 5),
        ("builtins.set", [[]]),
        ("builtins.set", 5),
    ],
)
def test_a_value_that_is_not_of_the_type_it_says_is_an_error(name: str, data: Any) -> None:
    with pytest.raises(ResultError, match="not what Prefect says it is, 'json'"):
        value_of({"storage_key": "k", "serializer": JSON}, json.dumps({"__class__": name, "data": data}))


# Bombs


@pytest.mark.parametrize(
    ("library", "compress"),
    [("lzma", lzma.compress), ("bz2", bz2.compress), ("zlib", zlib.compress), ("gzip", gzip.compress)],
)
def test_a_bomb_is_refused_before_it_goes_off(library: str, compress: Callable[[bytes], bytes]) -> None:
    content = base64.b64encode(compress(b"0" * 24 * MIB)).decode()
    data = {"storage_key": "k", "serializer": compressed_by(JSON, library)}
    tracemalloc.start()
    try:
        with pytest.raises(ResultError, match="has more than 2,097,152 bytes when it is decompressed"):
            value_of(data, content)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


def test_a_bomb_in_a_bomb_is_refused() -> None:
    inner = compressed("0" * 24 * MIB)
    data = {"storage_key": "k", "serializer": compressed_by(compressed_by(JSON))}
    with pytest.raises(ResultError, match="when it is decompressed"):
        value_of(data, compressed(inner))


def test_a_file_that_asks_for_gigabytes_to_be_decompressed_is_refused() -> None:
    content = bytearray(lzma.compress(b"1", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    # The dictionary's size is one byte of the block's header, which ends in a checksum.
    start, length = 12, (content[12] + 1) * 4
    content[start + 4] = 37  # 1.5 GiB
    content[start + length - 4 : start + length] = zlib.crc32(content[start : start + length - 4]).to_bytes(4, "little")
    assert lzma.decompress(bytes(content)) == b"1"
    data = {"storage_key": "k", "serializer": compressed_by(JSON)}
    with pytest.raises(ResultError, match=r"not what Prefect says it is.*LZMAError"):
        value_of(data, base64.b64encode(content).decode())


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, "[" * 200_000 + "]" * 200_000])
def test_json_that_is_nested_without_end_is_an_error(content: str) -> None:
    with pytest.raises(ResultError, match="not what Prefect says it is"):
        value_of({"storage_key": "k", "serializer": JSON}, content)


def test_a_pickle_that_doubles_at_each_level_has_too_many_bytes() -> None:
    bomb: Any = []
    for _ in range(30):
        bomb = [bomb, bomb]
    with pytest.raises(ResultError, match="more than max_result_size=1,048,576 bytes as JSON"):
        value_of({"storage_key": "k", "serializer": PICKLE}, as_pickle(bomb))


def test_a_value_that_doubles_at_each_level_is_measured_only_until_it_is_too_large() -> None:
    bomb: Any = []
    for _ in range(60):
        bomb = [bomb, bomb]
    with pytest.raises(ResultError, match="more than max_result_size=100,000 bytes as JSON"):
        checked(bomb, 100_000)


@pytest.mark.parametrize("serializer", ["yaml", 5, [1], {"type": None}, {"type": "compressed/json", "serializer": "x"}])
def test_a_serializer_that_is_not_described_as_prefect_does_is_an_error(serializer: Any) -> None:
    with pytest.raises(ResultError):
        value_of({"storage_key": "k", "serializer": serializer}, compressed("1"))


# What an XCom can carry


@pytest.fixture
def through_xcom() -> Callable[[Any], Any]:
    """Takes a value the way of an XCom: into Airflow's database and out again."""
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:
        from airflow.serialization.serde import deserialize, serialize
    return lambda value: deserialize(json.loads(json.dumps(serialize(value))))


def test_a_pickled_bytearray_is_refused() -> None:
    value = value_of({"storage_key": "k", "serializer": PICKLE}, as_pickle({"a": b"x"}))
    for one in (value, [bytearray(b"x")]):
        with pytest.raises(ResultError, match="it holds a value of type byte"):
            checked(one, MIB)


def test_an_integer_of_very_many_digits_is_refused() -> None:
    with pytest.raises(ResultError, match="cannot become an XCom"):
        checked([10**5000], MIB)


@pytest.mark.parametrize("state", [{}, {"int": "1"}, {"int": None}])
def test_a_uuid_that_a_pickle_left_without_a_value_is_an_error(state: dict[str, Any]) -> None:
    empty = UUID.__new__(UUID)
    for name, value in state.items():
        object.__setattr__(empty, name, value)
    with pytest.raises(ResultError, match="it holds a UUID that has no value"):
        as_xcom([empty])


def test_an_xcom_gets_text_for_what_not_every_airflow_can_carry() -> None:
    identifier = UUID("6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11")
    assert as_xcom({"a": [identifier, {"b": (time(1, 2), {identifier})}]}) == {
        "a": [str(identifier), {"b": ("01:02:00", {str(identifier)})}]
    }


@pytest.mark.parametrize("text", ["1.10", "-0.5", "0", "12345678901234567890", "1E+20", "Infinity", "99999999.99"])
def test_an_xcom_gets_a_decimal_that_it_keeps_the_value_of(text: str, through_xcom: Callable[[Any], Any]) -> None:
    assert as_xcom([Decimal(text)]) == [Decimal(text)]
    assert through_xcom(as_xcom(Decimal(text))) == Decimal(text)


@pytest.mark.parametrize("text", ["12345678901234567.89", "0.1234567890123456789", "1E+999999999", "1E-999999999"])
def test_a_decimal_that_an_xcom_would_change_is_refused(text: str) -> None:
    with pytest.raises(ResultError, match="which would change"):
        as_xcom({"a": [Decimal(text)]})


def test_an_xcom_gets_times_in_utc() -> None:
    moment = as_xcom([datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))])[0]
    assert moment == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "x",
        [1, (2, {3}), frozenset({4})],
        {"d": Decimal("1.10"), "n": datetime(2026, 1, 1), "u": datetime(2026, 1, 1, tzinfo=UTC)},
        [date(2026, 1, 1), timedelta(1)],
    ],
)
def test_an_xcom_gets_everything_else_as_it_is(value: Any) -> None:
    assert as_xcom(value) == value
    assert type(as_xcom(value)) is type(value)


@pytest.mark.parametrize("value", [time(1, 2), UUID(int=5), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5)))])
def test_airflow_can_carry_what_an_xcom_gets(value: Any, through_xcom: Callable[[Any], Any]) -> None:
    assert through_xcom({"a": as_xcom(value)}) == {"a": as_xcom(value)}
