"""The vocabulary of the pure layer: what an API call may ask of whoever runs it.

A call is a generator that does no I/O. It yields an effect (a :class:`Request`, a :class:`Look`…), is sent the
answer, and returns a parsed value. The same call therefore serves the synchronous hook and the asynchronous trigger,
and a test can drive it by hand.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from airflow_provider_prefect.client.errors import MalformedAnswer
from airflow_provider_prefect.client.model import FlowRun, LogRecord

T = TypeVar("T")
Y = TypeVar("Y")


@dataclass(frozen=True)
class Response:
    """What the server answered, whatever its status. Header names are in lower case.

    ``resent`` says that the request had been sent before, without an answer that tells whether the server acted on it.
    """

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    resent: bool = field(default=False, compare=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The parsed body; :class:`MalformedAnswer` if it is no JSON (a proxy's page, half an answer)."""
        try:
            return json.loads(self.text)
        except ValueError:
            raise MalformedAnswer(self.status, self.text) from None


@dataclass(frozen=True)
class Request:
    """One HTTP request; ``path`` is relative to the API URL. ``response = yield from Request(...)``.

    ``repeatable`` says that sending it twice does no more than sending it once, so that it may be sent again
    when nobody knows whether the server has acted on it (a lost answer, a 500).
    """

    method: str
    path: str
    body: Any = None
    repeatable: bool = True

    def __iter__(self) -> Call[Response]:
        response = yield self
        assert isinstance(response, Response)
        return response


@dataclass(frozen=True)
class Sleep:
    """A pause, in seconds."""

    seconds: float

    def __iter__(self) -> Call[None]:
        yield self


@dataclass(frozen=True)
class Look:
    """The flow run as soon as its state is not ``known``; ``None`` when ``until`` (epoch seconds) comes first.

    ``once_more`` says whether it matters what its state is at that moment: whether it is asked for then.
    """

    flow_run_id: str
    known: str | None
    until: float
    once_more: bool = True

    def __iter__(self) -> Call[FlowRun | None]:
        run = yield self
        assert run is None or isinstance(run, FlowRun)
        return run


@dataclass(frozen=True)
class LogPage:
    """One page of a flow run's log lines, from whoever reads them for many flow runs at once."""

    flow_run_id: str
    after: datetime | None
    offset: int

    def __iter__(self) -> Call[list[LogRecord]]:
        page: Any = yield self
        lines: list[LogRecord] = page
        return lines


@dataclass(frozen=True)
class Renew:
    """Read the connection again: the credentials it gave are no longer accepted."""

    def __iter__(self) -> Call[None]:
        yield self


@dataclass(frozen=True)
class FetchCsrfToken:
    """Have the HTTP session get a CSRF token and send it along from now on; answered with the server's answer."""

    def __iter__(self) -> Call[Response]:
        response = yield self
        assert isinstance(response, Response)
        return response


Effect = Request | Sleep | Look | LogPage | Renew | FetchCsrfToken
Call = Generator[Effect, object, T]


def handled(call: Call[T], handler: Callable[[Effect], Generator[Y, Any, object]]) -> Generator[Y, Any, T]:
    """``call`` with each effect answered by ``handler``, which may yield effects of its own.

    An error of the handler is thrown into the call, at the effect that it could not answer.
    """
    try:
        effect = next(call)
        while True:
            try:
                answer = yield from handler(effect)
            except Exception as error:
                effect = call.throw(error)
            else:
                effect = call.send(answer)
                del answer  # not to be kept while the next effect takes hours
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        call.close()


def run(call: Call[T], perform: Callable[[Effect], object]) -> T:
    """Run ``call`` to its end, each effect performed by a plain function."""

    def performed(effect: Effect) -> Generator[None, None, object]:
        yield from ()
        return perform(effect)

    try:
        next(handled(call, performed))
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a plain function cannot yield")


def arun(call: Call[T], perform: Callable[[Effect], Awaitable[object]]) -> Awaitable[T]:
    """Run ``call`` to its end when this is awaited, each effect performed by a coroutine.

    What ``await`` does is what ``yield from`` does: the event loop's futures pass through :func:`handled`.
    """
    return _Steps(handled(call, lambda effect: perform(effect).__await__()))


class _Steps(Generic[T]):
    """A generator that can be awaited."""

    __slots__ = ("_generator",)

    def __init__(self, generator: Generator[Any, Any, T]) -> None:
        self._generator = generator

    def __await__(self) -> Generator[Any, Any, T]:
        return self._generator
