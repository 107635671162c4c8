"""Reading an Airflow connection of type ``prefect``, blocking or not, and telling the log's masker its secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret
from asgiref.sync import sync_to_async

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.hooks.connection import settings_from


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
