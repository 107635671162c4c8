"""The formats of results: where Prefect says that a result is stored, and how to read it as plain Python values."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import Artifact, State
from airflow_provider_prefect.client.printable import quoted
from airflow_provider_prefect.client.results import unpickle

WAY_OUT_1 = "Let the task write JSON: @task(result=LocalResult(serializer=JSONSerializer()))."
WAY_OUT = "Let the flow or task write JSON: persist_result=True, result_serializer='json'."

_MALFORMED = (
    ValueError,
    ArithmeticError,  # of Decimal
    AttributeError,
    KeyError,
    TypeError,
    RecursionError,
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
)

_DURATION = re.compile(r"([-+])?P(?:(\d+)Y)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")

_MAX_TRAILING_ZEROS = 300

_PICKLE_MAGIC = b"\x80"
"""What every pickle of protocol 2 and above begins with."""

_LZMA_MEMORY = 128 * 1024 * 1024
"""Bytes; a file may ask for 4 GiB, lzma's strongest preset needs 65 MiB."""


@dataclass(frozen=True)
class Literal:
    """Hold a value that is part of the state itself (Prefect 2: ``None``, ``True`` and ``False``)."""

    value: Any


@dataclass(frozen=True)
class Record:
    """Say in which file a value is. ``block_id`` is the storage block that ``key`` is relative to, if any."""

    key: str
    block_id: str | None
    serializer: Mapping[str, Any]


def find_result(state: State, described_as: str) -> Literal | Record:
    """Return where the result is that a run has ended with.

    :param described_as: the run, in words.
    :raises ResultError: none was kept; Prefect shows ``None`` and "not persisted" alike.
    """
    data = state.data
    if isinstance(data, Mapping) and data.get("type") == "literal":
        return Literal(data.get("value"))
    if isinstance(data, Mapping) and data.get("storage_key"):
        serializer = data.get("serializer") or data.get("serializer_type") or "pickle"
        if not isinstance(serializer, Mapping):
            serializer = {"type": serializer}
        block_id = data.get("storage_block_id")
        return Record(str(data["storage_key"]), None if block_id is None else str(block_id), serializer)
    raise ResultError(
        f"{described_as} has left no result: it either returned None or does not persist what it returns, which "
        f"Prefect does not tell apart. Let it persist: persist_result=True, result_serializer='json'; or leave an "
        "artifact."
    )


def read(record: Record, content: bytes, max_size: int) -> Any:
    """Return the value in ``content``, the bytes of the file that ``record`` names.

    The file of a flow run of Prefect 3 holds the serializer's output as it is. Those of Prefect 2, and of task runs of
    Prefect 3, wrap it, together with the serializer's full description.

    :param max_size: bytes that a compressed value may have in the end.
    :raises ResultError: it cannot be read as plain data.
    """
    try:
        wrapped = json.loads(content)
    except (ValueError, RecursionError):
        wrapped = None
    # A flow may itself return a mapping that looks like these, so they are looked at closely.
    match wrapped:
        case {"metadata": {"storage_key": _, "serializer": {"type": _} as serializer}, "result": str(body), **more}:
            pass
        case {"serializer": {"type": _} as serializer, "data": str(body), "prefect_version": str(), **more}:
            pass
        case _:
            return _deserialized(content, record.serializer, max_size)
    if more:
        return _deserialized(content, record.serializer, max_size)
    return _deserialized(body.encode(), serializer, max_size)


def _deserialized(body: bytes, serializer: Mapping[str, Any], max_size: int) -> Any:
    kind = str(serializer.get("type", ""))
    try:
        if kind.startswith("compressed"):
            inner = serializer.get("serializer") or {"type": kind.partition("/")[2]}
            return _deserialized(
                _decompressed(body, str(serializer.get("compressionlib", "lzma")), max_size), inner, max_size
            )
        if kind == "json":
            return json.loads(body, object_hook=_from_prefect_json)
        if kind == "prefect-1":  # which does not say what it has written: a pickle, unless told otherwise
            return unpickle.plain(body, WAY_OUT_1, max_size) if body.startswith(_PICKLE_MAGIC) else json.loads(body)
        if kind == "pickle":
            return unpickle.plain(base64.b64decode(body), WAY_OUT, max_size)
    except unpickle.TooLarge:
        raise _too_large(max_size) from None
    except _MALFORMED as error:
        raise ResultError(
            f"The result's file is not what Prefect says it is, {quoted(kind)} ({type(error).__name__})."
        ) from None
    raise ResultError(f"The result was written with the serializer {quoted(kind)}, which is not supported. {WAY_OUT}")


