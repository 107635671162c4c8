"""Drives a call by hand: what it asks for is recorded, and answered from a script. No network, no clock, no mock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.call import (
    Call,
    Effect,
    FetchCsrfToken,
    Look,
    Renew,
    Request,
    Response,
    Sleep,
    T,
    run,
)
from airflow_provider_prefect.client.logs import LogFollower
from airflow_provider_prefect.client.model import FlowRun

NOON = 1_700_000_000.0
"""When every test begins. The flow run of the samples is expected to start later, so it is not late."""


@dataclass
class Clock:
    """Epoch seconds that pass only where a call sleeps."""

    now: float = NOON

    def __call__(self) -> float:
        return self.now


@dataclass
class Script:
    """Answers a call's requests and looks from ``answers``, in order; an exception among them is raised.

    A function among them makes the answer from what is asked for. A look that is answered with ``None`` has lasted
    until its time was up. An :class:`Again` at the end goes on for ever. Asking for more than there is fails the test.
    """

    answers: Iterable[Any]
    clock: Clock = field(default_factory=Clock)
    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rest = chain.from_iterable(
            repeat(answer.answer) if isinstance(answer, Again) else (answer,) for answer in self.answers
        )

    def run(self, call: Call[T]) -> T:
        return run(call, self.perform)

    def perform(self, effect: Effect) -> object:
        self.effects.append(effect)
        assert len(self.effects) < 10_000, "this goes on for ever"
        if isinstance(effect, Sleep):
            self.clock.now += effect.seconds
            return None
        if isinstance(effect, Renew):
            return None
        assert isinstance(effect, (Request, Look, FetchCsrfToken))
        for answer in self._rest:
            if callable(answer):
                answer = answer(effect)
            if isinstance(answer, Exception):
                raise answer
            if isinstance(effect, Look) and answer is None:
                self.clock.now = max(self.clock.now, effect.until)
            return answer
        raise AssertionError(f"asked once more than expected: {effect}")

    @property
    def requests(self) -> list[Request]:
        return [effect for effect in self.effects if isinstance(effect, Request)]

    @property
    def sent(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    @property
    def sleeps(self) -> list[float]:
        return [effect.seconds for effect in self.effects if isinstance(effect, Sleep)]

    def count(self, kind: type[Effect]) -> int:
        return sum(isinstance(effect, kind) for effect in self.effects)

    def all_used(self) -> bool:
        return next(iter(self._rest), None) is None


@dataclass
class Notes:
    """What a wait has told whoever watches it."""

    states: list[str] = field(default_factory=list)
    late: list[list[str]] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    logs: LogFollower | None = None

    def on_change(self, run: FlowRun) -> None:
        self.states.append(run.state.name)

    def on_not_started(self, run: FlowRun, reasons: Sequence[str]) -> None:
        self.late.append(list(reasons))

    def follower(self, api: Api, flow_run_id: str) -> LogFollower | None:
        return self.logs

    def on_left_out(self, lines: int) -> None:
        self.left_out.append(lines)


@dataclass(frozen=True)
class Again:
    """The same answer from here on."""

    answer: Any


def answered(call: Call[T], *answers: Any) -> T:
    """What ``call`` returns when it is given exactly these answers."""
    script = Script(answers)
    result = script.run(call)
    assert script.all_used(), "not all of the answers were asked for"
    return result


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
