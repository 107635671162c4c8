"""When Airflow 3.3 tells a trigger that it is killed: was it a user, or has the trigger only moved?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_prefect.triggers import flow_run
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger
from tests.unit.fake_prefect import FakePrefect

task_runner = pytest.importorskip("airflow.sdk.execution_time.task_runner", reason="Airflow 2 never calls on_kill")


class Supervisor:
    """Answers a trigger as the triggerer's supervisor does."""

    def __init__(self) -> None:
        self.state: str | None = None
        self.flow_run_id: str | None = None
        self.asked: list[Any] = []

    async def asend(self, message: Any) -> Any:
        self.asked.append(message)
        if type(message).__name__ == "GetXCom":
            return SimpleNamespace(value=self.flow_run_id)
        name = "start" if message.map_index < 0 else f"start_{message.map_index}"
        return SimpleNamespace(task_states={"r": {} if self.state is None else {name: self.state}})


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    answering = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", answering, raising=False)
    return answering


def trigger(flow_run_id: str | None, *, map_index: int = -1, cancel_on_kill: bool = True) -> PrefectFlowRunTrigger:
    made = PrefectFlowRunTrigger(flow_run_id, "prefect_default", cancel_on_kill=cancel_on_kill)
    made.task_instance = SimpleNamespace(  # type: ignore[assignment]
        dag_id="shop", run_id="r", task_id="start", map_index=map_index, try_number=1
    )
    return made


def kill(killed: PrefectFlowRunTrigger) -> None:
    asyncio.run(killed.on_kill())


@pytest.mark.parametrize("map_index", [-1, 0, 7])
@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", None, "scheduled", "queued", "running"])
def test_a_task_that_no_longer_waits_has_its_run_stopped(
    prefect: FakePrefect, supervisor: Supervisor, state: str | None, map_index: int
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    supervisor.state, supervisor.flow_run_id = state, run_id
    kill(trigger(run_id, map_index=map_index))
    assert prefect.cancelled == [run_id]


@pytest.mark.parametrize("map_index", [-1, 0, 7])
def test_a_trigger_that_has_only_moved_leaves_its_run(
    prefect: FakePrefect, supervisor: Supervisor, map_index: int, logged: Callable[[], str]
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    supervisor.state, supervisor.flow_run_id = "deferred", run_id
    kill(trigger(run_id, map_index=map_index))
    assert prefect.cancelled == []
    assert "Another triggerer waits for flow run" in logged()
    assert [message.map_index for message in supervisor.asked] == [map_index, map_index]


def test_a_cleared_task_that_waits_for_another_run_already_has_the_old_one_stopped(
    prefect: FakePrefect, supervisor: Supervisor
) -> None:
    old, new = prefect.add_flow_run("RUNNING"), prefect.add_flow_run("RUNNING")
    supervisor.state, supervisor.flow_run_id = "deferred", new
    kill(trigger(old))
    assert prefect.cancelled == [old]


def test_a_run_is_left_if_airflow_does_not_answer(
    prefect: FakePrefect, supervisor: Supervisor, logged: Callable[[], str]
) -> None:
    async def no_answer(message: Any) -> Any:
        raise RuntimeError("the line is dead")

    supervisor.asend = no_answer  # type: ignore[method-assign]
    run_id = prefect.add_flow_run("RUNNING")
    kill(trigger(run_id))
    assert prefect.cancelled == []
    assert f"Flow run could not be asked to stop (the line is dead). Its id is {run_id}." in logged()


def test_nothing_is_stopped_that_is_not_to_be_or_not_there(prefect: FakePrefect, supervisor: Supervisor) -> None:
    supervisor.state = "failed"
    kill(trigger(prefect.add_flow_run("RUNNING"), cancel_on_kill=False))
    kill(trigger(None))
    assert prefect.cancelled == []
    assert supervisor.asked == []


def test_a_cancel_goes_on_when_airflow_ends_on_kill_after_its_second(
    prefect: FakePrefect, supervisor: Supervisor
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    supervisor.state = "failed"
    asked, go_on = asyncio.Event(), asyncio.Event()
    answer = supervisor.asend

    async def slowly(message: Any) -> Any:
        asked.set()
        await go_on.wait()
        return await answer(message)

    supervisor.asend = slowly  # type: ignore[method-assign]

    async def killed_and_cancelled() -> None:
        killing = asyncio.create_task(trigger(run_id).on_kill())
        await asked.wait()
        killing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killing
        assert prefect.cancelled == []
        go_on.set()
        await asyncio.gather(*flow_run._stopping)

    asyncio.run(killed_and_cancelled())
    assert prefect.cancelled == [run_id]


def test_a_cancel_that_meets_trouble_is_asked_for_again(prefect: FakePrefect, supervisor: Supervisor) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    supervisor.state = "failed"
    prefect.answer("POST", "/flow_runs/.*/set_state", 503, {"detail": "database is locked"}, times=1)
    kill(trigger(run_id))
    assert prefect.flow_runs[run_id]["state"]["type"] == "CANCELLING"


def test_a_cancel_that_is_refused_is_logged_and_not_raised(
    prefect: FakePrefect, supervisor: Supervisor, logged: Callable[[], str]
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    prefect.answer("POST", "/flow_runs/.*/set_state", 403, {"detail": "not yours"})
    supervisor.state = "failed"
    kill(trigger(run_id))
    assert "Flow run could not be asked to stop" in logged()
