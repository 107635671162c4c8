"""Renaming and cancelling flow runs in every state on a real Prefect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_prefect.client.errors import FlowRunNotFound, WaitTimeout
from airflow_provider_prefect.client.transport import run as run_call
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.bulk import PrefectBulkFlowRunOperator
from airflow_provider_prefect.operators.flow_run import (
    PrefectCancelFlowRunOperator,
    PrefectRenameFlowRunOperator,
    PrefectStartFlowRunOperator,
)
from tests.integration.dag_runs import OFTEN, run_dag
from tools.prefect_stack import PrefectServer

NewDag = Callable[[], DAG]
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["in its own process", "deferred"])
NOWHERE = "00000000-0000-4000-8000-000000000000"

# The states that a flow run can be in, and the one that it is in after a cancel.
CANCELS = {
    "SCHEDULED": "CANCELLED",
    "PENDING": "CANCELLING",
    "RUNNING": "CANCELLING",
    "PAUSED": "CANCELLING",
    "CANCELLING": "CANCELLING",
    "COMPLETED": "COMPLETED",
    "FAILED": "FAILED",
    "CRASHED": "CRASHED",
    "CANCELLED": "CANCELLED",
}


@pytest.fixture
def in_states(prefect: PrefectServer, unserved: str) -> dict[str, str]:
    """A flow run in each state, which nobody runs."""
    runs = {}
    for state in CANCELS:
        run = PrefectHook().start_flow_run(unserved).run
        # A scheduled one that is to be CANCELLING is CANCELLED at once.
        for step in {"SCHEDULED": [], "CANCELLING": ["PENDING", "CANCELLING"]}.get(state, [state]):
            body = {"state": {"type": step}, "force": True}
            prefect.request("POST", f"/flow_runs/{run.id}/set_state", body)
        runs[state] = run.id
    return runs


@pytest.fixture
def deployment(prefect: PrefectServer, scheduled: Iterator[str]) -> dict[str, Any]:
    """A deployment of its own, which nobody serves and a schedule has made runs of for the coming days."""
    name = next(scheduled)
    made: dict[str, Any] = prefect.request("GET", f"/deployments/name/{name}")
    return made


def runs_of(prefect: PrefectServer, deployment_id: str) -> list[dict[str, Any]]:
    body = {"flow_runs": {"deployment_id": {"any_": [deployment_id]}}}
    found: list[dict[str, Any]] = prefect.request("POST", "/flow_runs/filter", body)
    return found


def made_by_hand(prefect: PrefectServer, deployment_id: str) -> set[str]:
    """The ids of all runs of a deployment, however many, that no schedule has made."""
    found: list[dict[str, Any]] = []
    body: dict[str, Any] = {"flow_runs": {"deployment_id": {"any_": [deployment_id]}}, "sort": "ID_DESC"}
    while page := prefect.request("POST", "/flow_runs/filter", {**body, "offset": len(found)}):
        found += page
    return {run["id"] for run in found if not run["auto_scheduled"]}


def states(prefect: PrefectServer, flow_run_id: str) -> list[tuple[str, str | None]]:
    """All states that a flow run has been in, with their messages."""
    history = prefect.request("GET", f"/flow_run_states/?flow_run_id={flow_run_id}")
    return [(one["type"], one["message"]) for one in sorted(history, key=lambda one: one["timestamp"])]


# Rename


@pytest.mark.prefect_alone
def test_a_flow_run_is_renamed_in_every_state(
    new_dag: NewDag, prefect: PrefectServer, in_states: dict[str, str]
) -> None:
    with new_dag() as dag:
        for state, flow_run_id in in_states.items():
            PrefectRenameFlowRunOperator(task_id=state, flow_run_id=flow_run_id, name="called {{ ti.task_id }}")
    outcome = run_dag(dag)
    assert outcome.state == "success"
    for state, flow_run_id in in_states.items():
        run = prefect.request("GET", f"/flow_runs/{flow_run_id}")
        assert (run["name"], run["state_type"]) == (f"called {state}", state)
        xcoms = outcome[state].xcoms
        assert xcoms["return_value"] == xcoms["flow_run_id"] == flow_run_id
        assert xcoms["flow_run_name"] == f"called {state}"
        assert xcoms["flow_run_url"].endswith(flow_run_id)


def test_a_rename_that_cannot_be_done_fails_and_says_why(
    new_dag: NewDag, prefect: PrefectServer, in_states: dict[str, str]
) -> None:
    flow_run_id = in_states["SCHEDULED"]
    before = prefect.request("GET", f"/flow_runs/{flow_run_id}")["name"]
    with new_dag() as dag:
        PrefectRenameFlowRunOperator(task_id="empty", flow_run_id=flow_run_id, name=" {{ '' }} ")
        PrefectRenameFlowRunOperator(task_id="unknown", flow_run_id=NOWHERE, name="x")
        PrefectRenameFlowRunOperator(task_id="no_id", flow_run_id="my run", name="x")
        start = PrefectStartFlowRunOperator(task_id="begin", deployment="unserved/by-nobody", wait_for_completion=False)
        start >> PrefectRenameFlowRunOperator(task_id="none", name="x")
    outcome = run_dag(dag)
    assert {outcome[task_id].state for task_id in ("empty", "unknown", "no_id", "none")} == {"failed"}
    assert isinstance(outcome["empty"].error, AirflowFailException)
    assert "name is empty" in str(outcome["empty"].error)
    assert prefect.request("GET", f"/flow_runs/{flow_run_id}")["name"] == before
    assert isinstance(outcome["unknown"].error, FlowRunNotFound)
    assert NOWHERE in str(outcome["unknown"].error)
    assert "flow_run_id='my run'" in str(outcome["no_id"].error)
    assert "flow_run_id=begin.output" in str(outcome["none"].error)


# Cancel one


@pytest.mark.prefect_alone
def test_a_flow_run_is_asked_to_stop_in_every_state_and_never_forced(
    new_dag: NewDag, prefect: PrefectServer, in_states: dict[str, str]
) -> None:
    before = {state: states(prefect, flow_run_id) for state, flow_run_id in in_states.items()}
    with new_dag() as dag:
        for state, flow_run_id in in_states.items():
            PrefectCancelFlowRunOperator(task_id=state, flow_run_id=flow_run_id)
    outcome = run_dag(dag)
    assert outcome.state == "success"
    for state, after in CANCELS.items():
        flow_run_id = in_states[state]
        assert outcome[state].xcoms["return_value"] == after, state
        assert outcome[state].xcoms["flow_run_id"] == flow_run_id
        entered = states(prefect, flow_run_id)[len(before[state]) :]
        assert [type_ for type_, _ in entered] == ([after] if after != state else []), state


@MODES
def test_a_running_flow_run_is_stopped_by_whoever_runs_it_and_waited_for(
    new_dag: NewDag, prefect: PrefectServer, deferrable: bool
) -> None:
    run = PrefectHook().start_flow_run("sleeping/served").run
    give_up = time.monotonic() + 60
    while PrefectHook().read_flow_run(run.id).state.type != "RUNNING" and time.monotonic() < give_up:
        time.sleep(0.2)
    with new_dag() as dag:
        PrefectCancelFlowRunOperator(
            task_id="cancel", flow_run_id=run.id, wait_for_completion=True, deferrable=deferrable, poll_interval=OFTEN
        )
    outcome = run_dag(dag)
    assert outcome["cancel"].xcoms["return_value"] == "CANCELLED"
    assert len(outcome.triggers) == deferrable
    assert [type_ for type_, _ in states(prefect, run.id)][-2:] == ["CANCELLING", "CANCELLED"]
    assert "cancelled successfully" in str(states(prefect, run.id)[-1][1])


@MODES
def test_the_wait_for_a_flow_run_that_never_stops_is_bounded(
    new_dag: NewDag, prefect: PrefectServer, in_states: dict[str, str], deferrable: bool
) -> None:
    with new_dag() as dag:
        PrefectCancelFlowRunOperator(
            task_id="cancel",
            flow_run_id=in_states["RUNNING"],
            wait_for_completion=True,
            timeout=3,
            deferrable=deferrable,
            poll_interval=OFTEN,
        )
    cancel = run_dag(dag)["cancel"]
    assert cancel.state == "failed"
    assert isinstance(cancel.error, WaitTimeout)
    assert "Cancelling" in str(cancel.error)
    assert states(prefect, in_states["RUNNING"])[-1][0] == "CANCELLING"


def test_a_cancel_that_cannot_be_done_fails_and_says_why(new_dag: NewDag, prefect: PrefectServer) -> None:
    with new_dag() as dag:
        PrefectCancelFlowRunOperator(task_id="unknown", flow_run_id=NOWHERE)
        PrefectCancelFlowRunOperator(task_id="no_id", flow_run_id="my run")
        PrefectCancelFlowRunOperator(task_id="no_deployment", deployment="unserved/nowhere")
        PrefectCancelFlowRunOperator(task_id="none")
    outcome = run_dag(dag)
    assert {one.state for one in outcome.tasks.values()} == {"failed"}
    assert isinstance(outcome["unknown"].error, FlowRunNotFound)
    assert NOWHERE in str(outcome["unknown"].error)
    assert "flow_run_id='my run'" in str(outcome["no_id"].error)
    assert "no deployment 'unserved/nowhere'" in str(outcome["no_deployment"].error)
    assert "flow_run_id is missing" in str(outcome["none"].error)


# Cancel all runs of a deployment


@MODES
def test_all_live_runs_of_a_deployment_are_stopped_but_not_those_to_come(
    new_dag: NewDag, prefect: PrefectServer, deployment: dict[str, Any], deferrable: bool
) -> None:
    to_come = {run["id"] for run in runs_of(prefect, deployment["id"])}
    hook = PrefectHook()
    mine = [hook.start_flow_run(deployment["id"], tags=["mine", "more"]).run.id for _ in range(3)]
    theirs = hook.start_flow_run(deployment["id"], tags=["more"]).run.id
    ended = hook.start_flow_run(deployment["id"], tags=["mine"]).run.id
    for run_id, state in ((mine[1], "PENDING"), (mine[2], "RUNNING"), (ended, "COMPLETED")):
        prefect.request("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": state}, "force": True})
    arguments: dict[str, Any] = {"deferrable": deferrable, "poll_interval": OFTEN}
    with new_dag() as dag:
        some = PrefectCancelFlowRunOperator(
            task_id="some", deployment=f"unserved/{deployment['name']}", tags=["mine"], **arguments
        )
        every = PrefectCancelFlowRunOperator(
            task_id="every", deployment=deployment["id"], wait_for_completion=True, **arguments
        )
        none = PrefectCancelFlowRunOperator(
            task_id="none", deployment=deployment["id"], wait_for_completion=True, **arguments
        )
        some >> every >> none
    outcome = run_dag(dag)
    assert outcome.state == "success"
    stopped = {one["id"]: one["state"] for one in outcome["some"].xcoms["return_value"]}
    assert stopped == {mine[0]: "CANCELLED", mine[1]: "CANCELLING", mine[2]: "CANCELLING"}
    assert outcome["every"].xcoms["return_value"] == [{"id": theirs, "state": "CANCELLED"}]
    assert outcome["none"].xcoms["return_value"] == []
    for run in runs_of(prefect, deployment["id"]):
        if run["id"] in to_come:
            assert (run["state_type"], run["auto_scheduled"]) == ("SCHEDULED", True)
    assert to_come


def test_many_flow_runs_are_cancelled_however_many_are_to_come(
    new_dag: NewDag, prefect: PrefectServer, deployment: dict[str, Any]
) -> None:
    to_come = {run["id"] for run in runs_of(prefect, deployment["id"])}
    assert len(to_come) > 2
    mine = {PrefectHook().start_flow_run(deployment["id"]).run.id for _ in range(2)}
    with new_dag() as dag:
        PrefectBulkFlowRunOperator(task_id="it", action="cancel", limit=2, deployment=deployment["id"])
    outcome = run_dag(dag)["it"]
    assert {one["id"]: one["state"] for one in outcome.xcoms["return_value"]} == dict.fromkeys(mine, "CANCELLED")
    left = [run for run in runs_of(prefect, deployment["id"]) if run["id"] in to_come]
    assert {run["state_type"] for run in left} == {"SCHEDULED"}


@pytest.mark.prefect_alone
def test_a_run_to_come_is_stopped_if_it_is_named(
    new_dag: NewDag, prefect: PrefectServer, deployment: dict[str, Any]
) -> None:
    to_come = runs_of(prefect, deployment["id"])[0]["id"]
    with new_dag() as dag:
        PrefectCancelFlowRunOperator(task_id="cancel", flow_run_id=to_come)
    assert run_dag(dag)["cancel"].xcoms["return_value"] == "CANCELLED"


@pytest.mark.prefect_alone
def test_more_runs_than_the_server_lists_at_once_are_all_stopped(
    new_dag: NewDag, prefect: PrefectServer, deployment: dict[str, Any]
) -> None:
    # On SQLite some may not be created, or none; and a request that was not answered may have been heard.
    while len(made := made_by_hand(prefect, deployment["id"])) < 205:
        runs = [{}] * min(205 - len(made), 20)
        prefect.request("POST", f"/deployments/{deployment['id']}/create_flow_run/bulk", runs)
    with new_dag() as dag:
        PrefectCancelFlowRunOperator(
            task_id="cancel", deployment=deployment["id"], wait_for_completion=True, poll_interval=OFTEN
        )
    stopped = run_dag(dag)["cancel"].xcoms["return_value"]
    assert {one["id"] for one in stopped} == made
    assert {one["state"] for one in stopped} == {"CANCELLED"}
    assert run_call(PrefectHook().api.find_live_flow_runs(deployment["id"], ())) == []
