"""What all tasks that wait for a flow run share: how they wait, what they show, and how they end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException, conf

from airflow_provider_prefect.client.errors import (
    FlowRunCancelledByPrefect,
    FlowRunNotFound,
    PrefectError,
    ResultError,
    WaitTimeout,
)
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.printable import quoted
from airflow_provider_prefect.client.transport import run as run_call
from airflow_provider_prefect.client.wait.flow_run import Deadlines, ended, unsuccessful
from airflow_provider_prefect.client.wait.newest import NewestRun
from airflow_provider_prefect.hooks.prefect import PATIENCE, PrefectHook
from airflow_provider_prefect.operators import assets
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger
from airflow_provider_prefect.utils import arguments, lineage
from airflow_provider_prefect.utils.completion import can_succeed_in_triggerer
from airflow_provider_prefect.utils.events import (
    ConfigurationErrorForGood,
    FlowRunCancelledForGood,
    error_event,
    parse_event,
)
from airflow_provider_prefect.utils.recovery import task_try
from airflow_provider_prefect.utils.task_log import TaskLog

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_FAILED_TYPES = ("FAILED", "CRASHED")
_MAX_FAILED_TASK_RUNS = 10
_LAST_LOG_LINES = 20

_LATE_OUTPUT_AFTER = 2.0
"""Seconds after a flow run's end within which its last log lines and task runs reach Prefect."""


_TRIGGER_FAILED = "__fail__"
"""The method that Airflow resumes a task with whose trigger has failed, or has not ended in time."""

_TRIGGER_TIMEOUTS = ("Trigger timeout", "Trigger/execution timeout")
"""The error that it passes then for a trigger that has not ended in time, in Airflow 3 and in Airflow 2.11."""

_LATEST = 1e11
"""Epoch second, in the year 5138, from which on a deadline is none: Airflow's database has no dates beyond 9999."""

CONNECTION = arguments.Field(
    arguments.text,
    default=PrefectHook.default_conn_name,
    otherwise=f"the connection {PrefectHook.default_conn_name!r} is used",
)
"""How ``prefect_conn_id`` is read."""


def selecting(what: str) -> arguments.Field:
    """Return how a list is read that selects flow runs. It is never ignored: more of them would be selected.

    :param what: what an element of the list is, such as ``"tag"``.
    """
    return arguments.Field(
        arguments.string_list,
        way_out=f"give at least one {what} and no empty one, or leave the argument out. Ignoring it would select more "
        "flow runs.",
        is_list=True,
    )


class PrefectTask:
    """Read the arguments of an operator or the sensor, into which it is mixed."""

    fields: ClassVar[Mapping[str, arguments.Field]]
    """How each templated field is read."""
    _given: frozenset[str] = frozenset()

    def __init__(self, **kwargs: Any) -> None:
        try:
            super().__init__(**kwargs)
        except (TypeError, ValueError) as error:
            raise ConfigurationErrorForGood(str(error)) from error
        except OverflowError as error:
            raise ConfigurationErrorForGood(
                f"{', '.join(arguments.too_long(kwargs))}: a duration of more than {timedelta.max.days:,} days is too "
                "long for Airflow. Give a shorter one."
            ) from error
        except AirflowException as error:
            if type(error) is not AirflowException:  # a task of this id exists already, for example
                raise
            raise ConfigurationErrorForGood(str(error)) from error

    def remember_given(self) -> None:
        """Note which templated fields the user has given, before any of them is rendered."""
        self._given = frozenset(name for name in self.fields if getattr(self, name) is not None)

    def read_fields(self) -> None:
        """Take the templated fields as Airflow has rendered them; the log says which of them rendered to nothing.

        :raises ConfigurationErrorForGood: one cannot be used, or the task needs it and it rendered to nothing.
        """
        for name, field in self.fields.items():
            setattr(self, name, arguments.read_field(self, name, field, is_given=name in self._given))

    def read_fields_again(self, *names: str) -> None:
        """Take these fields when the task continues after a deferral; what there is to say of them has been said."""
        for name in names:
            setattr(self, name, arguments.read_field(self, name, self.fields[name], is_given=False))


