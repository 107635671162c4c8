"""The one machine that waits for a flow run: deadlines, state changes, what is final. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.call import Call, Effect, Look, Sleep
from airflow_provider_prefect.client.errors import (
    FlowRunCancelled,
    FlowRunCrashed,
    FlowRunFailed,
    FlowRunNotFound,
    FlowRunUnsuccessful,
    PrefectError,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.client.logs import LogFollower
from airflow_provider_prefect.client.model import NOT_STARTED, FlowRun, State
from airflow_provider_prefect.client.retry import Patience, retried

_LATE_START = 60.0
"""Seconds after which a flow run that should have started is worth a warning."""

_LOGS_EVERY = 5.0
"""Seconds between two reads of new log lines, where they are wanted."""

_UNSUCCESSFUL = {"FAILED": FlowRunFailed, "CRASHED": FlowRunCrashed, "CANCELLED": FlowRunCancelled}


@dataclass(frozen=True)
class Deadlines:
    """When a wait ends without the flow run, in epoch seconds."""

    finished: float = math.inf
    started: float = math.inf


class Observer(Protocol):
    """Who is told what happens while a flow run is waited for."""

    def on_change(self, run: FlowRun) -> None:
        """At first sight of the flow run, and whenever its state has changed."""

    def on_not_started(self, run: FlowRun, reasons: Sequence[str]) -> None:
        """Once, when it has not started although it should have; with what Prefect shows that may be the reason."""

    def follower(self, api: Api, flow_run_id: str) -> LogFollower | None:
        """What follows its log lines, if they are wanted."""

    def on_left_out(self, lines: int | None) -> None:
        """At the end, if there are more log lines than were shown; ``None`` if it is not known how many."""


def wait(
    api: Api, flow_run_id: str, deadlines: Deadlines, observer: Observer, clock: Callable[[], float] = time.time
) -> Call[FlowRun]:
    """The flow run as it ended. It looks, and is told; how, and how often, is up to who answers.

    :raises WaitTimeout: it had not finished at ``deadlines.finished``.
    :raises StartTimeout: it had not left SCHEDULED and PENDING at ``deadlines.started``.
    """
    state: State | None = None
    unstarted: FlowRun | None = None  # not kept for longer: many wait at once
    until = min(deadlines.finished, deadlines.started)
    follower = observer.follower(api, flow_run_id)
    read_logs = clock() + _LOGS_EVERY if follower else math.inf
    warn = math.inf
    while True:
        pause = min(read_logs, warn)
        seen = yield from Look(flow_run_id, state.id if state else None, min(until, pause), once_more=until <= pause)
        if follower and clock() >= read_logs:
            if state and state.type not in NOT_STARTED:
                yield from follower.read_new()
            read_logs = clock() + _LOGS_EVERY
        if seen is None:
            if clock() >= until:
                raise _timeout(flow_run_id, state, finished=until == deadlines.finished)
            if clock() >= warn and unstarted:
                warn = math.inf
                observer.on_not_started(unstarted, (yield from _reasons_not_started(api, unstarted)))
            continue
        if state is None:
            expected = seen.expected_start_time
            warn = max(clock(), expected.timestamp() if expected else 0.0) + _LATE_START
        state = seen.state
        observer.on_change(seen)
        if seen.is_final:
            if follower and (left_out := (yield from follower.read_last())) != 0:
                observer.on_left_out(left_out)
            return seen
        if state.type in NOT_STARTED:
            unstarted = seen
        else:
            unstarted, until, warn = None, deadlines.finished, math.inf
        seen = None


def _timeout(flow_run_id: str, state: State | None, *, finished: bool) -> WaitTimeout | StartTimeout:
    last = f"Its last known state is {state}." if state else "It could not be seen even once."
    if finished:
        return WaitTimeout(f"Flow run {flow_run_id} did not finish in time. {last}", flow_run_id)
    return StartTimeout(f"Flow run {flow_run_id} did not start in time. {last}", flow_run_id)


def _reasons_not_started(api: Api, run: FlowRun) -> Call[list[str]]:
    """What may keep a flow run from starting, as far as Prefect shows it; nothing where it cannot be asked."""
    try:
        return (yield from retried(api.reasons_not_started(run), Patience(10)))
    except PrefectError:
        return []


def unsuccessful(run: FlowRun, url: str) -> FlowRunUnsuccessful | None:
    """The error for a flow run that has ended otherwise than COMPLETED; ``None`` for one that has not."""
    kind = _UNSUCCESSFUL.get(run.state.type)
    return kind(f"Flow run {run.name!r} ended in state {str(run.state).rstrip('.')}. See {url}", run) if kind else None


@dataclass
class Looking:
    """Answers the looks of one wait by asking for the flow run every so often; passes other effects on.

    Trouble is counted across looks: a wait also looks for a short while only, to read log lines in between.

    :param api: the API to ask.
    :param every: seconds between two looks.
    :param patience: how long trouble with the API is waited out.
    """

    api: Api
    every: float
    patience: Patience
    _trouble_since: float | None = field(default=None, init=False)
    _missing: bool = field(default=False, init=False)

    def __call__(self, effect: Effect) -> Call[object]:
        if isinstance(effect, Look):
            return (yield from self._look(effect))
        return (yield effect)

    def _look(self, look: Look) -> Call[FlowRun | None]:
        clock = self.patience.clock
        pause = look.known is not None
        while True:
            if pause:
                yield from Sleep(max(0.0, min(self.every, look.until - clock())))
            pause = True
            began = clock()
            patient_until = (began if self._trouble_since is None else self._trouble_since) + self.patience.seconds
            # Not beyond the deadline, whose message is the one that the user should see.
            patience = replace(self.patience, seconds=max(0.0, min(patient_until, look.until) - began))
            try:
                run = yield from retried(self.api.read_flow_run(look.flow_run_id), patience)
            except FlowRunNotFound:
                # Twice: a server that has just been restored or is one of several may not know it yet.
                if self._missing:
                    raise
                self._missing, self._trouble_since = True, None
            except Unreachable:
                if clock() < look.until or began >= patient_until:
                    raise
                if self._trouble_since is None:
                    self._trouble_since = began
            else:
                self._missing, self._trouble_since = False, None
                if run.state.id != look.known:
                    return run
            if clock() >= look.until:
                return None
