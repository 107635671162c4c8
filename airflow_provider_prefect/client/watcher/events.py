"""The event feed of Prefect 3: one websocket that says which flow runs have just changed their state.

It makes a wait fast and never decides: an event is published before its state is committed, may come twice or not at
all, and may be of a state that was never reached. The fields are those of prefect 3.8.8.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import aiohttp

from airflow_provider_prefect.client import printable, retry
from airflow_provider_prefect.client.errors import PrefectError, Unreachable
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.http.aio import AioTransport
from airflow_provider_prefect.client.model import RESOURCE_PREFIX, STATE_TYPES, FlowRun
from airflow_provider_prefect.client.settings import Settings

log = logging.getLogger(__name__)

_MESSAGE_TOO_BIG = aiohttp.WSCloseCode.MESSAGE_TOO_BIG

_STABLE_AFTER = 30.0
"""Seconds for which the feed has to have lasted, for its next loss to count as the first one again."""

_MAX_RECONNECT_PAUSE = 300.0
"""Seconds between two attempts to open it. If the feed is away for a minute, it is tried again within the next; where a
proxy lets no websocket through, the attempts cost no more than the polls."""


@dataclass(frozen=True)
class Event:
    """Say that a flow run has changed its state, or may be about to."""

    run: FlowRun
    related: Sequence[Any] = ()
    """What it has to do with, as Prefect has sent it: the deployment, the tags."""

    @property
    def flow_run_id(self) -> str:
        return self.run.id

    @property
    def is_final(self) -> bool:
        return self.run.is_final


def auth_message(settings: Settings) -> dict[str, Any]:
    """Return the first message of a socket. A self-hosted server's user and password are one string here."""
    token = settings.api_key if settings.user is None else f"{settings.user}:{settings.password or ''}"
    return {"type": "auth", "token": token}


def filter_message(now: datetime) -> dict[str, Any]:
    """Return the message that asks for the state changes of all flow runs, but not for heartbeats.

    It is the same whoever waits, since the filter of an open socket cannot be changed. Without an ``until`` far ahead
    no event arrives at all.
    """
    labels = {"prefect.resource.id": f"{RESOURCE_PREFIX}*", "prefect.state-type": list(STATE_TYPES)}
    criteria = {
        "event": {"prefix": [RESOURCE_PREFIX]},
        "resource": {"labels": labels},
        "occurred": {
            "since": (now - timedelta(days=1)).isoformat(),
            "until": (now + timedelta(days=3650)).isoformat(),
        },
    }
    return {"type": "filter", "backfill": False, "filter": criteria}


def parse_event(text: str) -> Event | None:
    """Return the event in a message; ``None`` for whatever is not about the state of a flow run."""
    try:
        event = Fields(Fields(json.loads(text)).mapping("event"))
        resource = event.mapping("resource")
        if not Fields(resource).text("prefect.resource.id").startswith(RESOURCE_PREFIX):
            return None
        related = event.value("related")
        return Event(
            FlowRun.from_event(resource, event.optional_time("occurred")), related if isinstance(related, list) else ()
        )
    except (ValueError, RecursionError):  # WrongShape is a ValueError
        return None


class EventListener(Protocol):
    """Receive what the feed says."""

    def on_event(self, event: Event) -> None:
        """Handle that a flow run's state has changed, or may be about to."""

    def on_feed_opened(self) -> None:
        """Handle that the feed has started (again). It does not report what has happened before."""

    def on_feed_lost(self) -> None:
        """Handle that there is no feed for now."""


class EventFeed:
    """Keep one socket open to a server's events, for as long as :meth:`run` runs.

    :param transport: whose settings, proxy and TLS context are used.
    """

    def __init__(self, transport: AioTransport, listener: EventListener) -> None:
        self._transport = transport
        self._listener = listener
        self.open_since: float | None = None
        """The event loop's seconds; ``None`` while there is no feed."""

    async def run(self) -> None:
        """Listen, and open the socket again whenever it is lost. It does not end by itself."""
        loop = asyncio.get_running_loop()
        lost = 0
        reported = False
        while True:
            began = loop.time()
            try:
                await self._listen()
            except Exception as error:
                reason = str(error) if isinstance(error, PrefectError) else type(error).__name__
                reason = self._transport.settings.hide_secrets(reason)
            opened, self.open_since = self.open_since, None
            self._listener.on_feed_lost()
            if opened is not None and loop.time() - began >= _STABLE_AFTER:
                lost, reported = 0, False
            lost += 1
            if not reported:
                log.warning("The event feed is not available (%s). Flow runs are polled until it is back.", reason)
                reported = True
            await asyncio.sleep(retry.backoff(lost + 1, _MAX_RECONNECT_PAUSE))

    async def _listen(self) -> None:
        """Listen until the socket is lost.

        :raises Unreachable: why it was lost.
        """
        settings = self._transport.settings
        socket = await self._transport.connect("/events/out", "prefect")
        try:
            async with asyncio.timeout(settings.timeout):
                await socket.send_json(auth_message(settings))
                welcome = await self._receive(socket)
            if '"auth_success"' not in welcome:
                raise Unreachable("the server does not accept the credentials for its events")
            await socket.send_json(filter_message(datetime.now(UTC)))
            self.open_since = asyncio.get_running_loop().time()
            self._listener.on_feed_opened()
            while True:
                event = parse_event(await self._receive(socket))
                if event is not None:
                    self._listener.on_event(event)
        finally:
            await socket.close()

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        message = await socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:  # not an event, since Prefect sends text
            return ""
        if isinstance(message.data, aiohttp.WebSocketError) and message.data.code == _MESSAGE_TOO_BIG:
            raise Unreachable("the server has sent a message that is too large for an event")
        reason = printable.line(str(message.extra or ""))
        raise Unreachable(f"the server has closed it: {socket.close_code} {reason}".strip())


class FeedMonitor:
    """Notice that an open feed says nothing: a server whose events are switched off accepts the socket too.

    :param grace: seconds within which the event of an end has to arrive.
    """

    def __init__(self, grace: float = 5.0) -> None:
        self._grace = grace
        self._unannounced: dict[str, float] = {}
        self.is_silent = False

    def flow_run_ended(self, flow_run_id: str, now: float) -> None:
        """Record that a flow run has ended of which the feed has said nothing so far."""
        self._unannounced[flow_run_id] = now + self._grace

    def event_received(self, event: Event) -> None:
        """Record that the feed has said something."""
        self._unannounced.pop(event.flow_run_id, None)
        self.is_silent = False

    @property
    def check_at(self) -> float:
        """Return when :meth:`check` may have become true."""
        return min(self._unannounced.values(), default=math.inf)

    def check(self, now: float) -> bool:
        """Return whether the feed has just turned out to be silent."""
        overdue = [flow_run_id for flow_run_id, until in self._unannounced.items() if until <= now]
        for flow_run_id in overdue:
            del self._unannounced[flow_run_id]
        if overdue and not self.is_silent:
            self.is_silent = True
            return True
        return False
