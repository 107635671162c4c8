"""Operators that start, rename and cancel flow runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, BaseOperator, conf

from airflow_provider_prefect.client.api import check_supported
from airflow_provider_prefect.client.errors import (
    FlowRunNotFound,
    FlowRunTimeout,
    FlowRunUnsuccessful,
    PrefectError,
)
from airflow_provider_prefect.client.model import FINAL, LIVE, FlowRun, NewFlowRun
from airflow_provider_prefect.client.printable import quoted
from airflow_provider_prefect.client.results.formats import as_xcom
from airflow_provider_prefect.client.transport import run as run_call
from airflow_provider_prefect.client.wait.flow_run import Deadlines
from airflow_provider_prefect.hooks.prefect import (
    MAX_RESULT_SIZE,
    MAX_UNREACHABLE,
    PATIENCE,
    PrefectHook,
    check_one_source,
)
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.operators.assets import check_outlets
from airflow_provider_prefect.operators.base import (
    CONNECTION,
    PrefectTask,
    WaitingTask,
    push_identity,
    read_existing,
    selecting,
)
from airflow_provider_prefect.utils import arguments, lineage
from airflow_provider_prefect.utils.arguments import Field
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood, failing_without_retry
from airflow_provider_prefect.utils.on_kill import FlowRunStopper, TaskStopped
from airflow_provider_prefect.utils.recovery import FlowRunStarter, task_try

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_SAME_KEY = (
    "Every try of this task uses the flow run that has its idempotency_key. For a new one each time put the try into "
    "the key: idempotency_key='…-{{ ti.try_number }}'."
)

_MAX_ROUNDS = 20
"""How often the live runs of a deployment are looked for again, after all that were found have been cancelled."""

_CANCELLED_FLOW_RUNS = "cancelled_flow_runs"
"""The XCom in which a cancelling task that defers keeps what it has asked to stop."""


NAME_A_DEPLOYMENT = "give 'flow/deployment', or the id (UUID) of a deployment."


def _result_wanted(name: str, value: Any) -> bool | str:
    """Return whether the result is wanted, or the key of the artifact that is. What a template renders to is text."""
    if isinstance(value, bool):
        return value
    found = arguments.text(name, value) or ""
    return {"True": True, "False": False}.get(found.strip(), found)


def missing_flow_run_id(task: BaseOperator) -> str:
    """Return the message for a missing flow run id, with the task that is probably meant."""
    has_dag = task.has_dag()  # type: ignore[no-untyped-call]
    before = task.get_direct_relatives(upstream=True) if has_dag else ()
    starts = [up.task_id for up in before if isinstance(up, PrefectStartFlowRunOperator)]
    name = starts[0] if len(starts) == 1 else "start"
    return (
        f"flow_run_id is missing. To name the flow run that the task {name!r} has started: flow_run_id={name}.output."
    )


class PrefectStartFlowRunOperator(WaitingTask, BaseOperator):
    """Start a flow run of a Prefect deployment, wait until it has ended, and return its result.

    On Prefect 1, which has no deployments, a flow is started.

    The flow run is created exactly once: with an idempotency key, so that a request whose response was lost can be sent
    again; and a retry looks up what earlier tries have created. It reattaches to a flow run that has not ended, and
    adopts the outcome of one that has completed. A cleared task starts a new flow run.

    A flow run that ends FAILED, CRASHED or CANCELLED fails the task, which then shows the failed task runs and the last
    log lines.

    XComs, the same whether the task defers or not: as soon as the flow run exists ``flow_run_id``, ``flow_run_url``
    and ``flow_run_name``; at its end ``state`` (its type), and ``result`` if it is fetched. The return value is the
    flow run's id.

    An optional templated argument that renders to nothing (``None``, ``"None"`` or an empty text) is treated as not
    given, and the log says so; ``deployment``, ``flow_name`` and ``flow_id`` fail the task instead. A number where text
    is needed becomes that text.

    :param deployment: ``flow/deployment``, or the id (UUID) of a deployment. (templated)
    :param flow_name: instead of it, a flow that has exactly one deployment; on Prefect 1 the newest version of the
        flow. (templated)
    :param flow_id: Prefect 1 only: the id of a flow, or of a flow group for its newest version. (templated)
    :param project_name: Prefect 1 only: the project of ``flow_name``, where several have such a flow. (templated)
    :param parameters: the flow's parameters, as a mapping or as its JSON text; they override the deployment's own.
        Sequences, such as the output of mapped tasks, sets, dataclasses, pydantic models, enums and what numpy has are
        sent as JSON, durations as seconds, and dates, times, decimals, UUIDs and paths as text. Integers beyond 64 bits
        are refused. (templated)
    :param run_name: the flow run's name; by default ``<dag>.<task> <Dag run>``, on Prefect 1 ``<Dag run>-<flow>``.
        (templated)
    :param tags: added to the deployment's own. (templated)
    :param job_variables: override the deployment's own, as a mapping or as its JSON text. (templated)
    :param work_queue_name: the work queue to put the flow run into. Prefect creates one that does not
        exist. (templated)
    :param labels: Prefect 1 only: the labels that an agent has to have to run it; by default the flow's. (templated)
    :param run_config: Prefect 1 only: how to run it, as a mapping with its ``type`` or the JSON text of one. Without
        ``labels`` in it the flow's are kept, which Prefect 1 itself would drop. (templated)
    :param context: Prefect 1 only: what the flow finds in ``prefect.context``, as a mapping or JSON text. The key
        ``airflow`` is the operator's own. (templated)
    :param scheduled_start_time: when to start the flow run: a datetime or ISO 8601 text, which is in UTC if it names no
        zone, whatever the Dag's; or a duration from now (a timedelta, or text such as ``PT5M``). At once by default,
        and if the time has passed; a negative duration and a time before the year 2000 are refused. (templated)
    :param idempotency_key: if Prefect has a run of this flow with this key, that run is used and none is created.
        By default a key of this very try of the task instance. (templated)
    :param on_retry: what a retry does when the flow run of an earlier try did not complete: ``new`` starts another
        one, ``restart`` puts the same one back to scheduled. Not with ``idempotency_key``.
    :param enforce_parameter_schema: overrides whether the deployment checks parameters against its schema.
    :param wait_for_completion: wait until the flow run has ended; otherwise the task ends when the flow run exists.
    :param deferrable: wait in the triggerer, without a worker slot; in Airflow 3.3 a task that has nothing more to do
        when its flow run has completed ends there, too (docs/performance.rst). By default the value of ``[operators]
        default_deferrable``.
    :param poll_interval: seconds between two polls of the flow run, at least 3.
    :param timeout: seconds (or a timedelta) within which the flow run has to end. None by default; the task's
        ``execution_timeout`` applies too, deferred or not.
    :param start_timeout: seconds (or a timedelta) within which it has to leave SCHEDULED and PENDING, counted from its
        scheduled start. None by default.
    :param cancel_on_timeout: cancel the flow run when the wait runs out of time.
    :param cancel_on_kill: cancel the flow run when a user stops the task: marks it or its Dag run failed or successful,
        or clears it. A worker that is stopped or a triggerer that restarts cancels no flow run.
    :param max_unreachable: seconds for which the task tolerates that Prefect is not answering, before the start and
        in the wait.
    :param stream_states: show the flow run's state changes in the task's log.
    :param stream_logs: show the flow run's log lines there too, each at its own level.
    :param fail_on_unsuccessful: whether a flow run that does not complete fails the task. Prefect 1's tasks did not
        fail by default.
    :param skip_on: types of final states, such as ``["CANCELLED"]``, that skip the task instead.
    :param retry_cancelled: let Airflow's retries start another flow run when this one was cancelled in Prefect.
    :param fetch_result: ``True`` to push what the flow returned, which it has to persist as JSON; or the key of an
        artifact of the run (its rows, if it is a table). (templated)
    :param max_result_size: bytes of JSON that the result may have.
    :param emit_assets: add what the flow run has materialized (Prefect 3.4 and newer) to the asset alias in
        ``outlets``. An asset in ``outlets`` gets the flow run, and its materialization, in the ``extra`` of its event
        in any case.
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunUnsuccessful: the flow run ended FAILED, CRASHED or CANCELLED: :class:`.FlowRunFailed`,
        :class:`.FlowRunCrashed` or :class:`.FlowRunCancelled`, which carry the ``run``.
    :raises FlowRunTimeout: the wait ran out of time.
    :raises FlowRunNotFound: the flow run was deleted while the task waited for it.
    :raises Unreachable: Prefect has not answered for ``max_unreachable``.
    """

    fields: ClassVar[Mapping[str, Field]] = {
        "deployment": Field(arguments.text, way_out=NAME_A_DEPLOYMENT),
        "flow_name": Field(arguments.text, way_out="give the name of a flow."),
        "flow_id": Field(arguments.text, way_out="give the id (UUID) of a flow, or of a flow group."),
        "project_name": Field(arguments.text, otherwise="flow_name is looked up in all projects"),
        "parameters": Field(arguments.json_object, otherwise="the deployment's own is used, or the flow's"),
        "run_name": Field(arguments.text, otherwise="the flow run gets its default name"),
        "tags": Field(arguments.string_list, otherwise="no tags are added", is_list=True),
        "job_variables": Field(arguments.json_object, otherwise="the deployment's own is used"),
        "work_queue_name": Field(arguments.text, otherwise="the deployment's own is used"),
        "labels": Field(arguments.string_list, otherwise="the flow's own is used", is_list=True),
        "run_config": Field(arguments.json_object, otherwise="the flow's own is used"),
        "context": Field(arguments.run_context, otherwise="no context is added"),
        "scheduled_start_time": Field(arguments.as_it_is, otherwise="the flow run is to start at once"),
        "idempotency_key": Field(arguments.text, otherwise="the default key, that of this try, is used"),
        "fetch_result": Field(_result_wanted, default=False, otherwise="no result is fetched"),
        "prefect_conn_id": CONNECTION,
    }
    template_fields: Sequence[str] = tuple(fields)
    template_fields_renderers = dict.fromkeys(("parameters", "job_variables", "run_config", "context"), "json")
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"
    _stopper: FlowRunStopper | None = None

    def __init__(
        self,
        *,
        deployment: str | None = None,
        flow_name: str | None = None,
        flow_id: str | None = None,
        project_name: str | None = None,
        parameters: Mapping[str, Any] | str | None = None,
        run_name: str | None = None,
        tags: Sequence[str] | None = None,
        job_variables: Mapping[str, Any] | str | None = None,
        work_queue_name: str | None = None,
        labels: Sequence[str] | None = None,
        run_config: Mapping[str, Any] | str | None = None,
        context: Mapping[str, Any] | str | None = None,
        scheduled_start_time: datetime | timedelta | str | None = None,
        idempotency_key: str | None = None,
        on_retry: str = "new",
        enforce_parameter_schema: bool | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 10,
        timeout: float | timedelta | None = None,
        start_timeout: float | timedelta | None = None,
        cancel_on_timeout: bool = True,
        cancel_on_kill: bool = True,
        max_unreachable: float = MAX_UNREACHABLE,
        stream_states: bool = True,
        stream_logs: bool = False,
        fail_on_unsuccessful: bool = True,
        skip_on: Sequence[str] | None = None,
        retry_cancelled: bool = False,
        fetch_result: bool | str = False,
        max_result_size: int = MAX_RESULT_SIZE,
        emit_assets: bool = False,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_one_source(deployment, flow_name, flow_id)
        if project_name is not None and flow_name is None:
            raise ConfigurationErrorForGood(f"project_name={project_name!r} goes with flow_name only.")
        if fetch_result and not wait_for_completion:
            raise ConfigurationErrorForGood(
                "fetch_result needs wait_for_completion=True: a result is there when the flow run ends."
            )
        if emit_assets and not wait_for_completion:
            raise ConfigurationErrorForGood(
                "emit_assets needs wait_for_completion=True: what a flow run has materialized is known at its end."
            )
        if on_retry not in ("new", "restart"):
            raise ConfigurationErrorForGood(f"on_retry={on_retry!r} is neither 'new' nor 'restart'.")
        if idempotency_key is not None and on_retry == "restart":
            raise ConfigurationErrorForGood(
                "on_retry='restart' does not go with idempotency_key, whose run is used as it is."
            )
        self.on_retry = on_retry
        self.deployment = deployment
        self.flow_name = flow_name
        self.flow_id = flow_id
        self.project_name = project_name
        self.parameters: Any = parameters
        self.run_name = run_name
        self.tags = tags
        self.job_variables: Any = job_variables
        self.work_queue_name = work_queue_name
        self.labels = labels
        self.run_config: Any = run_config
        self.context: Any = context
        self.scheduled_start_time = scheduled_start_time
        self.idempotency_key = idempotency_key
        self.enforce_parameter_schema = enforce_parameter_schema
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = (
            arguments.checked_poll_interval("poll_interval", poll_interval) if wait_for_completion else poll_interval
        )
        self.timeout = arguments.checked_optional_duration("timeout", timeout)
        self.start_timeout = arguments.checked_optional_duration("start_timeout", start_timeout)
        self.cancel_on_timeout = cancel_on_timeout
        self.cancel_on_kill = cancel_on_kill
        self.max_unreachable = arguments.checked_duration("max_unreachable", max_unreachable, zero=True)
        self.stream_states = stream_states
        self.stream_logs = stream_logs
        self.fail_on_unsuccessful = fail_on_unsuccessful
        self.skip_on = arguments.checked_skip_on(skip_on)
        self.retry_cancelled = retry_cancelled
        self.fetch_result = fetch_result
        self.max_result_size = arguments.checked_size("max_result_size", max_result_size)
        check_outlets(self.outlets, emit_assets)
        self.emit_assets = emit_assets
        self.prefect_conn_id = prefect_conn_id
        self.remember_given()

    def execute(self, context: Context) -> str:
        """Start the flow run, and wait for it if so asked."""
        began = time.time()
        with failing_without_retry():
            self.read_fields()
            hook = self.connect()
            start = arguments.start_time("scheduled_start_time", self.scheduled_start_time)
            run = self._start(hook, context, start)
        if not self.wait_for_completion:
            self._stopper = None
            return run.id
        deadlines = arguments.deadlines_from_now(
            self.timeout, self.start_timeout, self.execution_timeout, start.timestamp() if start else None, began
        )
        # The stopper stays while the task is being deferred: a user may stop it before Airflow has recorded that.
        try:
            with failing_without_retry():
                run = self.wait_or_defer(context, hook, run, deadlines, self.poll_interval)
        except FlowRunTimeout as error:
            self._stopper = None
            raise self._out_of_time(hook, error) from None
        self._stopper = None
        try:
            return self._finish(hook, context, run, hook.flow_run_url(run))
        except FlowRunUnsuccessful as error:
            if self.idempotency_key and context["ti"].try_number > 1:
                raise type(error)(f"{error} {_SAME_KEY}", error.run) from None
            raise

    def execute_complete(self, context: Context, event: Any, wait: dict[str, Any] | None = None) -> str:
        """Finish the task when the trigger has seen the end of the flow run."""
        with failing_without_retry():
            self.read_fields_again("prefect_conn_id", "fetch_result")
        hook = self.connect()
        try:
            with failing_without_retry():
                run, url = self.resumed(event, wait)
        except FlowRunTimeout as error:
            raise self._out_of_time(hook, error) from None
        except AirflowFailException as error:
            # No try follows that could reattach to the flow run.
            raise AirflowFailException(f"{error} {self._cancel_or_leave(hook, event['flow_run_id'])}") from None
        return self._finish(hook, context, run, url)

    def return_value_key(self) -> str | None:
        return None if self.fetch_result else "flow_run_id"

    def on_kill(self) -> None:
        """Cancel the flow run, if it is a user who stops the task; see :mod:`..utils.on_kill`."""
        stopper = self._stopper
        if stopper is None:
            return
        if isinstance(sys.exc_info()[1], AirflowTaskTimeout):
            # The alarm for execution_timeout. The wait ends before it, unless an API has hung for all this time.
            if self.cancel_on_timeout:
                stopper.cancel()
            return
        if self.cancel_on_kill and not stopper.stop():
            return
        self._stopper = None
        # Airflow 3 lets the task go on after this, until it kills the process.
        raise TaskStopped("Airflow has stopped the task while it waited for its flow run.")

    def _start(self, hook: PrefectHook, context: Context, start: datetime | None) -> FlowRun:
        this_try = task_try(cast(Mapping[str, Any], context))
        api = hook.api
        check_supported(
            api,
            deployment=self.deployment,
            flow_name=self.flow_name,
            flow_id=self.flow_id,
            project_name=self.project_name,
            tags=self.tags,
            labels=self.labels,
            job_variables=self.job_variables,
            run_config=self.run_config,
            context=self.context,
            work_queue_name=self.work_queue_name,
            enforce_parameter_schema=self.enforce_parameter_schema,
            on_retry=None if self.on_retry == "new" else self.on_retry,
            fetch_result=self.fetch_result or None,
        )
        source = {"deployment": self.deployment, "flow_name": self.flow_name, "flow_id": self.flow_id}
        check_one_source(**source)
        told = {} if "job_variables" in api.unsupported else lineage.environment(context["ti"])
        new = NewFlowRun(
            parameters=self.parameters,
            name=self.run_name,
            tags=tuple(self.tags or ()),
            labels={**this_try.labels, **lineage.labels(told)},
            agent_labels=None if self.labels is None else tuple(self.labels),
            context={**(self.context or {}), "airflow": this_try.context},
            job_variables=lineage.with_environment(self.job_variables, told),
            run_config=self.run_config,
            work_queue_name=self.work_queue_name,
            scheduled_start_time=start,
            idempotency_key=self.idempotency_key or this_try.idempotency_key,
            enforce_parameter_schema=self.enforce_parameter_schema,
        )
        starter = FlowRunStarter(
            hook.get_conn(),
            self.max_unreachable,
            this_try,
            self.log,
            on_retry=self.on_retry,
            stop_older=self.cancel_on_kill,
        )
        self._stopper = FlowRunStopper(context["ti"], this_try, hook.settings, self.log)
        found = run_call(api.find_source(**source, project_name=self.project_name))
        if not new.name:
            new = replace(new, name=api.default_run_name(found, this_try.task_name, this_try.dag_run_name))
        run = starter.start_flow_run(found, new, is_default_key=not self.idempotency_key)
        self._stopper.run = run
        url = hook.flow_run_url(run)
        push_identity(context, run, url)
        self.log.info("%s flow run: %s (%s)", starter.action.value.capitalize(), url, quoted(run.name))
        return run

    def _finish(self, hook: PrefectHook, context: Context, run: FlowRun, url: str) -> str:
        self.end(hook, context, run, url)
        if self.fetch_result and run.state.type == "COMPLETED":
            with failing_without_retry():
                result = self._result(hook, run)
            context["ti"].xcom_push(key="result", value=result)
        return run.id

    def _result(self, hook: PrefectHook, run: FlowRun) -> Any:
        key = self.fetch_result if isinstance(self.fetch_result, str) else None
        # An event has the state's type and name, but not where its data is stored.
        whole = run if key else read_existing(hook, run)
        return as_xcom(hook.read_result(whole, artifact_key=key, max_size=self.max_result_size))

    def _out_of_time(self, hook: PrefectHook, error: FlowRunTimeout) -> FlowRunTimeout:
        """Cancel the flow run if so asked; return ``error`` with what has become of the run."""
        return type(error)(f"{error} {self._cancel_or_leave(hook, error.flow_run_id)}", error.flow_run_id)

    def _cancel_or_leave(self, hook: PrefectHook, flow_run_id: str) -> str:
        """Cancel the flow run, unless ``cancel_on_timeout`` is off, when its wait ends before it does; say which."""
        if not self.cancel_on_timeout:
            return "The flow run continues (cancel_on_timeout=False)."
        try:
            state = hook.with_patience(PATIENCE).cancel_flow_run(flow_run_id)
        except FlowRunNotFound:
            return "Prefect no longer has the flow run, so there is nothing to stop."
        except PrefectError as trouble:
            return f"The flow run could not be asked to stop: {trouble}"
        return f"The flow run was asked to stop, and is in state {state}."


class PrefectRenameFlowRunOperator(PrefectTask, BaseOperator):
    """Give a flow run another name, in whatever state it is.

    XComs: ``flow_run_id``, ``flow_run_url`` and ``flow_run_name`` (the new one). The return value is the flow run's id.

    :param flow_run_id: the flow run. (templated)
    :param name: its new name, text or a number; not empty, since Prefect would make one up. (templated)
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunNotFound: Prefect has no such flow run.
    """

    fields: ClassVar[Mapping[str, Field]] = {
        "flow_run_id": Field(arguments.text, way_out=missing_flow_run_id),
        "name": Field(arguments.text, way_out="a flow run whose name is empty gets one that Prefect makes up."),
        "prefect_conn_id": CONNECTION,
    }
    template_fields: Sequence[str] = tuple(fields)
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"

    def __init__(
        self,
        *,
        name: str | None = None,
        flow_run_id: str | None = None,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if name is None:
            raise ConfigurationErrorForGood("name is empty: a flow run's new name needs at least one character.")
        self.flow_run_id = flow_run_id
        self.name = name
        self.prefect_conn_id = prefect_conn_id
        self.remember_given()

    def execute(self, context: Context) -> str:
        """Rename the flow run."""
        with failing_without_retry():
            self.read_fields()
            if not self.flow_run_id:
                raise ConfigurationErrorForGood(missing_flow_run_id(self))
            hook = PrefectHook(self.prefect_conn_id)
            hook.rename_flow_run(self.flow_run_id, self.name)
            run = hook.read_flow_run(self.flow_run_id)
        url = hook.flow_run_url(run)
        self.log.info("Renamed flow run: %s (%s)", url, quoted(run.name))
        push_identity(context, run, url)
        return run.id


class PrefectCancelFlowRunOperator(WaitingTask, BaseOperator):
    """Ask a flow run, or all live runs of a deployment, to stop.

    Prefect is asked for the state CANCELLING, without force. A run that has no infrastructure yet is CANCELLED at once,
    and one that has ended already stays as it is, which is not an error. Runs that Prefect's own schedule has created
    for the future are not cancelled unless named by id: they would be missing when their time comes.

    XComs: with ``flow_run_id`` the keys ``flow_run_id``, ``flow_run_url`` and ``flow_run_name``. The return value is
    the state type that the flow run is in then; for a deployment a list of ``{"id", "state"}``. A run that is deleted
    meanwhile is ``None``, or not in the list.

    :param flow_run_id: the flow run to stop. (templated)
    :param deployment: instead of it, ``flow/deployment`` or the id (UUID) of a deployment. (templated)
    :param tags: with ``deployment``: only runs that have all these tags. (templated)
    :param wait_for_completion: wait until the runs have ended.
    :param deferrable: wait in the triggerer. By default the value of ``[operators] default_deferrable``.
    :param poll_interval: seconds between two polls, at least 3.
    :param timeout: seconds (or a timedelta) to wait; 10 minutes by default. Before Prefect 3.7.5 a run
        that no worker has picked up stays in CANCELLING for ever.
    :param max_unreachable: seconds for which the task tolerates that Prefect is not answering.
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunNotFound: Prefect has no such flow run.
    :raises PrefectError: Prefect does not cancel a run: a paused one on Prefect 2.
    :raises WaitTimeout: a run had not ended in time.
    """

    fields: ClassVar[Mapping[str, Field]] = {
        "flow_run_id": Field(arguments.text, way_out=missing_flow_run_id),
        "deployment": Field(arguments.text, way_out=NAME_A_DEPLOYMENT),
        "tags": selecting("tag"),
        "prefect_conn_id": CONNECTION,
    }
    template_fields: Sequence[str] = tuple(fields)
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
            raise ConfigurationErrorForGood(
                "Give either flow_run_id, or deployment for all its live runs; both are given."
            )
        if deployment is None and tags is not None:
            raise ConfigurationErrorForGood(
                "tags choose among the runs of a deployment; they do not go with flow_run_id."
            )
        if timeout is None:
            raise ConfigurationErrorForGood("timeout=None would wait for ever: some runs never leave CANCELLING.")
        self.flow_run_id = flow_run_id
        self.deployment = deployment
        self.tags = tags
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = arguments.checked_poll_interval("poll_interval", poll_interval)
        self.timeout = arguments.checked_optional_duration("timeout", timeout)
        self.max_unreachable = arguments.checked_duration("max_unreachable", max_unreachable, zero=True)
        self.prefect_conn_id = prefect_conn_id
        self.remember_given()

    def execute(self, context: Context) -> Any:
        """Cancel the flow runs, and wait for their end if so asked."""
        with failing_without_retry():
            self.read_fields()
            hook = self.connect()
            if self.deployment:
                check_supported(hook.api, deployment=self.deployment)
                states = self._cancel_all(hook, self.deployment)
            elif self.flow_run_id:
                run = hook.read_flow_run(self.flow_run_id)
                push_identity(context, run, hook.flow_run_url(run))
                states = {run.id: self._cancel(hook, run.id)}
            else:
                raise ConfigurationErrorForGood(missing_flow_run_id(self))
        _check_agreed(states)
        if not self.wait_for_completion:
            return self._returned(states)
        deadlines = arguments.deadlines_from_now(self.timeout, None, self.execution_timeout)
        asked = {"ids": list(states), "deadline": deadlines.finished}
        context["ti"].xcom_push(key=_CANCELLED_FLOW_RUNS, value=asked)
        return self._wait_for_all(context, hook, asked)

    def execute_complete(self, context: Context, event: Any, wait: dict[str, Any] | None = None) -> Any:
        """Continue when the trigger has seen the end of one of the flow runs."""
        with failing_without_retry():
            self.read_fields_again("prefect_conn_id", "deployment")
            self.resumed(event, wait)
        # What defer() is given does not reach a task that dag.test() resumes.
        asked = context["ti"].xcom_pull(
            task_ids=context["ti"].task_id, key=_CANCELLED_FLOW_RUNS, map_indexes=context["ti"].map_index
        )
        return self._wait_for_all(context, self.connect(), asked)

    def _cancel(self, hook: PrefectHook, flow_run_id: str) -> str:
        state = hook.cancel_flow_run(flow_run_id)
        if state.type in FINAL and state.type != "CANCELLED":
            self.log.info("Flow run had ended already, in state %s. Its id is %s.", state, flow_run_id)
        else:
            self.log.info("Flow run was asked to stop, and is in state %s. Its id is %s.", state, flow_run_id)
        return state.type

    def _cancel_all(self, hook: PrefectHook, deployment: str) -> dict[str, str]:
        """Cancel all live runs, and those that have appeared meanwhile, until there are no new ones.

        :raises PrefectError: there are always new ones.
        """
        api = hook.api
        source = run_call(api.find_source(deployment=deployment, flow_id=None, flow_name=None, project_name=None))
        tags = self.tags or ()
        states: dict[str, str | None] = {}
        for _ in range(_MAX_ROUNDS):
            new = [run for run in run_call(api.find_live_flow_runs(source.id, tags)) if run.id not in states]
            if not new:
                break
            for run in new:
                try:
                    states[run.id] = self._cancel(hook, run.id)
                except FlowRunNotFound:
                    self.log.info("Flow run %s has been deleted.", run.id)
                    states[run.id] = None
        else:
            raise PrefectError(
                f"Deployment {deployment!r} gets new runs faster than they are cancelled: {len(states)} were asked to "
                "stop. Pause its schedule, and what else starts it, first."
            )
        if not states:
            self.log.info("Deployment %s has no active flow runs.", deployment)
        return {flow_run_id: state for flow_run_id, state in states.items() if state}

    def _wait_for_all(self, context: Context, hook: PrefectHook, asked: dict[str, Any]) -> Any:
        deadlines = Deadlines(finished=asked["deadline"])
        there = {run.id: run for run in hook.read_flow_runs(asked["ids"])}
        states: dict[str, str] = {}
        for flow_run_id in asked["ids"]:
            run = there.get(flow_run_id)
            if run is None:
                self.log.info("Flow run %s has been deleted.", flow_run_id)
                continue
            if not run.is_final:
                self.task_log().show_flow_run(run, hook.flow_run_url(run))
                run = self.wait_or_defer(context, hook, run, deadlines, self.poll_interval)
            states[flow_run_id] = run.state.type
        return self._returned(states)

    def _returned(self, states: dict[str, str]) -> Any:
        if self.deployment:
            return [{"id": flow_run_id, "state": state} for flow_run_id, state in states.items()]
        return next(iter(states.values()), None)


def _check_agreed(states: Mapping[str, str]) -> None:
    """Fail if Prefect has not agreed to stop a flow run; Prefect 2 does not agree for a paused one."""
    live = ", ".join(f"{flow_run_id} ({state})" for flow_run_id, state in states.items() if state in LIVE)
    if live:
        raise PrefectError(f"Prefect was asked to stop these flow runs, but leaves them as they are: {live}.")
