"""Where a storage block of Prefect 2 or 3 keeps the object of a key."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client.fields import WrongShape
from airflow_provider_prefect.client.results.blocks import StorageBlock

S3 = {"bucket_name": "b", "credentials": {"aws_secret_access_key": "s3cret"}}
GCS = {"bucket": "b", "gcp_credentials": {}}
AZURE = {"container_name": "b", "credentials": {}}


def path(data: Any, key: str) -> str:
    block = StorageBlock.from_json({"data": data})
    assert block is not None
    assert "s3cret" not in repr(block)
    return block.path_of(key)


@pytest.mark.parametrize(
    ("data", "scheme", "folder"),
    [(S3, "s3", "bucket_folder"), (GCS, "gs", "bucket_folder"), (AZURE, "abfs", "base_folder")],
)
@pytest.mark.parametrize(
    ("in_folder", "key", "object_key"),
    [
        (None, "x", "x"),
        ("", "x", "x"),
        (None, "/x", "/x"),
        (None, "a//x", "a//x"),
        ("prefix", "x", "prefix/x"),
        ("prefix/", "x", "prefix/x"),
        ("prefix", "deep/x", "prefix/deep/x"),
        ("/prefix", "x", "/prefix/x"),
        ("/prefix/", "x", "/prefix/x"),
        ("/", "x", "/x"),
        ("prefix", "/x", "/x"),
    ],
)
def test_an_object_is_where_the_block_puts_it(
    data: dict[str, Any], scheme: str, folder: str, in_folder: str | None, key: str, object_key: str
) -> None:
    assert path({**data, folder: in_folder}, key) == f"{scheme}://b/{object_key}"


@pytest.mark.parametrize(
    ("basepath", "key", "where"),
    [
        ("s3://b/prefix", "x", "s3://b/prefix/x"),
        ("s3://b/prefix/", "/x", "s3://b/prefix/x"),
        ("s3://b//prefix", "x", "s3://b//prefix/x"),
        ("s3://b//prefix", "s3://b//prefix/x", "s3://b//prefix/x"),
        ("/results", "x", "/results/x"),
        ("/results/", "deep/x", "/results/deep/x"),
        ("/results", "/results/x", "/results/x"),
        ("/results", "/etc/passwd", "/etc/passwd"),
    ],
)
def test_a_file_is_where_the_file_system_puts_it(basepath: str, key: str, where: str) -> None:
    assert path({"basepath": basepath, "settings": {"key": "s3cret"}}, key) == where


@pytest.mark.parametrize("record", [{"data": {"value": "x"}}, {"data": {}}, {"data": None}, {}])
def test_a_block_of_another_kind_is_not_known(record: Any) -> None:
    assert StorageBlock.from_json(record) is None


@pytest.mark.parametrize("record", [[], None, {"data": []}, {"data": {"basepath": 5}}, {"data": {"bucket_name": []}}])
def test_a_block_of_another_shape_is_an_error(record: Any) -> None:
    with pytest.raises(WrongShape):
        StorageBlock.from_json(record)
