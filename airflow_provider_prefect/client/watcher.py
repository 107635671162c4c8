"""Watching the flow runs of many tasks with a handful of requests: what all triggers of one process share.

There is one for each API, its credentials and the event loop: it lives and ends with the driver that they share. It
asks for all flow runs that are due in one request (:mod:`.batches`), and listens to the server's events
(:mod:`.events`), which make a flow run due at once and decide nothing: polling alone finds the same, later.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any

from airflow_provider_prefect.client import retry
from airflow_provider_prefect.client.api import Api, api_of
from airflow_provider_prefect.client.batches import CONFIRM, SIZE, Batch, Pages, may_be_of_one, plan
from airflow_provider_prefect.client.call import Call, Effect, Look, Response, T, arun
from airflow_provider_prefect.client.errors import (
    AuthenticationError,
    FlowRunNotFound,
    PrefectError,
)
from airflow_provider_prefect.client.events import Event, EventFeed, Silence
from airflow_provider_prefect.client.http import AsyncHttp
from airflow_provider_prefect.client.log_batches import LogBatches
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience, retried
from airflow_provider_prefect.client.shared_reads import SharedReads
from airflow_provider_prefect.client.turns import in_turns
from airflow_provider_prefect.client.watched import Told, Watched, trouble

log = logging.getLogger(__name__)

_GATHER = 0.05
"""Seconds in which what is due is gathered: events come one by one, triggers start one by one."""

_SAFETY = 60.0
"""Seconds between two looks while the event feed tells what happens."""

_AT_ONCE = 4
"""Requests for flow runs at the same time. Prefect's server answers them one after the other."""

_COUNT_EVERY = 300.0
"""Seconds in which it is found out that a flow run was deleted."""

_AFTER_FAULT = 5.0
"""Seconds after a fault of our own."""


def watcher_of(http: AsyncHttp) -> Watcher:
    """The watcher that goes with this driver."""
    if not isinstance(http.attached, Watcher):
        http.attached = Watcher(http, api_of(http.settings))
    return http.attached


