"""Starting a flow run and waiting for it, in a worker and deferred, through the real hook and the real drivers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred

from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    FlowRunCancelled,
    FlowRunCrashed,
    FlowRunFailed,
    FlowRunUnsuccessful,
    PrefectError,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import FakePrefect, state
from tests.unit.running import Through, carried_out, deferral, event_of, restored

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


def operator(**arguments: Any) -> PrefectStartFlowRunOperator:
    """A task that starts ``sales/demo``, and polls it without a pause."""
    task = PrefectStartFlowRunOperator(
        **{"task_id": "summarise", "deployment": "sales/demo", "deferrable": False, **arguments}
    )
    task.poll_interval = 0
    return task


# What it is given


def test_exactly_one_flow_is_given() -> None:
    with pytest.raises(ConfigurationError, match=r"Give exactly one of deployment=.* none is given"):
        operator(deployment=None)
    with pytest.raises(ConfigurationError, match=r"Give exactly one of .* deployment and flow_name are given"):
        operator(flow_name="sales")


@pytest.mark.parametrize("seconds", [2, 0, -1])
def test_a_poll_interval_under_three_seconds_is_refused_where_it_waits(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^poll_interval=.*at least 3 seconds"):
        operator(poll_interval=seconds)
    operator(poll_interval=seconds, wait_for_completion=False)
    operator(poll_interval=3)


@pytest.mark.parametrize("name", ["timeout", "start_timeout"])
@pytest.mark.parametrize("value", [-1, 0, timedelta(seconds=-5)])
def test_a_negative_timeout_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}="):
        operator(**{name: value})


def test_a_result_is_not_fetched_without_waiting_for_it() -> None:
    with pytest.raises(ConfigurationError, match="fetch_result needs wait_for_completion"):
        operator(fetch_result=True, wait_for_completion=False)


@both_modes
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"parameters": "[1]"}, "parameters is a JSON list, not an object"),
        ({"parameters": "month=10"}, "parameters is text, but not JSON"),
        ({"parameters": {"at": object()}}, r"parameters\['at'\] cannot be sent as JSON"),
        ({"job_variables": '"fast"'}, "job_variables is a JSON str, not an object"),
        ({"tags": "nightly"}, "tags='nightly' is not a list"),
        ({"scheduled_start_time": "soon"}, "scheduled_start_time='soon'"),
        ({"deployment": "sales"}, "neither 'flow/deployment' nor the id"),
        ({"deployment": "sales/dmeo"}, "The nearest it has: 'sales/demo'"),
        ({"deployment": "11111111-2222-4333-8444-555555555555"}, "no deployment '11111111"),
        ({"deployment": None, "flow_name": "report"}, "'report/a', 'report/b'"),
        ({"deployment": None, "flow_name": "seles"}, "The nearest it has"),
        ({"prefect_conn_id": "there_is_none"}, "prefect_conn_id='there_is_none' does not exist in this Airflow"),
    ],
)
def test_bad_input_fails_for_good_before_anything_is_created(
    prefect: FakePrefect,
    context: dict[str, Any],
    ti: TaskInstance,
    arguments: dict[str, Any],
    said: str,
    deferrable: bool,
) -> None:
    prefect.add_deployment("report/a")
    prefect.add_deployment("report/b")
    with pytest.raises(AirflowFailException, match=said):
        operator(deferrable=deferrable, **arguments).execute(context)
    assert prefect.created == []
    assert ti.xcoms == {}


def test_parameters_that_the_schema_refuses_fail_for_good_with_its_reason(
    prefect: FakePrefect, context: dict[str, Any]
) -> None:
    prefect.answer("POST", "/deployments/.*/create_flow_run", 409, {"detail": "Validation failed: 'month' is required"})
    with pytest.raises(AirflowFailException, match="'month' is required"):
        operator().execute(context)
    assert len(prefect.created) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_fails_for_good_at_once(prefect: FakePrefect, context: dict[str, Any], status: int) -> None:
    prefect.answer("GET", ".*", status, {"detail": "no entry"})
    with pytest.raises(AirflowFailException, match=str(status)):
        operator().execute(context)
    assert len(prefect.requests) == 1


def test_a_prefect_1_server_fails_for_good_by_its_name(prefect: FakePrefect, context: dict[str, Any]) -> None:
    prefect.answer("GET", ".*", 404, b"Cannot GET")
    prefect.answer("POST", "", 200, {"data": {"__typename": "query_root"}})
    with pytest.raises(AirflowFailException, match="Prefect 1 server"):
        operator().execute(context)


# What it starts


def test_a_flow_run_says_who_started_it(prefect: FakePrefect, context: dict[str, Any]) -> None:
    operator(wait_for_completion=False).execute(context)
    (body,) = prefect.created
    assert body["name"] == "shop.summarise manual__2026-10-01"
    assert body["context"]["airflow"] == {
        "dag_id": "shop",
        "run_id": "manual__2026-10-01",
        "dag_run_start": "2026-10-01T12:00:00+00:00",
        "task_id": "summarise",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 2,
        "url": "http://airflow/shop/summarise",
    }
    assert body["labels"]["airflow.dag_id"] == "shop"


def test_everything_that_is_given_is_sent(prefect: FakePrefect, context: dict[str, Any]) -> None:
    operator(
        parameters='{"month": "10"}',
        run_name="october",
        tags=["nightly"],
        job_variables={"cpu": 2},
        work_queue_name="fast",
        scheduled_start_time="2026-10-01T14:00:00+02:00",
        idempotency_key="once",
        enforce_parameter_schema=False,
        wait_for_completion=False,
    ).execute(context)
    (body,) = prefect.created
    scheduled = body.pop("state")
    assert scheduled["type"] == "SCHEDULED"
    assert datetime.fromisoformat(scheduled["state_details"]["scheduled_time"]) == datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert {name: value for name, value in body.items() if name not in ("labels", "context")} == {
        "parameters": {"month": "10"},
        "name": "october",
        "tags": ["nightly"],
        "job_variables": {"cpu": 2},
        "work_queue_name": "fast",
        "idempotency_key": "once",
        "enforce_parameter_schema": False,
    }


def test_a_flow_with_one_deployment_is_enough(prefect: FakePrefect, context: dict[str, Any]) -> None:
    operator(deployment=None, flow_name="sales", wait_for_completion=False).execute(context)
    assert len(prefect.flow_runs) == 1


def test_every_request_of_a_try_has_the_same_key_and_another_try_another(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    prefect.answer("POST", "/deployments/.*/create_flow_run", 500, {"exception_message": "oops"}, times=2)
    first = operator(wait_for_completion=False).execute(context)
    assert len(prefect.created) == 3
    assert len({body["idempotency_key"] for body in prefect.created}) == 1
    prefect.put_into(first, state("FAILED"))
    ti.try_number = 2
    second = operator(wait_for_completion=False).execute(context)
    assert [*prefect.flow_runs] == [first, second]
    assert len({body["idempotency_key"] for body in prefect.created}) == 2


def test_an_empty_key_is_none(prefect: FakePrefect, context: dict[str, Any]) -> None:
    operator(idempotency_key="", wait_for_completion=False).execute(context)
    assert prefect.created[0]["idempotency_key"].startswith("airflow-")


def test_the_log_says_whether_the_run_was_created_or_found_and_where_it_is(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, logged: Callable[[], str]
) -> None:
    operator(idempotency_key="once", wait_for_completion=False).execute(context)
    shown = f"flow run: {ti.xcoms['flow_run_url']} ('shop.summarise manual__2026-10-01')"
    assert f"Created {shown}" in logged()
    assert f"Adopted {shown}" not in logged()
    operator(idempotency_key="once", wait_for_completion=False).execute(context)
    assert f"Adopted {shown}" in logged()


def test_without_waiting_the_task_ends_when_the_run_exists(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    run_id = operator(wait_for_completion=False, deferrable=True).execute(context)
    assert [*prefect.flow_runs] == [run_id]
    assert ti.xcoms == {
        "flow_run_id": run_id,
        "flow_run_url": f"{prefect.ui_url}/runs/flow-run/{run_id}",
        "flow_run_name": "shop.summarise manual__2026-10-01",
    }
    assert prefect.asked("GET", "/flow_runs/.*") == []


# What a retry does about the flow run of the try before


@pytest.mark.parametrize("kind", ["SCHEDULED", "PENDING", "RUNNING", "PAUSED"])
def test_a_retry_goes_on_with_a_run_that_is_still_alive(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, logged: Callable[[], str], kind: str
) -> None:
    first = operator(wait_for_completion=False).execute(context)
    prefect.put_into(first, state(kind), state("COMPLETED"))
    ti.try_number, ti.xcoms = 2, {}
    assert operator().execute(context) == first
    assert [*prefect.flow_runs] == [first]
    assert ti.xcoms["flow_run_id"] == first
    assert "Reattached to flow run" in logged()


def test_a_retry_takes_the_outcome_of_a_run_that_has_completed_meanwhile(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    first = operator(wait_for_completion=False).execute(context)
    prefect.put_into(first, state("COMPLETED"))
    ti.try_number = 2
    assert operator(deferrable=True).execute(context) == first
    assert len(prefect.created) == 1


@pytest.mark.parametrize("kind", ["FAILED", "CRASHED", "CANCELLED", "CANCELLING"])
def test_a_retry_starts_another_run_after_one_that_was_unsuccessful(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, kind: str
) -> None:
    first = operator(wait_for_completion=False).execute(context)
    prefect.put_into(first, state(kind))
    ti.try_number = 2
    assert operator(wait_for_completion=False).execute(context) != first
    assert len(prefect.flow_runs) == 2
    assert prefect.cancelled == []


def test_a_cleared_task_starts_another_run_and_stops_the_one_from_before(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    first = operator(wait_for_completion=False).execute(context)
    prefect.put_into(first, state("RUNNING"))
    ti.try_number, ti.max_tries = 2, 3
    assert operator(wait_for_completion=False).execute(context) != first
    assert prefect.cancelled == [first]


def test_a_run_that_another_airflow_has_created_is_never_taken(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    operator(wait_for_completion=False).execute(context)
    ti.log_url = "http://copy-of-airflow/shop/summarise"
    with pytest.raises(AirflowFailException, match="has the idempotency key of this try already"):
        operator(wait_for_completion=False).execute(context)


def test_a_task_instance_that_airflow_has_lost_and_made_anew_reattaches_and_says_so(
    prefect: FakePrefect, context: dict[str, Any], logged: Any
) -> None:
    first = operator(wait_for_completion=False).execute(context)
    assert operator(wait_for_completion=False).execute(context) == first
    assert [*prefect.flow_runs] == [first]
    assert "was started by this very try before, which Airflow has forgotten" in logged()
    assert "Reattached to flow run" in logged()


# How it ends


@both_modes
def test_a_completed_run_gives_the_same_xcoms_in_both_modes(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, through_airflow: Through, deferrable: bool
) -> None:
    prefect.coming = [state("PENDING"), state("RUNNING"), state("COMPLETED")]
    run_id = carried_out(operator(deferrable=deferrable, run_name="october"), context, through_airflow)
    assert [*prefect.flow_runs] == [run_id]
    assert ti.xcoms == {
        "flow_run_id": run_id,
        "flow_run_url": f"{prefect.ui_url}/runs/flow-run/{run_id}",
        "flow_run_name": "october",
        "state": "COMPLETED",
    }
    assert [*ti.xcoms][-1] == "state"


@both_modes
def test_the_run_is_known_to_airflow_before_the_wait(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, through_airflow: Through, deferrable: bool
) -> None:
    prefect.coming = [state("COMPLETED")]
    polls: list[int] = []
    ti.on_push = lambda key, value: polls.append(len(prefect.asked("GET|POST", "/flow_runs/[^/]+")))
    carried_out(operator(deferrable=deferrable), context, through_airflow)
    assert polls[:3] == [0, 0, 0]
    assert polls[3] > 0  # the state


@both_modes
@pytest.mark.parametrize(
    ("kind", "error"), [("FAILED", FlowRunFailed), ("CRASHED", FlowRunCrashed), ("CANCELLED", FlowRunCancelled)]
)
def test_an_unsuccessful_run_fails_the_task_with_an_error_of_its_own(
    prefect: FakePrefect,
    context: dict[str, Any],
    ti: TaskInstance,
    through_airflow: Through,
    deferrable: bool,
    kind: str,
    error: type[FlowRunUnsuccessful],
) -> None:
    prefect.coming = [state("RUNNING"), state(kind, message="no month")]
    with pytest.raises(error) as raised:
        carried_out(operator(deferrable=deferrable), context, through_airflow)
    assert (raised.value.run.id, raised.value.run.state.type) == (ti.xcoms["flow_run_id"], kind)
    assert "no month" in str(raised.value)
    assert ti.xcoms["flow_run_url"] in str(raised.value)
    assert ti.xcoms["state"] == kind


@both_modes
def test_only_the_type_of_a_state_decides(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    prefect.coming = [state("RUNNING", "Completed"), state("PAUSED", "Failed"), state("COMPLETED", "Cached")]
    assert carried_out(operator(deferrable=deferrable), context, through_airflow)


@both_modes
def test_a_run_that_has_ended_already_is_taken_as_it_is_and_never_defers(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, deferrable: bool
) -> None:
    first = operator(idempotency_key="once", wait_for_completion=False).execute(context)
    prefect.put_into(first, state("COMPLETED"))
    assert operator(idempotency_key="once", deferrable=deferrable).execute(context) == first
    assert ti.xcoms["state"] == "COMPLETED"
    assert len(prefect.flow_runs) == 1


@both_modes
def test_a_run_that_is_deleted_meanwhile_fails_the_task(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    prefect.answer("GET", "/flow_runs/.*", 404, {"detail": "Flow run not found"})
    prefect.answer("POST", "/flow_runs/filter", 200, [])
    with pytest.raises(AirflowFailException, match=r"it was deleted.*whether it has done its work is not known"):
        carried_out(operator(deferrable=deferrable), context, through_airflow)


@both_modes
def test_an_api_that_stays_away_fails_the_task(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    prefect.answer("GET|POST", "/flow_runs/[^/]+", 503)
    with pytest.raises(Unreachable):
        carried_out(operator(deferrable=deferrable, max_unreachable=0), context, through_airflow)


@both_modes
def test_api_trouble_is_waited_out(
    prefect: FakePrefect,
    context: dict[str, Any],
    through_airflow: Through,
    deferrable: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for where in ("retry", "wait.trouble"):
        monkeypatch.setattr(f"airflow_provider_prefect.client.{where}.backoff", lambda tries, longest=30: 0.01)
    prefect.coming = [state("COMPLETED")]
    for status in (503, 429, 500, 401, 404):
        prefect.answer("GET|POST", "/flow_runs/[^/]+", status, b"<html>a proxy", times=1)
    assert carried_out(operator(deferrable=deferrable), context, through_airflow)


@both_modes
def test_trouble_before_the_start_is_waited_out_as_long_as_that_in_the_wait(
    prefect: FakePrefect, context: dict[str, Any], deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.retry.backoff", lambda tries, longest=30: 0.05)
    monkeypatch.setattr("airflow_provider_prefect.hooks.prefect.PATIENCE", 0.0)
    prefect.answer("GET", "/deployments/.*", 503, times=3)
    prefect.answer("POST", "/deployments/.*/create_flow_run", 500, times=3)
    run_id = operator(deferrable=deferrable, wait_for_completion=False, max_unreachable=30).execute(context)
    assert list(prefect.flow_runs) == [run_id]


@both_modes
def test_trouble_before_the_start_that_lasts_too_long_fails_the_task(
    prefect: FakePrefect, context: dict[str, Any], deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.retry.backoff", lambda tries, longest=30: 0.05)
    prefect.answer("GET", "/deployments/.*", 503)
    with pytest.raises(Unreachable, match=r"tried .* times in 0 s"):
        operator(deferrable=deferrable, max_unreachable=0.2).execute(context)
    assert prefect.created == []


# Time


@both_modes
@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"timeout": 0.2}, WaitTimeout),
        ({"timeout": timedelta(seconds=0.2)}, WaitTimeout),
        ({"execution_timeout": timedelta(seconds=0.2)}, WaitTimeout),
        ({"timeout": 3600, "execution_timeout": timedelta(seconds=0.2)}, WaitTimeout),
        ({"timeout": 0.2, "execution_timeout": timedelta(hours=1)}, WaitTimeout),
        ({"start_timeout": 0.2, "timeout": 3600}, StartTimeout),
    ],
)
def test_a_run_that_takes_too_long_fails_the_task_and_is_asked_to_stop(
    prefect: FakePrefect,
    context: dict[str, Any],
    ti: TaskInstance,
    through_airflow: Through,
    deferrable: bool,
    limits: dict[str, Any],
    error: type[PrefectError],
) -> None:
    prefect.coming = [state("PENDING" if error is StartTimeout else "RUNNING")]
    task = operator(deferrable=deferrable, **limits)
    task.poll_interval = 0.05
    with pytest.raises(error, match=r"The flow run was asked to stop, and is in state Cancelling"):
        carried_out(task, context, through_airflow)
    assert prefect.cancelled == [ti.xcoms["flow_run_id"]]


@both_modes
def test_a_run_may_go_on_when_the_task_stops_waiting(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    prefect.coming = [state("RUNNING")]
    with pytest.raises(WaitTimeout, match="The flow run continues"):
        carried_out(operator(deferrable=deferrable, timeout=0.1, cancel_on_timeout=False), context, through_airflow)
    assert prefect.cancelled == []


@both_modes
def test_a_run_that_cannot_be_asked_to_stop_still_timed_out(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    prefect.coming = [state("RUNNING")]
    prefect.answer("POST", "/flow_runs/.*/set_state", 403, {"detail": "read-only"})
    with pytest.raises(WaitTimeout, match=r"The flow run could not be asked to stop: .*read-only"):
        carried_out(operator(deferrable=deferrable, timeout=0.1), context, through_airflow)


@both_modes
def test_a_run_that_was_deleted_meanwhile_has_nothing_to_stop(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    prefect.coming = [state("RUNNING")]
    prefect.answer("POST", "/flow_runs/.*/set_state", 404, {"detail": "Flow run not found"})
    with pytest.raises(WaitTimeout, match="Prefect no longer has the flow run, so there is nothing to stop"):
        carried_out(operator(deferrable=deferrable, timeout=0.1), context, through_airflow)


def test_the_time_to_start_counts_from_the_scheduled_start(prefect: FakePrefect, context: dict[str, Any]) -> None:
    start = datetime.now(UTC) + timedelta(hours=5)
    deferred = deferral(operator(deferrable=True, scheduled_start_time=start, start_timeout=60), context)
    _, kwargs = deferred.trigger.serialize()
    assert kwargs["start_deadline"] == start.timestamp() + 60
    assert kwargs["deadline"] is None


# Deferring


def test_a_trigger_is_given_ids_and_numbers_that_airflow_keeps_as_json(
    prefect: FakePrefect, connect: Any, context: dict[str, Any], ti: TaskInstance, through_airflow: Through
) -> None:
    connect(
        host=prefect.api_url,
        password="hush-password",
        extra={"secret_headers": {"X-Token": "hush-header"}, "result_roots": "/hush-root"},
    )
    task = operator(deferrable=True, parameters={"token": "hush-parameter"}, timeout=3600, start_timeout=60)
    task.poll_interval = 7
    before = time.time()
    deferred = deferral(task, context)
    _, kwargs = deferred.trigger.serialize()
    assert deferred.method_name == "execute_complete"
    assert deferred.timeout > timedelta(seconds=3600)  # the trigger keeps the deadline; Airflow comes after it
    assert json.loads(json.dumps(kwargs)) == through_airflow(kwargs) == kwargs
    assert "hush" not in json.dumps(kwargs)
    assert kwargs["flow_run_id"] == ti.xcoms["flow_run_id"]
    assert (kwargs["prefect_conn_id"], kwargs["poll_interval"]) == ("prefect_default", 7)
    assert kwargs["not_before"] > before
    assert restored(deferred.trigger, through_airflow).serialize() == deferred.trigger.serialize()


def test_an_event_holds_no_parameters_and_no_result(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through
) -> None:
    prefect.coming = [state("COMPLETED", data={"storage_key": "hush-key"})]
    task = operator(deferrable=True, parameters={"token": "hush-parameter"}, fetch_result=True)
    event = event_of(restored(deferral(task, context).trigger, through_airflow))
    assert json.loads(json.dumps(event)) == event
    assert "hush" not in json.dumps(event)


def test_an_event_alone_is_enough_to_end_the_task(prefect: FakePrefect, context: dict[str, Any]) -> None:
    """As in ``dag.test()``, which keeps nothing of what was deferred with, and a process that has not executed."""
    prefect.coming = [state("COMPLETED")]
    event = event_of(deferral(operator(deferrable=True), context).trigger)
    fresh = TaskInstance()
    assert operator().execute_complete({**context, "ti": fresh}, event) == event["flow_run_id"]
    assert fresh.xcoms["state"] == "COMPLETED"


@pytest.mark.parametrize(
    "event", [None, "success", {}, {"flow_run_id": "1"}, {"flow_run_id": "1", "flow_run": {"state_type": "COMPLETED"}}]
)
def test_an_event_that_is_not_understood_fails_the_task(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, event: Any
) -> None:
    with pytest.raises(PrefectError):
        operator().execute_complete(context, event)
    assert "state" not in ti.xcoms


def test_a_connection_that_went_wrong_while_deferred_fails_for_good(
    prefect: FakePrefect, connect: Any, context: dict[str, Any], through_airflow: Through
) -> None:
    deferred = deferral(operator(deferrable=True), context)
    connect(host=prefect.api_url, extra={"verifi": True})
    event = event_of(restored(deferred.trigger, through_airflow))
    with pytest.raises(AirflowFailException, match="verifi"):
        operator().resume_execution(deferred.method_name, {"event": event}, context)


# The result


@pytest.fixture
def root(prefect: FakePrefect, connect: Any, tmp_path: Path) -> Path:
    """A folder whose files may become results."""
    folder = tmp_path / "results"
    folder.mkdir()
    connect(host=prefect.api_url, extra={"result_roots": str(folder)})
    return folder


def stored(path: Path | str, kind: str = "json") -> dict[str, Any]:
    return state("COMPLETED", data={"storage_key": str(path), "serializer": {"type": kind}, "prefect_version": "3.8.8"})


@both_modes
def test_a_persisted_result_is_handed_on(
    prefect: FakePrefect,
    context: dict[str, Any],
    ti: TaskInstance,
    through_airflow: Through,
    root: Path,
    deferrable: bool,
) -> None:
    (root / "one").write_text('{"total": 5}')
    prefect.coming = [state("RUNNING"), stored(root / "one")]
    run_id = carried_out(operator(deferrable=deferrable, fetch_result=True), context, through_airflow)
    assert ti.xcoms["result"] == {"total": 5}
    assert run_id == ti.xcoms["flow_run_id"]


@both_modes
def test_an_artifact_is_handed_on_by_its_key(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, through_airflow: Through, deferrable: bool
) -> None:
    prefect.coming = [state("COMPLETED")]

    def left(key: str, value: Any) -> None:
        rows = {"id": "a", "key": "totals", "type": "table", "data": '[{"total": 5}]', "flow_run_id": value}
        if key == "flow_run_id":
            prefect.artifacts.append(rows)

    ti.on_push = left
    carried_out(operator(deferrable=deferrable, fetch_result="totals"), context, through_airflow)
    assert ti.xcoms["result"] == [{"total": 5}]


def test_what_is_not_asked_for_is_not_fetched(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, root: Path
) -> None:
    (root / "one").write_text("5")
    prefect.coming = [stored(root / "one")]
    operator().execute(context)
    assert "result" not in ti.xcoms


@both_modes
@pytest.mark.parametrize(
    ("left", "said"),
    [
        (lambda root: stored("/etc/hostname"), "result_roots"),
        (lambda root: stored(f"{root}/../one"), "result_roots"),
        (lambda root: stored(root / "gone"), "does not exist"),
        (lambda root: stored(root / "large"), "max_result_size|more than"),
        (lambda root: stored(root / "code", "pickle"), "pickle|system"),
        (lambda root: state("COMPLETED"), "persist_result=True"),
    ],
    ids=["outside", "dots", "gone", "large", "pickle", "none"],
)
def test_a_result_that_cannot_be_handed_on_fails_for_good(
    prefect: FakePrefect,
    context: dict[str, Any],
    ti: TaskInstance,
    through_airflow: Through,
    root: Path,
    deferrable: bool,
    left: Callable[[Path], dict[str, Any]],
    said: str,
) -> None:
    (root.parent / "one").write_text("5")
    (root / "large").write_text(json.dumps("x" * 5000))
    (root / "code").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    prefect.coming = [left(root)]
    task = operator(deferrable=deferrable, fetch_result=True, max_result_size=1000)
    with pytest.raises(AirflowFailException, match=said):
        carried_out(task, context, through_airflow)
    assert ti.xcoms["state"] == "COMPLETED"
    assert "result" not in ti.xcoms


def test_an_unsuccessful_run_fails_as_such_and_not_for_want_of_a_result(
    prefect: FakePrefect, context: dict[str, Any]
) -> None:
    prefect.coming = [state("FAILED")]
    with pytest.raises(FlowRunFailed):
        operator(fetch_result=True).execute(context)


# Templates, Dags and mapped tasks


def test_every_argument_that_makes_a_run_is_templated(context: dict[str, Any]) -> None:
    fields = set(PrefectStartFlowRunOperator.template_fields)
    assert fields >= {
        "deployment",
        "flow_name",
        "parameters",
        "run_name",
        "tags",
        "job_variables",
        "work_queue_name",
        "scheduled_start_time",
        "idempotency_key",
        "fetch_result",
        "prefect_conn_id",
    }
    with DAG("shop", schedule=None, start_date=datetime(2026, 10, 1, tzinfo=UTC)):
        task = operator()
    for name in fields:
        setattr(task, name, "month {{ params.month }}")
    task.render_template_fields(context)
    assert {getattr(task, name) for name in fields} == {"month 10"}


def test_templates_in_mappings_lists_and_json_text_are_rendered(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with DAG("shop", schedule=None, start_date=datetime(2026, 10, 1, tzinfo=UTC)):
        task = operator(
            parameters={"month": "{{ params.month }}"},
            job_variables='{"month": "{{ params.month }}"}',
            tags=["month-{{ params.month }}"],
            scheduled_start_time="2026-{{ params.month }}-01",
            wait_for_completion=False,
        )
    task.render_template_fields(context)
    task.execute(context)
    (body,) = prefect.created
    assert body["parameters"] == body["job_variables"] == {"month": "10"}
    assert body["tags"] == ["month-10"]
    assert body["state"]["state_details"]["scheduled_time"].startswith("2026-10-01T00:00:00")


def test_airflows_ui_shows_mappings_as_json() -> None:
    mappings = ("parameters", "job_variables", "run_config", "context")
    assert PrefectStartFlowRunOperator.template_fields_renderers == dict.fromkeys(mappings, "json")
    assert set(mappings) < set(PrefectStartFlowRunOperator.template_fields)


def mapped(dag: DAG, index: int) -> Any:
    """The task of one map index, as Airflow unmaps it."""
    task = dag.get_task("summarise")
    kwargs = task.expand_input.value if isinstance(task.expand_input.value, dict) else None
    if kwargs is not None:
        return task.unmap({name: values[index] for name, values in kwargs.items()})
    return task.unmap(task.expand_input.value[index])


def test_a_run_is_started_for_every_value_that_the_task_is_expanded_by(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    with DAG("shop", schedule=None, start_date=datetime(2026, 10, 1, tzinfo=UTC)) as dag:
        PrefectStartFlowRunOperator.partial(
            task_id="summarise", deployment="sales/demo", poll_interval=5, deferrable=True, wait_for_completion=False
        ).expand(parameters=[{"month": "10"}, {"month": "11"}])
    for index in (0, 1):
        ti.map_index = index
        mapped(dag, index).execute(context)
    one, other = prefect.created
    assert (one["parameters"], other["parameters"]) == ({"month": "10"}, {"month": "11"})
    assert one["idempotency_key"] != other["idempotency_key"]
    assert other["name"] == "shop.summarise[1] manual__2026-10-01"


def test_a_task_may_be_expanded_by_whole_sets_of_arguments(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    with DAG("shop", schedule=None, start_date=datetime(2026, 10, 1, tzinfo=UTC)) as dag:
        PrefectStartFlowRunOperator.partial(task_id="summarise", wait_for_completion=False).expand_kwargs(
            [{"deployment": "sales/demo"}, {"flow_name": "sales", "tags": ["b"]}]
        )
    for index in (0, 1):
        ti.map_index = index
        mapped(dag, index).execute(context)
    assert [body.get("tags") for body in prefect.created] == [None, ["b"]]


def test_a_mapped_task_keeps_its_link_and_templates() -> None:
    with DAG("shop", schedule=None, start_date=datetime(2026, 10, 1, tzinfo=UTC)) as dag:
        PrefectStartFlowRunOperator.partial(task_id="summarise", deployment="sales/demo").expand(parameters=[{}])
    task = dag.get_task("summarise")
    assert [link.name for link in task.operator_extra_links] == ["Prefect flow run"]
    assert set(task.template_fields) == set(PrefectStartFlowRunOperator.template_fields)


def test_bad_input_is_seen_when_the_dag_is_read_and_not_when_it_runs() -> None:
    with (
        DAG("shop", schedule=None, start_date=datetime(2026, 10, 1, tzinfo=UTC)),
        pytest.raises(ConfigurationError, match="poll_interval"),
    ):
        PrefectStartFlowRunOperator(task_id="summarise", deployment="sales/demo", poll_interval=1)


def test_deferring_is_what_the_standard_switch_says(prefect: FakePrefect, context: dict[str, Any]) -> None:
    prefect.coming = [state("COMPLETED")]
    operator(deferrable=False).execute(context)
    with pytest.raises(TaskDeferred):
        operator(deferrable=True, idempotency_key="another").execute(context)
