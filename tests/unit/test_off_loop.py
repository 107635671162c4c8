"""Writing a log that may be slow, from an event loop that has no time."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

from airflow_provider_prefect.off_loop import OffLoop

task: contextvars.ContextVar[str] = contextvars.ContextVar("task", default="nobody")


class SlowLog:
    """Takes no line before it is let go on; notes which task each is of."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.lines: list[tuple[str, int, str]] = []

    def log(self, level: int, text: str, *args: Any) -> None:
        assert self.go_on.wait(10)
        self.lines.append((task.get(), level, text % args))


async def test_the_loop_goes_on_while_the_log_is_busy_and_the_lines_keep_their_order() -> None:
    log = SlowLog()
    task.set("one")
    lines = OffLoop(log)
    for number in range(3):
        lines.info("line %d", number)
        await asyncio.sleep(0.01)
    lines.warning("the last")
    assert log.lines == []
    log.go_on.set()
    await lines.written()
    assert log.lines == [("one", 20, f"line {number}") for number in range(3)] + [("one", 30, "the last")]


async def test_lines_are_of_the_task_that_they_were_to_be_of_and_not_of_who_wrote_them() -> None:
    log = SlowLog()
    log.go_on.set()
    task.set("one")
    lines = OffLoop(log)

    async def other() -> None:
        task.set("other")
        lines.log(10, "said")

    await asyncio.create_task(other())
    await lines.written()
    assert log.lines == [("one", 10, "said")]


async def test_who_has_said_nothing_waits_for_nothing() -> None:
    await OffLoop(SlowLog()).written()
