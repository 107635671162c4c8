"""Airflow's side of results: reading the files that hold them, under the allowed roots and nowhere else."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from typing import Any

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import State
from airflow_provider_prefect.client.printable import line, quoted
from airflow_provider_prefect.client.results import formats
from airflow_provider_prefect.client.transport import run

_VERSION = "?versionId="
"""Where s3fs ends a key."""


def read_artifact_value(api: Api, flow_run_id: str, key: str, max_size: int) -> Any:
    """Return the value of the newest artifact of this key that the flow run has left.

    :param max_size: bytes that the value may have as JSON.
    :raises ResultError: there is none, or an XCom cannot carry it.
    """
    artifacts = run(api.read_artifacts(flow_run_id, key))
    if not artifacts:
        raise ResultError(f"Flow run {flow_run_id} has left no artifact with the key {key!r}.")
    return formats.checked(formats.of_artifact(artifacts[0]), max_size)


def read_state_value(api: Api, state: State, described_as: str, roots: Sequence[str], max_size: int) -> Any:
    """Return the value that a run has ended with.

    :param described_as: the run, in words.
    :param roots: where files may be read.
    :param max_size: bytes that the value may have as JSON.
    :raises ResultError: there is none, it cannot be read, or an XCom cannot carry it.
    """
    if state.type != "COMPLETED":
        # What a failed run stores is its exception, which would pass for a value where it is JSON.
        raise ResultError(f"{described_as} has returned nothing: it is in state {str(state).rstrip('.')}.")
    found = api.find_result(state, described_as)
    if isinstance(found, formats.Literal):
        return formats.checked(found.value, max_size)
    path = found.key
    if found.block_id:
        block = run(api.read_storage_block(found.block_id))
        if block is None:
            raise ResultError(
                f"{described_as} has its result in an unsupported kind of block. Supported are "
                "file systems, S3, GCS and Azure."
            )
        path = block.path_of(found.key)
    # The file is longer than the value: compressed and pickled results are in base64, and wrapped.
    content = read_file(path, roots, 4 * max_size)
    return formats.checked(formats.read(found, content, max_size), max_size)


def read_task_value(
    api: Api, flow_run_id: str, task_name: str, map_index: int, roots: Sequence[str], max_size: int
) -> Any:
    """Return the value that a task run of a finished flow run has returned, or the list of all mapped children's.

    :raises ResultError: there is no such task run, or its value cannot be read.
    """
    selected = run(api.select_task_runs(flow_run_id, task_name, map_index))
    values = [
        read_state_value(api, task_run.state, f"Task run {task_run.name!r}", roots, max_size)
        for task_run in selected.task_runs
    ]
    return formats.checked(values, max_size) if selected.many else values[0]


def read_file(path: str, roots: Sequence[str], limit: int) -> bytes:
    """Return the content of ``path``, through Airflow's object storage, with the credentials that its root names.

    :param path: an absolute path, or an object storage URL. It comes from the server, and is not trusted. An object's
        key is taken as it is, also where it begins with a slash or has two of them in a row.
    :param roots: what the connection allows: folders, or URLs such as ``s3://aws_default@bucket/prefix``.
    :param limit: how many bytes the file may have.
    :raises ResultError: the path is not under any of the roots, is not there, or is too large.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    for root in roots:
        found = _below(path, root)
        if found is not None:
            break
    else:
        allowed = ", ".join(map(repr, roots)) or "none"
        raise ResultError(
            f"The result is stored at {quoted(path)}, which is not under any of the connection's result_roots "
            f"({allowed}). Add its folder there if this machine may read it, or let the flow leave an artifact."
        )
    try:
        base, below = found
        file = ObjectStoragePath(base) / below
        with file.open("rb") as opened:  # type: ignore[no-untyped-call]
            content: bytes = opened.read(limit + 1)
    except FileNotFoundError:
        raise ResultError(f"The result's file {quoted(path)} does not exist on this machine.") from None
    except OSError as error:
        raise ResultError(
            f"The result's file {quoted(path)} cannot be read: {line(error.strerror or type(error).__name__)}."
        ) from None
    except (ImportError, ValueError) as error:  # no filesystem for this kind of URL, or a name it does not take
        raise ResultError(f"The result's file {quoted(path)} cannot be read: {line(str(error))}.") from None
    except Exception as error:  # of the storage's own library, whose text may hold anything
        raise ResultError(f"The result's file {quoted(path)} cannot be read: {type(error).__name__}.") from None
    if len(content) > limit:
        raise ResultError(f"The result's file {quoted(path)} has more than {limit:,} bytes.")
    return content


def _below(path: str, root: str) -> tuple[str, str] | None:
    """Return what to read: a URL, and what is below it; ``None`` if ``path`` is not below ``root``."""
    (kind, bucket, wanted), (root_kind, root_bucket, allowed) = _split(path), _split(root)
    if (kind, bucket.rpartition("@")[2]) != (root_kind, root_bucket.rpartition("@")[2]):
        return None
    if kind == "file":
        below = _file_below(wanted, allowed)
        return None if below is None else (f"file://{os.path.realpath(allowed)}", below)
    key, prefix = wanted[1:], allowed[1:]
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    is_below = key.startswith(prefix) and key != prefix
    return (f"{kind}://{root_bucket}", key) if is_below and _is_read_as_it_is(key) else None


def _file_below(path: str, root: str) -> str | None:
    """Return a file's path relative to ``root``; ``None`` if it is not below it, symlinks and ``..`` considered."""
    try:
        wanted, allowed = os.path.realpath(path), os.path.realpath(root)
    except ValueError:  # a character that no path has
        return None
    if not path.startswith("/"):
        return None
    below = os.path.relpath(wanted, allowed)
    return None if below == os.curdir or below.split("/")[0] == os.pardir else below


def _is_read_as_it_is(key: str) -> bool:
    """Return whether the libraries that read objects leave this key as it is.

    They drop a slash at its end (fsspec), a segment that is a dot (Airflow 2.11) and what may be a version (s3fs), and
    servers may follow two dots. Prefect gives no such keys.
    """
    segments = key.split("/")
    return not (os.pardir in segments or os.curdir in segments or key.endswith("/") or _VERSION in key)


def _split(path: str) -> tuple[str, str, str]:
    """Return scheme, bucket and what follows it; the bucket with the Airflow connection in ``connection@bucket``."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return "file", "", path
    netloc, slash, below = rest.partition("/")
    return scheme, netloc, slash + below
