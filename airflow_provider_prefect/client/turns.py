"""Telling many something without keeping the event loop from everything else meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 20
"""After so many others have their turn. Each who is told writes a line into its task's log, half a millisecond long,
and Airflow warns of a triggerer that is blocked for a tenth of a second."""


async def in_turns(ones: Iterable[T], tell: Callable[[T], object]) -> None:
    """``tell`` each of them."""
    for number, one in enumerate(ones, 1):
        tell(one)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)


def settle(future: asyncio.Future[T], outcome: T | Exception) -> None:
    """Answer whoever waits for it, unless they have left."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
