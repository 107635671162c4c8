"""What people do with Dag runs in operation, each once on a whole Airflow: clear, backfill, try by hand, deploy."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import connection_json
from tests.integration.whole_airflow import MARKS, whole_airflow
from tools.airflow_stack import AirflowStack
from tools.prefect_stack import PrefectServer
from tools.processes import wait_until

DAGS = Path(__file__).parent / "dags_of_operations"
IDS = ("grouped", "surrounded", "ruled", "one_at_a_time", "daily", "tried_by_hand", "leaving", "patient")

pytestmark = [*MARKS, pytest.mark.usefixtures("unserved")]


@pytest.fixture(scope="module")
def airflow(prefect: PrefectServer, unserved: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowStack]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(DAGS, dags)
    with whole_airflow(
        home,
        dags,
        connections={"prefect_default": connection_json(prefect)},
        ids=IDS,
        settings={"AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "5"},
    ) as stack:
        yield stack


class Scene:
    """One Dag run, and the flow runs that its tasks have started."""

    def __init__(self, airflow: AirflowStack, prefect: PrefectServer, dag_id: str, run_id: str | None = None) -> None:
        self.airflow = airflow
        self.prefect = prefect
        self.dag_id = dag_id
        self.run_id = run_id or f"{dag_id}-{time.time_ns()}"
        if run_id is None:
            airflow.api.trigger(dag_id, self.run_id)

    def flow_runs(self, task_id: str | None = None) -> list[dict[str, Any]]:
        """The flow runs of this Dag run or of one of its tasks, the oldest first."""
        tags = [self.run_id, *([task_id] if task_id else [])]
        criteria = {"flow_runs": {"tags": {"all_": tags}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = self.prefect.request("POST", "/flow_runs/filter", criteria)
        return sorted(found, key=lambda run: str(run["created"]))

    def live(self) -> list[dict[str, Any]]:
        return [run for run in self.flow_runs() if run["state_type"] == "SCHEDULED"]

    def put(self, run: dict[str, Any], state_type: str) -> None:
        body = {"state": {"type": state_type}, "force": True}
        self.prefect.request("POST", f"/flow_runs/{run['id']}/set_state", body)

    def states(self) -> dict[str, str | None]:
        """The state of each task; of a mapped one those of all of its instances."""
        found: dict[str, list[str]] = {}
        for ti in self.airflow.api.task_instances(self.dag_id, self.run_id):
            found.setdefault(ti["task_id"], []).append(str(ti["state"]))
        return {task_id: ", ".join(sorted(states)) for task_id, states in found.items()}

    def until_waiting(self, *tasks: str, times: int = 1) -> None:
        wanted = ", ".join(["deferred"] * times)
        self.until(lambda: all(self.states().get(task) == wanted for task in tasks), f"{tasks} are deferred")

    def until_live(self, number: int) -> list[dict[str, Any]]:
        self.until(lambda: len(self.live()) == number, f"{number} flow runs wait")
        return self.live()

    def until_ended(self) -> str:
        return self.airflow.api.wait_for_run(self.dag_id, self.run_id, 300)

    def clear(self) -> None:
        """Clear the whole Dag run."""
        body = {"dry_run": False, "only_failed": False}
        self.airflow.api.call("POST", f"/dags/{self.dag_id}/dagRuns/{self.run_id}/clear", body)

    def until(self, ready: Callable[[], bool], what: str) -> None:
        wait_until(ready, f"{self.dag_id}: {what}", 300, self.airflow.parts.values())


def test_a_cleared_dag_run_starts_new_flow_runs_for_each_group(airflow: AirflowStack, prefect: PrefectServer) -> None:
    scene = Scene(airflow, prefect, "grouped")
    scene.until_waiting("of_month.start", times=2)
    first = scene.until_live(2)
    for run in first:
        scene.put(run, "COMPLETED")
    assert scene.until_ended() == "success"
    assert scene.states()["of_month.take"] == "success, success"

    scene.clear()
    second = scene.until_live(2)
    assert not {run["id"] for run in first} & {run["id"] for run in second}
    assert sorted(run["name"] for run in second) == ["10", "11"]
    for run in second:
        scene.put(run, "COMPLETED")
    assert scene.until_ended() == "success"
    assert len(scene.flow_runs()) == 4


def test_a_dag_run_that_is_cleared_while_it_waits_has_its_old_flow_runs_stopped(
    airflow: AirflowStack, prefect: PrefectServer
) -> None:
    scene = Scene(airflow, prefect, "tried_by_hand")
    scene.until_waiting("start")
    [first] = scene.until_live(1)
    scene.clear()
    scene.until(lambda: len(scene.flow_runs()) == 2, "there is a second flow run")
    [old, new] = scene.flow_runs()
    assert old["id"] == first["id"]
    scene.until(lambda: scene.flow_runs()[0]["state_type"] in ("CANCELLING", "CANCELLED"), "the first one is stopped")
    scene.until_waiting("start")
    scene.put(new, "COMPLETED")
    assert scene.until_ended() == "success"


def test_a_teardown_cancels_what_its_setup_has_started(airflow: AirflowStack, prefect: PrefectServer) -> None:
    scene = Scene(airflow, prefect, "surrounded")
    assert scene.until_ended() == "failed"
    assert scene.states() == {"create": "success", "fail": "failed", "cancel": "success"}
    [run] = scene.flow_runs()
    assert run["state_type"] in ("CANCELLING", "CANCELLED")


def test_trigger_rules_see_failed_and_skipped_tasks(airflow: AirflowStack, prefect: PrefectServer) -> None:
    scene = Scene(airflow, prefect, "ruled")
    scene.until_waiting("fails", "skips")
    scene.put(scene.flow_runs("fails")[0], "FAILED")
    scene.put(scene.flow_runs("skips")[0], "CANCELLED")
    scene.until_ended()
    assert scene.states() == {
        "fails": "failed",
        "skips": "skipped",
        "if_one_failed": "success",
        "if_all_done": "success",
        "if_none_failed": "success",
        "if_success": "upstream_failed",
    }


def test_waiting_tasks_count_for_max_active_tis_per_dagrun(airflow: AirflowStack, prefect: PrefectServer) -> None:
    scene = Scene(airflow, prefect, "one_at_a_time")
    [first] = scene.until_live(1)
    scene.until(lambda: "deferred" in str(scene.states()["start"]), "the first one is deferred")
    time.sleep(10)  # the scheduler has had the time to start the second one
    assert len(scene.flow_runs()) == 1
    scene.put(first, "COMPLETED")
    [second] = scene.until_live(1)
    scene.put(second, "COMPLETED")
    assert scene.until_ended() == "success"


def test_a_backfill_that_reprocesses_starts_a_new_flow_run(airflow: AirflowStack, prefect: PrefectServer) -> None:
    body = {
        "dag_id": "daily",
        "from_date": "2026-10-01T00:00:00Z",
        "to_date": "2026-10-01T00:00:00Z",
        "reprocess_behavior": "completed",
    }
    for number in (1, 2):
        backfill = airflow.api.call("POST", "/backfills", body)
        wait_until(lambda: bool(backfill_runs(airflow)), "daily: there is a Dag run", 60, airflow.parts.values())
        [run_id] = backfill_runs(airflow)
        scene = Scene(airflow, prefect, "daily", run_id)
        [run] = scene.until_live(1)
        scene.until_waiting("start")
        scene.put(run, "COMPLETED")
        assert scene.until_ended() == "success"
        assert len(scene.flow_runs()) == number
        wait_until(partial(has_completed, airflow, backfill["id"]), "the backfill has completed", 120)


def has_completed(airflow: AirflowStack, backfill_id: int) -> bool:
    return airflow.api.call("GET", f"/backfills/{backfill_id}")["completed_at"] is not None


def backfill_runs(airflow: AirflowStack) -> list[str]:
    """The Dag runs of ``daily`` that a backfill has made."""
    runs = airflow.api.call("GET", "/dags/daily/dagRuns")["dag_runs"]
    return [run["dag_run_id"] for run in runs if run["run_type"] == "backfill"]


def test_tasks_test_on_a_dag_run_that_has_ended_reattaches_to_its_flow_run(
    airflow: AirflowStack, prefect: PrefectServer
) -> None:
    scene = Scene(airflow, prefect, "tried_by_hand")
    scene.until_waiting("start")
    [waited_for] = scene.until_live(1)
    scene.put(waited_for, "COMPLETED")
    assert scene.until_ended() == "success"
    said = airflow.command("tasks", "test", "tried_by_hand", "start", scene.run_id)
    assert "was started by this very try before" in said
    assert [run["id"] for run in scene.flow_runs("start")] == [waited_for["id"]]


def test_tasks_test_without_a_dag_run_starts_a_flow_run(airflow: AirflowStack, prefect: PrefectServer) -> None:
    criteria = {"flow_runs": {"tags": {"all_": ["not_waited_for"]}}}
    before = len(prefect.request("POST", "/flow_runs/filter", criteria))
    for number in (1, 2):
        airflow.command("tasks", "test", "tried_by_hand", "not_waited_for", "2026-10-05")
        assert len(prefect.request("POST", "/flow_runs/filter", criteria)) == before + number


def test_a_deferral_that_no_triggerer_serves_ends_with_the_timeout(
    airflow: AirflowStack, prefect: PrefectServer
) -> None:
    airflow.parts["triggerer"].stop()
    try:
        scene = Scene(airflow, prefect, "patient")
        wait_until(lambda: scene.states().get("start") == "deferred", "patient: the task is deferred", 120)
        assert scene.until_ended() == "failed"
    finally:
        airflow.parts["triggerer"].start()
    log = airflow.api.task_log("patient", scene.run_id, "start")
    assert "did not finish in time, and no triggerer has run the task's trigger to its end" in log
    assert "was asked to stop" in log
    [run] = scene.flow_runs()
    assert run["state_type"] in ("CANCELLING", "CANCELLED")


def test_a_task_that_leaves_the_dag_while_it_waits_has_its_flow_run_stopped(
    airflow: AirflowStack, prefect: PrefectServer
) -> None:
    scene = Scene(airflow, prefect, "leaving")
    scene.until_waiting("start", "stays")
    file = airflow.dags_folder / "leaving.py"
    file.write_text(file.read_text().replace('("start", "stays")', '("stays",)'))
    scene.until(lambda: scene.states()["start"] == "removed", "the task is removed")
    scene.until(
        lambda: scene.flow_runs("start")[0]["state_type"] in ("CANCELLING", "CANCELLED"), "its flow run is stopped"
    )
    scene.put(scene.flow_runs("stays")[0], "COMPLETED")
    assert scene.until_ended() == "success"
    assert scene.states() == {"start": "removed", "stays": "success"}
