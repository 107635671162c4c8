"""Records that version 0.1.0 has stored: tasks that are deferred during an upgrade continue with the new version.

The records are written out here, as they are in Airflow's database, and not taken from the package of today.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from importlib import import_module
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_prefect.client.errors import (
    FlowRunFailed,
    FlowRunNotFound,
    PrefectError,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import Answer, Asked, FakePrefect, state
from tests.unit.running import Through, event_of

RUN = "666d39da-0fa1-4844-9e4e-9b5fcdeacbcc"

CLASS_PATH = "airflow_provider_prefect.triggers.flow_run.PrefectFlowRunTrigger"

LATER = 4_102_444_800.0
"""In the year 2100."""

# What the trigger's row in Airflow's database has as kwargs. The poll interval is shortened where a test waits.

OF_A_START = {
    "flow_run_id": RUN,
    "prefect_conn_id": "prefect_default",
    "poll_interval": 10,
    "deadline": LATER,
    "start_deadline": LATER - 3000.0,
    "max_unreachable": 600.0,
    "not_before": 1795712790.733035,
    "stream_states": True,
    "stream_logs": False,
    "newest_of": None,
    "cancel_on_kill": True,
    "wait_id": "5b92bc87",
}

OF_A_SENSOR = {
    "flow_run_id": RUN,
    "prefect_conn_id": "prefect_default",
    "poll_interval": 10.0,
    "deadline": LATER,
    "start_deadline": None,
    "max_unreachable": 600.0,
    "not_before": 1795712790.746977,
    "stream_states": True,
    "stream_logs": True,
    "newest_of": None,
    "cancel_on_kill": False,
    "wait_id": "56d9889f",
}

OF_A_SENSOR_FOR_THE_NEWEST = {
    "flow_run_id": None,
    "prefect_conn_id": "prefect_default",
    "poll_interval": 10.0,
    "deadline": LATER,
    "start_deadline": None,
    "max_unreachable": 600.0,
    "not_before": 1795712790.9818845,
    "stream_states": True,
    "stream_logs": False,
    "newest_of": {
        "deployment_id": "1815b693-e6be-41e5-bafc-61d59fc40cf4",
        "since": "2026-10-01T00:00:00+00:00",
        "tags": ["nightly"],
    },
    "cancel_on_kill": False,
    "wait_id": "f8e73870",
}

BEFORE_WAIT_IDS = {
    "flow_run_id": RUN,
    "prefect_conn_id": "prefect_default",
    "poll_interval": 10,
    "deadline": None,
    "start_deadline": None,
    "max_unreachable": 600.0,
    "not_before": 1795712790.9986846,
    "stream_states": True,
    "stream_logs": False,
    "newest_of": None,
}
"""Older than 0.1.0: without ``cancel_on_kill`` and ``wait_id``."""

THE_FIRST = {
    "flow_run_id": RUN,
    "prefect_conn_id": "prefect_default",
    "poll_interval": 10,
    "deadline": None,
    "start_deadline": None,
    "max_unreachable": 600.0,
    "not_before": 1795712790.9986846,
}

RECORDS = {
    "start": OF_A_START,
    "sensor": OF_A_SENSOR,
    "sensor for the newest": OF_A_SENSOR_FOR_THE_NEWEST,
    "before wait ids": BEFORE_WAIT_IDS,
    "the first": THE_FIRST,
}

every_record = pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)

# What the task's row has as next_kwargs; Airflow adds the trigger's event.

WAIT_OF_A_START = {
    "flow_run_id": RUN,
    "newest_of": None,
    "prefect_conn_id": "prefect_default",
    "poll_interval": 10,
    "deadline": LATER,
    "start_deadline": LATER - 3000.0,
    "max_unreachable": 600.0,
    "stream_states": True,
    "stream_logs": False,
    "cancel_on_kill": True,
    "wait_id": "5b92bc87",
}

NEXT_KWARGS: dict[str, dict[str, Any]] = {"0.1.0": {"wait": WAIT_OF_A_START}, "before wait ids": {}}

every_next_kwargs = pytest.mark.parametrize("next_kwargs", NEXT_KWARGS.values(), ids=NEXT_KWARGS)


def event(flow_run: dict[str, Any] | None = None, error: dict[str, str] | None = None) -> dict[str, Any]:
    """The event that a trigger of 0.1.0 has sent."""
    return {"flow_run_id": RUN, "flow_run": flow_run, "error": error, "wait_id": "5b92bc87"}


def ended(kind: str) -> dict[str, Any]:
    """The part of it that says how the flow run ended."""
    return {
        "id": RUN,
        "name": "brave-otter",
        "state_type": kind,
        "state_name": "Odd",
        "state_message": "message",
        "start_time": "2026-10-01T12:00:01+00:00",
        "end_time": None,
        "url": f"http://127.0.0.1:4200/runs/flow-run/{RUN}",
    }


@pytest.fixture
def prefect(prefect: FakePrefect) -> FakePrefect:
    """A server that has the flow run of the records, and says that it is the newest of its deployment."""

    def newest(asked: Asked) -> Answer | None:
        if asked.path == "/flow_runs/filter" and "deployment_id" in asked.body["flow_runs"]:
            return Answer(200, [prefect.flow_runs[RUN]])
        return None

    prefect.instead.append(newest)
    return prefect


def trigger_of(record: dict[str, Any], through_airflow: Through, **changed: Any) -> Any:
    """The trigger as a triggerer makes it from its row."""
    module, _, name = CLASS_PATH.rpartition(".")
    return getattr(import_module(module), name)(**{**through_airflow(record), **changed})


@every_record
@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_a_trigger_that_an_older_version_has_stored_finishes_its_wait(
    prefect: FakePrefect, through_airflow: Through, record: dict[str, Any], kind: str
) -> None:
    prefect.add_flow_run("PENDING", "RUNNING", state(kind, "Odd", "message"), id=RUN)
    sent = event_of(trigger_of(record, through_airflow, poll_interval=0))
    assert sent == {
        "flow_run_id": RUN,
        "flow_run": {**ended(kind), "start_time": None, "url": f"{prefect.ui_url}/runs/flow-run/{RUN}"},
        "error": None,
        "flow_id": None,
        "deployment_id": None,
        "wait_id": record.get("wait_id", ""),
    }


@every_record
def test_all_that_is_stored_of_a_trigger_is_stored_of_it_again(
    through_airflow: Through, record: dict[str, Any]
) -> None:
    path, kept = trigger_of(record, through_airflow).serialize()
    assert path == CLASS_PATH
    assert kept.items() >= record.items()


def test_a_stored_trigger_looks_for_the_run_that_its_sensor_wanted(
    prefect: FakePrefect, through_airflow: Through
) -> None:
    prefect.add_flow_run("COMPLETED", id=RUN)
    event_of(trigger_of(OF_A_SENSOR_FOR_THE_NEWEST, through_airflow))
    wanted = prefect.asked("POST", "/flow_runs/filter")[0].body["flow_runs"]
    assert wanted["deployment_id"] == {"any_": ["1815b693-e6be-41e5-bafc-61d59fc40cf4"]}
    assert wanted["tags"] == {"all_": ["nightly"]}
    assert datetime.fromisoformat(wanted["expected_start_time"]["after_"]).isoformat() == "2026-10-01T00:00:00+00:00"


@every_record
def test_a_stored_deadline_ends_the_wait(
    prefect: FakePrefect, through_airflow: Through, record: dict[str, Any]
) -> None:
    prefect.add_flow_run("PENDING", id=RUN)
    passed = event_of(trigger_of({**record, "deadline": 1.5}, through_airflow))
    assert (passed["flow_run_id"], passed["error"]["kind"]) == (RUN, "WaitTimeout")
    never_started = event_of(trigger_of({**record, "start_deadline": 1.5}, through_airflow))
    assert never_started["error"]["kind"] == "StartTimeout"


@every_record
def test_a_stored_trigger_stops_its_run_only_if_it_was_stored_so(
    prefect: FakePrefect, through_airflow: Through, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_longer_waits(*_: object) -> bool:
        return False

    monkeypatch.setattr("airflow_provider_prefect.triggers.flow_run.still_waits", no_longer_waits)
    prefect.add_flow_run("RUNNING", id=RUN)
    stored = trigger_of(record, through_airflow)
    stored.task_instance = None
    asyncio.run(stored.on_kill())
    assert prefect.cancelled == ([RUN] if record.get("cancel_on_kill") else [])


@every_next_kwargs
def test_a_start_continues_that_an_older_version_has_deferred(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, through_airflow: Through, next_kwargs: Any
) -> None:
    task = PrefectStartFlowRunOperator(task_id="start", deployment="sales/demo", deferrable=True)
    stored = through_airflow({**next_kwargs, "event": event(ended("COMPLETED"))})
    assert task.resume_execution("execute_complete", stored, context) == RUN
    assert ti.xcoms == {"state": "COMPLETED"}
    assert prefect.created == []


@every_next_kwargs
def test_a_sensor_continues_that_an_older_version_has_deferred(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, through_airflow: Through, next_kwargs: Any
) -> None:
    task = PrefectFlowRunSensor(task_id="wait", flow_run_id=RUN, deferrable=True)
    stored = through_airflow({**next_kwargs, "event": event(ended("COMPLETED"))})
    assert task.resume_execution("execute_complete", stored, context) == ended("COMPLETED")
    assert ti.xcoms["flow_run_id"] == RUN


@every_next_kwargs
def test_a_result_is_fetched_after_a_deferral_by_an_older_version(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, next_kwargs: Any
) -> None:
    prefect.artifacts.append({"id": "a", "key": "rows", "type": "table", "data": "[1]", "flow_run_id": RUN})
    task = PrefectGetTaskRunResultOperator(task_id="get", flow_run_id=RUN, artifact_key="rows", deferrable=True)
    stored = through_airflow({**next_kwargs, "event": event(ended("COMPLETED"))})
    assert task.resume_execution("execute_complete", stored, context) == [1]


@every_next_kwargs
def test_a_cancelling_task_continues_that_an_older_version_has_deferred(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, through_airflow: Through, next_kwargs: Any
) -> None:
    prefect.add_flow_run("CANCELLED", id=RUN)
    ti.xcoms["cancelled_flow_runs"] = {"ids": [RUN], "deadline": LATER}
    task = PrefectCancelFlowRunOperator(task_id="cancel", flow_run_id=RUN, wait_for_completion=True, deferrable=True)
    stored = through_airflow({**next_kwargs, "event": event(ended("CANCELLED"))})
    assert task.resume_execution("execute_complete", stored, context) == "CANCELLED"


@every_next_kwargs
def test_a_run_that_an_older_version_has_seen_fail_fails_the_task(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, next_kwargs: Any
) -> None:
    task = PrefectStartFlowRunOperator(task_id="start", deployment="sales/demo", deferrable=True)
    stored = through_airflow({**next_kwargs, "event": event(ended("FAILED"))})
    with pytest.raises(FlowRunFailed, match=r"Odd \(FAILED\): message"):
        task.resume_execution("execute_complete", stored, context)


@every_next_kwargs
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("WaitTimeout", WaitTimeout),
        ("StartTimeout", StartTimeout),
        ("FlowRunNotFound", FlowRunNotFound),
        ("Unreachable", Unreachable),
        ("ConfigurationError", AirflowFailException),
        ("PrefectError", PrefectError),
    ],
)
def test_an_error_that_an_older_version_has_sent_is_raised_as_what_it_was(
    prefect: FakePrefect,
    context: dict[str, Any],
    through_airflow: Through,
    kind: str,
    error: type[Exception],
    next_kwargs: Any,
) -> None:
    task = PrefectStartFlowRunOperator(
        task_id="start", deployment="sales/demo", deferrable=True, cancel_on_timeout=False
    )
    stored = through_airflow({**next_kwargs, "event": event(error={"kind": kind, "message": "as it was"})})
    with pytest.raises(error, match=r"^as it was") as raised:
        task.resume_execution("execute_complete", stored, context)
    assert type(raised.value) is error


def test_a_wait_of_an_older_version_goes_on_after_the_event_of_another_task(
    context: dict[str, Any], through_airflow: Through
) -> None:
    task = PrefectStartFlowRunOperator(task_id="start", deployment="sales/demo", deferrable=True)
    others = {**event(ended("COMPLETED")), "wait_id": "another"}
    with pytest.raises(TaskDeferred) as deferred:
        task.resume_execution("execute_complete", through_airflow({"wait": WAIT_OF_A_START, "event": others}), context)
    path, kept = deferred.value.trigger.serialize()
    assert path == CLASS_PATH
    assert kept.items() >= WAIT_OF_A_START.items()
    assert deferred.value.kwargs == {"wait": WAIT_OF_A_START}
