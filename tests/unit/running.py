"""Running a task as Airflow does, without Airflow's own processes: execute, defer, trigger, resume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred

from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger
from tests.unit.fake_prefect import FakePrefect

Through = Callable[[Any], Any]


def deferral(operator: Any, context: dict[str, Any]) -> TaskDeferred:
    """What ``operator`` hands to Airflow when it defers, which it has to."""
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    return deferred.value


def restored(trigger: PrefectFlowRunTrigger, through_airflow: Through) -> PrefectFlowRunTrigger:
    """The trigger as a triggerer makes it from what Airflow's database keeps of it."""
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_prefect.triggers.flow_run.PrefectFlowRunTrigger"
    return PrefectFlowRunTrigger(**through_airflow(kwargs))


async def events(trigger: PrefectFlowRunTrigger) -> list[Any]:
    """All that the trigger sends."""
    return [event.payload async for event in trigger.run()]


def event_of(trigger: PrefectFlowRunTrigger) -> Any:
    """The one event that the trigger sends."""
    (event,) = asyncio.run(events(trigger))
    return event


def carried_out(operator: Any, context: dict[str, Any], through_airflow: Through) -> Any:
    """What the task returns in the end, with the triggerer's part if it defers."""
    try:
        return operator.execute(context)
    except TaskDeferred as deferred:
        event = through_airflow(event_of(restored(deferred.trigger, through_airflow)))
        return operator.resume_execution(deferred.method_name, {"event": event, **(deferred.kwargs or {})}, context)


def rendered(context: dict[str, Any], make: Callable[[], Any], *, native: bool = False) -> Any:
    """A task whose templates Airflow has rendered."""
    with DAG("shop", schedule=None, start_date=datetime(2026, 10, 1), render_template_as_native_obj=native):
        task = make()
    task.render_template_fields(context)
    return task


def refusal(prefect: FakePrefect, context: dict[str, Any], make: Callable[[], Any], *, native: bool = False) -> str:
    """The message with which a task refuses its arguments when it runs, before anything is sent and without a retry."""
    task = rendered(context, make, native=native)
    with pytest.raises(AirflowFailException) as refused:
        task.execute(context)
    assert prefect.requests == []
    return str(refused.value)
