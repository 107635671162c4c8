"""What a flow run has returned, as plain Python values: where Prefect says it lies, and how to read it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import Artifact, FlowRun

PERSIST = "@flow(persist_result=True, result_serializer='json')"


@dataclass(frozen=True)
class Literal:
    """A value that stands in the state itself (Prefect 2: ``None``, ``True`` and ``False``)."""

    value: Any


@dataclass(frozen=True)
class Record:
    """A value in a file. ``block_id`` is the storage block that ``key`` is relative to, if any."""

    key: str
    block_id: str | None
    serializer: str


def located(run: FlowRun) -> Literal | Record:
    """Where the flow run's result is.

    :raises ResultError: it has none that was kept; Prefect shows ``None`` and "not persisted" alike.
    """
    data = run.state.data
    if isinstance(data, Mapping) and data.get("type") == "literal":
        return Literal(data.get("value"))
    if isinstance(data, Mapping) and data.get("storage_key"):
        serializer = data.get("serializer") or {}
        kind = serializer.get("type") if isinstance(serializer, Mapping) else None
        return Record(data["storage_key"], data.get("storage_block_id"), kind or data.get("serializer_type") or "")
    raise ResultError(
        f"Flow run {run.name!r} has left no result: it either returned None or does not persist what it returns, which "
        f"Prefect does not tell apart. Let the flow be {PERSIST}, or leave an artifact whose key is named instead."
    )


def read(record: Record, content: bytes) -> Any:
    """The value in ``content``, the bytes of the file that ``record`` names.

    The file of a flow run of Prefect 3 holds the serializer's output as it is; that of Prefect 2 wraps it.

    :raises ResultError: it was not written as JSON.
    """
    if record.serializer != "json":
        raise ResultError(
            f"The result was written with the serializer {record.serializer or 'pickle'!r}, and is not read: "
            f"reading a pickle runs code of whoever wrote it. Let the flow write JSON: {PERSIST}."
        )
    try:
        value = json.loads(content)
        if isinstance(value, Mapping) and {"serializer", "data", "prefect_version"} == set(value):
            return json.loads(value["data"])
        return value
    except ValueError:
        raise ResultError("The result's file is not JSON, although Prefect says that it was written so.") from None


def of_artifact(artifact: Artifact) -> Any:
    """The value of an artifact: a table's rows, a markdown's or link's text, or whatever JSON it holds."""
    if artifact.type == "table" and isinstance(artifact.data, str):
        return json.loads(artifact.data)
    return artifact.data


def check_size(value: Any, most: int) -> Any:
    """``value``, if it is fit for an XCom: at most ``most`` bytes as JSON."""
    try:
        size = len(json.dumps(value))
    except (TypeError, ValueError):
        raise ResultError("The result is not plain JSON, and cannot be handed on as an XCom.") from None
    if size > most:
        raise ResultError(
            f"The result has {size:,} bytes as JSON, more than max_result_size={most:,}. Let the flow store it and "
            "return where it is, or raise max_result_size."
        )
    return value
