"""A sensor that waits for a flow run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_prefect.client.api import check_supported
from airflow_provider_prefect.client.errors import FlowRunTimeout, FlowRunUnsuccessful, PrefectError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.transport import run as run_call
from airflow_provider_prefect.client.wait.flow_run import Poller
from airflow_provider_prefect.client.wait.newest import NewestRun, find_newest, wait_for_newest
from airflow_provider_prefect.hooks.prefect import MAX_UNREACHABLE, PrefectHook, check_flow_run_id
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.operators.base import CONNECTION, WaitingTask, push_identity, read_existing, selecting
from airflow_provider_prefect.utils import arguments, events
from airflow_provider_prefect.utils.arguments import Field
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_MIN_RESCHEDULE_INTERVAL = 10.0
"""Seconds."""


class PrefectFlowRunSensor(WaitingTask, BaseSensorOperator):
    """Wait until a flow run has ended, in any of Airflow's three modes with the same outcome.

    The flow run is given by its id, or it is the newest run of a deployment, whoever starts it. A flow run that ends
    FAILED, CRASHED or CANCELLED fails the task, or skips it with ``soft_fail``. The sensor never cancels it.

    XComs: ``flow_run_id``, ``flow_run_url`` and ``flow_run_name`` as soon as the flow run is found; at its end
    ``state`` (its type). The return value is the finished run as plain JSON: ``id``, ``name``, ``state_type``,
    ``state_name``, ``state_message``, ``start_time``, ``end_time`` and ``url``.

    :param flow_run_id: the flow run to wait for. (templated)
    :param deployment: instead of it, ``flow/deployment`` or the id (UUID) of a deployment, whose newest run is waited
        for; or the first one, if there is none yet. Runs that Prefect's scheduler has created for the future do not
        count. In reschedule mode, which keeps nothing between two pokes, each poke polls the run that is the newest at
        that time. (templated)
    :param since: with ``deployment``: only runs that were to start at this time or later count: a datetime or ISO 8601
        text, which is in UTC if it names no zone, or a duration from now (in reschedule mode from each poke), negative
        for the past: ``timedelta(hours=-1)`` or ``-PT1H``. By default the start of the Dag run's data interval, if the
        interval has a length; otherwise when the previous Dag run was to run. (templated)
    :param tags: with ``deployment``: only runs that have all these tags count. (templated)
    :param include_parameters: add ``parameters`` to the return value. They may hold secrets, and an XCom is stored in
        clear text.
    :param deferrable: wait in the triggerer, without a worker slot; in Airflow 3.3 a task that has nothing more to do
        when its flow run has completed ends there, too (docs/performance.rst). By default the value of ``[operators]
        default_deferrable``.
    :param poke_interval: seconds between two polls of the flow run: at least 3, in reschedule mode at least 10.
    :param start_timeout: seconds (or a timedelta) within which the flow run has to leave SCHEDULED and PENDING. Not in
        reschedule mode. None by default.
    :param timeout: seconds within which it has to end; Airflow's own argument, a week by default.
    :param soft_fail: skip the task, instead of failing it, when the time is up or the flow run does not complete. A
        wrong argument or connection fails it all the same.
    :param max_unreachable: seconds for which the task tolerates that Prefect is not answering.
    :param stream_states: show the flow run's state changes in the task's log.
    :param stream_logs: show the flow run's log lines there too, each at its own level; in reschedule mode at the end.
    :param fail_on_unsuccessful: whether a flow run that does not complete fails the task. Prefect 1's
        ``wait_for_flow_run`` did not fail.
    :param skip_on: types of final states, such as ``["CANCELLED"]``, that skip the task instead.
    :param retry_cancelled: let Airflow retry the task when the flow run was cancelled in Prefect.
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunUnsuccessful: the flow run ended FAILED, CRASHED or CANCELLED.
    :raises AirflowSensorTimeout: the time was up; no retry is made.
    :raises FlowRunNotFound: Prefect has no such flow run.
    :raises Unreachable: Prefect has not answered for ``max_unreachable``.
    """

    fields: ClassVar[Mapping[str, Field]] = {
        "flow_run_id": Field(
            arguments.text,
            way_out="give the id (UUID) of a flow run, or deployment for its newest run.",
        ),
        "deployment": Field(arguments.text, way_out="give 'flow/deployment', or the id (UUID) of a deployment."),
        "since": Field(arguments.as_it_is, otherwise="the default is used, that of the Dag run"),
        "tags": selecting("tag"),
        "prefect_conn_id": CONNECTION,
    }
    template_fields: Sequence[str] = tuple(fields)
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"

    def __init__(
        self,
        *,
        flow_run_id: str | None = None,
        deployment: str | None = None,
        since: datetime | timedelta | str | None = None,
        tags: Sequence[str] | None = None,
        include_parameters: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: float | timedelta = 10,
        start_timeout: float | timedelta | None = None,
        max_unreachable: float = MAX_UNREACHABLE,
        stream_states: bool = True,
        stream_logs: bool = False,
        fail_on_unsuccessful: bool = True,
        skip_on: Sequence[str] | None = None,
        retry_cancelled: bool = False,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        arguments.checked_poll_interval("poke_interval", self.poke_interval)
        if (flow_run_id is None) == (deployment is None):
            given = "both are" if deployment is not None else "none is"
            raise ConfigurationErrorForGood(
                f"Give either flow_run_id, or deployment for its newest run; {given} given."
            )
        if deployment is None and (since is not None or tags is not None):
            raise ConfigurationErrorForGood(
                "since and tags choose among the runs of a deployment; they do not go with flow_run_id."
            )
        self._reschedules = self.mode == "reschedule" and not deferrable
        if self._reschedules and self.poke_interval < _MIN_RESCHEDULE_INTERVAL:
            raise ConfigurationErrorForGood(
                f"poke_interval={self.poke_interval!r} is too short for mode='reschedule', which starts a process for "
                f"every poke: it is at least {_MIN_RESCHEDULE_INTERVAL:.0f} seconds."
            )
        if self._reschedules and start_timeout is not None:
            raise ConfigurationErrorForGood(
                "start_timeout does not work with mode='reschedule', which keeps nothing between two pokes."
            )
        self.flow_run_id = flow_run_id
        self.deployment = deployment
        self.since = since
        self.tags = tags
        self.include_parameters = include_parameters
        self.deferrable = deferrable
        self.start_timeout = arguments.checked_optional_duration("start_timeout", start_timeout)
        self.max_unreachable = arguments.checked_duration("max_unreachable", max_unreachable, zero=True)
        self.stream_states = stream_states
        self.stream_logs = stream_logs
        self.fail_on_unsuccessful = fail_on_unsuccessful
        self.skip_on = arguments.checked_skip_on(skip_on)
        self.retry_cancelled = retry_cancelled
        self.prefect_conn_id = prefect_conn_id
        self.remember_given()

    def execute(self, context: Context) -> Any:
        """Wait for the flow run in the sensor's mode."""
        with _EndingSoftly(self), events.failing_without_retry():
            self.read_fields()
            if self._reschedules:
                return super().execute(context)
            hook = self.connect()
            newest = self._wanted_run(hook, context)
            deadlines = arguments.deadlines_from_now(self.timeout, self.start_timeout, self.execution_timeout)
            wanted: FlowRun | NewestRun
            if newest is None:
                wanted = hook.read_flow_run(self.flow_run_id or "")
            else:
                wanted = self._find_newest(hook, newest) or newest
            if isinstance(wanted, NewestRun) and not self.deferrable:
                wanted = run_call(
                    wait_for_newest(
                        hook.get_conn(),
                        wanted,
                        interval=self.poke_interval,
                        until=deadlines.finished,
                        patience=self.max_unreachable,
                        observer=self.task_log(),
                    )
                )
            if isinstance(wanted, FlowRun):
                url = hook.flow_run_url(wanted)
                self.task_log().show_flow_run(wanted, url)
                push_identity(context, wanted, url)
            run = self.wait_or_defer(context, hook, wanted, deadlines, self.poke_interval)
            url = hook.flow_run_url(run)
            return self._finish(hook, context, run, url)

    def execute_complete(self, context: Context, event: Any, wait: dict[str, Any] | None = None) -> dict[str, Any]:
        """Finish the task when the trigger has seen the end of the flow run."""
        with _EndingSoftly(self), events.failing_without_retry():
            self.read_fields_again("prefect_conn_id")
            run, url = self.resumed(event, wait)
            push_identity(context, run, url)
            return self._finish(self.connect(), context, run, url)

    def return_value_key(self) -> str | None:
        return None if self.include_parameters else "flow_run"

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after a deferral, but do not let Airflow apply ``soft_fail``: it would skip wrong arguments too."""
        with _EndingSoftly(self):
            return super().resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll the flow run once (reschedule mode)."""
        hook = self.connect()
        newest = self._wanted_run(hook, context)
        flow_run_id = self.flow_run_id
        if newest:
            found = self._find_newest(hook, newest)
            if found is None:
                self.log.info("There is no run of deployment %s yet.", self.deployment)
                return PokeReturnValue(is_done=False)
            flow_run_id = found.id
        check_flow_run_id(flow_run_id or "")
        log = self.task_log()
        poller = Poller(hook.get_conn(), flow_run_id or "", self.poke_interval, self.max_unreachable, log)
        run = run_call(poller.next_state(None, math.inf))
        assert run is not None
        url = hook.flow_run_url(run)
        push_identity(context, run, url)
        log.show_flow_run(run, url)
        if not run.is_final:
            log.on_change(run)
            return PokeReturnValue(is_done=False)
        # Once more by a wait, which shows the log lines if they are wanted.
        run = hook.wait_for_flow_run(
            run.id, poll_interval=self.poke_interval, max_unreachable=self.max_unreachable, observer=log
        )
        return PokeReturnValue(is_done=True, xcom_value=self._finish(hook, context, run, url))

    def _wanted_run(self, hook: PrefectHook, context: Context) -> NewestRun | None:
        """Return what to look for, if no flow run is named."""
        if self.deployment is None:
            return None
        check_supported(hook.api, deployment=self.deployment)
        since = arguments.point_in_time("since", self.since) or since_of(cast(Mapping[str, Any], context))
        if since is None:
            raise ConfigurationErrorForGood(
                "since is needed: this Dag run has neither a data interval with a length nor a predecessor."
            )
        source = run_call(
            hook.api.find_source(deployment=self.deployment, flow_id=None, flow_name=None, project_name=None)
        )
        return NewestRun(source.id, since, tuple(self.tags or ()))

    def _find_newest(self, hook: PrefectHook, newest: NewestRun) -> FlowRun | None:
        return run_call(find_newest(hook.get_conn(), newest, Patience(self.max_unreachable)))

    def _finish(self, hook: PrefectHook, context: Context, run: FlowRun, url: str) -> dict[str, Any]:
        self.end(hook, context, run, url)
        finished = events.view(run, url)
        if self.include_parameters:
            finished["parameters"] = dict(read_existing(hook, run).parameters)
        return finished


