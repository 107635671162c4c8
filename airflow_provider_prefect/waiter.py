"""What all tasks that wait for a flow run have in common: how they wait, what they tell, and how they end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_prefect import arguments, waits
from airflow_provider_prefect.client.errors import ConfigurationError, PrefectError
from airflow_provider_prefect.client.model import FINAL, FlowRun
from airflow_provider_prefect.client.newest import NewestRun
from airflow_provider_prefect.client.waiting import Deadlines, unsuccessful
from airflow_provider_prefect.hooks.prefect import PATIENCE, PrefectHook
from airflow_provider_prefect.outcome import FlowRunCancelledForGood, read_event
from airflow_provider_prefect.streaming import TaskLog
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_FAILED = ("FAILED", "CRASHED")
_SHOWN = 10

_LATE = 2.0
"""Seconds after a flow run's end in which its last lines and task runs reach Prefect."""


class FlowRunWaiter:
    """Mixed into operators and the sensor, which set these attributes from their arguments."""

    prefect_conn_id: str
    deferrable: bool
    max_unreachable: float
    stream_states: bool
    stream_logs: bool
    fail_on_unsuccessful: bool
    skip_on: tuple[str, ...]
    retry_cancelled: bool
    cancel_on_kill: bool = False

    def _hook(self) -> PrefectHook:
        """The connection, for requests that are sent again for as long as the wait would put up with trouble."""
        return PrefectHook(self.prefect_conn_id).with_patience(self.max_unreachable)

    def _wait(
        self, hook: PrefectHook, wanted: FlowRun | NewestRun, deadlines: Deadlines, poll_interval: float
    ) -> FlowRun:
        """The flow run as it ended; or the task defers, and goes on in ``execute_complete``."""
        run = wanted if isinstance(wanted, FlowRun) else None
        if run is None or (self.deferrable and not run.is_final):
            self._defer(
                {
                    "flow_run_id": run.id if run else None,
                    "newest_of": wanted.as_kwarg() if isinstance(wanted, NewestRun) else None,
                    "prefect_conn_id": self.prefect_conn_id,
                    "poll_interval": poll_interval,
                    "deadline": waits.as_kwarg(deadlines.finished),
                    "start_deadline": waits.as_kwarg(deadlines.started),
                    "max_unreachable": self.max_unreachable,
                    "stream_states": self.stream_states,
                    "stream_logs": self.stream_logs,
                    "cancel_on_kill": self.cancel_on_kill,
                    "wait_id": secrets.token_hex(4),
                }
            )
        assert run is not None
        return hook.wait_for_flow_run(
            run.id,
            poll_interval=poll_interval,
            deadlines=deadlines,
            max_unreachable=self.max_unreachable,
            observer=self._task_log(),
        )

    def _defer(self, wait: dict[str, Any]) -> None:
        task: Any = self
        trigger = PrefectFlowRunTrigger(**wait, not_before=waits.hold_back())
        task.defer(trigger=trigger, method_name="execute_complete", kwargs={"wait": wait})

    def _seen(self, event: Any, wait: dict[str, Any] | None) -> tuple[FlowRun, str]:
        """The flow run that has ended, and its URL; or the task defers again, if the event is of another task's wait.

        Airflow knows a trigger by its number. SQLite gives the number of one that was deleted, after a clear, to the
        next, while the triggerer still runs the old one: its event reaches another task (seen in Airflow 3.3.2).

        :param wait: what the trigger was given; ``dag.test()`` does not hand it on.
        """
        if wait and not (isinstance(event, Mapping) and event.get("wait_id") == wait["wait_id"]):
            task: Any = self
            task.log.warning("Airflow has sent this task the event of another one's trigger. The wait goes on.")
            self._defer(wait)
        return read_event(event)

    def _tell(self, context: Context, run: FlowRun, url: str) -> str:
        """Push what identifies the flow run, before anything can go wrong with the wait; returns its URL."""
        push_identity(context, run, url)
        return url

    def _end(self, hook: PrefectHook, context: Context, run: FlowRun, url: str) -> None:
        """Push the state that the flow run has ended in, and skip or fail the task if it is to be."""
        context["ti"].xcom_push(key="state", value=run.state.type)
        if run.state.type in self.skip_on:
            raise AirflowSkipException(f"Flow run {run.name!r} ended in state {str(run.state).rstrip('.')}. See {url}")
        error = unsuccessful(run, url)
        if error is None or not self.fail_on_unsuccessful:
            return
        self._show_failure(hook, run)
        if run.state.type == "CANCELLED" and not self.retry_cancelled:
            raise FlowRunCancelledForGood(f"{error} (No retry, unless retry_cancelled=True.)", run)
        raise error

    def _show_failure(self, hook: PrefectHook, run: FlowRun) -> None:
        """What the flow run has logged last, and its failed task runs. Whatever goes wrong here hides no failure."""
        if run.end_time is not None:
            # Not longer, whatever the clock of Prefect's server says.
            time.sleep(max(0.0, min(_LATE, run.end_time.timestamp() + _LATE - time.time())))
        hook = hook.with_patience(PATIENCE)
        try:
            lines = [] if self.stream_logs else hook.read_last_logs(run.id)
            self._task_log().failure(hook.read_task_runs(run.id, state_types=_FAILED, most=_SHOWN), lines)
        except PrefectError as trouble:
            self._task_log().no_failure(trouble)

    def _task_log(self) -> TaskLog:
        task: Any = self
        return TaskLog(task.log, states=self.stream_states, logs=self.stream_logs)


def push_identity(context: Context, run: FlowRun, url: str) -> None:
    """Push the XComs that say which flow run a task is about; the link reads one of them."""
    for key, value in (("flow_run_id", run.id), ("flow_run_url", url), ("flow_run_name", run.name)):
        context["ti"].xcom_push(key=key, value=value)


def checked_skip_on(value: Sequence[str] | None) -> tuple[str, ...]:
    """State types in which a flow run can end, in upper case."""
    types = tuple(state_type.upper() for state_type in arguments.texts("skip_on", value))
    unknown = [state_type for state_type in types if state_type not in FINAL]
    if unknown:
        raise ConfigurationError(
            f"skip_on={unknown[0]!r} is no state type that a flow run ends in: {', '.join(FINAL)}."
        )
    return types
