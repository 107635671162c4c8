"""Exactly one flow run for a task instance, found again by a retry and stopped with its task: on Prefect 1.

What a try decides is tested in tests/unit/test_recovery.py, for both APIs alike. Here it is what Prefect 1 has for it:
keys that count by version of a flow, no answer that tells a new run from a found one, and no restart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.utils.on_kill import TaskStopped
from tests.prefect1 import scenario
from tests.prefect1.our_side import Done, OurSide
from tests.prefect1.server import Prefect1Server

pytestmark = pytest.mark.usefixtures("flow_id")


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    """The flow ``etl`` in its first version."""
    return scenario.register_flow(server, "etl")


def next_try(ours: OurSide, *, cleared: bool = False) -> None:
    """Airflow tries the task once more; a clear raises ``max_tries``, a retry does not."""
    ours.ti.try_number += 1
    if cleared:
        ours.ti.max_tries += ours.ti.try_number


def runs(server: Prefect1Server) -> list[Any]:
    return list(server.tables.all("flow_run"))


def started(ours: OurSide, **arguments: Any) -> Done:
    done = ours.start(**arguments)
    assert done.error is None
    return done


# A retry


@pytest.mark.parametrize("state", ["Scheduled", "Submitted", "Running", "Paused", "Retrying"])
def test_a_retry_reattaches_to_the_run_that_still_lives(ours: OurSide, server: Prefect1Server, state: str) -> None:
    first = started(ours)
    scenario.move(server, first.value, state)
    next_try(ours)
    assert started(ours).value == first.value
    assert [run["id"] for run in runs(server)] == [first.value]
    assert "Reattached to flow run" in ours.logged()
    assert len(server.called("create_flow_run")) == 1


def test_a_retry_adopts_the_run_that_has_completed_meanwhile(ours: OurSide, server: Prefect1Server) -> None:
    first = started(ours)
    scenario.move(server, first.value, "Success")
    next_try(ours)
    again = started(ours, wait_for_completion=True)
    assert (again.value, again.xcoms["state"]) == (first.value, "COMPLETED")
    assert "Adopted flow run" in ours.logged()
    assert len(runs(server)) == 1


@pytest.mark.parametrize("state", ["Failed", "TimedOut", "Cancelled", "Cancelling"])
def test_a_retry_starts_another_run_after_one_that_was_unsuccessful_s17(
    ours: OurSide, server: Prefect1Server, state: str
) -> None:
    first = started(ours)
    scenario.move(server, first.value, state)
    next_try(ours)
    assert started(ours).value != first.value
    assert len(runs(server)) == 2
    assert scenario.row(server, "flow_run", first.value)["state"] == state


def test_the_third_try_finds_the_run_of_the_first(ours: OurSide) -> None:
    first = started(ours)
    next_try(ours)
    next_try(ours)
    assert started(ours).value == first.value


def test_a_retry_deferred_reattaches_too(ours: OurSide, server: Prefect1Server) -> None:
    first = started(ours)
    scenario.move(server, first.value, "Running")
    scenario.moving_on(server, first.value, "Success", skip=2)
    next_try(ours)
    again = started(ours, wait_for_completion=True, deferrable=True)
    assert (again.value, again.xcoms["state"]) == (first.value, "COMPLETED")
    assert len(runs(server)) == 1


def test_another_map_index_has_a_run_of_its_own_s09(ours: OurSide, server: Prefect1Server) -> None:
    values = []
    for index in range(3):
        ours.ti.map_index = index
        values.append(started(ours).value)
    assert len(set(values)) == len(runs(server)) == 3


# A flow that is registered again: Prefect 1 counts keys by version (row C22)


@pytest.mark.parametrize("state", ["Running", "Success"])
def test_a_retry_finds_the_run_of_the_version_before_c22(ours: OurSide, server: Prefect1Server, state: str) -> None:
    first = started(ours)
    scenario.move(server, first.value, state)
    newer = scenario.register_flow(server, "etl")
    assert newer != scenario.row(server, "flow_run", first.value)["flow_id"]
    next_try(ours)
    assert started(ours).value == first.value
    assert len(runs(server)) == 1


def test_another_flow_of_that_name_is_no_later_version_and_its_run_is_not_taken(
    ours: OurSide, server: Prefect1Server
) -> None:
    first = started(ours, project_name="main")
    scenario.move(server, first.value, "Running")
    scenario.register_flow(server, "etl", project="other")
    next_try(ours)
    assert started(ours, project_name="other").value != first.value
    assert scenario.row(server, "flow_run", first.value)["state"] == "Cancelling"


def test_a_key_of_the_users_own_makes_another_run_of_another_version_c22(ours: OurSide, server: Prefect1Server) -> None:
    first = started(ours, idempotency_key="mine")
    assert started(ours, idempotency_key="mine").value == first.value
    scenario.register_flow(server, "etl")
    assert started(ours, idempotency_key="mine").value != first.value


# A clear


@pytest.mark.parametrize(("before", "after"), [("Running", "Cancelling"), ("Scheduled", "Cancelled")])
def test_a_cleared_task_stops_its_old_run_and_starts_a_new_one(
    ours: OurSide, server: Prefect1Server, before: str, after: str
) -> None:
    first = started(ours)
    scenario.move(server, first.value, before)
    next_try(ours, cleared=True)
    second = started(ours)
    assert second.value != first.value
    assert scenario.row(server, "flow_run", first.value)["state"] == after
    assert [call.name for call in server.called("create_flow_run", "cancel_flow_run")] == [
        *("create_flow_run", "cancel_flow_run", "create_flow_run")
    ]
    assert "A flow run from before this task was cleared was asked to stop" in ours.logged()


def test_a_cleared_task_does_not_adopt_what_has_completed_before(ours: OurSide, server: Prefect1Server) -> None:
    first = started(ours)
    scenario.move(server, first.value, "Success")
    next_try(ours, cleared=True)
    assert started(ours).value != first.value
    assert not server.called("cancel_flow_run")


def test_a_cleared_task_leaves_its_old_run_if_so_asked(ours: OurSide, server: Prefect1Server) -> None:
    first = started(ours)
    scenario.move(server, first.value, "Running")
    next_try(ours, cleared=True)
    assert started(ours, cancel_on_kill=False).value != first.value
    assert scenario.row(server, "flow_run", first.value)["state"] == "Running"


# Created, or found


@pytest.mark.parametrize("trouble", [{"reset": True}, {"status": 502}, {"truncate": 10}, {"status": 500}])
def test_a_create_whose_answer_was_lost_makes_one_run_which_is_known_to_be_new(
    ours: OurSide, server: Prefect1Server, trouble: dict[str, Any]
) -> None:
    server.fault(acted=True, on="create_flow_run", **trouble)
    done = started(ours)
    assert len(server.called("create_flow_run")) == 2
    assert [run["id"] for run in runs(server)] == [done.value]
    assert "Created flow run" in ours.logged()


def test_a_create_that_did_not_arrive_is_sent_again(ours: OurSide, server: Prefect1Server) -> None:
    server.fault(reset=True, on="create_flow_run")
    started(ours)
    assert len(runs(server)) == 1


def test_what_is_sent_again_is_the_same_request_mark_and_all(ours: OurSide, server: Prefect1Server) -> None:
    server.fault(acted=True, reset=True, on="create_flow_run")
    started(ours)
    first, second = server.called("create_flow_run")
    assert first.input == second.input
    assert first.input["context"]["airflow"]["request"]


def started_elsewhere(ours: OurSide, server: Prefect1Server) -> None:
    """Another Airflow has started a flow run with the key of this very try."""
    started(ours)
    [run] = runs(server)
    server.tables.update("flow_run", run["id"], context={"airflow": {"request": "of another Airflow"}})


def test_a_run_that_somebody_else_has_made_with_the_key_of_this_try_is_never_adopted(
    ours: OurSide, server: Prefect1Server
) -> None:
    started_elsewhere(ours, server)
    done = ours.start()
    assert done.for_good
    assert "has the idempotency key of this try already, and this task has not created it" in done.text
    assert len(runs(server)) == 1


def test_nor_is_one_that_this_process_has_not_made_itself_when_it_asks_twice(
    ours: OurSide, server: Prefect1Server
) -> None:
    started_elsewhere(ours, server)
    server.fault(reset=True, on="create_flow_run")
    assert ours.start().for_good
    assert len(runs(server)) == 1


@pytest.mark.parametrize("faults", [[], [{"reset": True}]], ids=["asked once", "asked twice"])
def test_a_try_that_airflow_has_forgotten_reattaches_to_its_run_and_says_so(
    ours: OurSide, server: Prefect1Server, faults: list[dict[str, Any]]
) -> None:
    first = started(ours)
    for fault in faults:
        server.fault(on="create_flow_run", **fault)
    assert started(ours).value == first.value
    assert len(runs(server)) == 1
    assert "was started by this very try before, which Airflow has forgotten" in ours.logged()


def test_the_hook_tells_a_new_run_from_a_found_one(ours: OurSide, server: Prefect1Server) -> None:
    given: dict[str, Any] = {"flow_name": "etl", "idempotency_key": "mine"}
    first = PrefectHook().start_flow_run(**given)
    server.fault(acted=True, reset=True, on="create_flow_run")
    second = PrefectHook().start_flow_run(**given)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.run.id == second.run.id


def test_the_read_after_the_create_may_fail_and_is_made_again(ours: OurSide, server: Prefect1Server) -> None:
    server.fault(status=503, times=2, on="flow_run")
    started(ours)
    assert len(runs(server)) == len(server.called("create_flow_run")) == 1


def test_a_task_that_fails_after_the_create_leaves_a_run_that_its_retry_finds(
    ours: OurSide, server: Prefect1Server
) -> None:
    server.fault(status=403, times=None, on="flow_run")
    assert ours.start().error is not None
    server.healthy()
    [run] = runs(server)
    next_try(ours)
    assert started(ours).value == run["id"]


def test_a_restart_is_refused_before_anything_is_created(ours: OurSide, server: Prefect1Server) -> None:
    done = ours.start(on_retry="restart")
    assert done.for_good
    assert "on_retry='restart' is not supported by Prefect 1" in done.text
    assert not server.requests


# The user's stop


def stopped(ours: OurSide, state_of_task: str, before: Callable[[], object] = lambda: None, **arguments: Any) -> Any:
    """The flow run of a task that is stopped, while Airflow shows it in this state, when it sleeps the first time."""
    answer = {ours.ti.run_id: {ours.ti.task_id: SimpleNamespace(value=state_of_task)}}
    ours.ti.get_task_states = lambda **_: answer  # type: ignore[attr-defined]
    task = PrefectStartFlowRunOperator(task_id="start", flow_name="etl", deferrable=False, **arguments)
    nap = time.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            nap(seconds)
            return
        before()
        task.on_kill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        done = ours.done(lambda: task)
    assert isinstance(done.error, TaskStopped)
    [run] = runs(ours.server)
    return run


def stopped_while_running(ours: OurSide, state_of_task: str, **arguments: Any) -> Any:
    def run_it() -> None:
        scenario.move(ours.server, runs(ours.server)[0]["id"], "Running")

    return stopped(ours, state_of_task, run_it, **arguments)


@pytest.mark.parametrize("state_of_task", ["failed", "success", "removed", "restarting"])
def test_a_user_who_stops_the_task_stops_the_flow_run(ours: OurSide, state_of_task: str) -> None:
    assert stopped_while_running(ours, state_of_task)["state"] == "Cancelling"


def test_a_worker_that_is_drained_stops_no_flow_run_and_the_retry_reattaches(ours: OurSide) -> None:
    run = stopped_while_running(ours, "running")
    assert run["state"] == "Running"
    next_try(ours)
    assert started(ours).value == run["id"]


def test_a_user_may_leave_the_flow_run_going(ours: OurSide) -> None:
    assert stopped_while_running(ours, "failed", cancel_on_kill=False)["state"] == "Running"


def test_a_task_that_is_stopped_before_the_answer_to_its_create_finds_its_run_by_its_key(
    ours: OurSide, server: Prefect1Server
) -> None:
    server.fault(acted=True, status=503, on="create_flow_run")
    assert stopped(ours, "failed")["state"] == "Cancelled"
    assert len(server.called("create_flow_run")) == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_that_runs_out_of_time_stops_the_flow_run_w15(
    ours: OurSide, server: Prefect1Server, deferrable: bool
) -> None:
    done = ours.start(wait_for_completion=True, deferrable=deferrable, timeout=0.3)
    assert "did not finish in time" in done.text
    [run] = runs(server)
    assert run["state"] == "Cancelled"