def since_of(context: Mapping[str, Any]) -> datetime | None:
    """Return since when a run counts: the start of the data interval, else when the previous Dag run was to run."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start and end and start < end:
        return cast(datetime, start)
    previous = context["ti"].get_previous_dagrun()
    if previous is None:
        return None
    # Airflow 2 has no run_after.
    return cast(datetime | None, getattr(previous, "run_after", None) or previous.data_interval_end)


class _EndingSoftly:
    """Handle ``soft_fail`` and ``never_fail`` alike in all modes.

    They are hidden from Airflow's own loop meanwhile, which handles two of the modes only and would skip a task whose
    connection is wrong.
    """

    def __init__(self, sensor: PrefectFlowRunSensor) -> None:
        self._sensor = sensor
        self._soft, self._never = sensor.soft_fail, sensor.never_fail

    def __enter__(self) -> None:
        self._sensor.soft_fail = self._sensor.never_fail = False

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._sensor.soft_fail, self._sensor.never_fail = self._soft, self._never
        unwanted = isinstance(error, (FlowRunUnsuccessful, FlowRunTimeout, AirflowSensorTimeout))
        if (self._soft and unwanted) or (
            self._never and (unwanted or isinstance(error, (PrefectError, AirflowFailException)))
        ):
            raise AirflowSkipException(str(error)) from None
        if isinstance(error, FlowRunTimeout):
            raise AirflowSensorTimeout(str(error)) from None
