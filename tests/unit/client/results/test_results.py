from __future__ import annotations

import base64
import bz2
import collections
import gzip
import json
import lzma
import os
import pickle
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import Artifact, State
from airflow_provider_prefect.client.results.formats import Literal, Record, checked, find_result, of_artifact, read

MIB = 1024 * 1024
JSON = {"type": "json", "jsonlib": "json", "object_encoder": "prefect.serializers.prefect_json_object_encoder"}
PICKLE = {"type": "pickle", "picklelib": "cloudpickle", "picklelib_version": None}


def ended(data: Any) -> State:
    return State("s", "COMPLETED", "Completed", data=data)


def read_json(content: str, serializer: dict[str, Any] | None = None) -> Any:
    return read(Record("key", None, serializer or JSON), content.encode(), MIB)


def pickled(value: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> bytes:
    return base64.b64encode(pickle.dumps(value, protocol)) + b"\n"


def read_pickle(content: bytes) -> Any:
    return read(Record("key", None, PICKLE), content, MIB)


# Where it is


@pytest.mark.parametrize("value", [None, True, False])
def test_prefect_2_keeps_none_and_booleans_in_the_state_itself(value: Any) -> None:
    assert find_result(ended({"type": "literal", "value": value}), "Flow run 'x'") == Literal(value)


def test_prefect_2_refers_to_a_file_in_a_block() -> None:
    data = {"type": "reference", "serializer_type": "json", "storage_block_id": "b850", "storage_key": "e513"}
    assert find_result(ended(data), "") == Record("e513", "b850", {"type": "json"})


def test_prefect_3_refers_to_a_file_with_the_serializers_description() -> None:
    data = {"storage_key": "6928", "expiration": None, "serializer": JSON, "storage_block_id": "74b4"}
    assert find_result(ended(data), "") == Record("6928", "74b4", JSON)


def test_prefect_3_refers_to_a_file_on_the_worker_without_a_block() -> None:
    data = {"storage_key": "/home/me/.prefect/storage/93be", "serializer": PICKLE, "storage_block_id": None}
    assert find_result(ended(data), "") == Record("/home/me/.prefect/storage/93be", None, PICKLE)


def test_a_file_without_a_serializer_is_a_pickle_which_is_prefects_default() -> None:
    found = find_result(ended({"storage_key": "k"}), "")
    assert isinstance(found, Record)
    assert found.serializer["type"] == "pickle"


@pytest.mark.parametrize("data", [None, {}, {"type": "unpersisted"}, [], "text"])
def test_a_run_that_kept_nothing_says_so_and_how_to_keep_it(data: Any) -> None:
    with pytest.raises(ResultError, match=r"Flow run 'x' has left no result.*persist_result=True"):
        find_result(ended(data), "Flow run 'x'")


# JSON


def test_a_flow_of_prefect_3_leaves_plain_json() -> None:
    assert read_json('{"a": 1}') == {"a": 1}
    assert read_json("null") is None


def test_prefect_2_wraps_it() -> None:
    envelope = {"serializer": {"type": "json"}, "data": '{"a": 1}', "prefect_version": "2.20.26"}
    assert read_json(json.dumps(envelope), {"type": "json"}) == {"a": 1}


def test_a_task_of_prefect_3_wraps_it_otherwise_and_describes_the_serializer_there_in_full() -> None:
    packed = base64.b64encode(bz2.compress(b'{"v": 3}')).decode()
    full = {"type": "compressed/json", "serializer": JSON, "compressionlib": "bz2"}
    envelope = {"metadata": {"storage_key": "k", "serializer": full}, "result": packed}
    assert read_json(json.dumps(envelope), {"type": "compressed/json"}) == {"v": 3}


@pytest.mark.parametrize(
    "value",
    [{"serializer": 1, "data": 2}, {"metadata": {}, "result": 1, "more": 2}, {"data": "x"}, {"__class__": "x"}, [1]],
)
def test_a_value_that_only_looks_like_a_wrapper_is_left_alone(value: Any) -> None:
    assert read_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("name", "data", "value"),
    [
        ("datetime.datetime", "2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("datetime.date", "2026-01-01", date(2026, 1, 1)),
        ("datetime.time", "01:02:03", time(1, 2, 3)),
        ("datetime.timedelta", 90.5, timedelta(seconds=90.5)),
        ("decimal.Decimal", "1.10", Decimal("1.10")),
        ("uuid.UUID", "6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11", UUID("6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11")),
        ("my.Model", {"a": 1}, {"a": 1}),
        ("os.system", "rm -rf /", "rm -rf /"),
    ],
)
def test_values_that_json_has_no_form_for_are_read_and_no_class_is_looked_up(name: str, data: Any, value: Any) -> None:
    assert read_json(json.dumps({"in": [{"__class__": name, "data": data}]})) == {"in": [value]}


@pytest.mark.parametrize("content", ["", "{", "\x80", '{"__class__": "uuid.UUID", "data": "x"}'])
def test_a_file_that_is_not_what_prefect_says_is_an_error(content: str) -> None:
    with pytest.raises(ResultError, match="not what Prefect says it is, 'json'"):
        read_json(content)


def test_an_unknown_serializer_is_named_with_the_way_out() -> None:
    with pytest.raises(ResultError, match=r"serializer 'yaml'.*result_serializer='json'"):
        read_json("a: 1", {"type": "yaml"})


# Compressed


@pytest.mark.parametrize(
    ("library", "compress"),
    [("lzma", lzma.compress), ("bz2", bz2.compress), ("zlib", zlib.compress), ("gzip", gzip.compress)],
)
def test_compressed_json_is_read(library: str, compress: Callable[[bytes], bytes]) -> None:
    content = base64.b64encode(compress(b'{"a": 1}')).decode()
    full = {"type": "compressed/json", "serializer": JSON, "compressionlib": library}
    assert read_json(content, full) == {"a": 1}


def test_compressed_json_of_which_prefect_2_tells_the_type_only_is_lzma() -> None:
    content = base64.b64encode(lzma.compress(b'{"a": 1}')).decode()
    assert read_json(content, {"type": "compressed/json"}) == {"a": 1}


def test_a_small_file_that_becomes_a_large_one_is_refused() -> None:
    content = base64.b64encode(lzma.compress(b"0" * 10 * MIB)).decode()
    with pytest.raises(ResultError, match="when it is decompressed"):
        read_json(content, {"type": "compressed/json"})


def test_an_unknown_compression_is_named() -> None:
    with pytest.raises(ResultError, match="compressed with 'blosc'"):
        read_json("", {"type": "compressed/json", "serializer": JSON, "compressionlib": "blosc"})


@pytest.mark.parametrize("library", ["lzma", "bz2", "zlib", "gzip"])
def test_a_compressed_file_that_is_broken_is_an_error(library: str) -> None:
    with pytest.raises(ResultError, match="not what Prefect says"):
        read_json("bm90IGNvbXByZXNzZWQ=", {"type": "compressed/json", "serializer": JSON, "compressionlib": library})


# Pickles


PLAIN = {
    "numbers": [1, -1, 2**100, 1.5, True, None],
    "text": ("ä", b"bytes"),
    "sets": {1, 2},
    "frozen": frozenset({3}),
    "when": datetime(2026, 1, 1, 2, 3, 4, 5, tzinfo=UTC),
    "day": date(2026, 1, 1),
    "time": time(1, 2),
    "for": timedelta(days=1, seconds=2),
    "exact": Decimal("1.10"),
    "id": UUID("6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11"),
    "ordered": collections.OrderedDict(a=1),
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pickle_of_plain_data_is_read(protocol: int) -> None:
    assert read_pickle(pickled(PLAIN, protocol)) == PLAIN


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("this-must-not-be-there",)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Evil(), "mkdir"),
        ([{"deep": Evil()}], "mkdir"),
        (PurePosixPath("/x"), "PurePosixPath"),
        (ValueError("boom"), "ValueError"),
        (print, "print"),
        (bytearray(3), "bytearray"),
        (collections.Counter("aa"), "Counter"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_of_anything_else_is_refused_by_name_and_nothing_of_it_runs(
    value: Any, name: str, protocol: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultError, match=rf"needs .*{name}.*result_serializer='json'") as error:
        read_pickle(pickled(value, protocol))
    assert error.value.__suppress_context__
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"gA", b"bm90IGEgcGlja2xl", base64.b64encode(pickle.dumps([1] * 100)[:-20])])
def test_a_pickle_that_is_broken_is_an_error(content: bytes) -> None:
    with pytest.raises(ResultError):
        read_pickle(content)


