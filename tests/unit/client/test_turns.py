"""Many are told something, and the event loop has time for others in between."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_prefect.client.turns import AT_ONCE, in_turns, settle


async def test_others_have_their_turn_after_a_few() -> None:
    told: list[int] = []
    seen: list[int] = []

    async def look() -> None:
        while len(told) < 100:
            seen.append(len(told))
            await asyncio.sleep(0)

    await asyncio.gather(in_turns(range(100), told.append), look())
    assert told == list(range(100))
    assert max(later - earlier for earlier, later in zip(seen, [*seen[1:], 100], strict=True)) <= AT_ONCE


async def test_whoever_waits_is_answered_or_fails() -> None:
    good: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    bad: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settle(good, 7)
    settle(bad, ValueError("no"))
    assert await good == 7
    with pytest.raises(ValueError, match="no"):
        await bad


async def test_whoever_has_left_is_left_alone() -> None:
    gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    gone.cancel()
    settle(gone, 7)
    settle(gone, ValueError("no"))
    assert gone.cancelled()
