"""A sensor that waits for a flow run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_prefect import arguments, outcome, waits
from airflow_provider_prefect.client.errors import ConfigurationError, FlowRunTimeout, FlowRunUnsuccessful, PrefectError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.newest import NewestRun
from airflow_provider_prefect.hooks.prefect import MAX_UNREACHABLE, PrefectHook
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.waiter import FlowRunWaiter, checked_skip_on

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_MIN_RESCHEDULE = 10.0


class PrefectFlowRunSensor(FlowRunWaiter, BaseSensorOperator):
    """Wait until a flow run has ended, in any of Airflow's three modes with the same outcome.

    The flow run is given by its id; or it is the newest run of a deployment, whoever starts it. A flow run that ends
    FAILED, CRASHED or CANCELLED fails the task, or skips it with ``soft_fail``. It is never cancelled: whoever started
    it owns it.

    XComs: ``flow_run_id``, ``flow_run_url`` and ``flow_run_name`` as soon as the task has seen the flow run; at its end
    ``state`` (its type). The return value is the finished run as plain JSON: ``id``, ``name``, ``state_type``,
    ``state_name``, ``state_message``, ``start_time``, ``end_time`` and ``url``.

    :param flow_run_id: the flow run to wait for. (templated)
    :param deployment: instead of it, ``flow/deployment`` or the id (UUID) of a deployment, whose newest run is waited
        for; for the first one, if there is none yet. Runs that Prefect's scheduler has made for the future do not
        count. In reschedule mode, which keeps nothing between two looks, each look is at the run that is the newest
        then. (templated)
    :param since: with ``deployment``: only runs that were to start at this time (a datetime or ISO 8601 text) or later
        count. By default the start of the Dag run's data interval, if that has a length; otherwise when the previous
        Dag run was to run. (templated)
    :param tags: with ``deployment``: only runs that have all these tags count. (templated)
    :param include_parameters: add ``parameters`` to the return value. They may hold secrets, and an XCom is kept in
        clear.
    :param deferrable: wait in the triggerer, without a worker slot. By default what ``[operators]
        default_deferrable`` says.
    :param poke_interval: seconds between two looks at the flow run: at least 3, in reschedule mode at least 10.
    :param start_timeout: seconds (or a timedelta) within which the flow run has to leave SCHEDULED and PENDING. Not in
        reschedule mode. None by default.
    :param timeout: seconds within which it has to end; Airflow's own argument, a week by default.
    :param soft_fail: skip the task, instead of failing it, when the time is up or the flow run ends unsuccessful. What
        is wrong with the arguments or the connection fails it all the same.
    :param max_unreachable: seconds for which the wait puts up with an API that does not answer usefully.
    :param stream_states: show the flow run's state changes in the task's log.
    :param stream_logs: show the flow run's log lines there too, each at its own level; in reschedule mode at the end.
    :param fail_on_unsuccessful: whether a flow run that does not end in COMPLETED fails the task. Prefect 1's
        ``wait_for_flow_run`` did not.
    :param skip_on: types of final states, such as ``["CANCELLED"]``, that skip the task instead.
    :param retry_cancelled: let Airflow retry the task when the flow run was cancelled in Prefect.
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunUnsuccessful: the flow run ended FAILED, CRASHED or CANCELLED.
    :raises AirflowSensorTimeout: the time was up; no retry is made.
    """

    template_fields: Sequence[str] = ("flow_run_id", "deployment", "since", "tags", "prefect_conn_id")
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"

    def __init__(
        self,
        *,
        flow_run_id: str | None = None,
        deployment: str | None = None,
        since: datetime | str | None = None,
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
        waits.checked_poll_interval("poke_interval", self.poke_interval)
        if (flow_run_id is None) == (deployment is None):
            given = "both are" if deployment is not None else "none is"
            raise ConfigurationError(f"Give either flow_run_id, or deployment for its newest run; {given} given.")
        if deployment is None and (since is not None or tags is not None):
            raise ConfigurationError(
                "since and tags choose among the runs of a deployment; they do not go with flow_run_id."
            )
        self._reschedules = self.mode == "reschedule" and not deferrable
        if self._reschedules and self.poke_interval < _MIN_RESCHEDULE:
            raise ConfigurationError(
                f"poke_interval={self.poke_interval!r} is too short for mode='reschedule', which starts a process for "
                f"every look: it is at least {_MIN_RESCHEDULE:.0f} seconds."
            )
        if self._reschedules and start_timeout is not None:
            raise ConfigurationError(
                "start_timeout does not work with mode='reschedule', which keeps nothing between two looks."
            )
        self.flow_run_id = flow_run_id
        self.deployment = deployment
        self.since = since
        self.tags = tags
        self.include_parameters = include_parameters
        self.deferrable = deferrable
        self.start_timeout = waits.checked_seconds("start_timeout", start_timeout)
        self.max_unreachable = waits.checked_length("max_unreachable", max_unreachable, zero=True)
        self.stream_states = stream_states
        self.stream_logs = stream_logs
        self.fail_on_unsuccessful = fail_on_unsuccessful
        self.skip_on = checked_skip_on(skip_on)
        self.retry_cancelled = retry_cancelled
        self.prefect_conn_id = prefect_conn_id

    def execute(self, context: Context) -> Any:
        """Wait for the flow run in the sensor's mode."""
        with _EndingSoftly(self), outcome.failing_for_good():
            if self._reschedules:
                return super().execute(context)
            hook = self._hook()
            newest = self._newest(hook, context)
            deadlines = waits.deadlines_from_now(self.timeout, self.start_timeout, self.execution_timeout)
            wanted: FlowRun | NewestRun
            if newest is None:
                wanted = hook.read_flow_run(self.flow_run_id or "")
            else:
                wanted = hook.find_newest(newest) or newest
            if isinstance(wanted, NewestRun) and not self.deferrable:
                wanted = hook.wait_for_newest(wanted, self.poke_interval, deadlines, self.max_unreachable)
            if isinstance(wanted, FlowRun):
                self._tell(context, wanted, hook.flow_run_url(wanted))
            run = self._wait(hook, wanted, deadlines, self.poke_interval)
            url = hook.flow_run_url(run)
            return self._finish(hook, context, run, url)

    def execute_complete(self, context: Context, event: Any, wait: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the task to its end when the trigger has seen that of the flow run."""
        with _EndingSoftly(self), outcome.failing_for_good():
            run, url = self._seen(event, wait)
            self._tell(context, run, url)
            return self._finish(self._hook(), context, run, url)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral, but let not Airflow decide on ``soft_fail``: it would skip wrong arguments too."""
        with _EndingSoftly(self):
            return super().resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look at the flow run once (reschedule mode)."""
        hook = self._hook()
        newest = self._newest(hook, context)
        flow_run_id = self.flow_run_id
        if newest:
            found = hook.find_newest(newest)
            if found is None:
                self.log.info("There is no run of deployment %s yet.", self.deployment)
                return PokeReturnValue(is_done=False)
            flow_run_id = found.id
        run = hook.see_flow_run(
            flow_run_id or "", poll_interval=self.poke_interval, max_unreachable=self.max_unreachable
        )
        url = self._tell(context, run, hook.flow_run_url(run))
        if not run.is_final:
            self._task_log().on_change(run)
            return PokeReturnValue(is_done=False)
        # Seen to its end once more by a wait, which shows the log lines if they are wanted.
        run = hook.wait_for_flow_run(
            run.id, poll_interval=self.poke_interval, max_unreachable=self.max_unreachable, observer=self._task_log()
        )
        return PokeReturnValue(is_done=True, xcom_value=self._finish(hook, context, run, url))

    def _newest(self, hook: PrefectHook, context: Context) -> NewestRun | None:
        """What to look for, if it is not a certain flow run."""
        if self.deployment is None:
            return None
        hook.check_supported(deployment=self.deployment)
        since = arguments.start_time("since", self.since) or since_of(cast(Mapping[str, Any], context))
        if since is None:
            raise ConfigurationError(
                "since is needed: this Dag run has neither a data interval with a length nor a predecessor."
            )
        return NewestRun(hook.find_source(self.deployment).id, since, arguments.texts("tags", self.tags))

    def _finish(self, hook: PrefectHook, context: Context, run: FlowRun, url: str) -> dict[str, Any]:
        self._end(hook, context, run, url)
        finished = outcome.view(run, url)
        if self.include_parameters:
            finished["parameters"] = dict(hook.read_flow_run(run.id).parameters)
        return finished


def since_of(context: Mapping[str, Any]) -> datetime | None:
    """Since when a run counts: the start of this Dag run's data interval, else when the previous one was to run."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start and end and start < end:
        return cast(datetime, start)
    previous = context["ti"].get_previous_dagrun()
    if previous is None:
        return None
    # Airflow 2 has no run_after.
    return cast(datetime | None, getattr(previous, "run_after", None) or previous.data_interval_end)


class _EndingSoftly:
    """Handles ``soft_fail`` and ``never_fail`` alike in all modes.

    They are kept from Airflow's own loop meanwhile, which serves two of the modes only and would take what is wrong
    with the connection for a failure that ``soft_fail`` may skip.
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
