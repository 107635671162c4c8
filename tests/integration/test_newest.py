"""The sensor that waits for the newest run of a deployment, whoever starts it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSensorTimeout

from airflow_provider_prefect.client.errors import FlowRunFailed
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.integration.dag_runs import OFTEN, RESCHEDULED, run_dag
from tools.prefect_stack import PrefectServer

NewDag = Callable[[], DAG]

POKE: dict[str, Any] = {"mode": "poke", "deferrable": False, "poke_interval": OFTEN}
RESCHEDULE: dict[str, Any] = {"mode": "reschedule", "deferrable": False, "poke_interval": RESCHEDULED}
DEFERRED: dict[str, Any] = {"deferrable": True, "poke_interval": OFTEN}
MODES = pytest.mark.parametrize("mode", [POKE, RESCHEDULE, DEFERRED], ids=["poke", "reschedule", "deferred"])


class Deployment:
    """A deployment that nobody serves, with a schedule; what happens to its other runs is up to the test."""

    def __init__(self, prefect: PrefectServer, name: str) -> None:
        self._prefect = prefect
        self.name = name
        self.id = prefect.request("GET", f"/deployments/name/{name}")["id"]
        self._timers: list[threading.Timer] = []

    def run(self, state: str = "COMPLETED", *, tags: tuple[str, ...] = (), ago: timedelta = timedelta(0)) -> str:
        """A run that was to start so long ago, and has ended so."""
        run = PrefectHook().start_flow_run(self.id, tags=tags, scheduled_start_time=datetime.now(UTC) - ago).run
        self.end(run.id, state)
        return run.id

    def end(self, run_id: str, state: str) -> None:
        self._prefect.request("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": state}, "force": True})

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        self._timers.append(threading.Timer(seconds, do))
        self._timers[-1].start()

    def finish(self) -> None:
        for timer in self._timers:
            timer.join()


@pytest.fixture
def deployment(prefect: PrefectServer, scheduled: Iterator[str]) -> Iterator[Deployment]:
    made = Deployment(prefect, next(scheduled))
    yield made
    made.finish()


HOUR = timedelta(hours=1)
SINCE = "{{ macros.datetime.utcnow() - macros.timedelta(hours=3) }}"


@pytest.mark.prefect_alone
@MODES
def test_the_newest_run_that_was_to_start_by_now_is_the_one_whose_end_decides(
    new_dag: NewDag, deployment: Deployment, mode: dict[str, Any]
) -> None:
    deployment.run("FAILED", ago=2 * HOUR)
    newest = deployment.run("COMPLETED", ago=HOUR, tags=("eu", "daily"))
    tagged = deployment.run("FAILED", ago=2 * HOUR, tags=("us", "daily"))
    deployment.run("COMPLETED", ago=5 * HOUR, tags=("old",))
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="newest", deployment=deployment.name, since=SINCE, **mode)
        PrefectFlowRunSensor(task_id="by_id", deployment=deployment.id, since=SINCE, tags=["daily"], **mode)
        PrefectFlowRunSensor(task_id="tagged", deployment=deployment.name, since=SINCE, tags=["daily", "us"], **mode)
        if mode is not RESCHEDULE:
            PrefectFlowRunSensor(
                task_id="too_old", deployment=deployment.name, since=SINCE, tags=["old"], timeout=1, **mode
            )
    outcome = run_dag(dag)
    for task_id in ("newest", "by_id"):
        assert outcome[task_id].state == "success"
        assert outcome[task_id].xcoms["return_value"]["id"] == outcome[task_id].xcoms["flow_run_id"] == newest
    assert isinstance(outcome["tagged"].error, FlowRunFailed)
    assert outcome["tagged"].error.run.id == tagged
    if mode is not RESCHEDULE:
        assert isinstance(outcome["too_old"].error, AirflowSensorTimeout)


@MODES
def test_the_first_run_is_waited_for_if_there_is_none_and_then_for_its_end(
    new_dag: NewDag, deployment: Deployment, mode: dict[str, Any]
) -> None:
    made: list[str] = []
    deployment.later(2, lambda: made.append(deployment.run("RUNNING")))
    deployment.later(5, lambda: deployment.end(made[0], "COMPLETED"))
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="wait", deployment=deployment.name, since=SINCE, **mode)
    waited = run_dag(dag)["wait"]
    assert waited.state == "success"
    assert [waited.xcoms["flow_run_id"]] == made


def test_a_deployment_that_is_not_there_fails_for_good(new_dag: NewDag, prefect: PrefectServer) -> None:
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="wait", deployment="unserved/nowhere", since=SINCE, **DEFERRED)
    waited = run_dag(dag)["wait"]
    assert isinstance(waited.error, AirflowFailException)
    assert "no deployment 'unserved/nowhere'" in str(waited.error)


# Since when, if it is not said


def test_a_dag_run_with_a_data_interval_counts_from_its_start(deployment: Deployment) -> None:
    from airflow.timetables.interval import CronDataIntervalTimetable

    daily: Any = {
        "schedule": CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
        "start_date": datetime(2026, 1, 1, tzinfo=UTC),
        "catchup": False,
    }
    now = datetime.now(UTC)
    yesterday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    deployment.run("FAILED", ago=now - yesterday + timedelta(minutes=5))
    with DAG("with_an_interval", **daily) as dag:
        PrefectFlowRunSensor(task_id="none", deployment=deployment.id, timeout=1, **DEFERRED)
    assert isinstance(run_dag(dag)["none"].error, AirflowSensorTimeout)
    inside = deployment.run("COMPLETED", ago=now - yesterday - timedelta(minutes=5))
    with DAG("with_an_interval_again", **daily) as dag:
        PrefectFlowRunSensor(task_id="one", deployment=deployment.id, timeout=1, **DEFERRED)
    assert run_dag(dag)["one"].xcoms["flow_run_id"] == inside


def test_a_dag_run_without_one_counts_from_its_predecessor_and_the_first_has_to_be_told(
    deployment: Deployment,
) -> None:
    deployment.run("COMPLETED", ago=timedelta(seconds=10))
    with DAG(f"never_run_before_{uuid.uuid4().hex}", schedule=None) as dag:
        PrefectFlowRunSensor(task_id="wait", deployment=deployment.id, timeout=1, **DEFERRED)
    first = run_dag(dag)["wait"]
    assert isinstance(first.error, AirflowFailException)
    assert "since is needed" in str(first.error)
    assert isinstance(run_dag(dag)["wait"].error, AirflowSensorTimeout)
    after = deployment.run("COMPLETED")
    before_the_third = run_dag(dag)["wait"]
    assert before_the_third.xcoms["flow_run_id"] == after
