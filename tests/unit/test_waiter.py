"""How a task that waits for a flow run ends."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    FlowRunCancelled,
    FlowRunCrashed,
    FlowRunFailed,
    Unreachable,
)
from airflow_provider_prefect.client.model import FlowRun, LogRecord, State, TaskRun
from airflow_provider_prefect.waiter import FlowRunWaiter, checked_skip_on
from tests.unit.conftest import TaskInstance
from tests.unit.test_streaming import Log

URL = "http://ui/runs/flow-run/r"
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Waiter(FlowRunWaiter):
    """A task, as far as its end is concerned."""

    def __init__(self, **attributes: Any) -> None:
        self.log = Log()
        given = {"stream_states": True, "stream_logs": False, "fail_on_unsuccessful": True, "skip_on": ()}
        for name, value in {**given, "retry_cancelled": False, **attributes}.items():
            setattr(self, name, value)


class Hook:
    """Knows one failed task run and two lines; or nothing but trouble."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble
        self.asked: list[Any] = []

    def with_patience(self, seconds: float) -> Hook:
        return self

    def read_last_logs(self, flow_run_id: str) -> list[LogRecord]:
        self.asked.append(("logs", flow_run_id))
        return [LogRecord("l", 20, f"line {number}", datetime.now(UTC)) for number in range(2)]

    def read_task_runs(self, flow_run_id: str, *, state_types: Any, most: int) -> list[TaskRun]:
        self.asked.append(("task runs", flow_run_id, state_types))
        if self.trouble:
            raise self.trouble
        return [TaskRun("t", "load-1", flow_run_id, State("", "FAILED", "Failed"))][:most]


def ended(waiter: Waiter, type_: str, hook: Hook | None = None, **changes: Any) -> TaskInstance:
    """The task instance after the flow run has ended in such a state; an error is raised."""
    ti = TaskInstance()
    run = FlowRun("r", "calm-otter", State("", type_, type_.capitalize(), "because."), **changes)
    waiter._end(hook or Hook(), {"ti": ti}, run, URL)  # type: ignore[arg-type, typeddict-item]
    return ti


def test_a_completed_flow_run_is_a_success_and_its_state_known() -> None:
    waiter, hook = Waiter(), Hook()
    assert ended(waiter, "COMPLETED", hook).xcoms == {"state": "COMPLETED"}
    assert (hook.asked, waiter.log.told) == ([], [])


@pytest.mark.parametrize(
    ("type_", "kind"), [("FAILED", FlowRunFailed), ("CRASHED", FlowRunCrashed), ("CANCELLED", FlowRunCancelled)]
)
def test_each_other_end_is_an_error_of_its_own_with_the_message_and_the_link(type_: str, kind: type) -> None:
    with pytest.raises(kind, match=rf"'calm-otter' ended in state {type_.capitalize()}: because. See {URL}") as error:
        ended(Waiter(), type_)
    assert error.value.run.state.type == type_  # type: ignore[attr-defined]


def test_a_cancelled_flow_run_is_not_started_again_unless_so_asked() -> None:
    with pytest.raises(AirflowFailException, match="unless retry_cancelled=True") as for_good:
        ended(Waiter(), "CANCELLED")
    assert isinstance(for_good.value, FlowRunCancelled)
    with pytest.raises(FlowRunCancelled) as again:
        ended(Waiter(retry_cancelled=True), "CANCELLED")
    assert not isinstance(again.value, AirflowFailException)


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
    with pytest.raises(AirflowSkipException, match=rf"ended in state Whatever \({type_}\). See {URL}"):
        waiter._end(Hook(), {"ti": ti}, run, URL)  # type: ignore[arg-type, typeddict-item]
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


# skip_on


def test_state_types_to_skip_on_are_those_of_an_end_in_any_case() -> None:
    assert checked_skip_on(None) == ()
    assert checked_skip_on(["cancelled", "CRASHED"]) == ("CANCELLED", "CRASHED")


@pytest.mark.parametrize("value", [["RUNNING"], ["Cancelled", "AllGood"], [""]])
def test_any_other_state_to_skip_on_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no state type that a flow run ends in: COMPLETED, FAILED"):
        checked_skip_on(value)


def test_one_text_to_skip_on_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="skip_on='CANCELLED' is not a list"):
        checked_skip_on("CANCELLED")
