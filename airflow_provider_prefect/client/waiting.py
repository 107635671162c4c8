"""The one machine that waits for a flow run: deadlines, state changes, what is final. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_prefect.client import rest
from airflow_provider_prefect.client.call import Call, Effect, Look, Sleep
from airflow_provider_prefect.client.errors import (
    FlowRunCancelled,
    FlowRunCrashed,
    FlowRunFailed,
    FlowRunNotFound,
    FlowRunUnsuccessful,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.client.model import NOT_STARTED, FlowRun
from airflow_provider_prefect.client.retry import Patience, retried

_UNSUCCESSFUL = {"FAILED": FlowRunFailed, "CRASHED": FlowRunCrashed, "CANCELLED": FlowRunCancelled}


@dataclass(frozen=True)
class Deadlines:
    """When a wait ends without the flow run, in epoch seconds."""

    finished: float = math.inf
    started: float = math.inf


def wait(flow_run_id: str, deadlines: Deadlines, on_change: Callable[[FlowRun], None]) -> Call[FlowRun]:
    """The flow run as it ended. Knows no interval, batch, socket or clock: it looks, and is told.

    :param on_change: called with the flow run at first sight and whenever its state has changed.
    :raises WaitTimeout: it had not finished at ``deadlines.finished``.
    :raises StartTimeout: it had not left SCHEDULED and PENDING at ``deadlines.started``.
    """
    run: FlowRun | None = None
    until = min(deadlines.finished, deadlines.started)
    while True:
        seen = yield from Look(flow_run_id, run.state.id if run else None, until)
        if seen is None:
            last = f"Its last known state is {run.state}." if run else "It could not be seen even once."
            if until == deadlines.finished:
                raise WaitTimeout(f"Flow run {flow_run_id} did not finish in time. {last}", flow_run_id)
            raise StartTimeout(f"Flow run {flow_run_id} did not start in time. {last}", flow_run_id)
        run = seen
        on_change(run)
        if run.is_final:
            return run
        if run.state.type not in NOT_STARTED:
            until = deadlines.finished


def unsuccessful(run: FlowRun, url: str) -> FlowRunUnsuccessful | None:
    """The error for a flow run that has ended otherwise than COMPLETED; ``None`` for one that has not."""
    kind = _UNSUCCESSFUL.get(run.state.type)
    return kind(f"Flow run {run.name!r} ended in state {run.state}. See {url}", run) if kind else None


@dataclass(frozen=True)
class Looking:
    """Answers a :class:`Look` by asking for the one flow run every so often; passes other effects on.

    :param every: seconds between two looks.
    :param patience: how long trouble with the API is waited out.
    """

    every: float
    patience: Patience

    def __call__(self, effect: Effect) -> Call[object]:
        if isinstance(effect, Look):
            return (yield from self._look(effect))
        return (yield effect)

    def _look(self, look: Look) -> Call[FlowRun | None]:
        clock = self.patience.clock
        pause, missing = look.known is not None, False
        while True:
            if pause:
                yield from Sleep(max(0.0, min(self.every, look.until - clock())))
            pause = True
            # Not beyond the deadline, whose message is the one that the user should see.
            patience = replace(self.patience, seconds=max(0.0, min(self.patience.seconds, look.until - clock())))
            try:
                run = yield from retried(rest.read_flow_run(look.flow_run_id), patience)
            except FlowRunNotFound:
                # Twice: a server that has just been restored or is one of several may not know it yet.
                if missing:
                    raise
                missing = True
            except Unreachable:
                if clock() < look.until:
                    raise
            else:
                missing = False
                if run.state.id != look.known:
                    return run
            if clock() >= look.until:
                return None
