"""Drive the client by hand: requests are recorded and answered from a script. No network, no clock, no mock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, repeat
from typing import Any

from airflow_provider_prefect.client.api import Api, make_api
from airflow_provider_prefect.client.model import FlowRun, LogRecord, RunInput
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response
from tests.unit.client.samples import RUN_ID

NOON = 1_700_000_000.0
"""When every test begins. The flow run of the samples is expected to start later, so it is not late."""

REST = Settings("http://prefect.test/api", "http://prefect.test")
GRAPHQL = Settings("http://prefect1.test", "http://prefect1.test:8080", api="graphql")


@dataclass
class Clock:
    """Epoch seconds that pass only where a call sleeps."""

    now: float = NOON

    def __call__(self) -> float:
        return self.now


@dataclass
class Script:
    """A transport that answers requests from ``answers``, in order; an exception among them is raised.

    A function among them makes the answer from the request. An :class:`Again` at the end goes on for ever. Asking for
    more than there is fails the test.
    """

    answers: Iterable[Any]
    settings: Settings = REST
    clock: Clock = field(default_factory=Clock)
    requests: list[Request] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    """All that was done, in order: each request as in :attr:`sent`, ``sleep`` and ``reload``."""
    reloads: int = 0

    def __post_init__(self) -> None:
        self._rest = chain.from_iterable(
            repeat(answer.answer) if isinstance(answer, Again) else (answer,) for answer in self.answers
        )

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        self.steps.append(_in_short(request))
        assert len(self.requests) + len(self.sleeps) < 10_000, "this goes on for ever"
        for answer in self._rest:
            if callable(answer):
                answer = answer(request)
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Response)
            return answer
        raise AssertionError(f"asked once more than expected: {request}")

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.steps.append("sleep")
        self.clock.now += seconds

    async def reload_settings(self) -> None:
        self.reloads += 1
        self.steps.append("reload")

    def api(self, patience: float = 0) -> Api:
        """The API over this transport. Without patience each request is sent once."""
        return make_api(self, Patience(patience, self.clock))

    @property
    def sent(self) -> list[str]:
        return [_in_short(request) for request in self.requests]

    def all_used(self) -> bool:
        return next(iter(self._rest), None) is None


def _in_short(request: Request) -> str:
    return f"{request.method} {request.path}"


@dataclass
class ScriptedSource:
    """A source of states for a wait, each answered by hand: a flow run, or ``None`` for a pause that has passed."""

    states: Iterable[FlowRun | Exception | None]
    script: Script = field(default_factory=lambda: Script(()))
    flow_run_id: str = RUN_ID
    reasons: Sequence[str] | Exception = ()
    ends: Sequence[FlowRun | None] = ()
    """What the events of Prefect say about the end of the flow run, each time they are read."""
    end_reads: int = 0
    asked: list[tuple[str | None, float, bool]] = field(default_factory=list)
    """For each call of :meth:`next_state`: the known state's id, until when, and whether it is polled at the end."""

    def __post_init__(self) -> None:
        self._rest = iter(self.states)
        self._ends = iter(self.ends)

    @property
    def api(self) -> Api:
        return self.script.api()

    async def next_state(self, known_state_id: str | None, until: float, *, poll_at_end: bool = True) -> FlowRun | None:
        self.asked.append((known_state_id, until, poll_at_end))
        state = next(self._rest)
        if isinstance(state, Exception):
            raise state
        if state is None:
            self.script.clock.now = max(self.script.clock.now, until)
        return state

    async def read_end_from_events(self) -> FlowRun | None:
        self.end_reads += 1
        return next(self._ends, None)

    async def read_log_page(self, after: datetime | None, offset: int) -> list[LogRecord]:
        return await self.api.read_log_page(self.flow_run_id, after=after, offset=offset)

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        if isinstance(self.reasons, Exception):
            raise self.reasons
        return list(self.reasons)

    def flow_run_url(self, run: FlowRun) -> str:
        return f"https://prefect.example/{run.id}"

    async def sleep(self, seconds: float) -> None:
        await self.script.sleep(seconds)

    def all_used(self) -> bool:
        return next(self._rest, self) is self


@dataclass
class Notes:
    """What a wait has told its observer."""

    follows_logs: bool = False
    states: list[str] = field(default_factory=list)
    late: list[list[str]] = field(default_factory=list)
    lines: list[tuple[str, str | None]] = field(default_factory=list)
    left_out: list[int | None] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    recoveries: int = 0
    deleted: list[str] = field(default_factory=list)
    none_yet: int = 0
    asked: list[str] = field(default_factory=list)

    def on_change(self, run: FlowRun) -> None:
        self.states.append(run.state.name)

    def on_paused(self, run_input: RunInput | None, url: str) -> None:
        self.asked.append(f"{run_input or 'nothing'} at {url}")

    def on_not_started(self, run: FlowRun, reasons: Sequence[str]) -> None:
        self.late.append(list(reasons))

    def on_log_line(self, record: LogRecord, task_name: str | None) -> None:
        self.lines.append((record.message, task_name))

    def on_log_lines_left_out(self, lines: int | None) -> None:
        self.left_out.append(lines)

    def on_trouble(self, failure: Exception) -> None:
        self.trouble.append(str(failure))

    def on_recovery(self) -> None:
        self.recoveries += 1

    def on_deleted(self, run: FlowRun) -> None:
        self.deleted.append(str(run.state))

    def on_none_yet(self) -> None:
        self.none_yet += 1


@dataclass(frozen=True)
class Again:
    """The same answer from here on."""

    answer: Any


def answer(body: Any = None, status: int = 200, **headers: str) -> Response:
    """An answer with ``body`` as JSON; ``retry_after`` is the header ``retry-after``."""
    return Response(status, json.dumps(body), {name.replace("_", "-"): value for name, value in headers.items()})


def page(status: int = 200, text: str = "<html><body>Sign in</body></html>") -> Response:
    """What a proxy or a user interface answers."""
    return Response(status, text, {"content-type": "text/html"})


NO_CONTENT = Response(204, "")
NO_SUCH_RUN = answer({"detail": "Flow run not found"}, 404)
NO_SUCH_DEPLOYMENT = answer({"detail": "Deployment not found"}, 404)
BUSY = answer({"exception_message": "Service Unavailable"}, 503)
CONFLICT = answer({"detail": "Data integrity conflict. This usually means a unique or foreign key constraint"}, 409)
BAD_PARAMETERS = answer(
    {"detail": "Error creating flow run: Validation failed. Failure reason: 's' is a required property"}, 409
)
WANTS_CSRF_TOKEN = answer({"detail": "Missing CSRF token."}, 403)
