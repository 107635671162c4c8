from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.fields import WrongShape
from airflow_provider_prefect.client.model import Artifact, Deployment, FlowRun, LogRecord, State, TaskRun, is_uuid
from tests.unit.client.samples import DEPLOYMENT_ID, FLOW_ID, RUN_ID, deployment_json, run_json, run_json_2, state_json

STATE_TYPES = (
    *("SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED", "CANCELLING"),
)


def test_a_flow_run_of_prefect_3_is_read() -> None:
    run = FlowRun.from_json(run_json())
    assert (run.id, run.name, run.flow_id, run.deployment_id) == (RUN_ID, "calm-otter", FLOW_ID, DEPLOYMENT_ID)
    assert (run.parameters, run.tags, run.context) == ({"n": 3}, ("b", "a"), {"airflow": {"try_number": 1}})
    assert (run.idempotency_key, run.labels) == ("key-1", {"prefect.flow.id": FLOW_ID})
    assert run.expected_start_time == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert run.start_time == datetime(2026, 1, 2, 3, 4, 4, 500000, tzinfo=UTC)
    assert run.end_time is None
    assert run.state.timestamp == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_a_flow_run_of_prefect_2_is_read_alike_and_has_no_labels() -> None:
    two, three = FlowRun.from_json(run_json_2()), FlowRun.from_json(run_json())
    assert two.labels is None
    assert (two.expected_start_time, two.state.timestamp) == (three.expected_start_time, three.state.timestamp)


def test_a_flow_run_of_prefect_3_without_labels_still_has_them() -> None:
    assert FlowRun.from_json(run_json(labels={})).labels == {}


def test_fields_of_a_newer_server_are_ignored() -> None:
    state = state_json(a_new_field={"x": 1})
    assert FlowRun.from_json(run_json(state, another_new_field=[1, 2])) == FlowRun.from_json(run_json(state_json()))


def test_fields_may_be_null() -> None:
    nulls = dict.fromkeys(set(run_json()) - {"id", "name", "state"})
    run = FlowRun.from_json({**nulls, "id": RUN_ID, "name": "calm-otter", "state": state_json("PENDING")})
    assert (run.parameters, run.tags, run.context, run.auto_scheduled) == ({}, (), {}, False)
    assert (run.state.type, run.is_final) == ("PENDING", False)


def test_fields_may_be_missing() -> None:
    run = FlowRun.from_json({"id": RUN_ID, "name": "calm-otter", "state": {"type": "RUNNING"}})
    assert run == FlowRun(id=RUN_ID, name="calm-otter", state=State("", "RUNNING", "Running"))
    assert not run.is_final


def test_a_flow_run_that_is_only_made_up_is_pending() -> None:
    assert (FlowRun(RUN_ID, "x").state.type, FlowRun(RUN_ID, "x").is_final) == ("PENDING", False)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"state": None}, "state is null and not an object"),
        ({"state": {}}, "state.type is missing and not text"),
        ({"state": {"type": "BREWING"}}, "state.type is 'BREWING' and not one of SCHEDULED, .*"),
        ({"id": None}, "id is null and not an id"),
        ({"id": "../x"}, "id is not an id"),
        ({"name": 3}, "name is a number and not text"),
        ({"tags": "a"}, "tags is text and not a list"),
        ({"parameters": []}, "parameters is a list and not an object"),
        ({"expected_start_time": "soon"}, "expected_start_time is 'soon' and not a time"),
        ({"auto_scheduled": 1}, "auto_scheduled is a number and not true or false"),
    ],
)
def test_a_flow_run_of_another_shape_is_none_and_the_field_is_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(WrongShape, match=f"^{problem}$"):
        FlowRun.from_json(run_json(**changes) if "state" not in changes else {**run_json(), **changes})


EVENT = {
    "prefect.resource.id": f"prefect.flow-run.{RUN_ID}",
    "prefect.resource.name": "calm-otter",
    "prefect.state-type": "FAILED",
    "prefect.state-name": "TimedOut",
    "prefect.state-message": "too long",
    "prefect.state-timestamp": "2026-01-02T03:04:05Z",
}
WHEN = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


