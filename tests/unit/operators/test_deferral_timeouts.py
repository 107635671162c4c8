"""A deferral that no triggerer serves: Airflow ends it, and the task ends as after any wait that ran out of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, conf

from airflow_provider_prefect.client.errors import WaitTimeout
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.unit.fake_prefect import FakePrefect
from tests.unit.running import deferral

try:
    from airflow.sdk.exceptions import TaskDeferralError
except ImportError:
    from airflow.exceptions import TaskDeferralError

LATE = ["Trigger timeout", "Trigger/execution timeout"]
"""What Airflow 3.3 and 2.11 resume a task with whose deferral has timed out."""


def start(**arguments: Any) -> PrefectStartFlowRunOperator:
    return PrefectStartFlowRunOperator(
        **{"task_id": "summarise", "deployment": "sales/demo", "deferrable": True, **arguments}
    )


def resumed_late(task: Any, context: dict[str, Any], error: str = LATE[0]) -> Any:
    """Defer the task, and resume it as Airflow does when nobody has run its trigger."""
    deferral(task, context)
    return task.resume_execution("__fail__", {"error": error}, context)


def test_airflow_is_given_a_timeout_somewhat_beyond_the_tasks_own(
    prefect: FakePrefect, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL", "20")
    assert conf.getfloat("scheduler", "trigger_timeout_check_interval") == 20
    timeout = deferral(start(timeout=100), context).timeout
    assert timeout is not None
    assert 135 < timeout.total_seconds() <= 140


def test_a_task_without_a_timeout_is_warned_about_triggers_that_nobody_runs(
    prefect: FakePrefect, context: dict[str, Any], logged: Callable[[], str]
) -> None:
    assert deferral(start(), context).timeout is None
    assert "if no triggerer runs its trigger, it stays deferred forever" in logged()


def test_a_timeout_of_thousands_of_years_is_none_to_airflow(prefect: FakePrefect, context: dict[str, Any]) -> None:
    assert deferral(start(timeout=1e12), context).timeout is None


@pytest.mark.parametrize("error", LATE)
def test_a_deferral_that_nobody_ends_ends_like_any_timeout(
    prefect: FakePrefect, context: dict[str, Any], error: str
) -> None:
    with pytest.raises(WaitTimeout, match=r"did not finish in time, and no triggerer .* was asked to stop") as raised:
        resumed_late(start(timeout=60), context, error)
    (run,) = prefect.flow_runs
    assert raised.value.flow_run_id == run
    assert prefect.cancelled == [run]


def test_its_flow_run_goes_on_if_so_asked(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(WaitTimeout, match=r"The flow run continues \(cancel_on_timeout=False\)"):
        resumed_late(start(timeout=60, cancel_on_timeout=False), context)
    assert prefect.cancelled == []


def test_a_sensor_ends_like_any_sensor_that_timed_out(prefect: FakePrefect, context: dict[str, Any]) -> None:
    run = prefect.add_flow_run("RUNNING")
    arguments: dict[str, Any] = {"task_id": "wait", "flow_run_id": run, "deferrable": True, "timeout": 60}
    with pytest.raises(
        AirflowSensorTimeout, match=rf"Flow run did not finish in time, and no triggerer.* id is {run}\."
    ):
        resumed_late(PrefectFlowRunSensor(**arguments), context)
    with pytest.raises(AirflowSkipException, match="no triggerer"):
        resumed_late(PrefectFlowRunSensor(**arguments, soft_fail=True), context)


def test_a_result_and_a_cancel_end_like_any_timeout(prefect: FakePrefect, context: dict[str, Any]) -> None:
    run = prefect.add_flow_run("RUNNING")
    arguments: dict[str, Any] = {"flow_run_id": run, "deferrable": True, "timeout": 60}
    with pytest.raises(WaitTimeout, match=rf"Flow run did not finish in time, and no triggerer.* id is {run}\."):
        resumed_late(PrefectGetTaskRunResultOperator(task_id="get", **arguments), context)
    with pytest.raises(WaitTimeout, match="did not finish in time, and no triggerer"):
        resumed_late(PrefectCancelFlowRunOperator(task_id="stop", wait_for_completion=True, **arguments), context)


def test_any_other_failure_of_the_trigger_is_left_to_airflow(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(TaskDeferralError, match="Trigger failure"):
        resumed_late(start(timeout=60), context, "Trigger failure")