class WaitingTask(PrefectTask):
    """Wait for a flow run, in the worker or deferred, and end the task accordingly.

    It is mixed into operators and the sensor, which set these attributes from their arguments.
    """

    prefect_conn_id: str
    deferrable: bool
    max_unreachable: float
    stream_states: bool
    stream_logs: bool
    fail_on_unsuccessful: bool
    skip_on: tuple[str, ...]
    retry_cancelled: bool
    cancel_on_kill: bool = False
    _lineage: Any = None
    """What OpenLineage is told at the task's end."""
    _has_resumed = False
    """Whether the task continues after a deferral, in another log than that of the trigger."""

    def connect(self) -> PrefectHook:
        """Return the hook, with the patience of the wait for requests before it too."""
        return PrefectHook(self.prefect_conn_id).with_patience(self.max_unreachable)

    def wait_or_defer(
        self,
        context: Context,
        hook: PrefectHook,
        wanted: FlowRun | NewestRun,
        deadlines: Deadlines,
        poll_interval: float,
    ) -> FlowRun:
        """Return the flow run as it ended; or defer the task, which then continues in ``execute_complete``.

        :raises FlowRunTimeout: a deadline came first.
        :raises FlowRunNotFound: Prefect has no such flow run (any more).
        :raises Unreachable: Prefect has not answered for ``max_unreachable``.
        """
        run = wanted if isinstance(wanted, FlowRun) else None
        if run is None or (self.deferrable and not run.is_final):
            in_loop = task_try(cast(Mapping[str, Any], context)).loop is not None
            self._defer(
                {
                    "flow_run_id": run.id if run else None,
                    "newest_of": wanted.as_kwarg() if isinstance(wanted, NewestRun) else None,
                    "prefect_conn_id": self.prefect_conn_id,
                    "poll_interval": poll_interval,
                    "deadline": arguments.as_kwarg(deadlines.finished),
                    "start_deadline": arguments.as_kwarg(deadlines.started),
                    "max_unreachable": self.max_unreachable,
                    "stream_states": self.stream_states,
                    "stream_logs": self.stream_logs,
                    "cancel_on_kill": self.cancel_on_kill,
                    "wait_id": secrets.token_hex(4),
                    "team_name": getattr(context["dag_run"], "team_name", None),
                    "in_loop": in_loop,
                    "completes_with": None if run is None or in_loop else self._completes_with(),
                }
            )
        assert run is not None
        return hook.wait_for_flow_run(
            run.id,
            poll_interval=poll_interval,
            deadlines=deadlines,
            max_unreachable=self.max_unreachable,
            observer=self.task_log(),
        )

    def return_value_key(self) -> str | None:
        """Return the key of the event under which the task's return value is when its flow run has completed.

        ``None`` if the event does not have it, or if the task has more to do than to push it.
        """
        return None

    def _completes_with(self) -> str | None:
        task: Any = self
        found = self.return_value_key()
        if found is None or "COMPLETED" in self.skip_on or not can_succeed_in_triggerer(task):
            return None
        return found if task.do_xcom_push else ""

    def _defer(self, wait: dict[str, Any]) -> None:
        task: Any = self
        trigger = PrefectFlowRunTrigger(**wait, not_before=earliest_event())
        timeout = deferral_timeout(wait["deadline"])
        if timeout is None:
            task.log.warning(
                "The task has no timeout: if no triggerer runs its trigger, it stays deferred forever. Setting "
                "timeout= or execution_timeout= prevents that; see Timeouts in docs/recovery.rst."
            )
        task.defer(trigger=trigger, method_name="execute_complete", kwargs={"wait": wait}, timeout=timeout)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after a deferral. One that nobody has ended in time ends like a wait that ran out of time."""
        if next_method == _TRIGGER_FAILED and (next_kwargs or {}).get("error") in _TRIGGER_TIMEOUTS:
            flow_run_id = self._waited_for(context)
            which = f" The flow run's id is {flow_run_id}." if flow_run_id else ""
            error = WaitTimeout(
                "Flow run did not finish in time, and no triggerer has run the task's trigger to its end. Check that a "
                f"triggerer is running and has capacity.{which}",
                flow_run_id,
            )
            next_method, next_kwargs = "execute_complete", {"event": error_event(flow_run_id, error)}
        task: Any = super()
        return task.resume_execution(next_method, next_kwargs, context)

    def _waited_for(self, context: Context) -> str:
        """Return the id of the flow run that the task has deferred for; empty if there was none yet."""
        ti: Any = context["ti"]
        found = ti.xcom_pull(task_ids=ti.task_id, key="flow_run_id", map_indexes=ti.map_index)
        return str(found or "")

    def resumed(self, event: Any, wait: dict[str, Any] | None) -> tuple[FlowRun, str]:
        """Return the flow run that has ended and its URL; or defer again, if the event is of another task's wait.

        Airflow knows a trigger by its number. SQLite gives the number of one that was deleted, after a clear, to the
        next, while the triggerer still runs the old one: its event reaches another task (seen in Airflow 3.3.2).

        :param wait: what the trigger was given; ``dag.test()`` does not pass it on.
        :raises PrefectError: the error that ended the wait.
        """
        if wait and not (isinstance(event, Mapping) and event.get("wait_id") == wait["wait_id"]):
            task: Any = self
            task.log.warning("Airflow has sent this task the event of another task's trigger. Still waiting.")
            self._defer(wait)
        self._has_resumed = True
        return parse_event(event)

    def end(self, hook: PrefectHook, context: Context, run: FlowRun, url: str) -> None:
        """Push the state that the flow run has ended in, and skip or fail the task as its arguments say.

        :raises AirflowSkipException: its state type is in ``skip_on``.
        :raises FlowRunUnsuccessful: it did not complete.
        """
        context["ti"].xcom_push(key="state", value=run.state.type)
        if run.state.type in self.skip_on:
            raise AirflowSkipException(ended(run, url))
        error = unsuccessful(run, url)
        materialized = [] if error else assets.read_materializations(self, hook, run)
        if lineage.is_on():
            self._lineage = lineage.facets(run, url, materialized)
        if error is None:
            assets.add_asset_events(self, cast(Mapping[str, Any], context), run, url, materialized)
        if error is None or not self.fail_on_unsuccessful:
            return
        self._show_failure(hook, run)
        by_a_person = run.state.type == "CANCELLED" and not isinstance(error, FlowRunCancelledByPrefect)
        if by_a_person and not self.retry_cancelled:
            note = "The task is not retried; set retry_cancelled=True to allow it."
            raise FlowRunCancelledForGood(ended(run, url, note), run)
        raise error

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what OpenLineage is told of the flow run. It asks for it at the end of a failed task, too."""
        return self._lineage

    def _show_failure(self, hook: PrefectHook, run: FlowRun) -> None:
        """Show the flow run's last log lines and its failed task runs. A failure to read them hides no failure."""
        if run.end_time is not None:
            # No longer than that, whatever the clock of Prefect's server says.
            since_end = time.time() - run.end_time.timestamp()
            time.sleep(max(0.0, min(_LATE_OUTPUT_AFTER, _LATE_OUTPUT_AFTER - since_end)))
        api = hook.with_patience(PATIENCE).api
        try:
            # What a trigger has shown need not reach the same log: where logs are stored remotely it may come late.
            shown = self.stream_logs and not self._has_resumed
            lines = [] if shown else run_call(api.read_last_logs(run.id, _LAST_LOG_LINES))
            failed = run_call(api.read_task_runs(run.id, state_types=_FAILED_TYPES, limit=_MAX_FAILED_TASK_RUNS))
            self.task_log().show_failure(failed, lines)
        except PrefectError as trouble:
            self.task_log().show_unknown_failure(trouble)

    def task_log(self) -> TaskLog:
        """Return what shows the wait in the task's log."""
        task: Any = self
        return TaskLog(task.log, states=self.stream_states, logs=self.stream_logs)


