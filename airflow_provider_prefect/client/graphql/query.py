"""Send a document to Prefect 1's GraphQL API, and give its response the status that a REST API would have.

The server answers with HTTP 200 also where it has failed, and names the failure in the body (prefect 1.4.1,
``client/client.py``: an ``API_ERROR`` is asked again, ``UNAUTHENTICATED`` is about the key). At the address of the API
is Apollo, which passes a document on to Hasura or to Prefect's own service. What they refuse and what it cannot reach
both become errors of a response, which :class:`_Error` tells apart.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from airflow_provider_prefect.client.errors import MalformedAnswer
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response, Transport

T = TypeVar("T")

_UNAVAILABLE, _UNAUTHENTICATED, _REFUSED = 503, 401, 400
"""HTTP statuses."""

_REFUSING_CODES = frozenset(
    (
        *("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT", "BAD_REQUEST", "FORBIDDEN"),
        *("validation-failed", "parse-failed", "constraint-violation", "constraint-error", "data-exception"),
        *("permission-error", "permission-denied", "access-denied", "not-exists", "not-supported", "bad-request"),
    )
)
"""Codes of Apollo, in capitals, and of Hasura for what was sent: it would be refused again."""

_TROUBLE_CODES = frozenset(
    (
        *("API_ERROR", "SERVICE_UNAVAILABLE", "DOWNSTREAM_SERVICE_ERROR"),
        *("unexpected", "postgres-error", "postgres-max-connections-error", "internal-error", "concurrent-update"),
    )
)
"""Codes for trouble of the server itself, which may pass."""

_REFUSAL = re.compile(
    r"^(?:Required parameters were not supplied|Flow \S+ is archived|Flow \S+ not found|Version group |Invalid |Must )"
    r"|got invalid value|Could not parse|^(?:Uniqueness|Foreign key) violation|^invalid input syntax"
    r"|'code': '(?:constraint-violation|data-exception|validation-failed)'"
)
"""What Prefect's server says when it refuses what was sent (prefect-server 2022.09.23); it may quote what was sent."""

_TROUBLE = re.compile(
    # Node.js and node-fetch, where Apollo does not reach the services behind it
    r"\bE(?:CONN[A-Z]+|(?:SOCKET)?TIMEDOUT|HOST[A-Z]+|NET[A-Z]+|NOTFOUND|AI_[A-Z]+|PIPE|PROTO|MFILE|ADDRNOTAVAIL)\b"
    r"|failed, reason:|invalid json response body|socket hang up|network (?:timeout|error)|fetch failed|premature close"
    r"|Unexpected (?:token|end of JSON)|Cannot read propert|Cannot return null for non-nullable field"
    # what a proxy between them says
    r"|Bad Gateway|Service Unavailable|Gateway Time-?out|upstream"
    # the service in Python, where it does not reach Hasura or PostgreSQL
    r"|API_ERROR|internal API error|Unable to (?:complete|connect)|\[Errno |Connect call failed"
    r"|connection attempts failed|Connection (?:refused|reset|timed out)|Server disconnected"
    r"|Name or service not known|name resolution"
    r"|Expecting value: line|tim(?:ed ?out|e-?out)\b"
    # Hasura and PostgreSQL
    r"|database query error|connection error|postgres|too many (?:clients|connections)|connection slots"
    r"|connection (?:was|is|to the server) |closed the connection|terminating connection|the database system is"
    r"|deadlock detected|could not serialize|canceling statement|'code': '(?:unexpected|internal-error)'",
    re.IGNORECASE,
)
"""What comes out of Apollo when something behind it has failed. Its code is INTERNAL_SERVER_ERROR, like that of a
refusal, so that only the text tells them apart."""

_OPERATION = re.compile(r"\b(?:query|mutation) \w+")
"""The kind and name of a document's operation."""


class GraphqlTransport:
    """Send requests through ``transport``, and translate each response to the status that its body stands for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def settings(self) -> Settings:
        return self._transport.settings

    async def sleep(self, seconds: float) -> None:
        await self._transport.sleep(seconds)

    async def send(self, request: Request) -> Response:
        return with_rest_status(await self._transport.send(request))


class GraphqlQueries:
    """Send documents to the API URL. The parts of the API are subclasses, which :class:`..GraphqlApi` joins.

    :param transport: raises an error for a response that is not a success.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def query(
        self, document: str, read: Callable[[Fields], T], *, repeatable: bool = True, **variables: Any
    ) -> T:
        """Return what ``read`` makes of the ``data`` of the response to one document with its variables."""
        body = {"query": document, "variables": variables}
        named = _OPERATION.search(document)
        operation = f"GraphQL {named[0]}" if named else "a GraphQL document"
        response = await self.transport.send(Request("POST", "", body, repeatable, operation))
        return response.read(lambda parsed: Fields(parsed).part("data", lambda data: read(Fields(data))))


def count(data: Fields, table: str) -> int:
    """Return the number that a query for an aggregate asks for."""
    return data.part(table, lambda found: Fields(found).part("aggregate", lambda rows: Fields(rows).number("count")))


def with_rest_status(response: Response) -> Response:
    """Return ``response`` with the status and the reason that a REST API would give."""
    try:
        body = response.json()
    except MalformedAnswer:
        return response
    if not isinstance(body, dict):
        return replace(response, status=_UNAVAILABLE) if response.ok else response
    errors = body.get("errors")
    if not errors:
        data = body.get("data")
        # auth_info, which says whether a key has a tenant, is the only field that may be null.
        complete = isinstance(data, dict) and data and None not in {**data, "auth_info": {}}.values()
        return response if complete or not response.ok else replace(response, status=_UNAVAILABLE)
    told = [_Error.from_json(error) for error in (errors if isinstance(errors, list) else [errors])]
    reason = "; ".join(error.message for error in told if error.message) or "no reason given"
    status = response.status
    if response.ok:
        statuses = {error.status for error in told}
        status = next(each for each in (_UNAUTHENTICATED, _UNAVAILABLE, _REFUSED) if each in statuses)
    return replace(response, status=status, text=json.dumps({"detail": reason}))


@dataclass(frozen=True)
class _Error:
    """Describe one error of a response: its message, and its code, which says who has failed."""

    message: str
    code: str

    @classmethod
    def from_json(cls, error: Any) -> _Error:
        if not isinstance(error, Mapping):
            return cls(error if isinstance(error, str) else reprlib.repr(error), "")
        message, extensions = error.get("message"), error.get("extensions")
        code = extensions.get("code") if isinstance(extensions, Mapping) else None
        return cls(message if isinstance(message, str) else "", code if isinstance(code, str) else "")

    @property
    def status(self) -> int:
        """Return the status that a REST API would give for it."""
        if self.code in _REFUSING_CODES or _REFUSAL.search(self.message):
            return _REFUSED
        if "UNAUTHENTICATED" in f"{self.code} {self.message}" or "Malformed Authorization header" in self.message:
            return _UNAUTHENTICATED
        nothing_said = self.code == "INTERNAL_SERVER_ERROR" and not self.message
        if self.code in _TROUBLE_CODES or nothing_said or _TROUBLE.search(self.message):
            return _UNAVAILABLE
        return _REFUSED
