"""Read the new log lines of many flow runs together, for triggers that show them.

Theory of operation: the times of log lines are those of the machines that run the flows, whose clocks may be off. So
for each flow run :class:`LogPosition` remembers the time of its last line together with when that was read: as long as
both clocks run at the same pace, no new line can be much older than the last one plus the time that has passed since.
Flow runs whose new lines begin at about the same time are asked about in one request. If the response is a full page,
some lines may be missing; then each half is asked for by itself, down to single flow runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.model import LogRecord
from airflow_provider_prefect.client.wait.logs import OVERLAP
from airflow_provider_prefect.client.watcher.futures import call_in_batches, set_future
from airflow_provider_prefect.client.watcher.pages import PageReader

_GATHER_FOR = 1.0
"""Seconds in which those who ask are gathered. From then on they ask at the same time."""

_MAX_DELAY = 2 * OVERLAP
"""How much later than newer lines a line may reach Prefect; twice of what a follower allows for."""

_MAX_SPAN = timedelta(seconds=60)
"""How far apart the times may be from which on flow runs are asked about together. Clocks may differ by more."""

_MAX_BATCH_SIZE = 200
"""Flow runs in one request: a page has no more lines."""


@dataclass(eq=False)
class LogPosition:
    """Remember how far the log of one flow run has been read. Apart from ``last`` in the event loop's seconds."""

    flow_run_id: str
    last: datetime | None = None
    """The time of the last line, by the clock of the flow run's machine."""
    last_seen_at: float = 0.0
    read_at: float = 0.0
    """When it was last read to its end."""
    complete_page: int | None = None
    """How many lines the first page had, if there are no more."""

    def advance(self, lines: Sequence[LogRecord], began: float) -> None:
        """Record that ``lines`` were read, in a request that began at ``began``."""
        newest = max((line.timestamp for line in lines), default=None)
        if newest is not None and (self.last is None or newest > self.last):
            self.last, self.last_seen_at = newest, began
        self.read_at = max(began, self.last_seen_at)

    def new_since(self, after: datetime) -> datetime:
        """Return the time from which on new lines can be: where none has come for a while, none is from before that."""
        assert self.last is not None
        return max(after, self.last + timedelta(seconds=self.read_at - self.last_seen_at) - _MAX_DELAY)


@dataclass(eq=False)
class PageRequest:
    """Ask for the lines after a time. The result is ``None`` if there are too many to be read together with others'."""

    position: LogPosition
    after: datetime
    future: asyncio.Future[list[LogRecord] | None]

    @property
    def since(self) -> datetime:
        return self.position.new_since(self.after)

    def answer(self, lines: Sequence[LogRecord] | None, began: float) -> None:
        """Take one's own of ``lines``, which were read in a request that began at ``began``."""
        if self.future.done():
            return
        own = None
        if lines is not None:
            flow_run_id = self.position.flow_run_id
            own = [line for line in lines if line.flow_run_id == flow_run_id and line.timestamp >= self.after]
            self.position.advance(own, began)
        self.future.set_result(own)


def grouped(requests: Sequence[PageRequest]) -> list[list[PageRequest]]:
    """Return who is answered with one request: those whose new lines begin at about the same time."""
    groups: list[list[PageRequest]] = []
    for request in sorted(requests, key=lambda request: request.since):
        if not groups or len(groups[-1]) == _MAX_BATCH_SIZE or request.since - groups[-1][0].since > _MAX_SPAN:
            groups.append([])
        groups[-1].append(request)
    return groups


class LogReader:
    """Read pages of log lines for many waits.

    :param spawn: runs a coroutine in the background.
    """

    def __init__(self, api: Api, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._api = api
        self._spawn = spawn
        self._pages = PageReader()
        self._requests: list[PageRequest] = []

    async def read_page(self, position: LogPosition, after: datetime | None, offset: int) -> list[LogRecord]:
        """Return one page of lines.

        Those of a flow run that has logged nothing yet, or more than a page, are read by themselves.
        """
        if offset:
            return [] if offset == position.complete_page else await self._read_alone(position, after, offset)
        position.complete_page = None
        if after is None or position.last is None:
            return await self._read_alone(position, after, offset)
        if not self._requests:
            self._spawn(self._answer())
        request = PageRequest(position, after, asyncio.get_running_loop().create_future())
        self._requests.append(request)
        lines = await request.future
        if lines is None:
            return await self._read_alone(position, after, offset)
        position.complete_page = len(lines)
        return lines

    async def _read_alone(self, position: LogPosition, after: datetime | None, offset: int) -> list[LogRecord]:
        began = asyncio.get_running_loop().time()
        lines = await self._api.read_log_page(position.flow_run_id, after=after, offset=offset)
        position.advance(lines, began)
        return lines

    async def _answer(self) -> None:
        await asyncio.sleep(_GATHER_FOR)
        requests, self._requests = self._requests, []
        for group in grouped(requests):
            await self._read_together(group)

    async def _read_together(self, group: Sequence[PageRequest]) -> None:
        """Answer the whole group; in halves, if there is more than a page, so that no flow hides another's lines."""
        waiting = [request for request in group if not request.future.done()]
        if not waiting:
            return
        began = asyncio.get_running_loop().time()
        ids = list({request.position.flow_run_id for request in waiting})
        since = min(request.since for request in waiting)
        try:
            lines, more = await self._pages.read(partial(self._api.read_logs_of, ids, after=since))
        except Exception as error:
            failure = error  # which is gone after this block
            await call_in_batches(waiting, lambda request: set_future(request.future, failure))
            return
        if more and len(waiting) > 1:
            middle = len(waiting) // 2
            await self._read_together(waiting[:middle])
            await self._read_together(waiting[middle:])
            return
        await call_in_batches(waiting, lambda request: request.answer(None if more else lines, began))
