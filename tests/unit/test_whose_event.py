"""An event that Airflow hands to the wrong task: SQLite gives a deleted trigger's number to the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_prefect import outcome
from airflow_provider_prefect.client.errors import WaitTimeout
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.unit.fake_prefect import FakePrefect
from tests.unit.running import Through, deferral

TASKS: dict[str, Callable[[FakePrefect], Any]] = {
    "start": lambda prefect: PrefectStartFlowRunOperator(task_id="t", deployment="sales/demo", deferrable=True),
    "cancel": lambda prefect: PrefectCancelFlowRunOperator(
        task_id="t", flow_run_id=prefect.add_flow_run("RUNNING"), wait_for_completion=True, deferrable=True
    ),
    "result": lambda prefect: PrefectGetTaskRunResultOperator(
        task_id="t", flow_run_id=prefect.add_flow_run("RUNNING"), task_name="load", deferrable=True
    ),
    "sensor": lambda prefect: PrefectFlowRunSensor(
        task_id="t", flow_run_id=prefect.add_flow_run("RUNNING"), deferrable=True
    ),
    "sensor of the newest": lambda prefect: PrefectFlowRunSensor(
        task_id="t", deployment="sales/demo", since="2026-10-01", deferrable=True
    ),
}


@pytest.mark.parametrize("kind", TASKS)
def test_the_event_of_another_wait_is_not_taken_and_the_wait_goes_on(
    kind: str, prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, logged: Callable[[], str]
) -> None:
    task = TASKS[kind](prefect)
    deferred = deferral(task, context)
    others = outcome.gave_up("another-run", WaitTimeout("Another task's time is up.", "another-run"))
    event = through_airflow({**others, "wait_id": "another"})
    kwargs = through_airflow(deferred.kwargs)
    with pytest.raises(TaskDeferred) as again:
        task.resume_execution(deferred.method_name, {"event": event, **kwargs}, context)
    first, second = (one.trigger.serialize()[1] for one in (deferred, again.value))
    assert second.pop("not_before") >= first.pop("not_before")
    assert second == first
    assert again.value.kwargs == deferred.kwargs
    assert "the event of another one's trigger" in logged()


def test_two_waits_of_the_same_task_are_told_apart(prefect: FakePrefect, context: dict[str, Any]) -> None:
    task = TASKS["sensor"](prefect)
    first, second = (deferral(task, context).trigger.serialize()[1]["wait_id"] for _ in range(2))
    assert first != second
