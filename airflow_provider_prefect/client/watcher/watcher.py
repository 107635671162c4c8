"""Poll the flow runs of many waits together, and listen to Prefect's events: what all triggers of one process share.

Theory of operation
-------------------

There is one :class:`Watcher` for each API, its credentials and the event loop (see :mod:`.connection`). Each wait adds
a :class:`.subscription.Subscription`, which asks for the next state of one flow run and is suspended until the watcher
answers it. These background tasks do the work:

``_poll``
    plans which subscriptions are due (:mod:`.schedule`) and starts one poll for each batch of up to 1,000 flow runs. It
    then sleeps until the next one is due, or until a subscription or an event makes one due earlier. A poll asks for
    those flow runs of the batch whose state is of *another* type than the known one, so that the response without news
    has two bytes.
``_listen``
    keeps the websocket of Prefect 3 open (:mod:`.events`). An event makes a flow run due *now*, and again a quarter of
    a second and a second later, since it may be published before the state is committed. It never decides anything:
    only a poll does. While the feed works, regular polls are a minute apart.
``_count``
    finds flow runs that were deleted, which never change: every minute it counts which of them still exist.
``_poll_batch``
    is one task for each poll under way.

Failures: a poll that fails is tolerated by each of its subscriptions, by its own patience. If one flow run may have
spoilt the response for all others (an id that is none, a row that the server cannot show), the batch is halved until
that one is alone. A flow run that is missing in a poll of many is polled by itself, and its wait fails when Prefect
says for the second time that there is no such flow run.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

from airflow_provider_prefect.client import responses, retry
from airflow_provider_prefect.client.api import make_api
from airflow_provider_prefect.client.errors import FlowRunNotFound, MalformedAnswer, PrefectError
from airflow_provider_prefect.client.http.aio import AioTransport
from airflow_provider_prefect.client.model import FlowRun, LogRecord
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response, Transport
from airflow_provider_prefect.client.wait.flow_run import SIDE_PATIENCE
from airflow_provider_prefect.client.watcher.events import Event, EventFeed, FeedMonitor
from airflow_provider_prefect.client.watcher.futures import BATCH_SIZE, call_in_batches
from airflow_provider_prefect.client.watcher.logs import LogPosition, LogReader
from airflow_provider_prefect.client.watcher.metrics import NO_METRICS, Metrics
from airflow_provider_prefect.client.watcher.pages import PageReader
from airflow_provider_prefect.client.watcher.schedule import MAX_BATCH_SIZE, Batch, may_be_caused_by_one, plan
from airflow_provider_prefect.client.watcher.shared_reads import SharedReads
from airflow_provider_prefect.client.watcher.subscription import GATHER_FOR, Subscription

log = logging.getLogger(__name__)

CONFIRM_AFTER = (0.0, 0.25, 1.0)
"""Seconds after an event at which its flow run is polled: it may be published before the state is committed."""

POLL_INTERVAL_WITH_FEED = 60.0
"""Seconds between two polls of a flow run while the event feed works."""

_MAX_POLLS_AT_ONCE = 4
"""Prefect's server answers them one after the other."""

_COUNT_INTERVAL = 60.0
"""Seconds between two counts of the flow runs that still exist."""

_PAUSE_AFTER_ERROR = 5.0
"""Seconds to pause after an error in our own code."""