class Watcher:
    """Answers the looks of all who have joined it. Whatever goes wrong for one of them is nobody else's affair."""

    def __init__(self, http: AsyncHttp, api: Api) -> None:
        self._http = http
        self._api = api
        self._watched: dict[str, list[Watched]] = {}
        self._pages = Pages()
        self._feed = EventFeed(http, self)
        self._silence = Silence()
        self._wake = asyncio.Event()
        self._changed: set[Watched] = set()
        """Whose turn may come earlier than was planned."""
        self._all_planned_until = -math.inf
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.logs = LogBatches(api, self.ask, self._spawn)
        self.reads = SharedReads(http.perform, self._spawn)

    def join(self, watched: Watched) -> None:
        if not self._tasks:
            for work in (self._look(), self._listen(), self._count()):
                self._spawn(work)
        self._watched.setdefault(watched.flow_run_id, []).append(watched)

    def leave(self, watched: Watched) -> None:
        others = self._watched[watched.flow_run_id]
        others.remove(watched)
        if not others:
            del self._watched[watched.flow_run_id]

    async def look(self, watched: Watched, look: Look) -> FlowRun | None:
        """The answer to ``look``.

        :raises AuthenticationError: the credentials are not accepted. Looking again, with others or not, goes on.
        :raises FlowRunNotFound: Prefect has said so twice.
        :raises Unreachable: it has not answered usefully for as long as that is put up with.
        """
        loop = asyncio.get_running_loop()
        watched.known, watched.until = look.known, look.until
        if look.known is None:
            watched.known_type = None
        alarm = None
        if not look.once_more:
            watched.until = math.inf
            # Not before it had a chance to be looked at, if that is due.
            pause = max(2 * _GATHER, look.until - time.time())
            alarm = loop.call_later(pause, watched.time_is_up, look.until)
        try:
            while True:
                watched.answer = loop.create_future()
                self._plan(watched)
                answer = await watched.answer
                if not isinstance(answer, Told):
                    return answer
                await asyncio.to_thread(log.log, answer.level, answer.text)
                if alarm and loop.time() >= alarm.when():
                    return None
        except AuthenticationError as error:
            if not watched.told_of_trouble:
                watched.told_of_trouble = True
                told = trouble(error)
                await asyncio.to_thread(log.log, told.level, told.text)
            raise
        finally:
            watched.answer = None
            if alarm:
                alarm.cancel()

    async def ask(self, call: Call[T]) -> T:
        """What ``call`` returns, without patience for anything but CSRF tokens."""
        return await arun(retried(call, Patience(0)), self._perform)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the event feed tells

    def on_event(self, event: Event) -> None:
        self._silence.heard(event)
        now = _now()
        for one in self._watched.get(event.flow_run_id, ()):
            if event.is_final:
                one.announced = True
                one.soon = tuple(now + pause for pause in CONFIRM)
            elif not one.soon:
                one.soon = (now + CONFIRM[-1],)
            self._plan(one)

    def on_open(self) -> None:
        for one in self._all():
            # Twice, since nothing says from when on the server's filter counts.
            one.soon = (_now(), _now() + CONFIRM[-1])
        self._plan_all()

    def on_loss(self) -> None:
        self._plan_all()

    # What it does in the background

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: in the one of the trigger that happens to ask, log lines would be that task's.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _plan(self, *changed: Watched) -> None:
        self._changed.update(changed)
        self._wake.set()

    def _plan_all(self) -> None:
        self._all_planned_until = -math.inf
        self._wake.set()

    async def _look(self) -> None:
        while True:
            try:
                await self._take_turns()
            except Exception:
                # Nobody would be told anything any more.
                log.exception("Flow runs could not be looked at. It goes on in %.0f s.", _AFTER_FAULT)
                await asyncio.sleep(_AFTER_FAULT)
                self._plan_all()

    async def _take_turns(self) -> None:
        """Look at what is due, and wait until something is due again."""
        self._wake.clear()
        now = _now()
        if self._silence.check(now):
            log.warning("The event feed of %s says nothing of flow runs that end.", self._http.settings.api_url)
            self._plan_all()
        changed, self._changed = self._changed, set()
        # Where events come in numbers, planning all each time would take longer than asking.
        everyone = now >= self._all_planned_until
        fed = self._feed.open_since is not None and not self._silence.certain
        planned = plan(self._all() if everyone else changed, now, time.time(), _SAFETY if fed else 0.0)
        for batch in planned.batches:
            for one in batch.watched:
                one.busy = True
            self._spawn(self._look_at(batch))
        self._all_planned_until = min(planned.again, now + _SAFETY if everyone else self._all_planned_until)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(self._all_planned_until, self._silence.check_at)):
                await self._wake.wait()
        await asyncio.sleep(_GATHER)

    async def _look_at(self, batch: Batch) -> None:
        try:
            async with self._places:
                failure = await self._tried(batch)
                if failure:
                    await self._failed(batch, failure)
        finally:
            for one in batch.watched:
                one.busy = False
            self._plan(*batch.watched)

    async def _tried(self, batch: Batch) -> Exception | None:
        began = _now()
        try:
            if batch.watched[0].doubted:
                await self._look_for(batch.watched[0])
            else:
                await self._look_for_changes(batch)
        except Exception as error:
            return error
        await in_turns(batch.watched, lambda one: one.looked_at(began, time.time()))
        return None

    async def _look_for_changes(self, batch: Batch) -> None:
        seen = await self.ask(self._pages.read_changed(self._api, batch.ids, batch.known_type, self._show))
        if batch.known_type is None:
            for one in batch.watched:
                one.doubted = one.flow_run_id not in seen

    async def _look_for(self, doubted: Watched) -> None:
        """See whether there is such a flow run. Twice: a server that was restored just now may not know it yet."""
        try:
            run = await self.ask(self._api.read_flow_run(doubted.flow_run_id))
        except FlowRunNotFound as error:
            if doubted.missing:
                doubted.fail(error)
            doubted.missing = True
        else:
            doubted.doubted = doubted.missing = False
            self._show([run])

    def _show(self, runs: Sequence[FlowRun]) -> None:
        for run in runs:
            for one in self._watched.get(run.id, ()):
                if one.pending and run.state.id != one.known:
                    opened = self._feed.open_since
                    if run.is_final and not one.announced and opened is not None and one.looked > opened + CONFIRM[-1]:
                        self._silence.ended(run.id, _now())
                    one.known_type = run.state.type
                    one.reply(run)

    async def _failed(self, batch: Batch, failure: Exception) -> None:
        """Put up with ``failure``, but for those whose flow run alone has spoilt the answer for all of them."""
        if len(batch.watched) > 1 and may_be_of_one(failure):
            halves = batch.halved()
            failures = [await self._tried(half) for half in halves]
            for half, own, other in zip(halves, failures, reversed(failures), strict=True):
                if own and other:
                    await self._put_up_with(half, own)
                elif own:
                    await self._failed(half, own)
        else:
            await self._put_up_with(batch, failure)

    async def _put_up_with(self, batch: Batch, failure: Exception) -> None:
        tries = max(one.tries for one in batch.watched)
        if not (tries or isinstance(failure, PrefectError)):
            log.error("An answer of Prefect is not understood.", exc_info=failure)
        pause = retry.backoff(tries + 1)

        def put_up_with(one: Watched) -> None:
            one.busy = False  # before it goes on, perhaps with another watcher
            one.put_up_with(failure, _now(), time.time(), pause)

        await in_turns(batch.watched, put_up_with)

    async def _listen(self) -> None:
        tries = 0
        while True:
            try:
                if await self.ask(self._api.has_event_feed()):
                    await self._feed.run()
                return
            except Exception:
                # Whoever waits is told what is wrong by the looks.
                tries += 1
                await asyncio.sleep(retry.backoff(tries))

    async def _count(self) -> None:
        """Find out, every so often, which flow runs are gone: they never change."""
        while True:
            ids = list(self._watched)
            parts = [ids[start : start + SIZE] for start in range(0, len(ids), SIZE)]
            for part in parts:
                await asyncio.sleep(_COUNT_EVERY / len(parts))
                with suppress(Exception):
                    if await self.ask(self._api.count_existing(part)) < len(part):
                        await self._list(part)
            if not parts:
                await asyncio.sleep(_COUNT_EVERY)

    async def _list(self, ids: Sequence[str]) -> None:
        there = await self.ask(self._pages.read_changed(self._api, ids, None, self._show))
        for flow_run_id in set(ids) - there:
            for one in self._watched.get(flow_run_id, ()):
                one.doubted = True
                self._plan(one)

    async def _perform(self, effect: Effect) -> object:
        answer = await self._http.perform(effect)
        if isinstance(answer, Response) and not answer.ok:
            pause = retry.retry_after(answer, time.time())
            if pause:
                for one in self._all():
                    one.not_before = max(one.not_before, _now() + pause)
        return answer

    def _all(self) -> Iterator[Watched]:
        return (one for same in self._watched.values() for one in same)


def _now() -> float:
    return asyncio.get_running_loop().time()
