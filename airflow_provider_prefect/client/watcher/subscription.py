"""One task's wait for a flow run in the triggerer: the source of states that the watcher answers.

Times are the event loop's seconds, except for ``until`` and ``wall``, which are epoch seconds.
"""

from __future__ import annotations

import asyncio
import math
import time
from datetime import datetime
from typing import Protocol

from airflow_provider_prefect.client.api import Api, make_api
from airflow_provider_prefect.client.errors import AuthenticationError, FlowRunNotFound
from airflow_provider_prefect.client.model import FlowRun, LogRecord
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.transport import ReloadableTransport
from airflow_provider_prefect.client.urls import flow_run_url
from airflow_provider_prefect.client.wait.flow_run import SIDE_PATIENCE
from airflow_provider_prefect.client.wait.trouble import Trouble, TroubleObserver
from airflow_provider_prefect.client.watcher.futures import set_future
from airflow_provider_prefect.client.watcher.logs import LogPosition

GATHER_FOR = 0.05
"""Seconds in which due flow runs are gathered for one poll: events come one by one, triggers start one by one."""


class SubscribedWatcher(Protocol):
    """Offer what a subscription needs of the watcher that polls for it."""

    def add(self, subscription: Subscription) -> None:
        """Poll for ``subscription`` from now on."""

    def remove(self, subscription: Subscription) -> None:
        """Poll for it no longer."""

    def schedule(self, *subscriptions: Subscription) -> None:
        """Plan again when these are polled."""

    async def read_log_page(self, position: LogPosition, after: datetime | None, offset: int) -> list[LogRecord]:
        """Return one page of the log lines of a flow run."""

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        """Return what may keep a flow run from starting."""


class WatchedConnection(ReloadableTransport, Protocol):
    """Offer what a subscription needs of the connection that it shares with others."""

    @property
    def watcher(self) -> SubscribedWatcher:
        """Return the watcher of the API; another one after the settings have changed."""