# Artifacts, and what an XCom can carry


def test_a_table_is_its_rows() -> None:
    assert of_artifact(Artifact("a", "k", "table", '[{"a": 1}]')) == [{"a": 1}]
    assert of_artifact(Artifact("a", "k", "table", [{"a": 1}])) == [{"a": 1}]


@pytest.mark.parametrize("data", ["# Title", "[1]", {"a": [1, 2]}, None])
def test_any_other_artifact_is_its_data(data: Any) -> None:
    assert of_artifact(Artifact("a", "k", "markdown", data)) == data


@pytest.mark.parametrize("value", [None, [1, "ä"], {"a": {"b": 1.5}}, PLAIN["when"], {"x": {Decimal("1.1"), 2}}])
def test_what_an_xcom_can_carry_is_handed_on_as_it_is(value: Any) -> None:
    assert checked(value, MIB) is value


@pytest.mark.parametrize("value", [float("nan"), object(), {(1, 2): 3}, b"bytes"])
def test_what_an_xcom_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(ResultError, match="cannot become an XCom"):
        checked(value, MIB)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ResultError, match="cannot become an XCom"):
        checked(loop, MIB)


def test_the_size_is_that_of_the_json() -> None:
    value = {"a": "x" * 91}
    assert len(json.dumps(value)) == 100
    assert checked(value, 100) == value
    with pytest.raises(ResultError, match="max_result_size=99 bytes"):
        checked(value, 99)
    assert checked("ä", 8) == "ä"
    with pytest.raises(ResultError):
        checked("ä", 7)
