"""Waiting for a flow run in Airflow's three modes, with the same outcome in each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    FlowRunCancelled,
    FlowRunCrashed,
    FlowRunFailed,
    FlowRunNotFound,
    FlowRunUnsuccessful,
    PrefectError,
    StartTimeout,
    Unreachable,
)
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import FakePrefect, state
from tests.unit.running import Through, carried_out, deferral, event_of, restored

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:
    from airflow.exceptions import AirflowRescheduleException

RUN = "00000000-0000-4000-8000-000000000001"

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True},
    "deferred from reschedule": {"deferrable": True, "mode": "reschedule"},
}
all_modes = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(autouse=True, scope="module")
def airflow_2_keeps_reschedules_in_a_table() -> None:
    """Airflow 2 looks up there, in reschedule mode, when a sensor began."""
    try:
        import airflow.sdk  # noqa: F401
    except ImportError:
        from airflow import settings
        from airflow.models.taskreschedule import TaskReschedule

        TaskReschedule.__table__.create(settings.engine, checkfirst=True)


def sensor(mode: str, **arguments: Any) -> PrefectFlowRunSensor:
    task = PrefectFlowRunSensor(**{"task_id": "wait", "deferrable": False, **MODES[mode], **arguments})
    task.poke_interval = 0  # which no user can
    return task


def polled_until_the_end(task: PrefectFlowRunSensor, context: dict[str, Any], through_airflow: Through) -> Any:
    """What the sensor returns in the end, started again as often as it has itself rescheduled."""
    while True:
        try:
            return carried_out(task, context, through_airflow)
        except AirflowRescheduleException:
            continue


# What it is given


def test_a_poke_interval_under_three_seconds_is_refused() -> None:
    for mode in MODES:
        with pytest.raises(ConfigurationError, match=r"^poke_interval="):
            sensor(mode, flow_run_id=RUN, poke_interval=2)
    sensor("poke", flow_run_id=RUN, poke_interval=3)
    sensor("deferred", flow_run_id=RUN, poke_interval=timedelta(seconds=3))


def test_a_process_for_every_look_is_not_started_more_often_than_every_ten_seconds() -> None:
    for seconds in (9.9, timedelta(seconds=9.9)):
        with pytest.raises(ConfigurationError, match=r"mode='reschedule'.* at least 10 seconds"):
            sensor("reschedule", flow_run_id=RUN, poke_interval=seconds)
    sensor("reschedule", flow_run_id=RUN, poke_interval=10)
    sensor("deferred from reschedule", flow_run_id=RUN, poke_interval=3)


def test_a_start_timeout_needs_a_mode_that_remembers() -> None:
    with pytest.raises(ConfigurationError, match="start_timeout does not work with mode='reschedule'"):
        sensor("reschedule", flow_run_id=RUN, start_timeout=60)
    for mode in ("poke", "deferred", "deferred from reschedule"):
        sensor(mode, flow_run_id=RUN, start_timeout=60)


def test_a_negative_start_timeout_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^start_timeout="):
        sensor("poke", flow_run_id=RUN, start_timeout=-1)


def test_the_flow_run_and_the_connection_are_templated(context: dict[str, Any]) -> None:
    with DAG("shop", schedule=None):
        task = sensor("poke", flow_run_id="{{ params.month }}", prefect_conn_id="prefect_{{ params.month }}")
    task.render_template_fields(context)
    assert (task.flow_run_id, task.prefect_conn_id) == ("10", "prefect_10")


def test_a_sensor_can_be_mapped(prefect: FakePrefect, context: dict[str, Any]) -> None:
    runs = [prefect.add_flow_run("COMPLETED"), prefect.add_flow_run("COMPLETED")]
    with DAG("shop", schedule=None) as dag:
        PrefectFlowRunSensor.partial(task_id="wait", poke_interval=5).expand(flow_run_id=runs)
    task = dag.get_task("wait").unmap({"flow_run_id": runs[1]})
    assert task.execute(context)["id"] == runs[1]


# The same outcome in every mode


@all_modes
def test_a_completed_run_is_told_as_plain_json(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, through_airflow: Through, mode: str
) -> None:
    run_id = prefect.add_flow_run(
        "SCHEDULED",
        "RUNNING",
        state("COMPLETED", "AllGood", "as ever"),
        parameters={"token": "hush-hush"},
        start_time="2026-10-01T12:00:00Z",
        end_time="2026-10-01T13:00:00Z",
    )
    returned = polled_until_the_end(sensor(mode, flow_run_id=run_id), context, through_airflow)
    url = f"{prefect.ui_url}/runs/flow-run/{run_id}"
    assert json.loads(json.dumps(returned)) == {
        "id": run_id,
        "name": "brave-otter",
        "state_type": "COMPLETED",
        "state_name": "AllGood",
        "state_message": "as ever",
        "start_time": "2026-10-01T12:00:00+00:00",
        "end_time": "2026-10-01T13:00:00+00:00",
        "url": url,
    }
    assert ti.xcoms == {
        "flow_run_id": run_id,
        "flow_run_url": url,
        "flow_run_name": "brave-otter",
        "state": "COMPLETED",
    }


@all_modes
def test_parameters_are_told_only_if_asked_for(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str
) -> None:
    run_id = prefect.add_flow_run("RUNNING", "COMPLETED", parameters={"month": "10"})
    returned = polled_until_the_end(sensor(mode, flow_run_id=run_id, include_parameters=True), context, through_airflow)
    assert returned["parameters"] == {"month": "10"}
    returned = polled_until_the_end(sensor(mode, flow_run_id=run_id), context, through_airflow)
    assert "parameters" not in returned


@all_modes
@pytest.mark.parametrize(
    ("kind", "error"), [("FAILED", FlowRunFailed), ("CRASHED", FlowRunCrashed), ("CANCELLED", FlowRunCancelled)]
)
def test_an_unsuccessful_run_fails_the_task_with_an_error_of_its_own(
    prefect: FakePrefect,
    context: dict[str, Any],
    ti: TaskInstance,
    through_airflow: Through,
    mode: str,
    kind: str,
    error: type[FlowRunUnsuccessful],
) -> None:
    run_id = prefect.add_flow_run("RUNNING", state(kind, message="no month"))
    with pytest.raises(error, match="no month") as raised:
        polled_until_the_end(sensor(mode, flow_run_id=run_id), context, through_airflow)
    assert raised.value.run.id == run_id
    assert ti.xcoms["state"] == kind


@all_modes
@pytest.mark.parametrize("kind", ["FAILED", "CRASHED", "CANCELLED"])
def test_an_unsuccessful_run_skips_the_task_that_fails_softly(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str, kind: str
) -> None:
    run_id = prefect.add_flow_run("RUNNING", state(kind, message="no month"))
    with pytest.raises(AirflowSkipException) as skipped:
        polled_until_the_end(sensor(mode, flow_run_id=run_id, soft_fail=True), context, through_airflow)
    assert "no month" in f"{skipped.value} {skipped.value.__cause__}"


@all_modes
def test_a_run_that_takes_too_long_fails_the_task_and_goes_on(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    with pytest.raises(AirflowSensorTimeout):
        carried_out(sensor(mode, flow_run_id=run_id, timeout=0), context, through_airflow)
    assert prefect.cancelled == []


@all_modes
def test_a_run_that_takes_too_long_skips_the_task_that_fails_softly(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    with pytest.raises(AirflowSkipException):
        carried_out(sensor(mode, flow_run_id=run_id, timeout=0, soft_fail=True), context, through_airflow)


@pytest.mark.parametrize("mode", ["poke", "deferred", "deferred from reschedule"])
def test_a_run_that_does_not_start_fails_the_task(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str
) -> None:
    task = sensor(mode, flow_run_id=prefect.add_flow_run("SCHEDULED"), start_timeout=0.1)
    with pytest.raises(AirflowSensorTimeout, match="did not start in time"):
        carried_out(task, context, through_airflow)
    assert not issubclass(StartTimeout, AirflowSensorTimeout)  # it is Airflow's error that ends a sensor for good


@pytest.mark.parametrize("mode", ["poke", "deferred"])
def test_an_execution_timeout_that_is_shorter_than_the_timeout_counts(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str
) -> None:
    task = sensor(mode, flow_run_id=prefect.add_flow_run("RUNNING"), execution_timeout=timedelta(seconds=0.1))
    with pytest.raises(AirflowSensorTimeout, match="did not finish in time"):
        carried_out(task, context, through_airflow)


@all_modes
@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize(
    "arguments", [{"flow_run_id": "brave-otter"}, {"flow_run_id": RUN, "prefect_conn_id": "there_is_none"}]
)
def test_wrong_arguments_fail_for_good_and_are_never_skipped(
    prefect: FakePrefect,
    context: dict[str, Any],
    through_airflow: Through,
    mode: str,
    soft_fail: bool,
    arguments: dict[str, Any],
) -> None:
    with pytest.raises(AirflowFailException):
        carried_out(sensor(mode, soft_fail=soft_fail, **arguments), context, through_airflow)


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_connection_that_went_wrong_while_deferred_fails_for_good_and_is_not_skipped(
    prefect: FakePrefect, connect: Any, context: dict[str, Any], through_airflow: Through, soft_fail: bool
) -> None:
    task = sensor("deferred", flow_run_id=prefect.add_flow_run("RUNNING"), soft_fail=soft_fail)
    deferred = deferral(task, context)
    connect(host=prefect.api_url, extra={"verifi": True})
    event = event_of(restored(deferred.trigger, through_airflow))
    with pytest.raises(AirflowFailException, match="verifi"):
        task.resume_execution(deferred.method_name, {"event": event}, context)


@all_modes
@pytest.mark.parametrize("soft_fail", [False, True])
def test_an_api_that_stays_away_fails_the_task_and_is_not_skipped(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str, soft_fail: bool
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    task = sensor(mode, flow_run_id=run_id, soft_fail=soft_fail, max_unreachable=0)
    if task.deferrable:
        event = event_away(prefect, task, context, through_airflow)
        with pytest.raises(Unreachable):
            task.resume_execution("execute_complete", {"event": event}, context)
        return
    with pytest.raises(AirflowRescheduleException) if mode == "reschedule" else pytest.raises(Unreachable):
        task.execute(context) if mode == "reschedule" else after_a_poll(prefect, task, context)
    prefect.answer("GET|POST", "/flow_runs/[^/]+", 503)
    with pytest.raises(Unreachable):
        task.poke(context)


def event_away(prefect: FakePrefect, task: Any, context: dict[str, Any], through_airflow: Through) -> Any:
    """The event of a trigger whose API has gone away since the task deferred."""
    trigger = restored(deferral(task, context).trigger, through_airflow)
    prefect.answer("GET|POST", "/flow_runs/[^/]+", 503)
    return event_of(trigger)


def after_a_poll(prefect: FakePrefect, task: Any, context: dict[str, Any]) -> None:
    """The task sees its run once, and then nothing any more."""
    pushed = context["ti"].on_push
    context["ti"].on_push = lambda key, value: prefect.answer("GET|POST", "/flow_runs/[^/]+", 503)
    try:
        task.execute(context)
    finally:
        context["ti"].on_push = pushed


@all_modes
def test_an_unknown_run_fails_the_task(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str
) -> None:
    with pytest.raises(FlowRunNotFound, match=RUN):
        carried_out(sensor(mode, flow_run_id=RUN), context, through_airflow)


@all_modes
def test_a_task_that_never_fails_is_skipped_whatever_is_wrong(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str
) -> None:
    for arguments in (
        {"flow_run_id": prefect.add_flow_run("FAILED")},
        {"flow_run_id": prefect.add_flow_run("RUNNING"), "timeout": 0},
        {"flow_run_id": "brave-otter"},
        {"flow_run_id": RUN},
    ):
        with pytest.raises(AirflowSkipException):
            carried_out(sensor(mode, never_fail=True, **arguments), context, through_airflow)


# What is particular to a mode


@all_modes
def test_a_run_that_has_ended_already_never_defers_or_reschedules(
    prefect: FakePrefect, context: dict[str, Any], mode: str
) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    assert sensor(mode, flow_run_id=run_id).execute(context)["id"] == run_id


def test_a_look_that_sees_no_end_reschedules_and_shows_the_run_already(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, logged: Callable[[], str]
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    with pytest.raises(AirflowRescheduleException):
        sensor("reschedule", flow_run_id=run_id).execute(context)
    assert [*ti.xcoms] == ["flow_run_id", "flow_run_url", "flow_run_name"]
    assert len(prefect.asked("GET", "/flow_runs/.*")) == 1
    assert "Flow run is in state Running" in logged()


def test_a_deferred_sensor_shows_the_run_before_it_waits(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance, through_airflow: Through
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    task = sensor("deferred", flow_run_id=run_id, timeout=3600, poke_interval=7)
    task.poke_interval = 7
    before = time.time()
    deferred = deferral(task, context)
    assert [*ti.xcoms] == ["flow_run_id", "flow_run_url", "flow_run_name"]
    _, kwargs = deferred.trigger.serialize()
    assert json.loads(json.dumps(kwargs)) == through_airflow(kwargs) == kwargs
    assert (kwargs["flow_run_id"], kwargs["poll_interval"]) == (run_id, 7)
    assert kwargs["not_before"] > before
    assert deferred.timeout > timedelta(seconds=3600)


@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize("event", [None, "success", {}, {"flow_run_id": RUN, "flow_run": {"state_type": "COMPLETED"}}])
def test_an_event_that_is_not_understood_fails_the_task_and_is_not_skipped(
    prefect: FakePrefect, context: dict[str, Any], event: Any, soft_fail: bool
) -> None:
    task = sensor("deferred", flow_run_id=RUN, soft_fail=soft_fail)
    with pytest.raises(PrefectError):
        task.resume_execution("execute_complete", {"event": event}, context)
    with pytest.raises(PrefectError):
        task.execute_complete(context, event)


def test_an_event_alone_is_enough_to_end_the_task(prefect: FakePrefect, context: dict[str, Any]) -> None:
    """As in ``dag.test()``, which keeps nothing of what was deferred with."""
    run_id = prefect.add_flow_run("RUNNING", "COMPLETED")
    event = event_of(deferral(sensor("deferred", flow_run_id=run_id), context).trigger)
    fresh = TaskInstance()
    assert sensor("deferred", flow_run_id=run_id).execute_complete({**context, "ti": fresh}, event)["id"] == run_id
    assert fresh.xcoms["state"] == "COMPLETED"


def test_soft_fail_is_what_it_was_after_a_run(prefect: FakePrefect, context: dict[str, Any]) -> None:
    task = sensor("deferred", flow_run_id=prefect.add_flow_run("RUNNING"), soft_fail=True)
    with pytest.raises(TaskDeferred):
        task.execute(context)
    assert (task.soft_fail, task.never_fail) == (True, False)
