"""What an answer that is no success means: one of our errors, with Prefect's own reason in it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_prefect.client.call import Response
from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    InvalidRequest,
    MalformedAnswer,
    NotFound,
)

_EXCERPT = 500


def failure(response: Response) -> ApiError:
    """The error that ``response`` stands for. What was sent is never repeated in it: it may hold secrets."""
    status = response.status
    reason = reason_given(response)
    if status in (401, 403):
        return AuthenticationError(_authentication(status, reason), status)
    if status == 404:
        return NotFound(f"HTTP 404: {reason or 'nothing is at this address'}", detail=reason)
    if 300 <= status < 400:
        return ApiError(_redirected(response), status)
    if status in (400, 405, 409, 413, 422) and reason:
        return InvalidRequest(f"Prefect refused the request (HTTP {status}): {reason}", status, fields(response))
    if reason:
        return ApiError(f"HTTP {status}: {reason}", status)
    return MalformedAnswer(status, response.text)


def reason_given(response: Response) -> str:
    """Prefect's own words for why not; empty where something else than Prefect has answered."""
    body = _object(response)
    detail = body.get("detail") or body.get("exception_message")
    if isinstance(detail, list):  # Prefect 2.20 gives the list of a request's faults here
        return "; ".join(_faults(detail))[:_EXCERPT]
    faults = "; ".join(_faults(body.get("exception_detail")))
    text = f"{detail} {faults}".strip() if detail and faults else str(detail or "")
    return text[:_EXCERPT]


def fields(response: Response) -> tuple[str, ...]:
    """The names of the fields that a 422 complains of."""
    body = _object(response)
    records = body.get("exception_detail") or body.get("detail")
    if not isinstance(records, list):
        return ()
    return tuple(str(record["loc"][-1]) for record in records if isinstance(record, dict) and record.get("loc"))


def is_integrity_conflict(response: Response) -> bool:
    """Whether a 409 says that two writes met, which another try may resolve; other 409s refuse the parameters."""
    return response.status == 409 and "integrity conflict" in reason_given(response).lower()


def asks_for_csrf_token(response: Response) -> bool:
    """Whether a 403 says that this server wants a (fresh) CSRF token, and not other credentials."""
    text = reason_given(response)
    return response.status == 403 and ("CSRF" in text or "client identifier" in text)


def _faults(records: Any) -> Iterator[str]:
    """``field: message`` of each fault; never its ``input``, which repeats what was sent."""
    if isinstance(records, list):
        for record in records:
            if isinstance(record, dict) and "msg" in record:
                where = ".".join(str(part) for part in record.get("loc", ()) if part != "body")
                yield f"{where}: {record['msg']}" if where else str(record["msg"])


def _object(response: Response) -> dict[str, Any]:
    try:
        body = json.loads(response.text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _authentication(status: int, reason: str) -> str:
    said = f"Prefect answered {status} ({reason or 'no reason given'})"
    if status == 401:
        return (
            f"{said}: the API key (password, without a login) or the user and password (login and password) of the "
            "connection are missing or wrong."
        )
    return f"{said}: the connection's credentials do not allow this, or belong to another workspace."


def _redirected(response: Response) -> str:
    target = urlsplit(response.headers.get("location", ""))
    where = f"{target.scheme}://{target.hostname or ''}" if target.scheme else "another address"
    return (
        f"HTTP {response.status}: the API URL redirects to {where}. Redirects are not followed, since they would take "
        "the credentials along; give the connection the URL that answers itself."
    )
