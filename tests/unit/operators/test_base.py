"""How a task that waits for a flow run ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred

from airflow_provider_prefect.client.errors import (
    FlowRunCancelled,
    FlowRunCancelledByPrefect,
    FlowRunCrashed,
    FlowRunFailed,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.client.model import FlowRun, LogRecord, State, TaskRun
from airflow_provider_prefect.operators.base import WaitingTask, earliest_event
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from airflow_provider_prefect.utils.events import error_event
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import FakePrefect
from tests.unit.running import Through, deferral
from tests.unit.utils.test_task_log import Log

URL = "http://ui/runs/flow-run/r"
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Waiter(WaitingTask):
    """A task, as far as its end is concerned."""

    def __init__(self, **attributes: Any) -> None:
        self.log = Log()
        given = {
            "stream_states": True,
            "stream_logs": False,
            "fail_on_unsuccessful": True,
            "skip_on": (),
            "outlets": (),
        }
        for name, value in {**given, "retry_cancelled": False, **attributes}.items():
            setattr(self, name, value)


class Hook:
    """Knows one failed task run and two lines; or nothing but trouble. It is its own API."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble
        self.asked: list[Any] = []

    @property
    def api(self) -> Hook:
        return self

    def with_patience(self, seconds: float) -> Hook:
        return self

    async def read_last_logs(self, flow_run_id: str, number: int) -> list[LogRecord]:
        self.asked.append(("logs", flow_run_id))
        return [LogRecord("l", 20, f"line {number}", datetime.now(UTC)) for number in range(2)][:number]

    async def read_task_runs(self, flow_run_id: str, *, state_types: Any, limit: int) -> list[TaskRun]:
        self.asked.append(("task runs", flow_run_id, state_types))
        if self.trouble:
            raise self.trouble
        return [TaskRun("t", "load-1", flow_run_id, State("", "FAILED", "Failed"))][:limit]


def ended(
    waiter: Waiter, type_: str, hook: Hook | None = None, message: str = "because.", **changes: Any
) -> TaskInstance:
    """The task instance after the flow run has ended in such a state; an error is raised."""
    ti = TaskInstance()
    run = FlowRun("r", "calm-otter", State("", type_, type_.capitalize(), message), **changes)
    waiter.end(hook or Hook(), {"ti": ti}, run, URL)  # type: ignore[arg-type, typeddict-item]
    return ti


def test_a_completed_flow_run_is_a_success_and_its_state_known() -> None:
    waiter, hook = Waiter(), Hook()
    assert ended(waiter, "COMPLETED", hook).xcoms == {"state": "COMPLETED"}
    assert (hook.asked, waiter.log.told) == ([], [])


@pytest.mark.parametrize(
    ("type_", "kind"), [("FAILED", FlowRunFailed), ("CRASHED", FlowRunCrashed), ("CANCELLED", FlowRunCancelled)]
)
def test_each_other_end_is_an_error_of_its_own_with_the_message_and_the_link(type_: str, kind: type) -> None:
    with pytest.raises(
        kind, match=rf"^Flow run ended in state {type_.capitalize()}: because\..* See {URL} \('calm-otter'\)$"
    ) as error:
        ended(Waiter(), type_)
    assert error.value.run.state.type == type_  # type: ignore[attr-defined]


def test_a_cancelled_flow_run_is_not_started_again_unless_so_asked() -> None:
    with pytest.raises(AirflowFailException, match="set retry_cancelled=True to allow it") as for_good:
        ended(Waiter(), "CANCELLED")
    assert isinstance(for_good.value, FlowRunCancelled)
    with pytest.raises(FlowRunCancelled) as again:
        ended(Waiter(retry_cancelled=True), "CANCELLED")
    assert not isinstance(again.value, AirflowFailException)


def test_a_flow_run_that_prefect_itself_has_cancelled_may_be_tried_again() -> None:
    with pytest.raises(FlowRunCancelledByPrefect, match="concurrency limit reached") as error:
        ended(Waiter(), "CANCELLED", message="Deployment concurrency limit reached.")
    assert not isinstance(error.value, AirflowFailException)


@pytest.mark.parametrize("type_", ["FAILED", "CRASHED"])
def test_any_other_end_may_be_tried_again(type_: str) -> None:
    with pytest.raises((FlowRunFailed, FlowRunCrashed)) as error:
        ended(Waiter(), type_)
    assert not isinstance(error.value, AirflowFailException)


@pytest.mark.parametrize("type_", FINAL)
def test_every_end_is_a_success_if_so_asked(type_: str) -> None:
    assert ended(Waiter(fail_on_unsuccessful=False), type_).xcoms == {"state": type_}


