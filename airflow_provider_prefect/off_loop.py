"""Writing a task's log from an event loop without waiting for it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from typing import Any

Line = tuple[int, str, tuple[Any, ...]]


class OffLoop:
    """Writes lines in a thread, in their order, to the log of the task in whose context it was made.

    The triggerer of Airflow 3 hands each line to its supervisor, and waits while that is busy: with 200 tasks that
    ended at once the event loop was seen to stand still for half a second (Airflow 3.3.2).

    :param log: the trigger's logger.
    """

    __slots__ = ("_context", "_lines", "_log", "_writing")

    def __init__(self, log: Any) -> None:
        self._log = log
        self._context = contextvars.copy_context()
        self._lines: list[Line] = []
        self._writing: asyncio.Future[None] | None = None

    def log(self, level: int, text: str, *args: Any) -> None:
        self._lines.append((level, text, args))
        if self._writing is None:
            self._write()

    def info(self, text: str, *args: Any) -> None:
        self.log(logging.INFO, text, *args)

    def warning(self, text: str, *args: Any) -> None:
        self.log(logging.WARNING, text, *args)

    async def written(self) -> None:
        """Comes back when all lines are in the log."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._context.run, _write_all, self._log, lines)
        self._writing.add_done_callback(self._has_written)

    def _has_written(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        if self._lines:
            self._write()
        writing.result()


def _write_all(log: Any, lines: Sequence[Line]) -> None:
    for level, text, args in lines:
        log.log(level, text, *args)