def test_an_event_shows_a_flow_run_in_the_state_that_it_names() -> None:
    state = State("", "FAILED", "TimedOut", "too long", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert FlowRun.from_event(EVENT, WHEN) == FlowRun(RUN_ID, "calm-otter", state, end_time=WHEN)


def test_an_event_may_name_no_more_than_the_type_of_the_state() -> None:
    names = ("prefect.resource.id", "prefect.state-type")
    run = FlowRun.from_event({**{name: EVENT[name] for name in names}, "prefect.state-type": "RUNNING"}, WHEN)
    assert (run.name, run.state, run.end_time) == ("", State("", "RUNNING", "Running", timestamp=WHEN), None)


def test_a_state_without_id_or_name_is_read() -> None:
    state = State.from_json({"type": "CANCELLED", "id": None, "name": None})
    assert (state.id, state.type, state.name, state.timestamp) == ("", "CANCELLED", "Cancelled", None)


@pytest.mark.parametrize("type_", STATE_TYPES)
def test_a_run_has_ended_in_four_types_and_cancelling_is_none_of_them(type_: str) -> None:
    ended = type_ in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    assert FlowRun.from_json(run_json(state_json(type_))).is_final is ended


@pytest.mark.parametrize(
    ("type_", "name", "ended"),
    [("COMPLETED", "AllGood", True), ("FAILED", "TimedOut", True), ("RUNNING", "Completed", False)],
)
def test_the_type_and_never_the_name_says_whether_a_run_has_ended(type_: str, name: str, ended: bool) -> None:
    assert FlowRun.from_json(run_json(state_json(type_, name))).is_final is ended


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State("", "COMPLETED", "Completed"), "Completed"),
        (State("", "COMPLETED", "AllGood"), "AllGood (COMPLETED)"),
        (State("", "FAILED", "Failed", "boom"), "Failed: boom"),
        (State("", "SCHEDULED", "Late", "waits"), "Late (SCHEDULED): waits"),
    ],
)
def test_a_state_in_words_shows_its_type_where_the_name_does_not(state: State, text: str) -> None:
    assert str(state) == text


def test_a_deployment_is_read() -> None:
    deployment = Deployment.from_json(deployment_json("nightly", paused=True, status="NOT_READY", a_new_field=1))
    assert (deployment.id, deployment.name, deployment.flow_id) == (DEPLOYMENT_ID, "nightly", FLOW_ID)
    assert deployment.status == "NOT_READY"


def test_a_deployment_of_prefect_2_is_read() -> None:
    record = deployment_json(infra_overrides={}, is_schedule_active=True, paused=None, work_pool_name=None)
    del record["job_variables"]
    deployment = Deployment.from_json(record)
    assert deployment == Deployment(DEPLOYMENT_ID, "nightly", FLOW_ID, "READY")


def test_a_task_run_is_read() -> None:
    record = {"id": "t", "name": "padd-4d7", "flow_run_id": RUN_ID, "task_key": "padd-b698dea0", "dynamic_key": "4d7…"}
    task_run = TaskRun.from_json({**record, "expected_start_time": "2026-01-02T03:04:00+00:00", "state": None, "x": 1})
    assert (task_run.name, task_run.task_key, task_run.state.type) == ("padd-4d7", "padd-b698dea0", "PENDING")
    assert (task_run.flow_run_id, task_run.flow_run_run_count) == (RUN_ID, 0)


@pytest.mark.parametrize("timestamp", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"])
def test_a_log_record_is_read(timestamp: str) -> None:
    record = {"id": "l", "level": 30, "message": "hot", "timestamp": timestamp, "name": None, "flow_run_id": RUN_ID}
    line = LogRecord.from_json({**record, "task_run_id": None, "worker_id": None})
    assert (line.level, line.message, line.name) == (30, "hot", "")
    assert line.timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("data", ["# hi", {"a": [1, 2]}, None])
def test_an_artifact_is_read(data: Any) -> None:
    artifact = Artifact.from_json({"id": "a", "key": None, "type": None, "data": data, "metadata_": {}})
    assert (artifact.key, artifact.type, artifact.data, artifact.flow_run_id) == (None, None, data, None)


@pytest.mark.parametrize("text", [str(uuid.uuid4()), uuid.uuid4().hex, str(uuid.uuid4()).upper()])
def test_a_uuid_is_one_in_every_form(text: str) -> None:
    assert is_uuid(text)


@pytest.mark.parametrize("text", ["", "x", "flow/deployment", str(uuid.uuid4())[:-1], None, 3, [], uuid.uuid4()])
def test_nothing_else_is_a_uuid(text: Any) -> None:
    assert not is_uuid(text)
