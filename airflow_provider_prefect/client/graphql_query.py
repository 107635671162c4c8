"""Sending a document to Prefect 1's GraphQL API, and what its answers mean. Pure.

The server answers with HTTP 200 also where it has failed, and names the fault in the body (prefect 1.4.1,
``client/client.py``: an ``API_ERROR`` is asked again, ``UNAUTHENTICATED`` is about the key).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_prefect.client.call import Call, Request, Response

_UNAVAILABLE, _UNAUTHENTICATED, _REFUSED = 503, 401, 400


@dataclass(frozen=True)
class Query(Request):
    """One document with its variables, sent to the API URL itself. The answer has the status that its body tells."""

    def __iter__(self) -> Call[Response]:
        response = yield from super().__iter__()
        return _as_told(response)


def ask(document: str, *, repeatable: bool = True, **variables: Any) -> Call[dict[str, Any]]:
    """The ``data`` that the server answers with."""
    body = {"query": document, "variables": variables}
    response = yield from Query("POST", "", body, repeatable)
    data: dict[str, Any] = response.json()["data"]
    return data


def _as_told(response: Response) -> Response:
    """``response`` with the status and the reason that a REST API would give."""
    try:
        body = json.loads(response.text)
    except ValueError:
        return response
    if not isinstance(body, dict):
        return replace(response, status=_UNAVAILABLE) if response.ok else response
    errors = body.get("errors")
    if not errors:
        data = body.get("data")
        # Whether a key has a tenant is the one thing that may be null.
        complete = isinstance(data, dict) and data and None not in {**data, "auth_info": {}}.values()
        return response if complete or not response.ok else replace(response, status=_UNAVAILABLE)
    reason = "; ".join(_messages(errors)) or "no reason given"
    status = response.status
    if response.ok:
        told = json.dumps(errors)
        if "UNAUTHENTICATED" in told or "Malformed Authorization header" in told:
            status = _UNAUTHENTICATED
        else:
            status = _UNAVAILABLE if "API_ERROR" in told else _REFUSED
    return replace(response, status=status, text=json.dumps({"detail": reason}))


def _messages(errors: Any) -> Iterator[str]:
    for error in errors if isinstance(errors, list) else [errors]:
        yield str(error.get("message") or "") if isinstance(error, Mapping) else str(error)
