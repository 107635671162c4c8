"""Reading an Airflow connection of type ``prefect``, blocking or not, and telling the log's masker its secrets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret
from asgiref.sync import sync_to_async

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.hooks.connection import settings_from

_KEPT = 300.0
"""Seconds for which a connection is not read again: a triggerer reads them one after the other, 50 in a second."""

_REFUSED = 10.0
"""Seconds for which it is not read again after it was read because its credentials were refused."""


def read_settings(prefect_conn_id: str, hook: type[BaseHook]) -> Settings:
    """What the connection says, read through ``hook``."""
    with _naming(prefect_conn_id):
        connection = hook.get_connection(prefect_conn_id)
    settings = settings_from(connection, connection.extra_dejson)
    for secret in settings.secrets():
        mask_secret(secret)
    return settings


async def aread_settings(prefect_conn_id: str, hook: type[BaseHook]) -> Settings:
    """The same without blocking the event loop."""
    with _naming(prefect_conn_id):
        connection = await get_async_connection(prefect_conn_id, hook)
    settings = settings_from(connection, await get_async_extra_dejson(connection))
    for secret in settings.secrets():
        await sync_to_async(mask_secret)(secret)
    return settings


class _Kept:
    """What a connection said when it was last read."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.until = 0.0
        self.asked_again = 0.0
        self.reading = asyncio.Lock()


_kept: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Kept]] = WeakKeyDictionary()


async def kept_settings(prefect_conn_id: str, hook: type[BaseHook], refused: Settings | None = None) -> Settings:
    """The same for many who ask at once: the connection is read every few minutes only.

    :param refused: settings whose credentials were refused. If they are what is kept, the connection is read again.
    """
    kept = _kept.setdefault(asyncio.get_running_loop(), {}).setdefault(prefect_conn_id, _Kept())
    async with kept.reading:
        now = time.monotonic()
        if kept.settings is not None and kept.settings == refused and now >= kept.asked_again:
            kept.until, kept.asked_again = now, now + _REFUSED
        if kept.settings is None or now >= kept.until:
            kept.settings = await aread_settings(prefect_conn_id, hook)
            kept.until = now + _KEPT
        return kept.settings


@contextmanager
def _naming(prefect_conn_id: str) -> Iterator[None]:
    """Say which connection does not exist, and what to do about it."""
    try:
        yield
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"prefect_conn_id={prefect_conn_id!r} is no connection of this Airflow. Create one of type 'prefect' under "
            f"Admin > Connections, or as the environment variable AIRFLOW_CONN_{prefect_conn_id.upper()}."
        ) from None