@pytest.mark.parametrize("type_", FINAL)
@pytest.mark.parametrize("fails", [True, False])
def test_any_end_skips_if_so_asked_and_says_which_it_was(type_: str, fails: bool) -> None:
    waiter, ti = Waiter(skip_on=(type_,), fail_on_unsuccessful=fails), TaskInstance()
    run = FlowRun("r", "calm-otter", State("", type_, "Whatever"))
    with pytest.raises(AirflowSkipException, match=rf"ended in state Whatever \({type_}\). See {URL} \('calm-otter'\)"):
        waiter.end(Hook(), {"ti": ti}, run, URL)  # type: ignore[arg-type, typeddict-item]
    assert ti.xcoms == {"state": type_}


# What is shown of a failure


def test_a_failure_shows_why() -> None:
    waiter, hook = Waiter(), Hook()
    with pytest.raises(FlowRunFailed):
        ended(waiter, "FAILED", hook)
    assert hook.asked == [("logs", "r"), ("task runs", "r", ("FAILED", "CRASHED"))]
    assert "Task run 'load-1' is in state Failed" in waiter.log.told[0]
    assert [told.rpartition("] ")[2] for told in waiter.log.told[2:]] == ["line 0", "line 1"]


def test_lines_that_were_shown_already_are_not_shown_again() -> None:
    waiter, hook = Waiter(stream_logs=True), Hook()
    with pytest.raises(FlowRunFailed):
        ended(waiter, "FAILED", hook)
    assert [what for what, *_ in hook.asked] == ["task runs"]


def test_trouble_with_the_reasons_hides_no_failure() -> None:
    waiter = Waiter()
    with pytest.raises(FlowRunFailed):
        ended(waiter, "FAILED", Hook(Unreachable("down")))
    assert waiter.log.told == ["WARNING Why it failed could not be read from Prefect: down"]


@pytest.mark.parametrize(("ago", "pause"), [(0.5, 1.5), (60, 0), (-60, 2)])
def test_the_last_lines_are_given_the_time_to_arrive(ago: float, pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(FlowRunFailed):
        ended(Waiter(), "FAILED", end_time=datetime.now(UTC) - timedelta(seconds=ago))
    assert slept == [pytest.approx(pause, abs=0.3)]


# An event that Airflow gives to the wrong task: SQLite gives a deleted trigger's number to the next one


TASKS: dict[str, Callable[[FakePrefect], Any]] = {
    "start": lambda prefect: PrefectStartFlowRunOperator(task_id="t", deployment="sales/demo", deferrable=True),
    "cancel": lambda prefect: PrefectCancelFlowRunOperator(
        task_id="t", flow_run_id=prefect.add_flow_run("RUNNING"), wait_for_completion=True, deferrable=True
    ),
    "result": lambda prefect: PrefectGetTaskRunResultOperator(
        task_id="t", flow_run_id=prefect.add_flow_run("RUNNING"), task_name="load", deferrable=True
    ),
    "sensor": lambda prefect: PrefectFlowRunSensor(
        task_id="t", flow_run_id=prefect.add_flow_run("RUNNING"), deferrable=True
    ),
    "sensor of the newest": lambda prefect: PrefectFlowRunSensor(
        task_id="t", deployment="sales/demo", since="2026-10-01", deferrable=True
    ),
}


@pytest.mark.parametrize("kind", TASKS)
def test_the_event_of_another_wait_is_not_taken_and_the_wait_goes_on(
    kind: str, prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, logged: Callable[[], str]
) -> None:
    task = TASKS[kind](prefect)
    deferred = deferral(task, context)
    others = error_event("another-run", WaitTimeout("Another task's time is up.", "another-run"))
    event = through_airflow({**others, "wait_id": "another"})
    kwargs = through_airflow(deferred.kwargs)
    with pytest.raises(TaskDeferred) as again:
        task.resume_execution(deferred.method_name, {"event": event, **kwargs}, context)
    first, second = (one.trigger.serialize()[1] for one in (deferred, again.value))
    assert second.pop("not_before") >= first.pop("not_before")
    assert second == first
    assert again.value.kwargs == deferred.kwargs
    assert "the event of another task's trigger" in logged()


def test_two_waits_of_the_same_task_are_told_apart(prefect: FakePrefect, context: dict[str, Any]) -> None:
    task = TASKS["sensor"](prefect)
    first, second = (deferral(task, context).trigger.serialize()[1]["wait_id"] for _ in range(2))
    assert first != second


# When a trigger may send its event


def test_an_event_is_held_back_for_as_long_as_a_workers_report_may_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "700")
    assert round(earliest_event() - time.time()) == 701
