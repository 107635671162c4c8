"""PrefectFlowRunSensor in its three modes against a Prefect server that really runs the flows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSensorTimeout

from airflow_provider_prefect.client.errors import FlowRunFailed
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.integration.conftest import page_of
from tests.integration.dag_runs import OFTEN, RESCHEDULED, run_dag
from tools.prefect_stack import PrefectServer

pytestmark = pytest.mark.usefixtures("prefect")

POKE: dict[str, Any] = {"mode": "poke", "deferrable": False, "poke_interval": OFTEN}
RESCHEDULE: dict[str, Any] = {"mode": "reschedule", "deferrable": False, "poke_interval": RESCHEDULED}
DEFERRED: dict[str, Any] = {"deferrable": True, "poke_interval": OFTEN}
MODES = pytest.mark.parametrize("mode", [POKE, RESCHEDULE, DEFERRED], ids=["poke", "reschedule", "deferred"])

NewDag = Callable[[], DAG]


@pytest.fixture(scope="module")
def ended(prefect: PrefectServer) -> dict[str, str]:
    """Flow runs that have ended, by their state type."""
    hook = PrefectHook()
    runs = {
        "COMPLETED": hook.start_flow_run("quick/served", parameters={"words": ["secret"]}).run.id,
        "FAILED": hook.start_flow_run("failing/served").run.id,
        "CRASHED": hook.start_flow_run("crashing/served").run.id,
    }
    for state, flow_run_id in runs.items():
        assert hook.wait_for_flow_run(flow_run_id, poll_interval=OFTEN).state.type == state
    return runs


@pytest.fixture(scope="module")
def waiting(prefect: PrefectServer, unserved: str) -> str:
    """A flow run that nobody starts."""
    return PrefectHook().start_flow_run(unserved).run.id


@MODES
def test_a_sensor_waits_for_a_flow_run_that_another_task_has_started(
    new_dag: NewDag, prefect: PrefectServer, mode: dict[str, Any]
) -> None:
    with new_dag() as dag:
        start = PrefectStartFlowRunOperator(
            task_id="start", deployment="sleeping/served", parameters={"seconds": 2}, wait_for_completion=False
        )
        PrefectFlowRunSensor(task_id="wait", flow_run_id=start.output, **mode)
    outcome = run_dag(dag)
    assert outcome.state == "success"
    flow_run_id = outcome["start"].xcoms["return_value"]
    assert [trigger.flow_run_id for trigger in outcome.triggers] == ([flow_run_id] if mode is DEFERRED else [])
    xcoms = outcome["wait"].xcoms
    run = prefect.request("GET", f"/flow_runs/{flow_run_id}")
    seen = xcoms["return_value"]
    assert set(xcoms) == {"flow_run_id", "flow_run_url", "flow_run_name", "state", "return_value"}
    assert xcoms["state"] == "COMPLETED"
    assert (seen["id"], seen["name"]) == (xcoms["flow_run_id"], xcoms["flow_run_name"]) == (run["id"], run["name"])
    assert (seen["state_type"], seen["state_name"], seen["state_message"]) == ("COMPLETED", "Completed", None)
    assert seen["url"] == xcoms["flow_run_url"] == page_of(prefect, flow_run_id)
    assert seen["start_time"] < seen["end_time"]
    assert "parameters" not in seen
    assert json.loads(json.dumps(seen)) == seen


@MODES
def test_a_sensor_shows_a_state_of_its_own_name_as_the_success_that_it_is(
    new_dag: NewDag, mode: dict[str, Any]
) -> None:
    run = PrefectHook().start_flow_run("all-good/served", idempotency_key="seen by the sensor").run
    PrefectHook().wait_for_flow_run(run.id, poll_interval=OFTEN)
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="wait", flow_run_id=run.id, **mode)
    waited = run_dag(dag)["wait"]
    assert waited.state == "success"
    seen = waited.xcoms["return_value"]
    assert (seen["state_type"], seen["state_name"]) == ("COMPLETED", "AllGood")
    assert seen["state_message"] == "nothing to complain of"


@MODES
def test_a_sensor_gives_the_parameters_only_if_so_asked(
    new_dag: NewDag, ended: dict[str, str], mode: dict[str, Any]
) -> None:
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="without", flow_run_id=ended["COMPLETED"], **mode)
        PrefectFlowRunSensor(task_id="with", flow_run_id=ended["COMPLETED"], include_parameters=True, **mode)
    outcome = run_dag(dag)
    assert "secret" not in str(outcome["without"].xcoms)
    assert outcome["with"].xcoms["return_value"]["parameters"]["words"] == ["secret"]


@MODES
@pytest.mark.parametrize("state", ["FAILED", "CRASHED"])
def test_a_flow_run_that_was_unsuccessful_fails_the_sensor(
    new_dag: NewDag, ended: dict[str, str], mode: dict[str, Any], state: str
) -> None:
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="wait", flow_run_id=ended[state], **mode)
    waited = run_dag(dag)["wait"]
    assert waited.state == "failed"
    assert "the well is dry" in str(waited.error) or state == "CRASHED"
    assert isinstance(waited.error, FlowRunFailed) or state == "CRASHED"
    assert waited.xcoms["state"] == state
    assert "return_value" not in waited.xcoms


@MODES
def test_a_flow_run_that_fails_while_the_sensor_waits_fails_it(new_dag: NewDag, mode: dict[str, Any]) -> None:
    with new_dag() as dag:
        start = PrefectStartFlowRunOperator(task_id="start", deployment="failing/served", wait_for_completion=False)
        PrefectFlowRunSensor(task_id="wait", flow_run_id=start.output, **mode)
    waited = run_dag(dag)["wait"]
    assert waited.state == "failed"
    assert isinstance(waited.error, FlowRunFailed)
    assert "the well is dry" in str(waited.error)


@MODES
def test_soft_fail_skips_for_a_flow_run_that_was_unsuccessful(
    new_dag: NewDag, ended: dict[str, str], mode: dict[str, Any]
) -> None:
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="wait", flow_run_id=ended["FAILED"], soft_fail=True, **mode)
    waited = run_dag(dag)["wait"]
    assert (waited.state, waited.xcoms["state"]) == ("skipped", "FAILED")


@MODES
def test_soft_fail_skips_when_the_time_is_up(new_dag: NewDag, waiting: str, mode: dict[str, Any]) -> None:
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="wait", flow_run_id=waiting, timeout=3, soft_fail=True, **mode)
    assert run_dag(dag)["wait"].state == "skipped"


@MODES
def test_soft_fail_does_not_hide_a_wrong_connection(new_dag: NewDag, waiting: str, mode: dict[str, Any]) -> None:
    with new_dag() as dag:
        PrefectFlowRunSensor(
            task_id="wait", flow_run_id=waiting, soft_fail=True, prefect_conn_id="prefect_nowhere", **mode
        )
    waited = run_dag(dag)["wait"]
    assert waited.state == "failed"
    assert isinstance(waited.error, AirflowFailException)
    assert "'prefect_nowhere'" in str(waited.error)


@pytest.mark.parametrize("mode", [POKE, DEFERRED], ids=["poke", "deferred"])
@pytest.mark.parametrize("limit", ["timeout", "start_timeout"])
def test_a_sensor_that_runs_out_of_time_fails_once_and_leaves_the_flow_run_alone(
    new_dag: NewDag, prefect: PrefectServer, waiting: str, mode: dict[str, Any], limit: str
) -> None:
    with new_dag() as dag:
        PrefectFlowRunSensor(
            task_id="wait", flow_run_id=waiting, retries=2, retry_delay=timedelta(0), **{limit: 3}, **mode
        )
    waited = run_dag(dag)["wait"]
    assert waited.state == "failed"
    assert isinstance(waited.error, AirflowSensorTimeout)
    assert "in time" in str(waited.error)
    assert prefect.request("GET", f"/flow_runs/{waiting}")["state_type"] == "SCHEDULED"


@MODES
def test_a_flow_run_that_does_not_exist_fails_the_sensor(new_dag: NewDag, mode: dict[str, Any]) -> None:
    nowhere = "00000000-0000-4000-8000-000000000000"
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="wait", flow_run_id=nowhere, timeout=60, **mode)
        PrefectFlowRunSensor(task_id="no_id", flow_run_id="not-an-id", timeout=60, **mode)
    outcome = run_dag(dag)
    assert (outcome["wait"].state, outcome["no_id"].state) == ("failed", "failed")
    assert f"no flow run {nowhere}" in str(outcome["wait"].error)
    assert isinstance(outcome["no_id"].error, AirflowFailException)
    assert "flow_run_id='not-an-id'" in str(outcome["no_id"].error)