class Subscription:
    """Wait for one flow run of one task, and hold what is known of it. Used as a context manager.

    :param connection: shared with the other waits on the same API.
    :param interval: seconds between two polls; the task's own.
    :param patience: seconds for which failed polls are tolerated; the task's own.
    :param observer: is told when Prefect is not answering.
    """

    __slots__ = (
        "_connection",
        "_future",
        "_log_position",
        "_observer",
        "_watcher",
        "announced_end",
        "flow_run_id",
        "interval",
        "is_busy",
        "is_doubted",
        "is_unlistable",
        "known_state_id",
        "known_state_type",
        "not_before",
        "poll_soon",
        "polled_at",
        "trouble",
        "until",
    )

    def __init__(
        self,
        connection: WatchedConnection,
        flow_run_id: str,
        interval: float,
        patience: float,
        observer: TroubleObserver,
    ) -> None:
        self.flow_run_id = flow_run_id
        self.interval = interval
        self.trouble = Trouble(patience)
        self.known_state_id: str | None = None
        self.known_state_type: str | None = None
        self.until = math.inf
        """Epoch second at which :meth:`next_state` ends without another state."""
        self.polled_at = -math.inf
        """When the last successful poll began."""
        self.poll_soon: tuple[float, ...] = ()
        """When to poll besides the regular interval."""
        self.not_before = -math.inf
        """When to poll at the earliest, after a failure."""
        self.announced_end: FlowRun | None = None
        """The flow run as the event feed has said that it has ended."""
        self.is_busy = False
        """Whether a poll is under way."""
        self.is_doubted = False
        """Whether the flow run was missing in a poll of many: it is polled by itself next time."""
        self.is_unlistable = False
        """Whether Prefect fails to list the flow run: it is always polled by itself."""
        self._connection = connection
        self._observer = observer
        self._watcher: SubscribedWatcher | None = None
        self._future: asyncio.Future[FlowRun | None] | None = None
        self._log_position: LogPosition | None = None

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watcher is not None:
            self._watcher.remove(self)
            self._watcher = None

    # What the wait asks for: a FlowRunSource

    @property
    def api(self) -> Api:
        return make_api(self._connection, Patience(SIDE_PATIENCE))

    async def next_state(self, known_state_id: str | None, until: float, *, poll_at_end: bool = True) -> FlowRun | None:
        """Return the flow run as soon as its state is not the known one; see :class:`.FlowRunSource`."""
        loop = asyncio.get_running_loop()
        self.known_state_id, self.until = known_state_id, until
        if known_state_id is None:
            self.known_state_type = None
        alarm = None
        if not poll_at_end:
            self.until = math.inf
            # Late enough for a poll that is due already.
            alarm = loop.call_later(max(2 * GATHER_FOR, until - time.time()), self._end_pause, until)
        try:
            while True:
                watcher = self._subscribed()
                self._future = loop.create_future()
                watcher.schedule(self)
                try:
                    return await self._future
                except AuthenticationError:
                    await self._connection.reload_settings()
        finally:
            self._future = None
            if alarm:
                alarm.cancel()

    async def read_end_from_events(self) -> FlowRun | None:
        return self.announced_end or await self.api.read_end_from_events(self.flow_run_id)

    async def read_log_page(self, after: datetime | None, offset: int) -> list[LogRecord]:
        if self._log_position is None:
            self._log_position = LogPosition(self.flow_run_id)
        return await self._subscribed().read_log_page(self._log_position, after, offset)

    def flow_run_url(self, run: FlowRun) -> str:
        return flow_run_url(self._connection.settings.ui_url, run)

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        return await self._subscribed().reasons_not_started(run)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _subscribed(self) -> SubscribedWatcher:
        """Return the watcher of the present settings; subscribe to it after they have changed."""
        watcher = self._connection.watcher
        if watcher is not self._watcher:
            self.__exit__()
            watcher.add(self)
            self._watcher = watcher
        return watcher

    def _end_pause(self, until: float) -> None:
        """End :meth:`next_state`, but let a poll under way finish first: it may find another state."""
        if self.is_busy:
            self.until = until
        else:
            self._end(None)

    # What the watcher reports

    @property
    def is_pending(self) -> bool:
        """Return whether the wait is in :meth:`next_state`."""
        return self._future is not None and not self._future.done()

    @property
    def polls_alone(self) -> bool:
        """Return whether the flow run is polled by itself."""
        return self.is_doubted or self.is_unlistable

    def poll_due(self, now: float, wall: float, min_interval: float) -> float:
        """Return when to poll: after the interval, or ``min_interval`` if that is longer."""
        due = self.polled_at + (self.interval if self.polls_alone else max(self.interval, min_interval))
        if self.poll_soon and self.poll_soon[0] < due:
            due = self.poll_soon[0]
        if self.trouble.since is not None:
            due = min(max(due, self.not_before), self.trouble.since + self.trouble.patience)
        elif due < self.not_before:
            due = self.not_before
        last = now + self.until - wall
        return last if last < due else due

    def found(self, run: FlowRun) -> None:
        """Take the flow run, whose state is another one than the known one."""
        self.known_state_type = run.state.type
        self._end(run)

    def not_found(self, error: FlowRunNotFound) -> None:
        """Record that Prefect does not find the flow run. The wait fails the second time."""
        if self.trouble.not_found():
            self._end(error)

    def polled(self, when: float, wall: float) -> None:
        """Record a successful poll that began at ``when``; the wait of an unchanged run ends if its time is up."""
        self.polled_at = when
        self.poll_soon = tuple(at for at in self.poll_soon if at > when)
        self.not_before = -math.inf
        self.trouble.answered(self._observer if self.is_pending else None)
        if wall >= self.until:
            self._end(None)

    def poll_failed(self, failure: Exception, now: float, wall: float, pause: float) -> None:
        """Record a failed poll: the next one is after ``pause``, unless the wait's patience or time is over."""
        self.not_before = max(self.not_before, now + pause)
        if not self.is_pending:
            return
        if error := self.trouble.failed(failure, now, self._observer):
            self._end(error)
        elif wall >= self.until:
            self._end(None)
        elif isinstance(failure, AuthenticationError):
            self._end(failure)

    def _end(self, outcome: FlowRun | Exception | None) -> None:
        if self._future is not None:
            set_future(self._future, outcome)
