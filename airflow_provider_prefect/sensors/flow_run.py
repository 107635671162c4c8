"""A sensor that waits for a flow run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_prefect import outcome, waits
from airflow_provider_prefect.client.errors import ConfigurationError, FlowRunTimeout, FlowRunUnsuccessful, PrefectError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.waiting import Deadlines, unsuccessful
from airflow_provider_prefect.hooks.prefect import MAX_UNREACHABLE, PrefectHook
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger, log_state

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_MIN_RESCHEDULE = 10.0


class PrefectFlowRunSensor(BaseSensorOperator):
    """Wait until a flow run has ended, in any of Airflow's three modes with the same outcome.

    A flow run that ends FAILED, CRASHED or CANCELLED fails the task, or skips it with ``soft_fail``. The flow run is
    never cancelled: whoever started it owns it.

    XComs: ``flow_run_id``, ``flow_run_url`` and ``flow_run_name`` as soon as the flow run has been seen; at its end
    ``state`` (its type). The return value is the finished run as plain JSON: ``id``, ``name``, ``state_type``,
    ``state_name``, ``state_message``, ``start_time``, ``end_time`` and ``url``.

    :param flow_run_id: the flow run to wait for. (templated)
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
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong; no retry is made.
    :raises FlowRunUnsuccessful: the flow run ended FAILED, CRASHED or CANCELLED.
    :raises AirflowSensorTimeout: the time was up; no retry is made.
    """

    template_fields: Sequence[str] = ("flow_run_id", "prefect_conn_id")
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"

    def __init__(
        self,
        *,
        flow_run_id: str,
        include_parameters: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: float | timedelta = 10,
        start_timeout: float | timedelta | None = None,
        max_unreachable: float = MAX_UNREACHABLE,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        waits.checked_poll_interval("poke_interval", self.poke_interval)
        reschedules = self.mode == "reschedule" and not deferrable
        if reschedules and self.poke_interval < _MIN_RESCHEDULE:
            raise ConfigurationError(
                f"poke_interval={self.poke_interval!r} is too short for mode='reschedule', which starts a process for "
                f"every look: it is at least {_MIN_RESCHEDULE:.0f} seconds."
            )
        if reschedules and start_timeout is not None:
            raise ConfigurationError(
                "start_timeout does not work with mode='reschedule', which keeps nothing between two looks."
            )
        self.flow_run_id = flow_run_id
        self.include_parameters = include_parameters
        self.deferrable = deferrable
        self.start_timeout = waits.checked_seconds("start_timeout", start_timeout)
        self.max_unreachable = max_unreachable
        self.prefect_conn_id = prefect_conn_id

    def execute(self, context: Context) -> Any:
        """Wait for the flow run in the sensor's mode."""
        with _EndingSoftly(self), outcome.failing_for_good():
            if self.mode == "reschedule" and not self.deferrable:
                return super().execute(context)
            hook = PrefectHook(self.prefect_conn_id)
            run = hook.read_flow_run(self.flow_run_id)
            url = self._show(hook, context, run)
            if not run.is_final:
                deadlines = waits.deadlines_from_now(self.timeout, self.start_timeout, self.execution_timeout)
                if self.deferrable:
                    self._defer(deadlines)
                run = hook.wait_for_flow_run(
                    run.id,
                    poll_interval=self.poke_interval,
                    deadlines=deadlines,
                    max_unreachable=self.max_unreachable,
                    on_change=lambda run: log_state(self.log, run),
                )
            return self._finish(hook, context, run, url)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Take the task to its end when the trigger has seen that of the flow run."""
        with _EndingSoftly(self), outcome.failing_for_good():
            run, url = outcome.read_event(event)
            log_state(self.log, run)
            return self._finish(PrefectHook(self.prefect_conn_id), context, run, url)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look at the flow run once (reschedule mode)."""
        hook = PrefectHook(self.prefect_conn_id)
        run = hook.see_flow_run(
            self.flow_run_id, poll_interval=self.poke_interval, max_unreachable=self.max_unreachable
        )
        url = self._show(hook, context, run)
        log_state(self.log, run)
        if not run.is_final:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._finish(hook, context, run, url))

    def _defer(self, deadlines: Deadlines) -> None:
        self.defer(
            trigger=PrefectFlowRunTrigger(
                flow_run_id=self.flow_run_id,
                prefect_conn_id=self.prefect_conn_id,
                poll_interval=self.poke_interval,
                deadline=waits.as_kwarg(deadlines.finished),
                start_deadline=waits.as_kwarg(deadlines.started),
                max_unreachable=self.max_unreachable,
                not_before=waits.hold_back(),
            ),
            method_name="execute_complete",
        )

    def _show(self, hook: PrefectHook, context: Context, run: FlowRun) -> str:
        url = hook.flow_run_url(run)
        for key, value in (("flow_run_id", run.id), ("flow_run_url", url), ("flow_run_name", run.name)):
            context["ti"].xcom_push(key=key, value=value)
        return url

    def _finish(self, hook: PrefectHook, context: Context, run: FlowRun, url: str) -> dict[str, Any]:
        context["ti"].xcom_push(key="state", value=run.state.type)
        error = unsuccessful(run, url)
        if error is not None:
            raise error
        finished = outcome.view(run, url)
        if self.include_parameters:
            finished["parameters"] = dict(hook.read_flow_run(run.id).parameters)
        return finished


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
