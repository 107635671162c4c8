"""Operators that start, rename and cancel flow runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, conf

from airflow_provider_prefect import arguments, waits
from airflow_provider_prefect.client.errors import ConfigurationError, FlowRunTimeout, FlowRunUnsuccessful, PrefectError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.new_flow_run import NewFlowRun
from airflow_provider_prefect.client.results import as_xcom
from airflow_provider_prefect.hooks.prefect import (
    MAX_RESULT_SIZE,
    MAX_UNREACHABLE,
    PATIENCE,
    PrefectHook,
    check_one_source,
)
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.operators._changing import PrefectCancelFlowRunOperator, PrefectRenameFlowRunOperator
from airflow_provider_prefect.outcome import failing_for_good
from airflow_provider_prefect.recovery import try_of_task
from airflow_provider_prefect.starting import Starting
from airflow_provider_prefect.stopping import Stopper, TaskStopped
from airflow_provider_prefect.waiter import FlowRunWaiter, checked_skip_on

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["PrefectCancelFlowRunOperator", "PrefectRenameFlowRunOperator", "PrefectStartFlowRunOperator"]

_SAME_KEY = (
    "Every try of this task uses the flow run that has its idempotency_key. For a new one each time put the try into "
    "the key: idempotency_key='…-{{ ti.try_number }}'."
)


class PrefectStartFlowRunOperator(FlowRunWaiter, BaseOperator):
    """Start a flow run of a Prefect deployment, wait until it has ended, and hand on what it returned.

    On Prefect 1, which has no deployments, a flow is started.

    The flow run is created exactly once: with an idempotency key, so that a request whose answer was lost can be sent
    again; and a retry looks for what earlier tries have created. It goes on with a run that still lives, and takes over
    the outcome of one that has completed. A cleared task starts a new flow run.

    A flow run that ends FAILED, CRASHED or CANCELLED fails the task, which then shows the failed task runs and the last
    log lines.

    XComs, the same whether the task defers or not: as soon as the flow run exists ``flow_run_id``, ``flow_run_url``
    and ``flow_run_name``; at its end ``state`` (its type), and ``result`` if it is fetched. The return value is the
    flow run's id.

    :param deployment: ``flow/deployment``, or the id (UUID) of a deployment. (templated)
    :param flow_name: instead of it, a flow that has exactly one deployment; on Prefect 1 the newest version of the
        flow. (templated)
    :param flow_id: Prefect 1 only: the id of a flow, or of a flow group for its newest version. (templated)
    :param project_name: Prefect 1 only: the project of ``flow_name``, where several have such a flow. (templated)
    :param parameters: the flow's parameters, as a mapping or as its JSON text, laid over the deployment's own;
        dates and times, decimals and UUIDs in it are sent as text. (templated)
    :param run_name: the flow run's name; by default ``<dag>.<task> <Dag run>``, on Prefect 1 ``<Dag run>-<flow>``.
        (templated)
    :param tags: added to the deployment's own. (templated)
    :param job_variables: laid over the deployment's own, as a mapping or as its JSON text. (templated)
    :param work_queue_name: the work queue to put the flow run into. Prefect creates one that it does not
        have. (templated)
    :param labels: Prefect 1 only: what labels an agent has to have to run it; by default the flow's. (templated)
    :param run_config: Prefect 1 only: how to run it, as a mapping with its ``type`` or the JSON text of one. Without
        ``labels`` in it the flow's are kept, which Prefect 1 itself would drop. (templated)
    :param context: Prefect 1 only: what the flow finds in ``prefect.context``, as a mapping or JSON text. (templated)
    :param scheduled_start_time: when to start the flow run: a datetime or ISO 8601 text (UTC without a zone), or how
        long from now (a timedelta, or text such as ``PT5M``); at once by default. (templated)
    :param idempotency_key: if Prefect has a run of this flow with this key, that run is used and none is created.
        By default a key of this very try of the task instance. (templated)
    :param on_retry: what a retry does when the flow run of an earlier try has ended unsuccessful: ``new`` starts
        another one, ``restart`` puts the same one back to scheduled. Not with ``idempotency_key``.
    :param enforce_parameter_schema: overrides whether the deployment checks parameters against its schema.
    :param wait_for_completion: wait for the flow run's end; without, the task ends when the flow run exists.
    :param deferrable: wait in the triggerer, without a worker slot. By default what ``[operators]
        default_deferrable`` says.
    :param poll_interval: seconds between two looks at the flow run, at least 3.
    :param timeout: seconds (or a timedelta) within which the flow run has to end. None by default; the task's
        ``execution_timeout`` counts too, deferred or not.
    :param start_timeout: seconds (or a timedelta) within which it has to leave SCHEDULED and PENDING, from its
        scheduled start on. None by default.
    :param cancel_on_timeout: ask the flow run to stop when the wait runs out of time.
    :param cancel_on_kill: ask the flow run to stop when a user stops the task: marks it or its Dag run failed or
        successful, or clears it. That a worker is stopped or a triggerer restarted stops no flow run.
    :param max_unreachable: seconds for which trouble with the API is waited out, before the start and in the wait.
    :param stream_states: show the flow run's state changes in the task's log.
    :param stream_logs: show the flow run's log lines there too, each at its own level.
    :param fail_on_unsuccessful: whether a flow run that does not end in COMPLETED fails the task. Prefect 1's tasks did
        not by default.
    :param skip_on: types of final states, such as ``["CANCELLED"]``, that skip the task instead.
    :param retry_cancelled: let Airflow's retries start another flow run when this one was cancelled in Prefect.
    :param fetch_result: hand on what the flow left: ``True`` for what it returned, which the flow has to persist as
        JSON, or the key of an artifact of the run (its rows, if it is a table). (templated)
    :param max_result_size: bytes of JSON that the result may have.
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunUnsuccessful: the flow run ended FAILED, CRASHED or CANCELLED: :class:`FlowRunFailed`,
        :class:`FlowRunCrashed` or :class:`FlowRunCancelled`, which carry the ``run``.
    :raises FlowRunTimeout: the wait ran out of time.
    """

    template_fields: Sequence[str] = (
        "deployment",
        "flow_name",
        "flow_id",
        "project_name",
        "parameters",
        "run_name",
        "tags",
        "job_variables",
        "work_queue_name",
        "labels",
        "run_config",
        "context",
        "scheduled_start_time",
        "idempotency_key",
        "fetch_result",
        "prefect_conn_id",
    )
    template_fields_renderers = dict.fromkeys(("parameters", "job_variables", "run_config", "context"), "json")
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"
    _stopper: Stopper | None = None

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
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_one_source(deployment, flow_name, flow_id)
        if project_name is not None and flow_name is None:
            raise ConfigurationError(f"project_name={project_name!r} goes with flow_name only.")
        if fetch_result and not wait_for_completion:
            raise ConfigurationError(
                "fetch_result needs wait_for_completion=True: a result is there when the flow run ends."
            )
        if on_retry not in ("new", "restart"):
            raise ConfigurationError(f"on_retry={on_retry!r} is neither 'new' nor 'restart'.")
        if idempotency_key is not None and on_retry == "restart":
            raise ConfigurationError("on_retry='restart' does not go with idempotency_key, whose run is used as it is.")
        self.on_retry = on_retry
        self.deployment = deployment
        self.flow_name = flow_name
        self.flow_id = flow_id
        self.project_name = project_name
        self.parameters = parameters
        self.run_name = run_name
        self.tags = tags
        self.job_variables = job_variables
        self.work_queue_name = work_queue_name
        self.labels = labels
        self.run_config = run_config
        self.context = context
        self.scheduled_start_time = scheduled_start_time
        self.idempotency_key = idempotency_key
        self.enforce_parameter_schema = enforce_parameter_schema
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = (
            waits.checked_poll_interval("poll_interval", poll_interval) if wait_for_completion else poll_interval
        )
        self.timeout = waits.checked_seconds("timeout", timeout)
        self.start_timeout = waits.checked_seconds("start_timeout", start_timeout)
        self.cancel_on_timeout = cancel_on_timeout
        self.cancel_on_kill = cancel_on_kill
        self.max_unreachable = waits.checked_length("max_unreachable", max_unreachable, zero=True)
        self.stream_states = stream_states
        self.stream_logs = stream_logs
        self.fail_on_unsuccessful = fail_on_unsuccessful
        self.skip_on = checked_skip_on(skip_on)
        self.retry_cancelled = retry_cancelled
        self.fetch_result = fetch_result
        self.max_result_size = max_result_size
        self.prefect_conn_id = prefect_conn_id

    def execute(self, context: Context) -> str:
        """Start the flow run, and wait for it as asked."""
        began = time.time()
        with failing_for_good():
            hook = self._hook()
            start = arguments.start_time("scheduled_start_time", self.scheduled_start_time)
            run = self._start(hook, context, start)
        if not self.wait_for_completion:
            self._stopper = None
            return run.id
        deadlines = waits.deadlines_from_now(
            self.timeout, self.start_timeout, self.execution_timeout, start.timestamp() if start else None, began
        )
        # While the task is being deferred the stopper stays: a user may stop it before Airflow has taken that in.
        try:
            run = self._wait(hook, run, deadlines, self.poll_interval)
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
        """Take the task to its end when the trigger has seen that of the flow run."""
        hook = self._hook()
        try:
            with failing_for_good():
                run, url = self._seen(event, wait)
        except FlowRunTimeout as error:
            raise self._out_of_time(hook, error) from None
        return self._finish(hook, context, run, url)

    def on_kill(self) -> None:
        """Ask the flow run to stop, if it is a user who stops the task; see :mod:`..stopping`."""
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
        this_try = try_of_task(cast(Mapping[str, Any], context))
        hook.check_supported(
            tags=self.tags,
            labels=self.labels,
            job_variables=self.job_variables,
            run_config=self.run_config,
            context=self.context,
            work_queue_name=self.work_queue_name,
            enforce_parameter_schema=self.enforce_parameter_schema,
            on_retry=None if self.on_retry == "new" else self.on_retry,
            fetch_result=self.fetch_result if self._fetches else None,
        )
        given = arguments.json_object("context", self.context) or {}
        new = NewFlowRun(
            parameters=arguments.json_object("parameters", self.parameters),
            name=self.run_name,
            tags=arguments.texts("tags", self.tags),
            labels=this_try.labels,
            agent_labels=None if self.labels in (None, "") else arguments.texts("labels", self.labels),
            context={**given, "airflow": this_try.context},
            job_variables=arguments.json_object("job_variables", self.job_variables),
            run_config=arguments.json_object("run_config", self.run_config),
            work_queue_name=self.work_queue_name,
            scheduled_start_time=start,
            idempotency_key=self.idempotency_key or this_try.idempotency_key,
            enforce_parameter_schema=self.enforce_parameter_schema,
        )
        starting = Starting(hook, this_try, self.log, on_retry=self.on_retry, stop_older=self.cancel_on_kill)
        self._stopper = Stopper(context["ti"], this_try, hook.settings, self.log)
        source = hook.find_source(
            self.deployment, flow_name=self.flow_name, flow_id=self.flow_id, project_name=self.project_name
        )
        if not new.name:
            new = replace(new, name=hook.api.default_run_name(source, this_try.task_name, this_try.run_id))
        run = starting.go(source, new, key_is_ours=not self.idempotency_key)
        self._stopper.run = run
        url = self._tell(context, run, hook.flow_run_url(run))
        self.log.info("%s flow run %r: %s", starting.action.value.capitalize(), run.name, url)
        return run

    def _finish(self, hook: PrefectHook, context: Context, run: FlowRun, url: str) -> str:
        self._end(hook, context, run, url)
        if self._fetches and run.state.type == "COMPLETED":
            with failing_for_good():
                result = self._result(hook, run)
            context["ti"].xcom_push(key="result", value=result)
        return run.id

    @property
    def _fetches(self) -> bool:
        # What is templated is text: False has become "False".
        return str(self.fetch_result) not in ("False", "None", "")

    def _result(self, hook: PrefectHook, run: FlowRun) -> Any:
        # What is templated is text: True has become "True".
        key = None if str(self.fetch_result) == "True" else str(self.fetch_result)
        # An event tells the state, but not where its data is.
        whole = run if key else hook.read_flow_run(run.id)
        return as_xcom(hook.read_result(whole, artifact_key=key, max_size=self.max_result_size))

    def _out_of_time(self, hook: PrefectHook, error: FlowRunTimeout) -> FlowRunTimeout:
        """Stop the flow run if so asked; ``error``, with what has become of the run."""
        if not self.cancel_on_timeout:
            return type(error)(f"{error} It goes on (cancel_on_timeout=False).", error.flow_run_id)
        try:
            state = hook.with_patience(PATIENCE).cancel_flow_run(error.flow_run_id)
        except PrefectError as trouble:
            return type(error)(f"{error} It could not be asked to stop: {trouble}", error.flow_run_id)
        return type(error)(f"{error} It was asked to stop, and is in state {state}.", error.flow_run_id)
