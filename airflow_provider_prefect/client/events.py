"""The event feed of Prefect 3: one websocket that tells which flow runs have just changed their state.

It makes a wait fast and never decides: an event is published before its state is committed, may come twice or not at
all, and may be of a state that never came to be. The fields are those of prefect 3.8.8.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import aiohttp

from airflow_provider_prefect.client import retry
from airflow_provider_prefect.client.errors import PrefectError, Unreachable
from airflow_provider_prefect.client.http import AsyncHttp
from airflow_provider_prefect.client.model import FINAL, LIVE
from airflow_provider_prefect.client.settings import Settings

log = logging.getLogger(__name__)

_PREFIX = "prefect.flow-run."

_STEADY = 30.0
"""Seconds for which the feed has to have lasted, for its next loss to be the first again."""

_SELDOM = 300.0
"""Seconds between two tries at most. What is away for a minute is tried again within the next; and where a proxy lets
no websocket through, trying costs no more than the looks."""


@dataclass(frozen=True)
class Event:
    """A flow run has changed its state, or may be about to."""

    flow_run_id: str
    state_type: str

    @property
    def is_final(self) -> bool:
        return self.state_type in FINAL


def auth_message(settings: Settings) -> dict[str, Any]:
    """What a socket has to begin with. A self-hosted server's user and password are one text here."""
    token = settings.api_key if settings.user is None else f"{settings.user}:{settings.password or ''}"
    return {"type": "auth", "token": token}


def filter_message(now: datetime) -> dict[str, Any]:
    """Asks for the state changes of all flow runs, which heartbeats are not.

    It is the same whoever waits, since the filter of an open socket cannot be changed. Without an ``until`` far ahead
    no event comes at all.
    """
    labels = {"prefect.resource.id": f"{_PREFIX}*", "prefect.state-type": [*LIVE, "CANCELLING", *FINAL]}
    criteria = {
        "event": {"prefix": [_PREFIX]},
        "resource": {"labels": labels},
        "occurred": {
            "since": (now - timedelta(days=1)).isoformat(),
            "until": (now + timedelta(days=3650)).isoformat(),
        },
    }
    return {"type": "filter", "backfill": False, "filter": criteria}


def read_event(text: str) -> Event | None:
    """The event in a message; ``None`` for whatever is not about the state of a flow run."""
    try:
        resource = json.loads(text)["event"]["resource"]
        name, state_type = resource["prefect.resource.id"], resource["prefect.state-type"]
    except (KeyError, TypeError, ValueError):
        return None
    if not (isinstance(name, str) and name.startswith(_PREFIX) and isinstance(state_type, str)):
        return None
    return Event(name.removeprefix(_PREFIX), state_type)


class Listener(Protocol):
    """Who wants to know."""

    def on_event(self, event: Event) -> None:
        """A flow run's state has changed, or may be about to."""

    def on_open(self) -> None:
        """The feed has begun (again). What has happened before, it does not tell."""

    def on_loss(self) -> None:
        """There is no feed for now."""


class EventFeed:
    """Keeps one socket open to a server's events, for as long as :meth:`run` runs.

    :param http: the driver whose settings and TLS it shares.
    """

    def __init__(self, http: AsyncHttp, listener: Listener) -> None:
        self._http = http
        self._listener = listener
        self.open_since: float | None = None
        """The event loop's seconds; ``None`` while there is no feed."""

    async def run(self) -> None:
        """Listen, and open the socket again whenever it is lost. It does not end by itself."""
        loop = asyncio.get_running_loop()
        lost = 0
        told = False
        while True:
            began = loop.time()
            try:
                await self._listen()
            except Exception as error:
                trouble = str(error) if isinstance(error, PrefectError) else type(error).__name__
            opened, self.open_since = self.open_since, None
            self._listener.on_loss()
            if opened is not None and loop.time() - began >= _STEADY:
                lost, told = 0, False
            lost += 1
            if not told:
                log.warning("There is no event feed at present (%s). Flow runs are asked for every so often.", trouble)
                told = True
            await asyncio.sleep(retry.backoff(lost + 1, _SELDOM))

    async def _listen(self) -> None:
        """Listen until the socket is lost.

        :raises Unreachable: why it was.
        """
        socket = await self._http.connect("/events/out", "prefect")
        try:
            async with asyncio.timeout(self._http.settings.timeout):
                await socket.send_json(auth_message(self._http.settings))
                welcome = await self._receive(socket)
            if '"auth_success"' not in welcome:
                raise Unreachable("the server does not accept the credentials for its events")
            await socket.send_json(filter_message(datetime.now(UTC)))
            self.open_since = asyncio.get_running_loop().time()
            self._listener.on_open()
            while True:
                event = read_event(await self._receive(socket))
                if event is not None:
                    self._listener.on_event(event)
        finally:
            await socket.close()

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        message = await socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        raise Unreachable(f"the server has closed it: {socket.close_code} {message.extra or ''}".strip())


class Silence:
    """Finds out whether an open feed says nothing: what has ended without an event is remembered for a while.

    A server whose feed is switched off accepts the socket too.
    """

    def __init__(self, patience: float = 5.0) -> None:
        self._patience = patience
        self._unannounced: dict[str, float] = {}
        self.certain = False

    def ended(self, flow_run_id: str, now: float) -> None:
        """A flow run was seen to have ended of which the feed has said nothing so far."""
        self._unannounced[flow_run_id] = now + self._patience

    def heard(self, event: Event) -> None:
        """The feed has said something."""
        self._unannounced.pop(event.flow_run_id, None)
        self.certain = False

    @property
    def check_at(self) -> float:
        """When :meth:`check` may have become true."""
        return min(self._unannounced.values(), default=math.inf)

    def check(self, now: float) -> bool:
        """Whether it has just become certain."""
        overdue = [one for one, until in self._unannounced.items() if until <= now]
        for one in overdue:
            del self._unannounced[one]
        if overdue and not self.certain:
            self.certain = True
            return True
        return False