def _decompressed(body: bytes, library: str, max_size: int) -> bytes:
    decompress: dict[str, Callable[[bytes, int], bytes]] = {
        "lzma": lambda data, limit: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(data, limit),
        "bz2": lambda data, limit: bz2.BZ2Decompressor().decompress(data, limit),
        "zlib": lambda data, limit: zlib.decompressobj().decompress(data, limit),
        "gzip": lambda data, limit: zlib.decompressobj(31).decompress(data, limit),
    }
    if library not in decompress:
        raise ResultError(f"The result was compressed with {quoted(library)}, which is not supported. {WAY_OUT}")
    # Base64, and so larger than what it stands for.
    plain = decompress[library](base64.b64decode(body), 2 * max_size + 1)
    if len(plain) > 2 * max_size:
        raise ResultError(f"The result has more than {2 * max_size:,} bytes when it is decompressed.")
    return plain


def _from_prefect_json(value: dict[str, Any]) -> Any:
    """Return a value that Prefect has written as ``{"__class__": …, "data": …}``; of other classes their data."""
    if set(value) != {"__class__", "data"}:
        return value
    data = value["data"]
    match value["__class__"]:
        case "datetime.datetime":
            return datetime.fromisoformat(data)
        case "datetime.date":
            return date.fromisoformat(data)
        case "datetime.time":
            return time.fromisoformat(data)
        case "datetime.timedelta":
            return timedelta(seconds=data) if isinstance(data, int | float) else _duration(data)
        case "builtins.set":
            return set(data)
        case "builtins.frozenset":
            return frozenset(data)
        case "decimal.Decimal":
            return Decimal(data)
        case "uuid.UUID":
            return UUID(data)
    return data


def _duration(text: str) -> timedelta:
    """Parse a duration as pydantic writes it: ``-P1Y70DT5.000007S``, with years of 365 days."""
    parts = _DURATION.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    sign, years, *others = parts.groups(default="0")
    days, hours, minutes, seconds = (Decimal(part) for part in others)
    total = ((days + 365 * int(years)) * 24 + hours) * 3600 + minutes * 60 + seconds
    return timedelta(microseconds=int(total * 1_000_000)) * (-1 if sign == "-" else 1)


def of_artifact(artifact: Artifact) -> Any:
    """Return the value of an artifact: a table's rows, a markdown's or link's text, or whatever JSON it holds.

    :raises ResultError: a table's rows are not JSON.
    """
    if artifact.type == "table" and isinstance(artifact.data, str):
        try:
            return json.loads(artifact.data)
        except (ValueError, RecursionError):
            raise ResultError("The artifact is a table whose rows are not JSON.") from None
    return artifact.data


def as_xcom(value: Any) -> Any:
    """Return ``value`` with text for what not every Airflow's XCom can carry: ``UUID`` (before 3.2) and ``time``.

    Times are in UTC: Airflow writes one with another offset, and cannot read it again.

    :raises ResultError: it holds a ``Decimal`` that an XCom would change, or a ``UUID`` without a value, which a pickle
        can make.
    """
    if isinstance(value, dict):
        return {key: as_xcom(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(as_xcom(item) for item in value)
    if isinstance(value, UUID | time):
        try:
            return str(value)
        except (AttributeError, TypeError):
            raise ResultError("The result cannot become an XCom: it holds a UUID that has no value.") from None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if isinstance(value, Decimal):
        # Airflow keeps a whole one as an integer with all its zeros, and any other one as a float.
        whole = value.is_finite() and value.as_tuple().exponent in range(_MAX_TRAILING_ZEROS)
        if not whole and Decimal(str(float(value))) != value:
            raise ResultError(
                f"The result cannot become an XCom: Airflow stores a Decimal as a float, which would change "
                f"{value}. Let the flow return text."
            )
    return value


def checked(value: Any, max_size: int) -> Any:
    """Return ``value``, if an XCom can carry it and it has at most ``max_size`` bytes as JSON.

    It is measured piece by piece: a few bytes of pickle can stand for more than fits into memory.
    """
    size = 0
    try:
        for piece in json.JSONEncoder(default=_carried, allow_nan=False).iterencode(value):
            size += len(piece)
            if size > max_size:
                raise _too_large(max_size)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"The result cannot become an XCom: {error}.") from None
    return value


def _too_large(max_size: int) -> ResultError:
    return ResultError(
        f"The result has more than max_result_size={max_size:,} bytes as JSON. Let the flow store it and return where "
        "it is, or raise max_result_size."
    )


def _carried(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, date | time | timedelta | Decimal | UUID):
        return str(value)
    raise TypeError(f"it holds a value of type {type(value).__name__}")
