"""Send each GET request once for many who ask the same: a transport around a transport.

It serves the reasons for a late start: all runs of a deployment that do not start ask for the same deployment, work
pool and work queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response, Transport
from airflow_provider_prefect.client.watcher.futures import call_in_batches, set_future

_KEEP_FOR = 30.0
"""Seconds for which a response serves others."""


class SharedReads:
    """Send each GET request once, whoever asks for it, and keep the response for a while if it is a success.

    :param transport: sends the requests.
    :param spawn: runs a coroutine in the background.
    """

    def __init__(self, transport: Transport, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._transport = transport
        self._spawn = spawn
        self._kept: dict[str, Response] = {}
        self._waiting: dict[str, list[asyncio.Future[Response]]] = {}

    @property
    def settings(self) -> Settings:
        return self._transport.settings

    async def sleep(self, seconds: float) -> None:
        await self._transport.sleep(seconds)

    async def send(self, request: Request) -> Response:
        if request.method != "GET":
            return await self._transport.send(request)
        if kept := self._kept.get(request.path):
            return kept
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        if request.path not in self._waiting:
            self._waiting[request.path] = []
            self._spawn(self._read(request))
        self._waiting[request.path].append(future)
        return await future

    async def _read(self, request: Request) -> None:
        outcome: Response | Exception
        try:
            outcome = await self._transport.send(request)
        except Exception as error:
            outcome = error
        success = outcome if isinstance(outcome, Response) and outcome.ok else None
        if success:
            self._kept[request.path] = success
        await call_in_batches(self._waiting.pop(request.path), lambda future: set_future(future, outcome))
        if success:
            await asyncio.sleep(_KEEP_FOR)
            del self._kept[request.path]
