"""Many are called something, and the event loop has time for others in between."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_prefect.client.watcher.futures import BATCH_SIZE, call_in_batches, set_future


async def test_others_have_their_turn_after_a_few() -> None:
    called: list[int] = []
    seen: list[int] = []

    async def watch() -> None:
        while len(called) < 100:
            seen.append(len(called))
            await asyncio.sleep(0)

    await asyncio.gather(call_in_batches(range(100), called.append), watch())
    assert called == list(range(100))
    assert max(later - earlier for earlier, later in zip(seen, [*seen[1:], 100], strict=True)) <= BATCH_SIZE


async def test_whoever_waits_is_answered_or_fails() -> None:
    good: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    bad: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    set_future(good, 7)
    set_future(bad, ValueError("no"))
    assert await good == 7
    with pytest.raises(ValueError, match="no"):
        await bad


async def test_whoever_has_left_is_left_alone() -> None:
    gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    gone.cancel()
    set_future(gone, 7)
    set_future(gone, ValueError("no"))
    assert gone.cancelled()
