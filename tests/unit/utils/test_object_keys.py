"""The keys of objects are taken as they are: ``/prefix/x`` is another object than ``prefix/x``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from fsspec.spec import AbstractFileSystem

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.graphql import GraphqlApi
from airflow_provider_prefect.client.model import State
from airflow_provider_prefect.utils.results import read_file, read_state_value
from tests.unit.client.driving import GRAPHQL, Script, answer

SCHEMES = ("s3", "gs", "abfs")
CONNECTION = "objects_default"


class Bucket(AbstractFileSystem):  # type: ignore[misc]
    """A bucket that has every object; it is the object's key."""

    protocol = SCHEMES
    cachable = False

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        assert mode == "rb"
        bucket, _, key = path.partition("/")
        assert bucket == "b"
        return io.BytesIO(f'"{key}"'.encode())


@pytest.fixture(autouse=True)
def buckets() -> Iterator[None]:
    try:
        from airflow.sdk.io import attach
        from airflow.sdk.io.store import _STORE_CACHE
    except ImportError:
        from airflow.io.store import _STORE_CACHE, attach
    before = dict(_STORE_CACHE)
    for scheme in SCHEMES:
        attach(scheme, conn_id=CONNECTION, fs=Bucket())
    yield
    _STORE_CACHE.clear()
    _STORE_CACHE.update(before)


def key_read(path: str, *roots: str) -> str:
    return read_file(path, roots, 1000).decode().strip('"')


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("root", "keys"),
    [
        ("", ["x", "prefix/x", "/prefix/x", "//x", "prefix//x", "a b/#1?", "::x", "50%/%2e"]),
        ("/", ["x", "prefix/x", "/prefix/x", "prefix//x"]),
        ("/prefix", ["prefix/x", "prefix/deep/x", "prefix//x"]),
        ("/prefix/", ["prefix/x", "prefix//x"]),
        ("//prefix", ["/prefix/x", "/prefix//x"]),
        ("//prefix/", ["/prefix/x"]),
        ("//", ["/x", "/prefix/x", "//x"]),
    ],
)
def test_a_key_below_a_root_is_read_as_it_is(scheme: str, root: str, keys: list[str]) -> None:
    for key in keys:
        assert key_read(f"{scheme}://b/{key}", f"{scheme}://{CONNECTION}@b{root}") == key


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("root", "keys"),
    [
        ("/prefix", ["/prefix/x", "//prefix/x", "prefix", "prefix/", "prefix-of-others/x", "x", "Prefix/x", "/x"]),
        ("//prefix", ["prefix/x", "//prefix/x", "/prefix"]),
        ("//", ["x", "prefix/x", "/"]),
        ("", [""]),
    ],
)
def test_a_key_that_only_looks_like_one_below_a_root_is_refused(scheme: str, root: str, keys: list[str]) -> None:
    for key in keys:
        with pytest.raises(ResultError, match="is not under any of the connection's result_roots"):
            read_file(f"{scheme}://b/{key}", [f"{scheme}://{CONNECTION}@b{root}"], 1000)


@pytest.mark.parametrize("key", ["prefix/../x", "prefix/..", "prefix/./x", "prefix/x/", "prefix/x?versionId=3"])
def test_a_key_of_which_a_library_would_read_another_object_is_refused(key: str) -> None:
    for root in ("", "/prefix"):
        with pytest.raises(ResultError, match="is not under any of"):
            read_file(f"s3://b/{key}", [f"s3://{CONNECTION}@b{root}"], 1000)


@pytest.mark.parametrize("root", ["s3://objects_default@other/prefix", "gs://objects_default@b/prefix", "/prefix"])
def test_another_bucket_and_another_kind_of_storage_are_outside(root: str) -> None:
    with pytest.raises(ResultError, match="is not under any of"):
        read_file("s3://b/prefix/x", [root], 1000)


def test_the_root_that_fits_is_found_among_several() -> None:
    roots = ["/tmp", f"s3://{CONNECTION}@b/prefix", f"s3://{CONNECTION}@b//prefix"]
    assert key_read("s3://b//prefix/x", *roots) == "/prefix/x"
    assert key_read("s3://b/prefix/x", *roots) == "prefix/x"


@pytest.mark.parametrize("path", ["/results/\x00", "/results/\ud800", "results/x", "", "file://host/results/x"])
def test_what_is_no_path_of_this_machine_is_refused(path: str) -> None:
    with pytest.raises(ResultError, match="is not under any of"):
        read_file(path, ["/results", "/"], 1000)


# From Prefect's records to the object


@pytest.mark.parametrize(
    ("kind", "bucket", "scheme"),
    [("S3Result", "bucket", "s3"), ("GCSResult", "bucket", "gs"), ("AzureResult", "container", "abfs")],
)
@pytest.mark.parametrize("location", ["prefix/x", "/prefix/x", "//x", "prefix//x"])
def test_a_result_of_prefect_1_is_read_where_it_was_written(kind: str, bucket: str, scheme: str, location: str) -> None:
    api = GraphqlApi(Script([], GRAPHQL))
    state = State("", "COMPLETED", "Success", data={"type": kind, bucket: "b", "location": location})
    assert read_state_value(api, state, "Task run 'x'", [f"{scheme}://{CONNECTION}@b"], 1000) == location


@pytest.mark.parametrize(
    ("data", "key", "read"),
    [
        ({"bucket_name": "b", "bucket_folder": "/prefix"}, "x", "/prefix/x"),
        ({"bucket_name": "b"}, "/prefix/x", "/prefix/x"),
        ({"basepath": "s3://b//prefix"}, "x", "/prefix/x"),
        ({"basepath": "s3://b/prefix"}, "/x", "prefix/x"),
    ],
)
def test_a_result_in_a_block_is_read_where_it_was_written(data: dict[str, Any], key: str, read: str) -> None:
    api = Script([answer({"data": data})]).api()
    stored = {"storage_key": key, "storage_block_id": "block-1", "serializer": {"type": "json"}}
    state = State("", "COMPLETED", "Completed", data=stored)
    assert read_state_value(api, state, "Flow run 'x'", [f"s3://{CONNECTION}@b"], 1000) == read


def test_a_result_without_a_block_is_read_where_its_key_says() -> None:
    stored = {"storage_key": "s3://b//prefix/x", "serializer": {"type": "json"}}
    state = State("", "COMPLETED", "Completed", data=stored)
    api = Script([]).api()
    assert read_state_value(api, state, "Flow run 'x'", [f"s3://{CONNECTION}@b//prefix"], 1000) == "/prefix/x"
    with pytest.raises(ResultError, match="is not under any of"):
        read_state_value(api, state, "Flow run 'x'", [f"s3://{CONNECTION}@b/prefix"], 1000)
