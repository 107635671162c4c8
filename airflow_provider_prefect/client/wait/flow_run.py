"""Wait for a flow run: deadlines, state changes, what is final.

There is one loop, :func:`wait_for_flow_run`, and two sources of states for it. The :class:`Poller` here serves a
worker: it sleeps, and reads the flow run. :class:`..watcher.subscription.Subscription` serves the triggerer, where many
flow runs are polled together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.api import Api, make_api
from airflow_provider_prefect.client.errors import (
    ApiError,
    FlowRunCancelled,
    FlowRunCancelledByPrefect,
    FlowRunCrashed,
    FlowRunDeleted,
    FlowRunFailed,
    FlowRunNotFound,
    FlowRunUnsuccessful,
    PrefectError,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.client.model import NOT_STARTED, FlowRun, LogRecord, RunInput, State
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.transport import ReloadableTransport
from airflow_provider_prefect.client.urls import flow_run_url
from airflow_provider_prefect.client.wait.logs import LogFollower
from airflow_provider_prefect.client.wait.trouble import Trouble, TroubleObserver, tolerate

LATE_START_AFTER = 60.0
"""Seconds after which a flow run that should have started is worth a warning."""

LOG_INTERVAL = 5.0
"""Seconds between two reads of new log lines, where they are wanted."""

EVENT_DELAY = 5.0
"""Seconds within which Prefect 3 stores an event (3.8.8)."""

SIDE_PATIENCE = 10.0
"""Seconds for which requests are sent again that a wait can do without: log lines, reasons for a late start."""

_CANCELLED_BY_PREFECT = (
    "Deployment concurrency limit reached",
    "Deployment concurrency slot lost",
    "Cancelled by Automation",
    "State changed by Automation",
)
"""How the messages of states begin in which Prefect itself has cancelled a flow run (prefect 3.8.8)."""

_PREFECTS_OWN_WORDS = "Flow run encountered an exception: "
"""How the message of a flow run begins that has raised an error: the error is what has to be seen (prefect 3.9.1)."""

_UNSUCCESSFUL = {"FAILED": FlowRunFailed, "CRASHED": FlowRunCrashed, "CANCELLED": FlowRunCancelled}


@dataclass(frozen=True)
class Deadlines:
    """Say when a wait ends without the flow run, in epoch seconds."""

    finished: float = math.inf
    started: float = math.inf


class Observer(TroubleObserver, Protocol):
    """Show to the user what happens while a flow run is waited for."""

    @property
    def follows_logs(self) -> bool:
        """Return whether the flow run's log lines are wanted."""

    def on_change(self, run: FlowRun) -> None:
        """Show the state of the flow run: at first sight, and whenever it has changed."""

    def on_paused(self, run_input: RunInput | None, url: str) -> None:
        """Say that the flow run waits to be resumed, what it asks for, and where a person can answer."""

    def on_deleted(self, run: FlowRun) -> None:
        """Say that the flow run was deleted, and how it had ended according to Prefect's events."""

    def on_not_started(self, run: FlowRun, reasons: Sequence[str]) -> None:
        """Warn once that it has not started although it should have, with what Prefect shows that may be the reason."""

    def on_log_line(self, record: LogRecord, task_name: str | None) -> None:
        """Show one log line; ``task_name`` is the name of the task run that logged it."""

    def on_log_lines_left_out(self, lines: int | None) -> None:
        """Say at the end that there are more log lines than were shown; ``None`` if it is not known how many."""


class FlowRunSource(Protocol):
    """Give a wait the states of its flow run."""

    flow_run_id: str

    @property
    def api(self) -> Api:
        """Return the API, for what is not polled."""

    async def next_state(self, known_state_id: str | None, until: float, *, poll_at_end: bool = True) -> FlowRun | None:
        """Return the flow run as soon as its state is not the known one; ``None`` when ``until`` comes first.

        :param until: epoch seconds.
        :param poll_at_end: whether the state at ``until`` matters, so that the flow run is polled then.
        :raises FlowRunNotFound: Prefect has said twice that there is no such flow run.
        :raises Unreachable: Prefect has not answered for too long.
        """

    async def read_end_from_events(self) -> FlowRun | None:
        """Return the deleted flow run as Prefect's events show its end, if they do."""

    async def read_log_page(self, after: datetime | None, offset: int) -> list[LogRecord]:
        """Return one page of the log lines after a time, the oldest first."""

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        """Return what may keep the flow run from starting."""

    def flow_run_url(self, run: FlowRun) -> str:
        """Return the address of the flow run's page in Prefect's UI."""

    async def sleep(self, seconds: float) -> None:
        """Pause."""


