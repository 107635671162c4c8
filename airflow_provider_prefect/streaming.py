"""Showing in a task's log what happens to a flow run: its states, its log lines, and why it failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.logs import LogFollower
from airflow_provider_prefect.client.model import FlowRun, LogRecord

if TYPE_CHECKING:
    from airflow_provider_prefect.client.model import TaskRun

_LEVELS = (50, 40, 30, 20, 10)


class TaskLog:
    """Tells a task's log what a wait sees; see :class:`.client.waiting.Observer`.

    :param log: the task's or the trigger's logger.
    :param states: whether state changes are shown.
    :param logs: whether the flow run's log lines are shown.
    """

    def __init__(self, log: Any, *, states: bool = True, logs: bool = False) -> None:
        self._log = log
        self._states = states
        self._logs = logs

    def on_change(self, run: FlowRun) -> None:
        if run.state.type == "PAUSED":
            self._log.warning("Flow run %r is in state %s. It waits until somebody resumes it.", run.name, run.state)
        elif self._states:
            when = f" since {run.state.timestamp:%H:%M:%S} UTC" if run.state.timestamp else ""
            self._log.info("Flow run %r is in state %s%s", run.name, run.state, when)

    def on_none_yet(self) -> None:
        self._log.info("There is no run of the deployment yet. The first one is waited for.")

    def on_not_started(self, run: FlowRun, reasons: Sequence[str]) -> None:
        why = "; ".join(reasons) or "Prefect shows no reason"
        self._log.warning("Flow run %r has not started yet (%s). It is waited for all the same.", run.name, why)

    def follower(self, api: Api, flow_run_id: str) -> LogFollower | None:
        return LogFollower(api, flow_run_id, self.line) if self._logs else None

    def line(self, record: LogRecord, task_name: str | None) -> None:
        """Show a line of the flow run at its own level, with its own time."""
        of = f" {task_name}:" if task_name else ""
        self._at(
            record.level,
            f"[{record.timestamp:%H:%M:%S}.{record.timestamp.microsecond // 1000:03}]{of} {record.message}",
        )

    def on_left_out(self, lines: int | None) -> None:
        more = "Some" if lines is None else f"{lines:,}"
        self._log.warning("%s more log lines of the flow run are left out here. Prefect's UI has all of them.", more)

    def failure(self, task_runs: Sequence[TaskRun], lines: Sequence[LogRecord]) -> None:
        """Show which task runs have failed, and the last lines."""
        for task_run in task_runs:
            self._log.error("Task run %r is in state %s", task_run.name, task_run.state)
        if lines:
            self._log.info("The flow run's last log lines:")
        for record in lines:
            self.line(record, None)

    def no_failure(self, trouble: Exception) -> None:
        self._log.warning("Why it failed could not be read from Prefect: %s", trouble)

    def _at(self, level: int, text: str) -> None:
        # Flows may log at levels of their own, which Airflow's logger does not know.
        self._log.log(next((known for known in _LEVELS if known <= level), 10), "%s", text)