class Watcher:
    """Answer all subscriptions to one API. A failure of one flow run never affects the others."""

    def __init__(self, transport: AioTransport, metrics: Metrics = NO_METRICS) -> None:
        self._settings = transport.settings
        self._metrics = metrics
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._api = make_api(_RetryAfterTransport(transport, self._hold_back), Patience(0))
        self._pages = PageReader()
        self._logs = LogReader(self._api, self._spawn)
        self._shared_api = make_api(SharedReads(transport, self._spawn), Patience(SIDE_PATIENCE))
        self._feed = EventFeed(transport, self)
        self._monitor = FeedMonitor()
        self._listeners: list[Callable[[Event], None]] = []
        self._wake = asyncio.Event()
        self._changed: set[Subscription] = set()
        """Subscriptions that may be due earlier than was planned."""
        self._all_planned_until = -math.inf
        self._poll_slots = asyncio.Semaphore(_MAX_POLLS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, subscription: Subscription) -> None:
        """Poll for ``subscription`` from now on."""
        self._start()
        self._subscriptions.setdefault(subscription.flow_run_id, []).append(subscription)
        self._metrics.gauge("waits", len(self._subscriptions))

    def remove(self, subscription: Subscription) -> None:
        """Poll for ``subscription`` no longer."""
        same = self._subscriptions[subscription.flow_run_id]
        same.remove(subscription)
        if not same:
            del self._subscriptions[subscription.flow_run_id]
            self._metrics.gauge("waits", len(self._subscriptions))

    @contextmanager
    def listening(self, listener: Callable[[Event], None]) -> Iterator[None]:
        """Tell ``listener`` of every event of the feed within a ``with`` block, of whichever flow run it is."""
        self._start()
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _start(self) -> None:
        if not self._tasks:
            for work in (self._poll(), self._listen(), self._count()):
                self._spawn(work)

    def schedule(self, *subscriptions: Subscription) -> None:
        """Plan again when these subscriptions are polled."""
        self._changed.update(subscriptions)
        self._wake.set()

    async def read_log_page(self, position: LogPosition, after: datetime | None, offset: int) -> list[LogRecord]:
        """Return one page of the log lines of a flow run, read together with those of others."""
        return await self._logs.read_page(position, after, offset)

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        """Return what may keep a flow run from starting; flow runs of one deployment share the requests."""
        return await self._shared_api.reasons_not_started(run)

    async def close(self) -> None:
        """End the background tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the event feed says

    def on_event(self, event: Event) -> None:
        self._monitor.event_received(event)
        for listener in self._listeners:
            listener(event)
        now = _now()
        for subscription in self._subscriptions.get(event.flow_run_id, ()):
            if event.is_final:
                subscription.announced_end = event.run
                subscription.poll_soon = tuple(now + pause for pause in CONFIRM_AFTER)
            elif not subscription.poll_soon:
                subscription.poll_soon = (now + CONFIRM_AFTER[-1],)
            self.schedule(subscription)

    def on_feed_opened(self) -> None:
        self._metrics.gauge("event_feed", 1)
        for subscription in self._all():
            # Twice, since nothing says from when on the server applies the filter.
            subscription.poll_soon = (_now(), _now() + CONFIRM_AFTER[-1])
        self._schedule_all()

    def on_feed_lost(self) -> None:
        self._metrics.gauge("event_feed", 0)
        self._schedule_all()

    # What it does in the background

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own. In that of the trigger that happens to ask, log lines would be that task's.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _schedule_all(self) -> None:
        self._all_planned_until = -math.inf
        self._wake.set()

    async def _poll(self) -> None:
        while True:
            try:
                await self._start_due_polls()
            except Exception:
                # Without this task no wait would ever be answered again.
                log.exception("Flow runs could not be polled. Polling continues in %.0f s.", _PAUSE_AFTER_ERROR)
                await asyncio.sleep(_PAUSE_AFTER_ERROR)
                self._schedule_all()

    async def _start_due_polls(self) -> None:
        """Start polls of what is due, and wait until something is due again."""
        self._wake.clear()
        now = _now()
        if self._monitor.check(now):
            log.warning("The event feed of %s does not report flow runs that end.", self._settings.api_url)
            self._metrics.gauge("event_feed", 0)
            self._schedule_all()
        changed, self._changed = self._changed, set()
        # Where events come in great numbers, planning all subscriptions each time would take longer than polling.
        plan_all = now >= self._all_planned_until
        feed_works = self._feed.open_since is not None and not self._monitor.is_silent
        planned = plan(
            self._all() if plan_all else changed, now, time.time(), POLL_INTERVAL_WITH_FEED if feed_works else 0.0
        )
        for batch in planned.batches:
            for subscription in batch.subscriptions:
                subscription.is_busy = True
            self._spawn(self._poll_batch(batch))
        self._all_planned_until = min(
            planned.again, now + POLL_INTERVAL_WITH_FEED if plan_all else self._all_planned_until
        )
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(self._all_planned_until, self._monitor.check_at)):
                await self._wake.wait()
        await asyncio.sleep(GATHER_FOR)

    async def _poll_batch(self, batch: Batch) -> None:
        try:
            async with self._poll_slots:
                failure = await self._try(batch)
                if failure:
                    await self._handle_failure(batch, failure)
        finally:
            for subscription in batch.subscriptions:
                subscription.is_busy = False
            self.schedule(*batch.subscriptions)

    async def _try(self, batch: Batch) -> Exception | None:
        began = _now()
        try:
            if batch.subscriptions[0].polls_alone:
                await self._poll_alone(batch.subscriptions[0])
            else:
                seen = await self._show_changed(batch.ids, batch.known_type)
                if batch.known_type is None:
                    for subscription in batch.subscriptions:
                        subscription.is_doubted = subscription.flow_run_id not in seen
        except Exception as error:
            self._metrics.incr("polls_failed")
            return error
        self._metrics.incr("polls")
        await call_in_batches(batch.subscriptions, lambda subscription: subscription.polled(began, time.time()))
        for subscription in batch.subscriptions:
            # Said to have ended, and still not among those that have changed: it may be deleted already.
            if subscription.announced_end and subscription.is_pending and not subscription.poll_soon:
                subscription.is_doubted = True
        return None

    async def _poll_alone(self, subscription: Subscription) -> None:
        """Poll a flow run that was missing among others, or that cannot be listed."""
        try:
            run = await self._api.read_flow_run(subscription.flow_run_id)
        except FlowRunNotFound as error:
            subscription.not_found(error)
        else:
            subscription.is_doubted = False
            if not run.is_final:
                subscription.announced_end = None
            subscription.trouble.found()
            self._show([run])

    async def _show_changed(self, ids: Sequence[str], known_type: str | None) -> set[str]:
        """Answer the waits for those of ``ids`` whose state is of another type; return which those are."""
        seen: set[str] = set()
        more = True
        while more and (rest := [flow_run_id for flow_run_id in ids if flow_run_id not in seen]):
            runs, more = await self._pages.read(partial(self._api.read_changed, rest, known_type=known_type))
            found = {run.id for run in runs}
            if more and found.isdisjoint(rest):
                raise MalformedAnswer("Prefect lists flow runs that it was not asked for, and no others.", 200)
            seen |= found
            for start in range(0, len(runs), BATCH_SIZE):
                self._show(runs[start : start + BATCH_SIZE])
                await asyncio.sleep(0)
        return seen

    def _show(self, runs: Sequence[FlowRun]) -> None:
        for run in runs:
            for subscription in self._subscriptions.get(run.id, ()):
                if subscription.is_pending and run.state.id != subscription.known_state_id:
                    if run.is_final and self._should_have_been_announced(subscription):
                        self._monitor.flow_run_ended(run.id, _now())
                    if run.is_final and subscription.known_state_id and run.state.timestamp:
                        self._metrics.timing("detection_delay", max(0.0, time.time() - run.state.timestamp.timestamp()))
                    subscription.found(run)

    def _should_have_been_announced(self, subscription: Subscription) -> bool:
        opened = self._feed.open_since
        if subscription.announced_end or opened is None:
            return False
        return subscription.polled_at > opened + CONFIRM_AFTER[-1]

    async def _handle_failure(self, batch: Batch, failure: Exception) -> None:
        """Have ``failure`` tolerated, but only by the flow run that has spoilt the response for all, if one has."""
        if not may_be_caused_by_one(failure):
            await self._tolerate(batch, failure)
        elif len(batch.subscriptions) > 1:
            halves = batch.halved()
            failures = [await self._try(half) for half in halves]
            for half, own, other in zip(halves, failures, reversed(failures), strict=True):
                if own and other:
                    await self._tolerate(half, own)
                elif own:
                    await self._handle_failure(half, own)
        else:
            await self._retry_alone(batch, failure)

    async def _retry_alone(self, batch: Batch, failure: Exception) -> None:
        """Poll a flow run by itself that cannot be listed; from then on always, if that works.

        Prefect 3 shows a flow run with a number beyond 64 bits in its parameters, but cannot list it (3.8.8).
        """
        [subscription] = batch.subscriptions
        if not subscription.polls_alone:
            subscription.is_unlistable = True
            failed = await self._try(batch)
            if failed is None:
                return
            subscription.is_unlistable = False
            failure = failed
        await self._tolerate(batch, failure)

    async def _tolerate(self, batch: Batch, failure: Exception) -> None:
        tries = max(subscription.trouble.tries for subscription in batch.subscriptions)
        if not (tries or isinstance(failure, PrefectError)):
            log.error("A response of Prefect could not be understood.", exc_info=failure)
        pause = retry.backoff(tries + 1)

        def poll_failed(subscription: Subscription) -> None:
            subscription.is_busy = False  # before the wait continues, perhaps with another watcher
            subscription.poll_failed(failure, _now(), time.time(), pause)

        await call_in_batches(batch.subscriptions, poll_failed)

    async def _listen(self) -> None:
        tries = 0
        while True:
            try:
                if await self._api.has_event_feed():
                    await self._feed.run()
                return
            except Exception:
                # What is wrong is reported by the polls.
                tries += 1
                await asyncio.sleep(retry.backoff(tries))

    async def _count(self) -> None:
        """Find out, every so often, which flow runs were deleted: they never change."""
        while True:
            await asyncio.sleep(_COUNT_INTERVAL)
            ids = list(self._subscriptions)
            for start in range(0, len(ids), MAX_BATCH_SIZE):
                part = ids[start : start + MAX_BATCH_SIZE]
                with suppress(Exception):
                    if await self._api.count_existing(part) < len(part):
                        await self._doubt_missing(part)

    async def _doubt_missing(self, ids: Sequence[str]) -> None:
        for flow_run_id in set(ids) - await self._show_changed(ids, None):
            for subscription in self._subscriptions.get(flow_run_id, ()):
                subscription.is_doubted = True
                self.schedule(subscription)

    def _hold_back(self, seconds: float) -> None:
        """Poll nothing for so long, since the server asks for it."""
        for subscription in self._all():
            subscription.not_before = max(subscription.not_before, _now() + seconds)

    def _all(self) -> Iterator[Subscription]:
        return (subscription for same in self._subscriptions.values() for subscription in same)


class _RetryAfterTransport:
    """Send requests through ``transport``, and pass on how long a failed response asks to wait."""

    def __init__(self, transport: Transport, hold_back: Callable[[float], None]) -> None:
        self._transport = transport
        self._hold_back = hold_back

    @property
    def settings(self) -> Settings:
        return self._transport.settings

    async def sleep(self, seconds: float) -> None:
        await self._transport.sleep(seconds)

    async def send(self, request: Request) -> Response:
        response = await self._transport.send(request)
        if not response.ok and (seconds := responses.retry_after(response)):
            self._hold_back(seconds)
        return response


def _now() -> float:
    return asyncio.get_running_loop().time()
