"""Resume many waits without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

BATCH_SIZE = 20
"""Calls after which the event loop has its turn. Each of them resumes a wait, which takes up to half a millisecond, and
Airflow warns about a triggerer that is blocked for a fifth of a second."""


async def call_in_batches(items: Iterable[T], call: Callable[[T], object]) -> None:
    """Call ``call`` with each of ``items``, and let the event loop run after every :data:`BATCH_SIZE` of them."""
    for number, item in enumerate(items, 1):
        call(item)
        if number % BATCH_SIZE == 0:
            await asyncio.sleep(0)


def set_future(future: asyncio.Future[T], outcome: T | Exception) -> None:
    """Set the result or the exception of ``future``, unless it is done or cancelled."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
