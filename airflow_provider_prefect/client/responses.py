"""Turn a response that is not a success into one of our errors, with Prefect's own reason in it."""

from __future__ import annotations

import reprlib
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    InvalidRequest,
    MalformedAnswer,
    NotFound,
)
from airflow_provider_prefect.client.transport import Response

_MAX_RETRY_AFTER = 600.0
"""Seconds; a server that asks for a longer pause is asked again before."""


def error_from(response: Response) -> ApiError:
    """Return the error that ``response`` stands for.

    What was sent is never repeated in it, since it may hold secrets.
    """
    error = _error_from(response)
    error.retry_after = retry_after(response)
    return error


def _error_from(response: Response) -> ApiError:
    status = response.status
    reason = reason_given(response)
    if status in (401, 403):
        return AuthenticationError(_authentication_message(status, reason), status)
    if status == 404:
        return NotFound(f"HTTP 404: {reason or 'nothing is at this address'}", detail=reason)
    if 300 <= status < 400:
        return ApiError(_redirect_message(response), status)
    if status in (400, 405, 409, 413, 422) and reason:
        return InvalidRequest(f"Prefect refused the request (HTTP {status}): {reason}", status, fields(response))
    if reason:
        return ApiError(f"HTTP {status}: {reason}", status)
    return response.not_json()


def reason_given(response: Response) -> str:
    """Return Prefect's own reason for a failure; empty if something else than Prefect answered."""
    body = _json_object(response)
    detail = body.get("detail") or body.get("exception_message")
    if isinstance(detail, list):  # Prefect 2.20 lists what is wrong with a request here
        return printable.line("; ".join(_invalid_fields(detail)))
    invalid = "; ".join(_invalid_fields(body.get("exception_detail")))
    text = detail if isinstance(detail, str) else reprlib.repr(detail) if detail else ""
    return printable.line(f"{text} {invalid}".strip() if text else "")


def fields(response: Response) -> tuple[str, ...]:
    """Return the names of the fields that a 422 complains about."""
    body = _json_object(response)
    records = body.get("exception_detail") or body.get("detail")
    if not isinstance(records, list):
        return ()
    return tuple(str(where[-1]) for record in records if (where := _location(record)))


def retry_after(response: Response) -> float:
    """Return the seconds that ``Retry-After`` (a number or a date) asks to wait; 0 without one."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
    # Comparisons in this order also turn NaN into 0.
    return min(max(0.0, seconds), _MAX_RETRY_AFTER)


def is_integrity_conflict(response: Response) -> bool:
    """Return whether a 409 says that two writes met, which a retry may resolve; other 409s refuse the parameters."""
    return response.status == 409 and "integrity conflict" in reason_given(response).lower()


def asks_for_csrf_token(response: Response) -> bool:
    """Return whether a 403 says that the server wants a (fresh) CSRF token, and not other credentials."""
    if response.status != 403:
        return False
    text = reason_given(response)
    return "CSRF" in text or "client identifier" in text


def may_be_wrong_url(error: ApiError) -> bool:
    """Return whether ``error`` is what a request to a wrong API URL ends in."""
    if error.status >= 500 or (isinstance(error, NotFound) and error.detail not in ("", "Not Found")):
        return False
    return isinstance(error, (NotFound, MalformedAnswer)) or error.status in (400, 405)


def _invalid_fields(records: Any) -> Iterator[str]:
    """Yield ``field: message`` for each invalid field; never its ``input``, which repeats what was sent."""
    if isinstance(records, list):
        for record in records:
            if isinstance(record, dict) and isinstance(record.get("msg"), str):
                where = ".".join(str(part) for part in _location(record) if part != "body")
                yield f"{where}: {record['msg']}" if where else record["msg"]


def _location(record: Any) -> list[str | int]:
    """Return where in a request an invalid field is."""
    where = record.get("loc") if isinstance(record, dict) else None
    return [part for part in where if isinstance(part, str | int)] if isinstance(where, list) else []


def _json_object(response: Response) -> dict[str, Any]:
    try:
        body = response.json()
    except MalformedAnswer:
        return {}
    return body if isinstance(body, dict) else {}


def _authentication_message(status: int, reason: str) -> str:
    answered = f"Prefect answered {status} ({reason or 'no reason given'})"
    if status == 401:
        return (
            f"{answered}: the API key (password, without a login) or the user and password (login and password) of the "
            "connection are missing or wrong."
        )
    return f"{answered}: the connection's credentials do not allow this, or belong to another workspace."


def _redirect_message(response: Response) -> str:
    where = "another address"
    with suppress(ValueError):
        target = urlsplit(response.headers.get("location", ""))
        if target.scheme:
            where = printable.line(f"{target.scheme}://{target.hostname or ''}")
    return (
        f"HTTP {response.status}: the API URL redirects to {where}. Redirects are not followed, since they would take "
        "the credentials along; give the connection the URL that answers itself."
    )
