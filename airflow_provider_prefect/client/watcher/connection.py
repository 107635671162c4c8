"""Share one transport and one watcher between all triggers of an event loop that use the same API and credentials."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from airflow_provider_prefect.client.http.aio import AioTransport
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response
from airflow_provider_prefect.client.watcher.metrics import NO_METRICS, Metrics
from airflow_provider_prefect.client.watcher.watcher import Watcher

log = logging.getLogger(__name__)


class _Shared:
    """Hold what all users of the same settings share."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.transport = AioTransport(settings)
        self.users = 0
        self._metrics = metrics
        self._watcher: Watcher | None = None

    @property
    def watcher(self) -> Watcher:
        if self._watcher is None:
            self._watcher = Watcher(self.transport, self._metrics)
        return self._watcher

    async def close(self) -> None:
        if self._watcher is not None:
            await self._watcher.close()
        await self.transport.close()


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, _Shared]] = WeakKeyDictionary()

_closing: set[asyncio.Task[None]] = set()
"""Keeps a reference to what is being closed: the event loop alone would not."""


def _join(settings: Settings, metrics_for: Callable[[Settings], Metrics]) -> _Shared:
    of_loop = _shared.setdefault(asyncio.get_running_loop(), {})
    if settings not in of_loop:
        of_loop[settings] = _Shared(settings, metrics_for(settings))
    of_loop[settings].users += 1
    return of_loop[settings]


async def _leave(shared: _Shared) -> None:
    """Close what is shared, if nobody uses it any more."""
    shared.users -= 1
    if not shared.users:
        del _shared[asyncio.get_running_loop()][shared.transport.settings]
        # In a task of its own: Airflow cancels a trigger again while it is still ending.
        closing = asyncio.create_task(shared.close())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)
        await asyncio.shield(closing)


class SharedConnection:
    """Use the transport and the watcher that others use too. An asynchronous context manager.

    When the credentials are read again and have changed, it moves on to the transport and watcher of the new settings.

    :param read_settings: reads the connection; given the settings that were refused, if it is read for that.
    :param metrics_for: returns where the watcher of these settings reports its work.
    """

    def __init__(
        self,
        read_settings: Callable[[Settings | None], Awaitable[Settings]],
        metrics_for: Callable[[Settings], Metrics] = lambda _: NO_METRICS,
    ) -> None:
        self._read_settings = read_settings
        self._metrics_for = metrics_for

    async def __aenter__(self) -> SharedConnection:
        self._current = _join(await self._read_settings(None), self._metrics_for)
        return self

    async def __aexit__(self, *_: object) -> None:
        await _leave(self._current)

    @property
    def settings(self) -> Settings:
        return self._current.transport.settings

    @property
    def watcher(self) -> Watcher:
        """Return the watcher of the present settings."""
        return self._current.watcher

    async def send(self, request: Request) -> Response:
        return await self._current.transport.send(request)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def reload_settings(self) -> None:
        try:
            settings = await self._read_settings(self.settings)
        except Exception as error:
            log.warning("The connection could not be read again (%s).", type(error).__name__)
            return
        if settings != self.settings:
            before, self._current = self._current, _join(settings, self._metrics_for)
            await _leave(before)
