"""What a trigger tells its task, and what the task makes of it: anything that is not understood fails."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    DeploymentNotFound,
    FlowRunNotFound,
    FlowRunTimeout,
    InvalidRequest,
    NotFound,
    PrefectError,
    ResultError,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.client.model import FlowRun, State
from airflow_provider_prefect.utils import events
from tests.unit.running import Through

RUN = FlowRun(
    id="00000000-0000-4000-8000-000000000001",
    name="brave-otter",
    state=State(id="s", type="FAILED", name="Broken", message="no month", data={"storage_key": "x"}),
    flow_id="00000000-0000-4000-8000-000000000002",
    deployment_id="00000000-0000-4000-8000-000000000003",
    parameters={"token": "hush-hush"},
    start_time=datetime(2026, 10, 1, 12, tzinfo=UTC),
    end_time=datetime(2026, 10, 1, 13, tzinfo=UTC),
)
URL = "http://prefect/runs/flow-run/1"


def test_a_finished_run_is_told_as_plain_json_without_its_parameters() -> None:
    assert json.loads(json.dumps(events.view(RUN, URL))) == {
        "id": RUN.id,
        "name": "brave-otter",
        "state_type": "FAILED",
        "state_name": "Broken",
        "state_message": "no month",
        "start_time": "2026-10-01T12:00:00+00:00",
        "end_time": "2026-10-01T13:00:00+00:00",
        "url": URL,
    }


def test_a_run_that_never_started_has_no_times() -> None:
    seen = events.view(FlowRun(id="1", name="x", state=State("s", "CANCELLED", "Cancelled")), URL)
    assert (seen["start_time"], seen["end_time"]) == (None, None)


def test_an_event_says_everything_that_the_task_needs(through_airflow: Through) -> None:
    run, url = events.parse_event(through_airflow(events.ended_event(RUN, URL)))
    assert url == URL
    assert events.view(run, url) == events.view(RUN, URL)
    assert (run.flow_id, run.deployment_id) == (RUN.flow_id, RUN.deployment_id)


def test_an_event_of_an_older_trigger_lacks_what_that_did_not_send(through_airflow: Through) -> None:
    event = events.ended_event(RUN, URL)
    older = {name: event[name] for name in ("flow_run_id", "flow_run", "error")}
    run, _ = events.parse_event(through_airflow(older))
    assert (run.id, run.flow_id, run.deployment_id) == (RUN.id, None, None)


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_every_final_state_travels(kind: str, through_airflow: Through) -> None:
    event = events.ended_event(FlowRun(id="1", name="x", state=State("s", kind, kind.capitalize())), URL)
    run, _ = events.parse_event(through_airflow(event))
    assert run.state.type == kind
    assert run.is_final


@pytest.mark.parametrize(
    "error",
    [
        WaitTimeout("not finished", RUN.id),
        StartTimeout("not started", RUN.id),
        FlowRunNotFound("gone"),
        Unreachable("away"),
        ConfigurationError("wrong field"),
    ],
)
def test_an_error_comes_back_as_what_it_was(error: PrefectError, through_airflow: Through) -> None:
    with pytest.raises(PrefectError) as raised:
        events.parse_event(through_airflow(events.error_event(RUN.id, error)))
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    if isinstance(raised.value, FlowRunTimeout):
        assert raised.value.flow_run_id == RUN.id


def test_an_error_that_nobody_foresaw_still_fails(through_airflow: Through) -> None:
    with pytest.raises(PrefectError, match="surprise"):
        events.parse_event(through_airflow(events.error_event(RUN.id, KeyError("surprise"))))


def changed(**fields: Any) -> dict[str, Any]:
    """The event of a run that completed, with something wrong in it."""
    seen = {**events.view(RUN, URL), "state_type": "COMPLETED"}
    seen.update(fields)
    return {"flow_run_id": RUN.id, "flow_run": {name: value for name, value in seen.items() if value != "left out"}}


@pytest.mark.parametrize(
    "event",
    [
        None,
        "success",
        True,
        [],
        {},
        {"status": "success"},
        {"flow_run_id": None, "flow_run": {}},
        {"flow_run_id": RUN.id},
        {"flow_run_id": RUN.id, "flow_run": None, "error": None},
        {"flow_run_id": RUN.id, "flow_run": "COMPLETED"},
        {"flow_run_id": RUN.id, "flow_run": {"state_type": "COMPLETED"}},
        {"flow_run_id": RUN.id, "error": "something"},
        {"flow_run_id": RUN.id, "error": {"what": "something"}},
        {"flow_run_id": RUN.id, "error": {"kind": "SystemExit", "message": "something"}},
        {**changed(), "error": {"kind": "Unreachable", "message": "away"}},
        changed(state_type="RUNNING"),
        changed(state_type="DONE"),
        changed(state_type=None),
        changed(start_time="yesterday"),
        changed(end_time=5),
        changed(url="left out"),
        changed(id="left out"),
    ],
)
def test_an_event_that_is_not_understood_is_no_success(event: Any) -> None:
    events.parse_event(changed())  # which is one without the mistake
    with pytest.raises(PrefectError):
        events.parse_event(event)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("wrong"),
        AuthenticationError("wrong", 401),
        DeploymentNotFound("wrong"),
        InvalidRequest("wrong", 409),
        ResultError("wrong"),
        NotFound("wrong"),
    ],
)
def test_what_another_try_would_only_meet_again_is_not_tried_again(error: PrefectError) -> None:
    with pytest.raises(AirflowFailException, match=r"^wrong$") as raised, events.failing_without_retry():
        raise error
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("passes"),
        FlowRunNotFound("passes"),
        WaitTimeout("passes", RUN.id),
        ApiError("passes", 500),
        KeyError("passes"),
    ],
)
def test_what_another_try_may_not_meet_is_left_to_airflows_retries(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, events.failing_without_retry():
        raise error
    assert raised.value is error
    assert not isinstance(error, AirflowFailException)
