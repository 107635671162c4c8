"""The program that waits: one process and one event loop with all waits of one contender, told over its stdin.

Nothing but the standard library, since it runs in Prefect's environment too. It reads a line for each step (``spare``,
``collect``, ``go``), answers ``done`` to each, and writes a line of JSON whenever a wait has ended. It ends with its
stdin.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

Wait = Callable[[str], Awaitable[bool]]
"""Waits for the flow run of this id; returns whether it was told that it has completed. Raises what goes wrong."""


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _wait(wait: Wait, flow_run_id: str) -> None:
    try:
        completed = await wait(flow_run_id)
    except Exception as error:
        tell(json.dumps({"id": flow_run_id, "error": f"{type(error).__name__}: {error}"[:300]}))
    else:
        tell(json.dumps({"id": flow_run_id, "at": time.time(), "stale": not completed}))


def read(file: str) -> tuple[str, list[str]]:
    """A spare flow run's id and those of the others."""
    spare, *others = Path(file).read_text().split()
    return spare, others


async def run(wait: Wait, spare: str, others: Sequence[str]) -> None:
    """Do as stdin says."""
    loop = asyncio.get_running_loop()
    steps = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(steps), sys.stdin)
    waits: set[asyncio.Task[None]] = set()
    tell("done")
    while step := (await steps.readline()).decode().strip():
        if step == "collect":
            gc.collect()
        else:
            for flow_run_id in [spare] if step == "spare" else others:
                task = asyncio.create_task(_wait(wait, flow_run_id))
                waits.add(task)
                task.add_done_callback(waits.discard)
        tell("done")
    for task in waits:
        task.cancel()
    await asyncio.wait([*waits, asyncio.create_task(asyncio.sleep(0))], timeout=10)
