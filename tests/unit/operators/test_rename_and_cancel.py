"""Renaming and cancelling flow runs, through the real hook and the real drivers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred

from airflow_provider_prefect.client.errors import ConfigurationError, FlowRunNotFound, PrefectError, WaitTimeout
from airflow_provider_prefect.operators.flow_run import (
    PrefectCancelFlowRunOperator,
    PrefectRenameFlowRunOperator,
    PrefectStartFlowRunOperator,
)
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import Answer, Asked, FakePrefect, state
from tests.unit.running import Through, deferral, event_of, restored

NOWHERE = "00000000-0000-4000-8000-000000000000"
both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


@pytest.fixture
def prefect(prefect: FakePrefect) -> FakePrefect:
    """A server that also renames flow runs and lists those of a deployment, two at a time."""

    def more(asked: Asked) -> Answer | None:
        if asked.method == "PATCH" and (found := re.fullmatch("/flow_runs/([^/]+)", asked.path)):
            run = prefect.flow_runs.get(found[1])
            if run is None:
                return Answer(404, {"detail": "Flow run not found"})
            run["name"] = asked.body["name"]
            return Answer(204)
        if (asked.method, asked.path) == ("POST", "/flow_runs/filter") and "offset" in asked.body:
            rows = [run for run in prefect.flow_runs.values() if meets(run, asked.body["flow_runs"])]
            return Answer(200, rows[asked.body["offset"] :][:2])
        return None

    prefect.instead.append(more)
    return prefect


def meets(run: dict[str, Any], criteria: dict[str, Any]) -> bool:
    """Whether a flow run is one of those asked for."""
    return (
        run["id"] in criteria.get("id", {}).get("any_", [run["id"]])
        and run.get("deployment_id") in criteria.get("deployment_id", {}).get("any_", [run.get("deployment_id")])
        and run["state"]["type"] in criteria.get("state", {}).get("type", {}).get("any_", [run["state"]["type"]])
        and set(criteria.get("tags", {}).get("all_", ())) <= set(run.get("tags", ()))
    )


def cancel(**arguments: Any) -> PrefectCancelFlowRunOperator:
    task = PrefectCancelFlowRunOperator(**{"task_id": "cancel", "deferrable": False, **arguments})
    task.poll_interval = 0.01
    return task


# Rename


def test_a_flow_run_is_renamed_and_told_by_its_new_name(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    run_id = prefect.add_flow_run("COMPLETED", name="old")
    assert PrefectRenameFlowRunOperator(task_id="r", flow_run_id=run_id, name="new").execute(context) == run_id
    assert prefect.flow_runs[run_id]["name"] == "new"
    assert ti.xcoms["flow_run_name"] == "new"
    assert ti.xcoms["flow_run_url"].endswith(run_id)


@pytest.mark.parametrize("name", ["", " ", "\n", None])
def test_an_empty_name_is_refused_before_anything_is_sent(
    prefect: FakePrefect, context: dict[str, Any], name: Any
) -> None:
    run_id = prefect.add_flow_run("RUNNING", name="old")
    with pytest.raises(AirflowFailException, match="name is empty"):
        PrefectRenameFlowRunOperator(task_id="r", flow_run_id=run_id, name=name).execute(context)
    assert prefect.asked("PATCH", ".*") == []


def test_a_rename_of_an_unknown_flow_run_says_which(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(FlowRunNotFound, match=NOWHERE):
        PrefectRenameFlowRunOperator(task_id="r", flow_run_id=NOWHERE, name="x").execute(context)


@pytest.mark.parametrize(
    "task",
    [
        lambda: PrefectRenameFlowRunOperator(task_id="task", name="x"),
        lambda: PrefectCancelFlowRunOperator(task_id="task"),
    ],
)
@pytest.mark.parametrize(("starts", "named"), [(0, "start"), (1, "begin_0"), (2, "start")])
def test_a_flow_run_that_is_not_named_is_not_guessed_but_the_way_is_shown(
    prefect: FakePrefect, context: dict[str, Any], task: Callable[[], Any], starts: int, named: str
) -> None:
    with DAG("d", schedule=None):
        missing = task()
        for number in range(starts):
            PrefectStartFlowRunOperator(task_id=f"begin_{number}", deployment="sales/demo") >> missing
    with pytest.raises(AirflowFailException, match=rf"^flow_run_id is missing.*flow_run_id={named}\.output"):
        missing.execute(context)
    assert prefect.requests == []


def test_a_task_in_no_dag_which_a_test_of_ones_own_may_execute_is_told_so_too(
    prefect: FakePrefect, context: dict[str, Any]
) -> None:
    with pytest.raises(AirflowFailException, match=r"^flow_run_id is missing"):
        PrefectCancelFlowRunOperator(task_id="task").execute(context)


def test_what_is_templated() -> None:
    assert set(PrefectRenameFlowRunOperator.template_fields) == {"flow_run_id", "name", "prefect_conn_id"}
    assert set(PrefectCancelFlowRunOperator.template_fields) == {
        "flow_run_id",
        "deployment",
        "tags",
        "prefect_conn_id",
    }


# Cancel: what it is given


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"flow_run_id": NOWHERE, "deployment": "a/b"}, "Give either flow_run_id, or deployment"),
        ({"flow_run_id": NOWHERE, "tags": ["a"]}, "tags choose among the runs of a deployment"),
        ({"flow_run_id": NOWHERE, "timeout": 0}, "^timeout=0 is not a duration"),
        ({"flow_run_id": NOWHERE, "timeout": None}, "^timeout=None would wait for ever"),
        ({"flow_run_id": NOWHERE, "poll_interval": 2}, "^poll_interval=2 is too short"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        PrefectCancelFlowRunOperator(task_id="cancel", **arguments)


def test_tags_that_are_one_text_are_refused(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="tags='nightly' is not a list of strings"):
        cancel(deployment="sales/demo", tags="nightly").execute(context)
    assert prefect.cancelled == []


# Cancel one


def test_cancelling_is_asked_for_without_force(prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    assert cancel(flow_run_id=run_id).execute(context) == "CANCELLING"
    [asked] = prefect.asked("POST", "/flow_runs/.*/set_state")
    assert asked.body == {"state": {"type": "CANCELLING"}, "force": False}
    assert ti.xcoms["flow_run_id"] == run_id


@pytest.mark.parametrize("type_", ["COMPLETED", "FAILED", "CRASHED"])
def test_a_flow_run_that_had_ended_is_a_success_that_says_so(
    prefect: FakePrefect, context: dict[str, Any], type_: str, logged: Callable[[], str]
) -> None:
    run_id = prefect.add_flow_run(type_)
    assert cancel(flow_run_id=run_id).execute(context) == type_
    assert f"Flow run had ended already, in state {type_.capitalize()}. Its id is {run_id}." in logged()


def test_a_flow_run_that_is_cancelled_at_once_is_a_success(prefect: FakePrefect, context: dict[str, Any]) -> None:
    run_id = prefect.add_flow_run("SCHEDULED")
    body = {"status": "REJECT", "state": state("CANCELLED"), "details": {"reason": "no infrastructure"}}
    prefect.answer("POST", "/flow_runs/.*/set_state", 201, body)
    assert cancel(flow_run_id=run_id).execute(context) == "CANCELLED"


@pytest.mark.parametrize("type_", ["PAUSED", "RUNNING"])
def test_a_flow_run_that_prefect_does_not_stop_is_a_failure(
    prefect: FakePrefect, context: dict[str, Any], type_: str
) -> None:
    run_id = prefect.add_flow_run(type_)
    body = {"status": "REJECT", "state": state(type_), "details": {"reason": "no"}}
    prefect.answer("POST", "/flow_runs/.*/set_state", 200, body)
    with pytest.raises(PrefectError, match=rf"leaves them as they are: {run_id} \({type_}\)") as refused:
        cancel(flow_run_id=run_id).execute(context)
    assert not isinstance(refused.value, AirflowFailException)


def test_a_flow_run_that_is_not_there_is_a_failure(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(FlowRunNotFound, match=NOWHERE):
        cancel(flow_run_id=NOWHERE).execute(context)


# Waiting for the end


def resumed(
    task: PrefectCancelFlowRunOperator, context: dict[str, Any], through_airflow: Through
) -> tuple[Any, list[str]]:
    """What the task returns in the end, and the flow runs that it has deferred for."""
    waited: list[str] = []
    run: Callable[[], Any] = lambda: task.execute(context)  # noqa: E731
    while True:
        try:
            return run(), waited
        except TaskDeferred as deferred:
            trigger = restored(deferred.trigger, through_airflow)
            waited.append(trigger.flow_run_id or "")
            event = through_airflow(event_of(trigger))
            assert deferred.method_name == "execute_complete"
            run = lambda event=event: task.execute_complete(context, event)  # type: ignore[misc]  # noqa: E731


def ends_when_asked(prefect: FakePrefect, type_: str) -> Callable[[Asked], Answer | None]:
    """Has a flow run that is asked to stop end so at the first poll of it alone."""

    def asked_to(asked: Asked) -> Answer | None:
        if not asked.path.endswith("/set_state"):
            return None
        run_id = asked.path.split("/")[2]
        given = prefect._set_state(asked.body, run_id)
        prefect._ahead[run_id] = [state(type_)]
        return given

    return asked_to


@both_modes
def test_the_end_is_waited_for_if_so_asked(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    prefect.instead.insert(0, ends_when_asked(prefect, "CANCELLED"))
    task = cancel(flow_run_id=run_id, wait_for_completion=True, deferrable=deferrable)
    assert resumed(task, context, through_airflow) == ("CANCELLED", [run_id] if deferrable else [])


def test_all_runs_are_waited_for_and_reported_in_the_order_in_which_they_were_stopped(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through
) -> None:
    deployment_id = next(iter(prefect.deployments))
    runs = [prefect.add_flow_run("RUNNING", deployment_id=deployment_id) for _ in range(5)]
    prefect.instead.insert(0, ends_when_asked(prefect, "CANCELLED"))
    task = cancel(deployment="sales/demo", wait_for_completion=True, deferrable=True)
    returned, waited = resumed(task, context, through_airflow)
    assert returned == [{"id": run_id, "state": "CANCELLED"} for run_id in runs]
    assert waited == runs


@both_modes
def test_a_wait_that_takes_too_long_is_a_timeout(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    task = cancel(flow_run_id=run_id, wait_for_completion=True, timeout=0.2, deferrable=deferrable)
    with pytest.raises(WaitTimeout, match=r"did not finish in time.*Cancelling"):
        resumed(task, context, through_airflow)


def test_the_time_limit_of_the_task_counts_too(prefect: FakePrefect, context: dict[str, Any]) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    task = cancel(flow_run_id=run_id, wait_for_completion=True, execution_timeout=timedelta(seconds=0.4))
    with pytest.raises(WaitTimeout):
        task.execute(context)


def test_a_deferral_goes_on_with_the_same_deadline(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    task = cancel(flow_run_id=run_id, wait_for_completion=True, deferrable=True)
    trigger: Any = deferral(task, context).trigger
    kept = ti.xcoms["cancelled_flow_runs"]
    assert (kept["ids"], kept["deadline"]) == ([run_id], trigger.deadline)


def test_what_goes_wrong_in_the_triggerer_goes_wrong_in_the_task(prefect: FakePrefect, context: dict[str, Any]) -> None:
    event = {"flow_run_id": NOWHERE, "flow_run": None, "error": {"kind": "ConfigurationError", "message": "no login"}}
    with pytest.raises(AirflowFailException, match="no login"):
        cancel(flow_run_id=NOWHERE).execute_complete(context, event)


@pytest.mark.parametrize("by_deployment", [False, True])
def test_a_flow_run_that_is_deleted_meanwhile_is_not_waited_for(
    prefect: FakePrefect, context: dict[str, Any], by_deployment: bool
) -> None:
    deployment_id = next(iter(prefect.deployments))
    run_id = prefect.add_flow_run("RUNNING", deployment_id=deployment_id)

    def delete(asked: Asked) -> Answer | None:
        if "id" in (asked.body or {}).get("flow_runs", {}):
            prefect.flow_runs.pop(run_id, None)
        return None

    prefect.instead.insert(0, delete)
    which = {"deployment": "sales/demo"} if by_deployment else {"flow_run_id": run_id}
    assert cancel(wait_for_completion=True, **which).execute(context) == ([] if by_deployment else None)


# Cancel all runs of a deployment


def test_all_live_runs_of_a_deployment_are_asked_to_stop_page_by_page(
    prefect: FakePrefect, context: dict[str, Any]
) -> None:
    deployment_id = next(iter(prefect.deployments))
    live = [
        prefect.add_flow_run(type_, deployment_id=deployment_id, tags=["a", "b"])
        for type_ in ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "RUNNING")
    ]
    for type_ in ("COMPLETED", "CANCELLING", "CANCELLED"):
        prefect.add_flow_run(type_, deployment_id=deployment_id, tags=["a", "b"])
    prefect.add_flow_run("RUNNING", deployment_id=deployment_id, tags=["a"])
    prefect.add_flow_run("RUNNING", deployment_id="another", tags=["a", "b"])
    prefect.add_flow_run("SCHEDULED", deployment_id=deployment_id, tags=["a", "b"], auto_scheduled=True)
    started = prefect.add_flow_run("RUNNING", deployment_id=deployment_id, tags=["a", "b"], auto_scheduled=True)
    returned = cancel(deployment="sales/demo", tags=["a", "b"]).execute(context)
    assert returned == [{"id": run_id, "state": "CANCELLING"} for run_id in [*live, started]]
    assert prefect.cancelled == [*live, started]


def test_runs_that_appear_meanwhile_are_asked_to_stop_too(prefect: FakePrefect, context: dict[str, Any]) -> None:
    deployment_id = next(iter(prefect.deployments))
    runs = [prefect.add_flow_run("RUNNING", deployment_id=deployment_id)]

    def appear(asked: Asked) -> Answer | None:
        if asked.path.endswith("/set_state") and len(runs) < 3:
            runs.append(prefect.add_flow_run("RUNNING", deployment_id=deployment_id))
        return None

    prefect.instead.insert(0, appear)
    returned = cancel(deployment=deployment_id).execute(context)
    assert [one["id"] for one in returned] == runs
    assert len(runs) == 3


def test_one_that_prefect_does_not_stop_keeps_no_other_from_being_stopped(
    prefect: FakePrefect, context: dict[str, Any]
) -> None:
    deployment_id = next(iter(prefect.deployments))
    paused, running = (prefect.add_flow_run(type_, deployment_id=deployment_id) for type_ in ("PAUSED", "RUNNING"))
    body = {"status": "REJECT", "state": state("PAUSED"), "details": {}}
    prefect.answer("POST", f"/flow_runs/{paused}/set_state", 200, body)
    with pytest.raises(PrefectError, match=rf"{paused} \(PAUSED\)\.$"):
        cancel(deployment="sales/demo").execute(context)
    assert prefect.flow_runs[running]["state"]["type"] == "CANCELLING"


def test_one_that_is_deleted_meanwhile_is_no_failure(prefect: FakePrefect, context: dict[str, Any]) -> None:
    deployment_id = next(iter(prefect.deployments))
    gone, there = (prefect.add_flow_run("RUNNING", deployment_id=deployment_id) for _ in range(2))
    prefect.answer("POST", f"/flow_runs/{gone}/set_state", 404, {"exception_message": f"Flow run {gone} not found"})
    returned = cancel(deployment="sales/demo").execute(context)
    assert returned == [{"id": there, "state": "CANCELLING"}]


def test_a_deployment_without_live_runs_is_a_success(prefect: FakePrefect, context: dict[str, Any]) -> None:
    assert cancel(deployment="sales/demo", wait_for_completion=True).execute(context) == []


def test_a_deployment_that_is_not_there_fails_for_good(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="no deployment 'sales/nowhere'"):
        cancel(deployment="sales/nowhere").execute(context)
