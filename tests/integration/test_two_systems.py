"""Prefect and Airflow as one system: pauses and answers, assets, bulk changes and lineage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import FlowRunNotPaused, InvalidRequest
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.bulk import PrefectBulkFlowRunOperator
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.resume import PrefectResumeFlowRunOperator
from tests.integration.conftest import EXAMPLE_FLOW, ROOT, prefect_is_at_least
from tests.integration.dag_runs import asset_events, run_dag
from tools.prefect_stack import PrefectServer
from tools.processes import wait_until

PRICE_LIST = EXAMPLE_FLOW.with_name("price_list.py")
ORDER_LAKE = EXAMPLE_FLOW.with_name("order_lake.py")

needs_assets = pytest.mark.skipif(not prefect_is_at_least("3.4"), reason="Prefect has assets from 3.4 on.")


@pytest.fixture(scope="module")
def price_list(prefect: PrefectServer) -> Iterator[str]:
    served = prefect.serve(PRICE_LIST, "price-list/demo")
    yield "price-list/demo"
    prefect.stop_serving(served)


@pytest.fixture
def paused(price_list: str) -> str:
    """A flow run that waits for an answer."""
    hook = PrefectHook()
    run = hook.start_flow_run(price_list, parameters={"season": "spring"}).run
    wait_until(lambda: hook.read_flow_run(run.id).state.type == "PAUSED", "the flow run is paused", 60)
    return run.id


def test_a_paused_flow_run_tells_what_it_asks_for(paused: str) -> None:
    asked = PrefectHook().read_run_input(paused)
    assert asked is not None
    assert str(asked) == "approved (boolean), note (string, optional)"
    assert "Are the prices of the spring season right?" in asked.description
    PrefectHook().cancel_flow_run(paused)


def test_a_wrong_answer_is_refused_and_a_right_one_resumes_the_flow_run(paused: str) -> None:
    hook = PrefectHook()
    with pytest.raises(InvalidRequest, match=r"Prefect refuses run_input.*approved"):
        hook.resume_flow_run(paused, {"approved": "perhaps"})
    with pytest.raises(InvalidRequest, match=r"'approved' is a required property"):
        hook.resume_flow_run(paused)
    assert hook.read_flow_run(paused).state.type == "PAUSED"
    assert hook.resume_flow_run(paused, {"approved": True, "note": "well done"}).type == "RUNNING"
    run = hook.wait_for_flow_run(paused, poll_interval=1)
    assert hook.read_result(run) == "published the prices of the spring season: well done"
    with pytest.raises(FlowRunNotPaused, match="is not paused"):
        hook.resume_flow_run(paused, {"approved": True})
    with pytest.raises(FlowRunNotPaused, match="cannot be suspended"):
        hook.pause_flow_run(paused)


def test_a_running_flow_run_is_suspended_and_resumed(prefect: PrefectServer) -> None:
    hook = PrefectHook()
    run = hook.start_flow_run("sleeping/served", parameters={"seconds": 30}).run
    wait_until(lambda: hook.read_flow_run(run.id).state.type == "RUNNING", "it runs", 60)
    assert str(hook.pause_flow_run(run.id, timeout=600)) == "Suspended (PAUSED)"
    assert hook.read_run_input(run.id) is None
    assert hook.resume_flow_run(run.id).type == "SCHEDULED"
    hook.cancel_flow_run(run.id)


def test_a_waiting_task_shows_what_a_paused_flow_run_asks_for_and_another_answers(
    price_list: str, new_dag: Callable[..., Any], logged: Callable[[], str]
) -> None:
    hook = PrefectHook()
    with new_dag() as dag:
        PrefectStartFlowRunOperator(
            task_id="start", deployment=price_list, run_name="asks", poll_interval=3, wait_for_completion=False
        )
    flow_run_id = run_dag(dag)["start"].xcoms["return_value"]
    wait_until(lambda: hook.read_flow_run(flow_run_id).state.type == "PAUSED", "the flow run is paused", 60)
    with new_dag("_answers") as other:
        PrefectResumeFlowRunOperator(
            task_id="resume", flow_run_id=flow_run_id, run_input='{"approved": true, "note": "from Airflow"}'
        )
    outcome = run_dag(other)
    assert outcome["resume"].xcoms["return_value"] == "RUNNING"
    assert outcome["resume"].xcoms["flow_run_id"] == flow_run_id
    assert "It asks for approved (boolean), note (string, optional)" in logged()
    assert hook.wait_for_flow_run(flow_run_id, poll_interval=1).state.type == "COMPLETED"


def test_input_that_nobody_asks_for_is_refused(prefect: PrefectServer, new_dag: Callable[[], Any]) -> None:
    hook = PrefectHook()
    run = hook.start_flow_run("sleeping/served", parameters={"seconds": 30}).run
    wait_until(lambda: hook.read_flow_run(run.id).state.type == "RUNNING", "it runs", 60)
    with new_dag() as dag:
        PrefectResumeFlowRunOperator(task_id="resume", flow_run_id=run.id, run_input={"approved": True})
    outcome = run_dag(dag)
    assert "and not paused" in str(outcome["resume"].error)
    hook.pause_flow_run(run.id)
    outcome = run_dag(dag)
    assert "the flow run asks for no input" in str(outcome["resume"].error)
    hook.cancel_flow_run(run.id)


def test_many_flow_runs_are_renamed_and_cancelled_within_the_limit(
    unserved: str, new_dag: Callable[[], Any], logged: Callable[[], str]
) -> None:
    hook = PrefectHook()
    runs = [hook.start_flow_run(unserved, tags=["bulk"], run_name=f"n{n}").run for n in range(5)]
    with new_dag() as dag:
        arguments: dict[str, Any] = {"tags": ["bulk"], "deployment": unserved}
        too_many = PrefectBulkFlowRunOperator(task_id="too_many", action="cancel", limit=4, **arguments)
        look = PrefectBulkFlowRunOperator(
            task_id="look", action="cancel", limit=5, preview_only=True, trigger_rule="all_done", **arguments
        )
        rename = PrefectBulkFlowRunOperator(
            task_id="rename", action="rename", limit=5, new_name="{name} of {id}", **arguments
        )
        cancel = PrefectBulkFlowRunOperator(task_id="cancel", action="cancel", limit=5, **arguments)
        too_many >> look >> rename >> cancel
    outcome = run_dag(dag)
    assert "More than limit=4 flow runs are meant" in str(outcome["too_many"].error)
    assert {one["id"] for one in outcome["look"].xcoms["return_value"]} == {run.id for run in runs}
    assert "5 flow runs are meant" in logged()
    renamed = {one["id"]: one["name"] for one in outcome["rename"].xcoms["return_value"]}
    assert renamed == {run.id: f"{run.name} of {run.id}" for run in runs}
    cancelled = outcome["cancel"].xcoms["return_value"]
    assert {one["id"]: one["state"] for one in cancelled} == {run.id: "CANCELLED" for run in runs}
    assert {hook.read_flow_run(run.id).state.type for run in runs} == {"CANCELLED"}


@needs_assets
def test_what_a_flow_run_materializes_becomes_asset_events(prefect: PrefectServer, new_dag: Callable[[], Any]) -> None:
    from airflow.providers.common.compat.sdk import Asset, AssetAlias

    served = prefect.serve(ORDER_LAKE, "order-lake/demo")
    with new_dag() as dag:
        PrefectStartFlowRunOperator(
            task_id="write",
            deployment="order-lake/demo",
            outlets=[AssetAlias("lake"), Asset("s3://lake/orders.parquet")],
            emit_assets=True,
            poll_interval=3,
        )
    outcome = run_dag(dag)
    assert outcome["write"].state == "success"
    events = asset_events(dag.dag_id)
    assert {uri for uri, _ in events} == {"s3://lake/orders.parquet", "s3://lake/customers.parquet"}
    for uri, extra in events:
        assert extra["prefect_flow_run_id"] == outcome["write"].xcoms["flow_run_id"]
        assert extra["prefect_asset_key"] == uri
        if "orders" in uri:
            metadata = extra["prefect_metadata"]
            assert (json.loads(metadata) if isinstance(metadata, str) else metadata) == {
                "day": "2026-11-01",
                "rows": 120,
            }
    prefect.stop_serving(served)


def test_a_flow_run_is_told_which_openlineage_run_it_belongs_to(
    prefect: PrefectServer, new_dag: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    from airflow_provider_prefect.utils import lineage

    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps({"type": "console"}))
    if not lineage.is_on():
        pytest.fail("OpenLineage is off although it has a transport")
    with new_dag() as dag:
        PrefectStartFlowRunOperator(
            task_id="start",
            deployment="quick/served",
            poll_interval=3,
            job_variables={"env": {"OPENLINEAGE_PARENT_ID": "the/user's/own"}},
        )
    outcome = run_dag(dag)
    assert outcome["start"].state == "success"
    run = prefect.request("GET", f"/flow_runs/{outcome['start'].xcoms['flow_run_id']}")
    _, job, _ = run["labels"]["openlineage.parent"].split("/")
    assert job == f"{dag.dag_id}.start"
    assert run["labels"]["openlineage.root_parent"].split("/")[1] == dag.dag_id
    assert run["job_variables"]["env"]["OPENLINEAGE_PARENT_ID"] == "the/user's/own"
    assert run["job_variables"]["env"]["OPENLINEAGE_ROOT_PARENT_ID"] == run["labels"]["openlineage.root_parent"]


LINEAGE = """
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator

with DAG("lineage", schedule=None):
    for mode, deferrable in (("sync", False), ("deferred", True)):
        PrefectStartFlowRunOperator(
            task_id=mode, deployment="order-lake/demo", poll_interval=3, deferrable=deferrable
        )
"""
RUN = """
import sys
from pathlib import Path

from tests.integration.dag_runs import dags_in, run_dag

[dag] = dags_in(Path(sys.argv[1]))
assert run_dag(dag).state == "success"
"""


@needs_assets
def test_openlineage_is_told_of_the_flow_run_and_its_assets(prefect: PrefectServer, tmp_path: Path) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    served = prefect.serve(ORDER_LAKE, "order-lake/demo")
    file, events_file = tmp_path / "lineage.py", tmp_path / "events.json"
    file.write_text(LINEAGE)
    # A process of its own: Airflow decides when it starts whether it tells OpenLineage anything.
    transport = {"type": "file", "log_file_path": str(events_file), "append": True}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file)],
        cwd=ROOT,
        env={
            **os.environ,
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "nightly",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in events_file.read_text().splitlines()]
    for task in ("sync", "deferred"):
        of_task = {event["eventType"]: event for event in events if event["job"]["name"] == f"lineage.{task}"}
        assert set(of_task) == {"START", "COMPLETE"}
        ended = of_task["COMPLETE"]
        facet = ended["run"]["facets"]["prefectFlowRun"]
        flow_run = prefect.request("GET", f"/flow_runs/{facet['id']}")
        assert (facet["name"], facet["state"]) == (flow_run["name"], "COMPLETED")
        assert facet["url"].endswith(f"/flow-run/{flow_run['id']}")
        assert (facet["flowId"], facet["deploymentId"]) == (flow_run["flow_id"], flow_run["deployment_id"])
        assert flow_run["labels"]["openlineage.parent"] == f"nightly/lineage.{task}/{ended['run']['runId']}"
        assert {one["name"] for one in ended["outputs"]} == {"orders.parquet", "customers.parquet"}
    prefect.stop_serving(served)