async def wait_for_flow_run(
    source: FlowRunSource, deadlines: Deadlines, observer: Observer, clock: Callable[[], float] = time.time
) -> FlowRun:
    """Return the flow run as it ended, in whatever state. How often it is polled is decided by the source.

    :raises WaitTimeout: it had not finished at ``deadlines.finished``.
    :raises StartTimeout: it had not left SCHEDULED and PENDING at ``deadlines.started``.
    :raises FlowRunDeleted: Prefect has no such flow run (any more), and its events do not say how it ended.
    :raises Unreachable: Prefect has not answered for too long.
    """
    state: State | None = None
    not_started: FlowRun | None = None  # forgotten as soon as possible, since thousands may wait at the same time
    until = min(deadlines.finished, deadlines.started)
    follower = LogFollower(source, observer.on_log_line) if observer.follows_logs else None
    read_logs_at = clock() + LOG_INTERVAL if follower else math.inf
    warn_at = math.inf
    has_started = False
    while True:
        pause_until = min(read_logs_at, warn_at)
        try:
            run = await source.next_state(
                state.id if state else None, min(until, pause_until), poll_at_end=until <= pause_until
            )
        except FlowRunNotFound as error:
            return await _end_of_deleted(source, state, observer, error)
        if follower and clock() >= read_logs_at:
            if state and state.type not in NOT_STARTED:
                await follower.read_new()
            read_logs_at = clock() + LOG_INTERVAL
        if run is None:
            if clock() >= until:
                raise _timeout(source.flow_run_id, state, finished=until == deadlines.finished)
            if clock() >= warn_at and not_started:
                warn_at = math.inf
                observer.on_not_started(not_started, await _reasons_not_started(source, not_started))
            continue
        if state is None:
            warn_at = _late_start(clock(), run.expected_start_time)
        state = run.state
        observer.on_change(run)
        if state.type == "PAUSED":
            observer.on_paused(await _run_input(source), source.flow_run_url(run))
        if run.is_final:
            if follower and (left_out := await follower.read_last()) != 0:
                observer.on_log_lines_left_out(left_out)
            return run
        if state.type in NOT_STARTED:
            if has_started:  # a retry of Prefect, or somebody has put it back to scheduled
                warn_at = _late_start(clock(), run.next_scheduled_start_time)
            not_started = run
        else:
            has_started, not_started, until, warn_at = True, None, deadlines.finished, math.inf
        run = None


def _late_start(now: float, expected: datetime | None) -> float:
    """Return when a flow run that is to start at ``expected`` is late."""
    return max(now, expected.timestamp() if expected else 0.0) + LATE_START_AFTER


async def _end_of_deleted(
    source: FlowRunSource, state: State | None, observer: Observer, error: FlowRunNotFound
) -> FlowRun:
    """Return a deleted flow run as Prefect's events show its end: an automation may delete runs that complete."""
    run = None
    with suppress(PrefectError):
        run = await source.read_end_from_events()
        if run is None and await source.api.has_event_feed():
            await source.sleep(EVENT_DELAY)
            run = await source.read_end_from_events()
    if run is not None:
        observer.on_deleted(run)
        return run
    last = f"Its last known state was {str(state).rstrip('.')}" if state else "It could not be read even once"
    raise FlowRunDeleted(
        f"{error} {last}, and nothing in Prefect says how it ended: whether it has done its work is not known. The "
        "task does not start it again by itself; clear the task if it should.",
        detail=error.detail,
    ) from None


