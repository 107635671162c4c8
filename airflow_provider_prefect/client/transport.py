"""Requests, responses and the transport that carries them.

Every call of Prefect's API is written once, as ``async def`` over a :class:`Transport`. In the triggerer the transport
is asynchronous and the call is awaited. In a worker the transport blocks and never suspends, so :func:`run` takes the
same call to its end in one step, without an event loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.errors import MalformedAnswer
from airflow_provider_prefect.client.fields import WrongShape
from airflow_provider_prefect.client.settings import Settings

T = TypeVar("T")

_EXCERPT = 300
"""Characters of a body that is not Prefect's which are shown."""


@dataclass(frozen=True)
class Request:
    """Describe one HTTP request.

    :param method: ``GET``, ``POST`` or ``PATCH``.
    :param path: relative to the API URL.
    :param body: what is sent as JSON; ``None`` sends no body.
    :param repeatable: whether sending the request twice does no more than sending it once, so that it may be sent again
        when it is not known whether the server has acted on it (a lost response, a 500).
    :param operation: what is asked for, where method and path do not say it: the name of a GraphQL document.
    """

    method: str
    path: str
    body: Any = None
    repeatable: bool = True
    operation: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Return what the request is called in a message: ``GET /flow_runs/…``."""
        return self.operation or f"{self.method} {self.path.partition('?')[0]}".strip()


@dataclass(frozen=True)
class Response:
    """Hold what the server answered, whatever its status.

    :param headers: with their names in lower case.
    :param resent: whether the request had been sent before, and it is not known whether the server has acted on that.
    :param request: what it is the response to, for messages.
    """

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    resent: bool = field(default=False, compare=False)
    request: str = field(default="", compare=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def read(self, parse: Callable[[Any], T]) -> T:
        """Return what ``parse`` makes of the parsed body.

        :raises MalformedAnswer: the body is not JSON (a proxy's page, half a response), or ``parse`` finds a field
            missing or of a wrong type. The message names the request and the field.
        """
        try:
            return parse(self.json())
        except WrongShape as error:
            problem = str(error)
        except RecursionError:
            problem = "it is nested too deeply"
        asked = f"The response to {self.request}" if self.request else "A response"
        raise MalformedAnswer(f"{asked} is not what Prefect sends: {problem}.", self.status)

    @property
    def is_json(self) -> bool:
        """Return whether the body is JSON, and not a proxy's page or half a response."""
        try:
            self._parsed  # noqa: B018
        except (ValueError, RecursionError):
            return False
        return True

    def json(self) -> Any:
        """Return the parsed body.

        :raises MalformedAnswer: the body is not JSON.
        """
        if not self.is_json:
            raise self.not_json()
        return self._parsed

    @cached_property
    def _parsed(self) -> Any:
        return json.loads(self.text)

    def not_json(self) -> MalformedAnswer:
        """Return the error for a body that is not Prefect's JSON. JSON is not shown: it may repeat what was sent."""
        excerpt = printable.line(" ".join(self.text[:_EXCERPT].split())) or "an empty body"
        if excerpt[0] in "{[":
            excerpt = f"{len(self.text):,} characters that begin with {excerpt[0]}"
        asked = f"{self.request}: " if self.request else ""
        is_page = self.text.lstrip()[:100].lower().startswith(("<!doctype html", "<html"))
        message = f"{asked}HTTP {self.status} with something that is not Prefect's JSON: {excerpt}"
        return MalformedAnswer(message, self.status, is_page)


class Transport(Protocol):
    """Send requests to one Prefect API. A transport may wrap another one, for example to send requests again."""

    @property
    def settings(self) -> Settings:
        """Return the connection's settings in use."""

    async def send(self, request: Request) -> Response:
        """Send ``request`` and return the response."""

    async def sleep(self, seconds: float) -> None:
        """Pause."""


class ReloadableTransport(Transport, Protocol):
    """Send requests with credentials that can be read from the connection again."""

    async def reload_settings(self) -> None:
        """Read the connection again, because its credentials were refused. A failure to read it is only logged."""


def run(call: Coroutine[Any, Any, T]) -> T:
    """Run ``call`` to its end over a blocking transport and return its result.

    No event loop is needed, and one that is already running does no harm.

    :raises RuntimeError: the call waits for an event loop; its transport is an asynchronous one.
    """
    try:
        call.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    call.close()
    raise RuntimeError(f"{call!r} waits for an event loop: run() needs a blocking transport.")
