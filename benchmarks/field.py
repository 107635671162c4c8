"""The field's patterns: triggers for a Prefect flow run as the providers of today write them, one client for each.

All but the one that only sleeps follow the trigger of apache-airflow-providers-dbt-cloud: read the connection, ask for
the state until it is final, sleep in between, ask once more for what the event is to say. Where they differ is the
client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import aiohttp
import httpx
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class PollingTrigger(BaseTrigger):
    """Asks for one flow run every ``poll_interval`` seconds."""

    def __init__(self, conn_id: str, flow_run_id: str, end_time: float, poll_interval: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.flow_run_id = flow_run_id
        self.end_time = end_time
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "conn_id": self.conn_id,
            "flow_run_id": self.flow_run_id,
            "end_time": self.end_time,
            "poll_interval": self.poll_interval,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            connection = await get_async_connection(self.conn_id, BaseHook)
            url = f"{connection.host}/flow_runs/{self.flow_run_id}"
            async with self.client() as client:
                while await self.state(client, url) not in FINAL:
                    await asyncio.sleep(self.poll_interval)
                    if self.end_time < time.time():
                        yield self._event("error", "It did not end in time.")
                        return
                yield self._event("success", await self.state(client, url))
        except Exception as error:
            yield self._event("error", str(error))

    def client(self) -> AbstractAsyncContextManager[Any]:
        raise NotImplementedError

    async def state(self, client: Any, url: str) -> str:
        raise NotImplementedError

    def _event(self, status: str, message: str) -> TriggerEvent:
        event = {"status": status, "message": message, "flow_run_id": self.flow_run_id}
        return TriggerEvent(event)  # type: ignore[no-untyped-call]


class OwnAiohttp(PollingTrigger):
    """With an aiohttp client of its own."""

    def client(self) -> AbstractAsyncContextManager[Any]:
        return aiohttp.ClientSession()

    async def state(self, client: aiohttp.ClientSession, url: str) -> str:
        async with client.get(url) as response:
            response.raise_for_status()
            return str((await response.json())["state_type"])


class OnlySleeps(OwnAiohttp):
    """Asks once, through a client that all of them share, and sleeps: it takes what any trigger takes."""

    _shared: ClassVar[aiohttp.ClientSession | None] = None
    # One after the other: what a thousand requests at once leave behind in the process is not the wait's.
    _turn: ClassVar[asyncio.Lock] = asyncio.Lock()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async with self._turn:
            if OnlySleeps._shared is None:
                OnlySleeps._shared = aiohttp.ClientSession()
            connection = await get_async_connection(self.conn_id, BaseHook)
            await self.state(OnlySleeps._shared, f"{connection.host}/flow_runs/{self.flow_run_id}")
        await asyncio.sleep(self.end_time - time.time())
        yield self._event("error", "It did not end in time.")


class OwnHttpx(PollingTrigger):
    """With an httpx client of its own."""

    def client(self) -> AbstractAsyncContextManager[Any]:
        return httpx.AsyncClient(timeout=60)

    async def state(self, client: httpx.AsyncClient, url: str) -> str:
        response = await client.get(url)
        response.raise_for_status()
        return str(response.json()["state_type"])


class ClientPerRequest(PollingTrigger):
    """With an aiohttp client for each request, as dbt Cloud's hook makes one."""

    def client(self) -> AbstractAsyncContextManager[Any]:
        return _Nothing()

    async def state(self, client: object, url: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            response.raise_for_status()
            return str((await response.json())["state_type"])


class _Nothing:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None