def push_identity(context: Context, run: FlowRun, url: str) -> None:
    """Push the XComs that say which flow run a task is about; the link reads one of them."""
    for key, value in (("flow_run_id", run.id), ("flow_run_url", url), ("flow_run_name", run.name)):
        context["ti"].xcom_push(key=key, value=value)


def read_existing(hook: PrefectHook, run: FlowRun) -> FlowRun:
    """Return a flow run that has ended, with all that an event leaves out.

    :raises ResultError: it has been deleted. Another try could only start it again.
    """
    try:
        return hook.read_flow_run(run.id)
    except FlowRunNotFound:
        raise ResultError(
            f"Flow run ended in state {run.state}, but was deleted before its result or parameters could be read. Its "
            f"name is {quoted(run.name)}."
        ) from None


def deferral_timeout(deadline: float | None) -> timedelta | None:
    """Return the time after which Airflow itself ends a deferral that no trigger has ended; ``None`` for never.

    The trigger keeps the deadline. Airflow looks for late deferrals every ``trigger_timeout_check_interval``, so two
    such intervals after the deadline it ends only those whose trigger nobody runs.
    """
    if deadline is None or deadline > _LATEST:
        return None
    interval: float = conf.getfloat("scheduler", "trigger_timeout_check_interval", fallback=15)
    return timedelta(seconds=max(0.0, deadline - time.time()) + 2 * interval)


def earliest_event() -> float:
    """Return the epoch second before which a trigger that is deferred to now should send no event.

    A worker of Airflow 3 reports the end of the deferring process up to ``[workers] min_heartbeat_interval`` late,
    and a task that has been resumed by then is failed by that report (apache/airflow#71580, seen in 3.3.2).
    """
    lag: float = conf.getfloat("workers", "min_heartbeat_interval", fallback=0)
    return time.time() + lag + 1
