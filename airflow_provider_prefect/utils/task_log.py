"""Show in a task's log what happens to a flow run: its states, its log lines, and why it failed."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from typing import Any

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.model import FlowRun, LogRecord, RunInput, TaskRun
from airflow_provider_prefect.client.printable import quoted

_LEVELS = (50, 40, 30, 20, 10)

_Line = tuple[int, str, tuple[Any, ...]]


class TaskLog:
    """Show in a task's log what a wait sees; an :class:`.client.wait.flow_run.Observer`.

    Airflow's log page cuts lines off where the window ends. So a line begins with the state and the reason, and the
    flow run's name, which may be long, is in the first line only.

    :param log: the task's or the trigger's logger.
    :param states: whether state changes are shown.
    :param logs: whether the flow run's log lines are shown.
    """

    def __init__(self, log: Any, *, states: bool = True, logs: bool = False) -> None:
        self._log = log
        self._states = states
        self.follows_logs = logs

    def show_flow_run(self, run: FlowRun, url: str) -> None:
        """Say which flow run is waited for."""
        self._log.info("Waiting for flow run: %s (%s)", url, quoted(run.name))

    def on_change(self, run: FlowRun) -> None:
        if run.state.type == "PAUSED":
            self._log.warning("Flow run is in state %s. It waits until somebody resumes it.", run.state)
        elif self._states:
            when = f" (since {run.state.timestamp:%H:%M:%S} UTC)" if run.state.timestamp else ""
            self._log.info("Flow run is in state %s%s", run.state, when)

    def on_paused(self, run_input: RunInput | None, url: str) -> None:
        wanted = run_input if run_input and run_input.names else "no input"
        self._log.warning("It asks for %s. Resume it at %s", wanted, url)
        if run_input and run_input.description:
            self._log.info("The flow says about its input: %s", printable.line(run_input.description))

    def on_none_yet(self) -> None:
        self._log.info("There is no run of the deployment yet. Waiting for the first one.")

    def on_deleted(self, run: FlowRun) -> None:
        self._log.warning("Flow run was deleted. According to Prefect's events it had ended in state %s.", run.state)

    def on_not_started(self, run: FlowRun, reasons: Sequence[str]) -> None:
        why = "; ".join(map(printable.line, reasons)) or "Prefect shows no reason"
        self._log.warning("Flow run has not started yet (%s). Still waiting for it.", why)

    def on_log_line(self, record: LogRecord, task_name: str | None) -> None:
        """Show a line of the flow run at its own level, with its own time.

        Several lines in one are shown below each other, so that none of them looks like a line of Airflow's.
        """
        prefix = f" {printable.line(task_name)}:" if task_name else ""
        milliseconds = record.timestamp.microsecond // 1000
        # Flows may log at levels of their own, which Airflow's logger does not know.
        level = next((known for known in _LEVELS if known <= record.level), 10)
        line = f"[{record.timestamp:%H:%M:%S}.{milliseconds:03}]{prefix} {printable.block(record.message)}"
        self._log.log(level, "%s", line)

    def on_log_lines_left_out(self, lines: int | None) -> None:
        more = "Some" if lines is None else f"{lines:,}"
        self._log.warning("%s more log lines of the flow run are left out here. Prefect's UI has all of them.", more)

    def on_trouble(self, failure: Exception) -> None:
        text = "Prefect is not answering (%s). Polling continues."
        self._log.warning(text, printable.line(str(failure), printable.MAX_LENGTH))

    def on_unreadable_connection(self, failure: str) -> None:
        """Say that the connection cannot be read at present."""
        self._log.warning("%s Trying again until it can be read.", failure)

    def on_recovery(self) -> None:
        self._log.info("Prefect is answering again.")

    def show_failure(self, task_runs: Sequence[TaskRun], lines: Sequence[LogRecord]) -> None:
        """Show which task runs have failed, and the last log lines."""
        for task_run in task_runs:
            self._log.error("Task run %s is in state %s", quoted(task_run.name), task_run.state)
        if lines:
            self._log.info("The flow run's last log lines:")
        for record in lines:
            self.on_log_line(record, None)

    def show_unknown_failure(self, trouble: Exception) -> None:
        """Say that the reason of a failure could not be read."""
        self._log.warning(
            "Why it failed could not be read from Prefect: %s", printable.line(str(trouble), printable.MAX_LENGTH)
        )


class ThreadedLogger:
    """Write lines in a thread, in their order, to the log of the task in whose context it was created.

    The triggerer of Airflow 3 hands each line to its supervisor, and waits while that is busy: when 200 tasks
    ended at once, the event loop was blocked for half a second (Airflow 3.3.2).

    :param log: the trigger's logger.
    """

    __slots__ = ("_context", "_lines", "_log", "_writing")

    def __init__(self, log: Any) -> None:
        self._log = log
        self._context = contextvars.copy_context()
        self._lines: list[_Line] = []
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
        """Return when all lines are in the log."""
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


def _write_all(log: Any, lines: Sequence[_Line]) -> None:
    for level, text, args in lines:
        log.log(level, text, *args)
