"""Every example Dag is run with the flows that come with it, against Prefect 3 and Prefect 2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.conftest import EXAMPLE_FLOW, PREFECT, ROOT, connection_json, prefect_is_at_least
from tests.integration.dag_runs import AIRFLOW, OFTEN, DagOutcome, asset_events, dags_in, run_dag
from tools.prefect_stack import PrefectServer

EXAMPLES = {path.stem: path for path in (ROOT / "example_dags").glob("*.py")}
STOCK_COUNT, ORDER_LAKE = EXAMPLE_FLOW.with_name("stock_count.py"), EXAMPLE_FLOW.with_name("order_lake.py")


SERVERS = [
    pytest.param("prefect", id="Prefect 3"),
    pytest.param("prefect_2", id="Prefect 2", marks=[pytest.mark.prefect_alone, pytest.mark.long]),
]


@pytest.fixture(scope="module", params=SERVERS, autouse=True)
def server(request: pytest.FixtureRequest) -> Iterator[PrefectServer]:
    """A Prefect server with the examples' own flows, served as they say; ``prefect_default`` leads to it."""
    server: PrefectServer = request.getfixturevalue(request.param)
    served = [server.serve(EXAMPLE_FLOW, "sales-report/demo"), server.serve(STOCK_COUNT, "stock-count/demo")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_PREFECT_DEFAULT", connection_json(server))
        yield server
    server.stop_serving(*served)


def run_example(name: str) -> DagOutcome:
    """Run an example as it stands, only that it looks at its flow runs often."""
    [dag] = dags_in(EXAMPLES[name])
    for task in dag.tasks:
        if hasattr(task, "partial_kwargs"):  # a mapped one
            task.partial_kwargs["poll_interval"] = OFTEN
        for interval in {"poll_interval", "poke_interval"}.intersection(vars(task)):
            setattr(task, interval, OFTEN)
    outcome = run_dag(dag)
    assert outcome.state == "success"
    assert {task.state for task in outcome.tasks.values()} == {"success"}
    return outcome


def returned(outcome: DagOutcome, task_id: str) -> Any:
    return outcome[task_id].xcoms["return_value"]


def test_every_example_is_run_here() -> None:
    tested = {name.removeprefix("test_") for name in globals()}
    # Prefect 1's runs where its server's double is (tests/prefect1/test_examples.py), and those that need a triggerer
    # or an answer where there is a whole Airflow (test_real_scheduler.py).
    elsewhere = {"example_prefect_1", "example_prefect_events", "example_prefect_approval"}
    assert set(EXAMPLES) - elsewhere <= tested


def test_example_prefect_start_flow_run() -> None:
    outcome = run_example("example_prefect_start_flow_run")
    result = outcome["summarise"].xcoms["result"]
    assert result["month"] == "2026-10"
    assert result["regions"][0]["region"] in returned(outcome, "report")
    assert f"{result['revenue']:,.2f}" in returned(outcome, "report")


def test_example_prefect_sensor(server: PrefectServer) -> None:
    outcome = run_example("example_prefect_sensor")
    run = server.request("GET", f"/flow_runs/{returned(outcome, 'start')}")
    seen = returned(outcome, "wait")
    assert (seen["id"], seen["name"], seen["state_type"]) == (run["id"], run["name"], "COMPLETED")
    assert run["parameters"] == {"warehouse": "west", "seconds_per_shelf": 1}
    assert returned(outcome, "report").startswith(f"{run['name']} ended Completed at ")
    assert returned(outcome, "counted") == [
        f"Shelf {shelf} has {pieces} pieces" for shelf, pieces in (("A1", 310), ("B1", 0), ("B2", 12), ("C1", 98))
    ]


def test_example_prefect_rename_and_cancel(server: PrefectServer) -> None:
    outcome = run_example("example_prefect_rename_and_cancel")
    run = server.request("GET", f"/flow_runs/{returned(outcome, 'start')}")
    assert run["name"] == f"count of the north, for {outcome.run_id}"
    assert (run["state_type"], returned(outcome, "cancel")) == ("CANCELLED", "CANCELLED")
    [other] = returned(outcome, "cancel_the_rest")
    assert other["id"] == returned(outcome, "start_another")
    assert other["state"] in ("CANCELLING", "CANCELLED")
    assert returned(outcome, "report") == f"CANCELLED; of the rest: {other['state']}"


@pytest.mark.skipif(not prefect_is_at_least("3.4.5"), reason="Its task runs do not tell which map index they have.")
def test_example_prefect_mapped() -> None:
    outcome = run_example("example_prefect_mapped")
    totals = [task.xcoms["return_value"] for task in outcome.mapped("total")]
    shelves = [task.xcoms["return_value"] for task in outcome.mapped("shelves")]
    assert totals == [
        {"warehouse": "north", "pieces": 212},
        {"warehouse": "south", "pieces": 104},
        {"warehouse": "west", "pieces": 420},
    ]
    assert [[shelf["pieces"] for shelf in counted] for counted in shelves] == [[120, 85, 7], [60, 44], [310, 0, 12, 98]]
    assert returned(outcome, "report") == "736 pieces on 9 shelves"


def test_example_prefect_wait_for_deployment() -> None:
    outcome = run_example("example_prefect_wait_for_deployment")
    assert returned(outcome, "wait")["id"] == returned(outcome, "somebody_starts_it")
    assert returned(outcome, "summary")["month"] == "2026-10"
    assert returned(outcome, "report") == f"2026-10: {returned(outcome, 'summary')['orders']:,} orders"


@pytest.mark.skipif(not prefect_is_at_least("3.4"), reason="Prefect has assets from 3.4 on.")
def test_example_prefect_assets(server: PrefectServer) -> None:
    if server.environment != PREFECT:
        pytest.skip("Prefect 2 has no assets.")
    served = server.serve(ORDER_LAKE, "order-lake/demo")
    outcome = run_example("example_prefect_assets")
    extras = dict(asset_events("example_prefect_assets"))
    assert set(extras) == {"s3://lake/orders.parquet", "s3://lake/customers.parquet"}
    metadata = extras["s3://lake/orders.parquet"]["prefect_metadata"]
    assert (json.loads(metadata) if AIRFLOW < (3,) else metadata) == {"day": "2026-11-01", "rows": 120}
    assert extras["s3://lake/orders.parquet"]["prefect_flow_run_id"] == returned(outcome, "write")
    server.stop_serving(served)


def test_example_prefect_bulk(server: PrefectServer) -> None:
    outcome = run_example("example_prefect_bulk")
    started = {returned(outcome, f"start_{warehouse}") for warehouse in ("north", "south", "west")}
    renamed = {one["id"]: one["name"] for one in returned(outcome, "rename")}
    cancelled = {one["id"]: one["name"] for one in returned(outcome, "cancel")}
    assert set(renamed) == started
    assert cancelled == renamed
    for flow_run_id in started:
        run = server.request("GET", f"/flow_runs/{flow_run_id}")
        assert run["name"] == renamed[flow_run_id]
        assert run["name"].endswith(" (to be cancelled)")
        assert run["state_type"] in ("CANCELLING", "CANCELLED")


def test_example_prefect_shadow(server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PREFECT_NEXT", connection_json(server))
    outcome = run_example("example_prefect_shadow")
    one, other = (returned(outcome, f"run_on_{conn_id}") for conn_id in ("prefect_default", "prefect_next"))
    assert one != other
    assert returned(outcome, "compare") == []
