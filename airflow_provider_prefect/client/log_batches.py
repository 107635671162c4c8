"""Reading the new log lines of many flow runs together, for triggers that show them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.batches import Pages
from airflow_provider_prefect.client.call import Call, LogPage, T
from airflow_provider_prefect.client.model import LogRecord
from airflow_provider_prefect.client.turns import in_turns, settle

_GATHER = 1.0
"""Seconds in which those who ask are gathered. From then on they ask at the same time."""

_LATE = timedelta(seconds=20)
"""How late a line may reach Prefect, at most; twice of what a follower reckons with."""

_SPAN = timedelta(seconds=60)
"""How far apart the times may be from which on flow runs are asked about together. Clocks may differ by more."""

_MOST = 200
"""Flow runs in one request: a page has no more lines."""


@dataclass(eq=False)
class FollowedLog:
    """How far the log of one flow run has been read. Apart from ``last`` in the event loop's seconds."""

    flow_run_id: str
    last: datetime | None = None
    """The time of the last line, by the clock of the flow run's machine."""
    last_seen: float = 0.0
    read: float = 0.0
    """When it was last read to its end."""
    whole: int | None = None
    """How many lines the first page had, if there are no more."""

    def has_shown(self, lines: Sequence[LogRecord], began: float) -> None:
        """It was read to its end, or as far as a page goes."""
        newest = max((line.timestamp for line in lines), default=None)
        if newest is not None and (self.last is None or newest > self.last):
            self.last, self.last_seen = newest, began
        self.read = max(began, self.last_seen)

    def new_since(self, after: datetime) -> datetime:
        """The time from which on new lines can be: where none has come for a while, none is from before that.

        How far the clock of the flow run's machine is off does not matter, as long as it goes on at the same pace.
        """
        assert self.last is not None
        return max(after, self.last + timedelta(seconds=self.read - self.last_seen) - _LATE)


@dataclass(eq=False)
class Asked:
    """Somebody who waits for the lines after a time; answered with ``None`` if there are too many to be shared."""

    log: FollowedLog
    after: datetime
    answer: asyncio.Future[list[LogRecord] | None]

    @property
    def since(self) -> datetime:
        return self.log.new_since(self.after)

    def take(self, lines: Sequence[LogRecord] | None, began: float) -> None:
        """Be answered with one's own of ``lines``, which were read at ``began``."""
        if self.answer.done():
            return
        own = None
        if lines is not None:
            own = [line for line in lines if line.flow_run_id == self.log.flow_run_id and line.timestamp >= self.after]
            self.log.has_shown(own, began)
        self.answer.set_result(own)


def gathered(asked: Sequence[Asked]) -> list[list[Asked]]:
    """Who is answered with one request: those whose new lines begin at about the same time."""
    together: list[list[Asked]] = []
    for one in sorted(asked, key=lambda each: each.since):
        if not together or len(together[-1]) == _MOST or one.since - together[-1][0].since > _SPAN:
            together.append([])
        together[-1].append(one)
    return together


class Ask(Protocol):
    """Has a call answered."""

    def __call__(self, call: Call[T]) -> Awaitable[T]: ...


class LogBatches:
    """Answers who asks for a page of log lines.

    :param ask: has a call answered.
    :param spawn: runs a coroutine in the background.
    """

    def __init__(self, api: Api, ask: Ask, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._api = api
        self._ask = ask
        self._spawn = spawn
        self._pages = Pages()
        self._asked: list[Asked] = []

    async def page(self, log: FollowedLog, wanted: LogPage) -> list[LogRecord]:
        """The lines; of a flow run that has logged nothing yet, or more than a page, by a request of its own."""
        if wanted.offset:
            return [] if wanted.offset == log.whole else await self._alone(log, wanted)
        log.whole = None
        if wanted.after is None or log.last is None:
            return await self._alone(log, wanted)
        if not self._asked:
            self._spawn(self._answer())
        asked = Asked(log, wanted.after, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        lines = await asked.answer
        if lines is None:
            return await self._alone(log, wanted)
        log.whole = len(lines)
        return lines

    async def _alone(self, log: FollowedLog, wanted: LogPage) -> list[LogRecord]:
        began = asyncio.get_running_loop().time()
        page = self._api.read_log_page(log.flow_run_id, after=wanted.after, offset=wanted.offset)
        lines = await self._ask(page)
        log.has_shown(lines, began)
        return lines

    async def _answer(self) -> None:
        await asyncio.sleep(_GATHER)
        asked, self._asked = self._asked, []
        for together in gathered(asked):
            await self._read(together)

    async def _read(self, together: Sequence[Asked]) -> None:
        """Answer all of them; in halves, if there is more than a page, so that one's flood hides nobody's line."""
        waiting = [one for one in together if not one.answer.done()]
        if not waiting:
            return
        began = asyncio.get_running_loop().time()
        ids = list({one.log.flow_run_id for one in waiting})
        since = min(one.since for one in waiting)
        try:
            lines, more = await self._ask(self._pages.read(partial(self._api.read_logs_of, ids, after=since)))
        except Exception as error:
            failure = error  # which is gone after this block
            await in_turns(waiting, lambda one: settle(one.answer, failure))
            return
        if more and len(waiting) > 1:
            middle = len(waiting) // 2
            await self._read(waiting[:middle])
            await self._read(waiting[middle:])
            return
        await in_turns(waiting, lambda one: one.take(None if more else lines, began))
