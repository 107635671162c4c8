"""What each way for a flow run to end means to the task that waits for it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_prefect.client.errors import FlowRunCancelled, FlowRunCrashed, FlowRunFailed
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from airflow_provider_prefect.utils.task_log import TaskLog
from tests.integration.dag_runs import OFTEN, run_dag
from tools.prefect_stack import PrefectServer

NewDag = Callable[[], DAG]
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["in its own process", "deferred"])


class Person:
    """Somebody who changes flow runs in Prefect's UI."""

    def __init__(self, prefect: PrefectServer, deployment: str) -> None:
        self._prefect = prefect
        self._deployment = deployment
        self._threads: list[threading.Thread] = []

    def set_state(self, flow_run_id: str, type_: str, name: str | None = None) -> None:
        state = {"type": type_, "name": name} if name else {"type": type_}
        self._prefect.request("POST", f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True})

    def run_in(self, *states: tuple[str, str | None], seen: threading.Event | None = None) -> str:
        """A flow run that goes through such states: the first at once, each further one two polls later.

        :param seen: set when a task has seen the first state; there is no second one before.
        """
        run_id = PrefectHook().start_flow_run(self._deployment).run.id
        self.set_state(run_id, *states[0])

        def go_on() -> None:
            if seen is not None:
                seen.wait(60)
            for state in states[1:]:
                time.sleep(2 * OFTEN)
                self.set_state(run_id, *state)

        self._later(go_on)
        return run_id

    def cancel_all(self, tag: str, until: int) -> list[str]:
        """Cancel each flow run with this tag as soon as it is there, until so many are; returns their ids."""
        seen: list[str] = []
        criteria = {"flow_runs": {"tags": {"all_": [tag]}}}

        def cancel() -> None:
            give_up = time.monotonic() + 30
            while len(seen) < until and time.monotonic() < give_up:
                for run in self._prefect.request("POST", "/flow_runs/filter", criteria):
                    if run["id"] not in seen:
                        seen.append(run["id"])
                        body = {"state": {"type": "CANCELLING"}}
                        self._prefect.request("POST", f"/flow_runs/{run['id']}/set_state", body)
                time.sleep(0.3)

        self._later(cancel)
        return seen

    def _later(self, do: Callable[[], object]) -> None:
        self._threads.append(threading.Thread(target=do))
        self._threads[-1].start()

    def finish(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def person(prefect: PrefectServer, unserved: str) -> Iterator[Person]:
    person = Person(prefect, unserved)
    yield person
    person.finish()


def waiting(task_id: str, flow_run_id: str, deferrable: bool, **arguments: Any) -> PrefectFlowRunSensor:
    return PrefectFlowRunSensor(
        task_id=task_id, flow_run_id=flow_run_id, deferrable=deferrable, poke_interval=OFTEN, **arguments
    )


ENDS = {"COMPLETED": None, "FAILED": FlowRunFailed, "CRASHED": FlowRunCrashed, "CANCELLED": FlowRunCancelled}


@MODES
def test_each_end_has_its_own_error_which_carries_the_flow_run(
    new_dag: NewDag, person: Person, deferrable: bool
) -> None:
    runs = {state: person.run_in((state, None)) for state in ENDS}
    with new_dag() as dag:
        for state, run_id in runs.items():
            waiting(state, run_id, deferrable, retries=2, retry_delay=timedelta(0))
    outcome = run_dag(dag)
    for state, error in ENDS.items():
        ended = outcome[state]
        assert ended.xcoms["state"] == state
        if error is None:
            assert ended.state == "success"
            continue
        assert ended.state == "failed"
        assert isinstance(ended.error, error)
        assert ended.error.run.id == runs[state]  # type: ignore[attr-defined]
        assert ended.error.run.state.type == state  # type: ignore[attr-defined]
        assert isinstance(ended.error, AirflowFailException) is (state == "CANCELLED")


@MODES
def test_the_wait_can_succeed_whatever_the_state(new_dag: NewDag, person: Person, deferrable: bool) -> None:
    with new_dag() as dag:
        for state in ENDS:
            waiting(state, person.run_in((state, None)), deferrable, fail_on_unsuccessful=False)
    outcome = run_dag(dag)
    assert outcome.state == "success"
    for state in ENDS:
        assert outcome[state].xcoms["state"] == outcome[state].xcoms["return_value"]["state_type"] == state


@MODES
def test_states_can_skip_the_task(new_dag: NewDag, person: Person, deferrable: bool) -> None:
    with new_dag() as dag:
        for state in ENDS:
            run_id = person.run_in((state, None))
            waiting(state, run_id, deferrable, skip_on=["cancelled", "CRASHED"], fail_on_unsuccessful=False)
        PrefectGetTaskRunResultOperator(
            task_id="result", flow_run_id=run_id, skip_on=["CANCELLED"], deferrable=deferrable, poll_interval=OFTEN
        )
    outcome = run_dag(dag)
    assert {state: outcome[state].state for state in ENDS} == {
        "COMPLETED": "success",
        "FAILED": "success",
        "CRASHED": "skipped",
        "CANCELLED": "skipped",
    }
    assert outcome["CRASHED"].xcoms["state"] == "CRASHED"
    assert outcome["result"].state == "skipped"


@pytest.mark.parametrize(
    ("again", "deferrable"),
    [(False, False), (False, True), (True, True)],
    ids=["for good", "for good, deferred", "again"],
)
def test_a_flow_run_that_a_person_cancels_is_started_again_only_if_so_asked(
    new_dag: NewDag, person: Person, unserved: str, deferrable: bool, again: bool
) -> None:
    tag = uuid.uuid4().hex
    cancelled = person.cancel_all(tag, 2 if again else 1)
    with new_dag() as dag:
        PrefectStartFlowRunOperator(
            task_id="start",
            deployment=unserved,
            tags=[tag],
            retries=1,
            retry_delay=timedelta(0),
            retry_cancelled=again,
            deferrable=deferrable,
            poll_interval=OFTEN,
        )
    start = run_dag(dag)["start"]
    person.finish()
    assert start.state == "failed"
    assert isinstance(start.error, FlowRunCancelled)
    assert isinstance(start.error, AirflowFailException) is not again
    assert len(cancelled) == (2 if again else 1)
    assert len(PrefectHook().find_flow_runs({"flow_runs": {"tags": {"all_": [tag]}}})) == len(cancelled)


@pytest.mark.prefect_alone
@pytest.mark.parametrize(("name", "deferrable"), [("Paused", False), ("Suspended", True)])
def test_a_paused_flow_run_is_waited_for_and_said_once_to_be(
    new_dag: NewDag,
    person: Person,
    name: str,
    deferrable: bool,
    logged: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = threading.Event()
    show = TaskLog.on_change
    monkeypatch.setattr(TaskLog, "on_change", lambda self, run: (show(self, run), seen.set()))
    run_id = person.run_in(("PAUSED", name), ("RUNNING", None), ("COMPLETED", None), seen=seen)
    with new_dag() as dag:
        waiting("wait", run_id, deferrable, stream_states=False)
    assert run_dag(dag)["wait"].state == "success"
    text = logged()
    [said] = [line for line in text.splitlines() if "Flow run is in state" in line]
    assert f"Flow run is in state {name}" in said
    assert "It waits until somebody resumes it." in said
    assert "warning" in said.lower()


@pytest.mark.prefect_alone
@MODES
def test_names_of_states_confuse_nobody(new_dag: NewDag, person: Person, deferrable: bool) -> None:
    misleading = {
        "failed_completed": [("RUNNING", "Completed"), ("FAILED", "Completed")],
        "completed_failed": [("RUNNING", "Failed"), ("COMPLETED", "Failed")],
        "completed_running": [("COMPLETED", "Running")],
    }
    with new_dag() as dag:
        for task_id, states in misleading.items():
            waiting(task_id, person.run_in(*states), deferrable)
    outcome = run_dag(dag)
    assert {task_id: outcome[task_id].state for task_id in misleading} == {
        "failed_completed": "failed",
        "completed_failed": "success",
        "completed_running": "success",
    }
    assert outcome["completed_running"].xcoms["return_value"]["state_name"] == "Running"
    assert "Completed (FAILED)" in str(outcome["failed_completed"].error)
