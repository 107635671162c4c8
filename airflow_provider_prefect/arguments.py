"""What users give to operators, in the forms they give it, as what the API takes; or what is wrong with it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pendulum

from airflow_provider_prefect.client.errors import ConfigurationError


def json_object(name: str, value: Mapping[str, Any] | str | None) -> dict[str, Any] | None:
    """A mapping, given as one or as its JSON text, with every value in a form that JSON has."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConfigurationError(
                f"{name} is text, but not JSON ({error}). Give a mapping, or the JSON text of an object."
            ) from None
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{name} is a JSON {type(value).__name__}, not an object. Give a mapping from names to values."
        )
    plain: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise ConfigurationError(f"{name} has the key {key!r}, which is no text.")
        try:
            plain[key] = json.loads(json.dumps(item, default=_as_json, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{name}[{key!r}] cannot be sent as JSON: {error}.") from None
    return plain


def _as_json(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def start_time(name: str, value: date | timedelta | str | None) -> datetime | None:
    """A time given as a datetime, as ISO 8601 text, or as how long from now (a timedelta, or text such as ``PT5M``).

    A time without a zone is taken as UTC, a date without a time (``{{ ds }}``) as its midnight.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = pendulum.parse(value.strip(), exact=True)  # type: ignore[assignment]
        except ValueError:
            raise ConfigurationError(
                f"{name}={value!r} is neither an ISO 8601 time nor a duration such as PT5M."
            ) from None
    if isinstance(value, timedelta) and not isinstance(value, pendulum.Interval):
        return datetime.now(UTC) + value
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ConfigurationError(f"{name}={value!r} is neither a datetime, nor a timedelta, nor the ISO 8601 text of one.")


def texts(name: str, value: Sequence[str] | str | None) -> tuple[str, ...]:
    """A list of texts; one text alone is refused, since it would count letter by letter."""
    if value is None or value == "":
        return ()
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f"{name}={value!r} is not a list of texts.")
    return tuple(value)