def _timeout(flow_run_id: str, state: State | None, *, finished: bool) -> WaitTimeout | StartTimeout:
    last = f"Its last known state is {str(state).rstrip('.')}." if state else "It could not be read even once."
    if finished:
        return WaitTimeout(f"Flow run did not finish in time. {last} Its id is {flow_run_id}.", flow_run_id)
    return StartTimeout(f"Flow run did not start in time. {last} Its id is {flow_run_id}.", flow_run_id)


async def _reasons_not_started(source: FlowRunSource, run: FlowRun) -> list[str]:
    """Return what may keep a flow run from starting; nothing where it cannot be asked."""
    try:
        return await source.reasons_not_started(run)
    except PrefectError:
        return []


async def _run_input(source: FlowRunSource) -> RunInput | None:
    """Return what a paused flow run asks for; ``None`` where it cannot be asked."""
    try:
        return await source.api.read_run_input(source.flow_run_id)
    except PrefectError:
        return None


def unsuccessful(run: FlowRun, url: str) -> FlowRunUnsuccessful | None:
    """Return the error for a flow run that did not complete; ``None`` for one that did, or that has not ended."""
    kind = _UNSUCCESSFUL.get(run.state.type)
    if kind is FlowRunCancelled and (run.state.message or "").startswith(_CANCELLED_BY_PREFECT):
        kind = FlowRunCancelledByPrefect
    return kind(ended(run, url), run) if kind else None


def ended(run: FlowRun, url: str, note: str = "") -> str:
    """Return a message that says how a flow run ended: the state first, and the name, which may be long, last.

    :param note: a sentence to follow the state.
    """
    note = f"{note} " if note else ""
    message = (run.state.message or "").removeprefix(_PREFECTS_OWN_WORDS) or None
    state = str(replace(run.state, message=message)).rstrip(".")
    return f"Flow run ended in state {state}. {note}See {url} ({printable.quoted(run.name)})"


class Poller:
    """Poll one flow run in a worker.

    :param transport: a blocking transport.
    :param interval: seconds between two polls.
    :param patience: seconds for which failed polls are tolerated.
    :param observer: is told when Prefect is not answering.
    """

    def __init__(
        self,
        transport: ReloadableTransport,
        flow_run_id: str,
        interval: float,
        patience: float,
        observer: TroubleObserver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.flow_run_id = flow_run_id
        self._transport = transport
        self._interval = interval
        self._trouble = Trouble(patience)
        self._observer = observer
        self._clock = clock

    @property
    def api(self) -> Api:
        return make_api(self._transport, Patience(SIDE_PATIENCE, self._clock))

    async def next_state(self, known_state_id: str | None, until: float, *, poll_at_end: bool = True) -> FlowRun | None:
        """Return the flow run as soon as its state is not the known one; see :class:`FlowRunSource`."""
        pause = 0.0 if known_state_id is None else self._interval
        while True:
            if pause:
                await self._transport.sleep(max(0.0, min(pause, until - self._clock())))
            pause = self._interval
            try:
                run = await make_api(self._transport, Patience(0)).read_flow_run(self.flow_run_id)
            except FlowRunNotFound:
                if self._trouble.not_found():
                    raise
            except (ApiError, Unreachable) as failure:
                pause = await tolerate(failure, self._trouble, self._transport, self._observer, self._clock())
            else:
                self._trouble.found()
                self._trouble.answered(self._observer)
                if run.state.id != known_state_id:
                    return run
            if self._clock() >= until:
                return None

    async def read_end_from_events(self) -> FlowRun | None:
        return await self.api.read_end_from_events(self.flow_run_id)

    async def read_log_page(self, after: datetime | None, offset: int) -> list[LogRecord]:
        return await self.api.read_log_page(self.flow_run_id, after=after, offset=offset)

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        return await self.api.reasons_not_started(run)

    def flow_run_url(self, run: FlowRun) -> str:
        return flow_run_url(self._transport.settings.ui_url, run)

    async def sleep(self, seconds: float) -> None:
        await self._transport.sleep(seconds)
