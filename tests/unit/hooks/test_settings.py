"""Reading a connection for many triggers at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.hooks import settings
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.hooks.settings import kept_settings


class Connection:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.key = "old"

    async def read(self, prefect_conn_id: str, hook: Any) -> Settings:
        self.reads += 1
        await asyncio.sleep(0)
        return Settings("http://a/api", "http://a", api_key=self.key)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    made = Connection()
    monkeypatch.setattr(settings, "aread_settings", made.read)
    return made


async def kept(refused: Settings | None = None) -> Settings:
    return await kept_settings("prefect_default", PrefectHook, refused)


async def test_a_thousand_who_ask_at_once_have_it_read_once(connection: Connection) -> None:
    found = await asyncio.gather(*(kept() for _ in range(1000)))
    assert connection.reads == 1
    assert len(set(found)) == 1


async def test_it_is_read_again_after_some_minutes(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_KEPT", 0.0)
    await kept()
    await kept()
    assert connection.reads == 2


async def test_after_a_refusal_it_is_read_again_once_for_all(connection: Connection) -> None:
    old = await kept()
    connection.key = "new"
    found = await asyncio.gather(*(kept(refused=old) for _ in range(100)))
    assert {one.api_key for one in found} == {"new"}
    assert connection.reads == 2


async def test_a_connection_that_stays_refused_is_not_read_by_everybody(connection: Connection) -> None:
    old = await kept()
    await asyncio.gather(*(kept(refused=old) for _ in range(100)))
    assert connection.reads == 2


async def test_a_connection_that_cannot_be_read_is_tried_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(prefect_conn_id: str, hook: Any) -> Settings:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(settings, "aread_settings", fails)
        with pytest.raises(OSError):
            await kept()
    assert (await kept()).api_key == "old"


def test_each_event_loop_reads_for_itself(connection: Connection) -> None:
    for _ in range(2):
        asyncio.run(kept())
    assert connection.reads == 2
