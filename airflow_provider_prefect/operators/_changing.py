"""Operators that change flow runs which somebody else has started. Import them from :mod:`.flow_run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_prefect import arguments, waits
from airflow_provider_prefect.client.errors import ConfigurationError, FlowRunNotFound, PrefectError
from airflow_provider_prefect.client.model import FINAL, LIVE
from airflow_provider_prefect.client.waiting import Deadlines
from airflow_provider_prefect.hooks.prefect import MAX_UNREACHABLE, PrefectHook
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.outcome import failing_for_good
from airflow_provider_prefect.waiter import FlowRunWaiter, push_identity

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_ASKED = "cancelled_flow_runs"
"""The XCom in which a cancelling task that defers keeps what it has asked to stop."""


class PrefectRenameFlowRunOperator(BaseOperator):
    """Give a flow run another name, in whatever state it is.

    XComs: ``flow_run_id``, ``flow_run_url`` and ``flow_run_name`` (the new one). The return value is the flow run's id.

    :param flow_run_id: the flow run. (templated)
    :param name: its new name; not empty, since Prefect would make one up. (templated)
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunNotFound: Prefect has no such flow run.
    """

    template_fields: Sequence[str] = ("flow_run_id", "name", "prefect_conn_id")
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"

    def __init__(
        self,
        *,
        name: str,
        flow_run_id: str | None = None,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.flow_run_id = flow_run_id
        self.name = name
        self.prefect_conn_id = prefect_conn_id

    def execute(self, context: Context) -> str:
        """Rename the flow run."""
        with failing_for_good():
            if not self.flow_run_id:
                raise ConfigurationError(_missing_flow_run_id(self))
            hook = PrefectHook(self.prefect_conn_id)
            hook.rename_flow_run(self.flow_run_id, self.name or "")
            run = hook.read_flow_run(self.flow_run_id)
        self.log.info("Flow run %s is now called %r", run.id, run.name)
        push_identity(context, run, hook.flow_run_url(run))
        return run.id


class PrefectCancelFlowRunOperator(FlowRunWaiter, BaseOperator):
    """Ask a flow run, or all live runs of a deployment, to stop.

    Prefect is asked for the state CANCELLING, without force; a run that has no infrastructure yet is CANCELLED at once,
    and one that has ended already stays as it is, which is no failure. Runs that Prefect's own schedule has made for
    the future are left alone unless named by id: cancelled, they would be missing when their time comes.

    The return value is the state type that the flow run is in then; for a deployment a list of ``{"id", "state"}``. A
    run that is deleted meanwhile is ``None``, or not in the list.

    :param flow_run_id: the flow run to stop. (templated)
    :param deployment: instead of it, ``flow/deployment`` or the id (UUID) of a deployment. (templated)
    :param tags: with ``deployment``: only runs that have all these tags. (templated)
    :param wait_for_completion: wait until the runs have ended.
    :param deferrable: wait in the triggerer. By default what ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks, at least 3.
    :param timeout: seconds (or a timedelta) to wait; 10 minutes by default. Prefect servers before 3.7.5 leave a run
        that no worker has taken up in CANCELLING for ever.
    :param max_unreachable: seconds for which the wait puts up with an API that does not answer usefully.
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunNotFound: Prefect has no such flow run.
    :raises PrefectError: Prefect leaves a run going: a paused one on Prefect 2.
    :raises WaitTimeout: a run had not ended in time.
    """

    template_fields: Sequence[str] = ("flow_run_id", "deployment", "tags", "prefect_conn_id")
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"
    stream_states = True
    stream_logs = False

    def __init__(
        self,
        *,
        flow_run_id: str | None = None,
        deployment: str | None = None,
        tags: Sequence[str] | None = None,
        wait_for_completion: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 10,
        timeout: float | timedelta = 600,
        max_unreachable: float = MAX_UNREACHABLE,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if flow_run_id is not None and deployment is not None:
            raise ConfigurationError("Give either flow_run_id, or deployment for all its live runs; both are given.")
        if deployment is None and tags is not None:
            raise ConfigurationError("tags choose among the runs of a deployment; they do not go with flow_run_id.")
        if timeout is None:
            raise ConfigurationError("timeout=None would wait for ever: some runs never leave CANCELLING.")
        self.flow_run_id = flow_run_id
        self.deployment = deployment
        self.tags = tags
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = waits.checked_poll_interval("poll_interval", poll_interval)
        self.timeout = waits.checked_seconds("timeout", timeout)
        self.max_unreachable = waits.checked_length("max_unreachable", max_unreachable, zero=True)
        self.prefect_conn_id = prefect_conn_id

    def execute(self, context: Context) -> Any:
        """Ask for the end, and wait for it as asked."""
        with failing_for_good():
            hook = self._hook()
            if self.deployment:
                hook.check_supported(deployment=self.deployment)
                states = self._cancel_all(hook, self.deployment)
            elif self.flow_run_id:
                run = hook.read_flow_run(self.flow_run_id)
                push_identity(context, run, hook.flow_run_url(run))
                states = {run.id: self._cancel(hook, run.id)}
            else:
                raise ConfigurationError(_missing_flow_run_id(self))
        _check_agreed(states)
        if not self.wait_for_completion:
            return self._returned(states)
        deadlines = waits.deadlines_from_now(self.timeout, None, self.execution_timeout)
        asked = {"ids": list(states), "deadline": deadlines.finished}
        context["ti"].xcom_push(key=_ASKED, value=asked)
        return self._wait_for_all(hook, asked)

    def execute_complete(self, context: Context, event: Any, wait: dict[str, Any] | None = None) -> Any:
        """Go on when the trigger has seen the end of one of the flow runs."""
        with failing_for_good():
            self._seen(event, wait)
        # What defer() is given does not reach a task that dag.test() resumes.
        asked = context["ti"].xcom_pull(task_ids=context["ti"].task_id, key=_ASKED, map_indexes=context["ti"].map_index)
        return self._wait_for_all(self._hook(), asked)

    def _cancel(self, hook: PrefectHook, flow_run_id: str) -> str:
        state = hook.cancel_flow_run(flow_run_id)
        if state.type in FINAL and state.type != "CANCELLED":
            self.log.info("Flow run %s had ended already, in state %s", flow_run_id, state)
        else:
            self.log.info("Flow run %s was asked to stop, and is in state %s", flow_run_id, state)
        return state.type

    def _cancel_all(self, hook: PrefectHook, deployment: str) -> dict[str, str]:
        """Ask all live runs to stop, and again those that have appeared meanwhile, until there are no new ones."""
        deployment_id = hook.find_source(deployment).id
        tags = arguments.texts("tags", self.tags)
        states: dict[str, str | None] = {}
        while new := [run for run in hook.find_live_flow_runs(deployment_id, tags) if run.id not in states]:
            for run in new:
                try:
                    states[run.id] = self._cancel(hook, run.id)
                except FlowRunNotFound:
                    self.log.info("Flow run %s was deleted meanwhile.", run.id)
                    states[run.id] = None
        if not states:
            self.log.info("No run of deployment %s is live.", deployment)
        return {flow_run_id: state for flow_run_id, state in states.items() if state}

    def _wait_for_all(self, hook: PrefectHook, asked: dict[str, Any]) -> Any:
        deadlines = Deadlines(finished=asked["deadline"])
        there = {run.id: run for run in hook.read_flow_runs(asked["ids"])}
        states: dict[str, str] = {}
        for flow_run_id in asked["ids"]:
            run = there.get(flow_run_id)
            if run is None:
                self.log.info("Flow run %s was deleted meanwhile.", flow_run_id)
                continue
            if not run.is_final:
                run = self._wait(hook, run, deadlines, self.poll_interval)
            states[flow_run_id] = run.state.type
        return self._returned(states)

    def _returned(self, states: dict[str, str]) -> Any:
        if self.deployment:
            return [{"id": flow_run_id, "state": state} for flow_run_id, state in states.items()]
        return next(iter(states.values()), None)


def _check_agreed(states: Mapping[str, str]) -> None:
    """Fail if Prefect has not agreed to stop a flow run; Prefect 2 does not for a paused one."""
    live = ", ".join(f"{flow_run_id} ({state})" for flow_run_id, state in states.items() if state in LIVE)
    if live:
        raise PrefectError(f"Prefect was asked to stop these flow runs, but leaves them as they are: {live}.")


def _missing_flow_run_id(task: BaseOperator) -> str:
    """Which flow run is never guessed; but what may have been meant can be said."""
    # Not imported at the top: that module imports this one.
    from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator

    starts = [
        up.task_id for up in task.get_direct_relatives(upstream=True) if isinstance(up, PrefectStartFlowRunOperator)
    ]
    name = starts[0] if len(starts) == 1 else "start"
    return (
        f"flow_run_id is missing. To name the flow run that the task {name!r} has started: flow_run_id={name}.output."
    )
