"""The example Dags on Prefect 1: they run with their connection pointing at it, if the flow is named as it is there.

What Prefect 1 does not have, they cannot use there: a deployment, its tags, and a flow's own result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import airflow_database  # noqa: F401 - a fixture
from tests.integration.dag_runs import DagOutcome, dags_in, run_dag
from tests.prefect1 import scenario
from tests.prefect1.server import Prefect1Server

EXAMPLES = {path.stem: path for path in (Path(__file__).resolve().parents[2] / "example_dags").glob("*.py")}
SUMMARY = {"month": "2026-10", "orders": 8345, "revenue": 321530.92}
SHELVES = {"north": [120, 85, 7], "south": [60, 44], "west": [310, 0, 12, 98]}
HOURS = 1000

pytestmark = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferred"])


class Agent:
    """Takes every flow run one step on whenever somebody looks, as the flows of the examples would go."""

    def __init__(self, server: Prefect1Server) -> None:
        self._server = server
        server.meanwhile(self.work, on="flow_run", times=None)

    def work(self) -> None:
        for run in self._server.tables.all("flow_run"):
            match run["state"]:
                case "Scheduled":
                    scenario.move(self._server, run["id"], "Running")
                case "Running" if run["parameters"].get("seconds_per_shelf", 0) < HOURS:
                    self._finish(run["id"], run["parameters"])
                    scenario.move(self._server, run["id"], "Success")
                case "Cancelling":
                    scenario.move(self._server, run["id"], "Cancelled")

    def _finish(self, run_id: str, parameters: Mapping[str, Any]) -> None:
        if "month" in parameters:
            summary = scenario.prefect_result({**SUMMARY, "month": parameters["month"]})
            scenario.finish_task(self._server, run_id, "summarise-1", result=summary)
            return
        shelves = SHELVES[parameters["warehouse"]]
        for shelf, pieces in enumerate(shelves):
            scenario.write_log(self._server, run_id, f"Shelf {shelf} has {pieces} pieces")
        counted = [scenario.prefect_result({"pieces": pieces}) for pieces in shelves]
        scenario.finish_mapped(self._server, run_id, "count_shelf-1", counted)
        total = scenario.prefect_result({"warehouse": parameters["warehouse"], "pieces": sum(shelves)})
        scenario.finish_task(self._server, run_id, "total-1", result=total)


@pytest.fixture
def server(server: Prefect1Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect1Server]:
    """A server with the flows of the examples, to which both their connections lead."""
    scenario.register_flow(
        server, "sales-report", project="demo", tasks=["summarise"], parameters=[scenario.parameter("month")]
    )
    scenario.register_flow(
        server, "stock-count", project="demo", tasks=["list_shelves", "total"], mapped=["count_shelf"]
    )
    Agent(server)
    connection = json.dumps({"conn_type": "prefect", "host": server.url, "extra": {"api": "graphql"}})
    for name in ("PREFECT_DEFAULT", "PREFECT_1"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", connection)
    yield server


def run_example(name: str, deferrable: bool, *tasks: str, **changes: dict[str, Any]) -> DagOutcome:
    """Run an example with its flows named as on Prefect 1, waits in this mode, and the quickest looks.

    :param tasks: only these tasks of it; all without.
    :param changes: further arguments, by task id.
    """
    [dag] = dags_in(EXAMPLES[name])
    if tasks:
        dag = dag.partial_subset(tasks, include_upstream=False)
    task: Any
    for task in dag.tasks:
        mapped = hasattr(task, "partial_kwargs")
        given = task.partial_kwargs if mapped else vars(task)
        if deployment := given.get("deployment"):
            flow_name, _, project_name = deployment.partition("/")
            given.update(deployment=None, flow_name=flow_name, project_name=project_name)
            if not mapped:
                task.remember_given()  # as if the deployment had never been given
        given.update(changes.get(task.task_id, {}))
        if mapped or "deferrable" in given:
            # The constructor of a mapped one is still to be called, and takes no shorter interval.
            interval = "poke_interval" if task.task_type.endswith("Sensor") else "poll_interval"
            given.update({"deferrable": deferrable, interval: 3 if mapped else 0.05})
    return run_dag(dag)


def succeeded(outcome: DagOutcome) -> DagOutcome:
    assert {key: (task.state, task.error) for key, task in outcome.tasks.items() if task.state != "success"} == {}
    return outcome


def returned(outcome: DagOutcome, task_id: str) -> Any:
    return outcome[task_id].xcoms["return_value"]


def test_example_prefect_1(server: Prefect1Server, deferrable: bool) -> None:
    outcome = succeeded(run_example("example_prefect_1", deferrable))
    [run] = server.tables.all("flow_run")
    assert returned(outcome, "start") == run["id"]
    assert (run["state"], run["parameters"]) == ("Success", {"month": "2026-10"})
    assert run["name"] == f"{outcome.run_id}-sales-report"
    assert returned(outcome, "summary") == SUMMARY
    assert returned(outcome, "report") == "2026-10: 8,345 orders for 321,530.92"
    assert outcome["start"].xcoms["flow_run_url"] == f"http://127.0.0.1:8080/default/flow-run/{run['id']}"
    assert bool(outcome.triggers) is deferrable


def test_example_prefect_start_flow_run_without_the_flows_own_result(server: Prefect1Server, deferrable: bool) -> None:
    changes = {"summarise": {"fetch_result": False}}
    outcome = succeeded(run_example("example_prefect_start_flow_run", deferrable, "summarise", **changes))
    [run] = server.tables.all("flow_run")
    assert (returned(outcome, "summarise"), outcome["summarise"].xcoms["state"]) == (run["id"], "COMPLETED")
    assert "result" not in outcome["summarise"].xcoms


def test_example_prefect_sensor(server: Prefect1Server, deferrable: bool) -> None:
    outcome = succeeded(run_example("example_prefect_sensor", deferrable))
    [run] = server.tables.all("flow_run")
    seen = returned(outcome, "wait")
    assert (seen["id"], seen["state_type"], seen["state_name"]) == (run["id"], "COMPLETED", "Success")
    assert run["parameters"] == {"warehouse": "west", "seconds_per_shelf": 1}
    assert returned(outcome, "report").startswith(f"{run['name']} ended Success at ")
    assert returned(outcome, "counted") == [
        f"Shelf {n} has {pieces} pieces" for n, pieces in enumerate(SHELVES["west"])
    ]


def test_example_prefect_rename_and_cancel_without_tags_and_without_a_deployments_other_runs(
    server: Prefect1Server, deferrable: bool
) -> None:
    tasks = ("start", "rename", "cancel")
    outcome = succeeded(run_example("example_prefect_rename_and_cancel", deferrable, *tasks, start={"tags": None}))
    [run] = server.tables.all("flow_run")
    assert run["name"] == f"count of the north, for {outcome.run_id}"
    assert (run["state"], returned(outcome, "cancel")) == ("Cancelled", "CANCELLED")


def test_example_prefect_mapped_with_slugs_for_names(server: Prefect1Server, deferrable: bool) -> None:
    slugs = {"total": {"task_name": "total-1"}, "shelves": {"task_name": "count_shelf-1"}}
    outcome = succeeded(run_example("example_prefect_mapped", deferrable, **slugs))
    totals = [task.xcoms["return_value"] for task in outcome.mapped("total")]
    shelves = [task.xcoms["return_value"] for task in outcome.mapped("shelves")]
    assert totals == [{"warehouse": name, "pieces": sum(pieces)} for name, pieces in SHELVES.items()]
    assert shelves == [[{"pieces": each} for each in pieces] for pieces in SHELVES.values()]
    assert returned(outcome, "report") == "736 pieces on 9 shelves"
    keys = {run["idempotency_key"] for run in server.tables.all("flow_run")}
    assert len(keys) == len(SHELVES)


def test_an_example_that_needs_a_deployment_says_so_and_starts_nothing(
    server: Prefect1Server, deferrable: bool
) -> None:
    [dag] = dags_in(EXAMPLES["example_prefect_wait_for_deployment"])
    outcome = run_dag(dag.partial_subset(["somebody_starts_it"], include_upstream=False))
    assert outcome["somebody_starts_it"].state == "failed"
    assert "deployment='sales-report/demo' is not supported by Prefect 1: there are no deployments." in str(
        outcome["somebody_starts_it"].error
    )
    assert not server.requests
