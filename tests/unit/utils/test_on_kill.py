"""Whose stop it is, and what becomes of the flow run."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.utils import on_kill
from airflow_provider_prefect.utils.on_kill import FlowRunStopper, TaskStopped, state_of_task_instance
from airflow_provider_prefect.utils.recovery import TaskTry, task_try
from tests.unit.fake_prefect import Asked, FakePrefect, state
from tests.unit.running import deferral

log = logging.getLogger(__name__)


@pytest.fixture
def this_try(context: dict[str, Any]) -> TaskTry:
    return task_try(context)


@pytest.fixture
def settings(prefect: FakePrefect) -> Settings:
    return PrefectHook().settings


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_kill, "_AIRFLOW_TIMEOUT", 0.4)
    monkeypatch.setattr(on_kill, "_AT_ONCE", 0.1)
    monkeypatch.setattr(on_kill, "_PAUSE", 0.02)
    monkeypatch.setattr(on_kill, "_LOOKUP_INTERVAL", 0.02)


@pytest.fixture
def stopper(ti: Any, this_try: TaskTry, settings: Settings) -> FlowRunStopper:
    return FlowRunStopper(ti, this_try, settings, log)


def running(prefect: FakePrefect) -> FlowRun:
    """A flow run that the server has."""
    return PrefectHook().read_flow_run(prefect.add_flow_run("RUNNING"))


def airflow_2_says(ti: Any, state: str | None) -> None:
    ti.current_state = lambda: state


def airflow_3_says(ti: Any, state: str | None, asked: list[dict[str, Any]] | None = None) -> None:
    def get_task_states(**of: Any) -> dict[str, dict[str, Any]]:
        if asked is not None:
            asked.append(of)
        return {ti.run_id: {} if state is None else {ti.task_id: state}}

    ti.get_task_states = get_task_states


SAYS = [airflow_2_says, airflow_3_says]


@pytest.mark.parametrize("says", SAYS)
@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed", "removed", "restarting"])
def test_a_state_that_a_user_has_set_stops_the_run(
    says: Callable[..., None], state: str, prefect: FakePrefect, stopper: FlowRunStopper, ti: Any
) -> None:
    stopper.run = running(prefect)
    says(ti, state)
    assert stopper.stop() is True
    assert prefect.cancelled == [stopper.run.id]


@pytest.mark.parametrize("says", SAYS)
@pytest.mark.parametrize(
    "state", ["running", "queued", "scheduled", "deferred", "up_for_retry", "up_for_reschedule", "of a later Airflow"]
)
def test_in_every_other_state_the_run_goes_on(
    says: Callable[..., None],
    state: str,
    prefect: FakePrefect,
    stopper: FlowRunStopper,
    ti: Any,
    logged: Callable[[], str],
) -> None:
    stopper.run = running(prefect)
    says(ti, state)
    assert stopper.stop() is True
    assert prefect.cancelled == []
    assert f"while it is {state}, and not by a user" in logged()


@pytest.mark.parametrize("says", SAYS)
def test_without_a_try_left_nobody_would_go_on_with_the_run(
    says: Callable[..., None], prefect: FakePrefect, ti: Any, context: dict[str, Any], settings: Settings
) -> None:
    ti.try_number = ti.max_tries + 1
    stopper = FlowRunStopper(ti, task_try(context), settings, log)
    stopper.run = running(prefect)
    says(ti, "running")
    stopper.stop()
    assert prefect.cancelled == [stopper.run.id]


@pytest.mark.parametrize("state", ["deferred", "scheduled", "queued"])
def test_a_run_that_a_trigger_or_a_due_try_takes_over_goes_on_even_on_the_last_try(
    state: str, prefect: FakePrefect, ti: Any, context: dict[str, Any], settings: Settings
) -> None:
    ti.try_number = ti.max_tries + 1
    stopper = FlowRunStopper(ti, task_try(context), settings, log)
    stopper.run = running(prefect)
    airflow_3_says(ti, state)
    stopper.stop()
    assert prefect.cancelled == []


def test_airflow_3_is_asked_about_this_task_instance_alone(stopper: FlowRunStopper, ti: Any) -> None:
    asked: list[dict[str, Any]] = []
    airflow_3_says(ti, "running", asked)
    stopper.stop()
    assert asked == [{"dag_id": "shop", "map_index": -1, "task_ids": ["summarise"], "run_ids": [ti.run_id]}]


@pytest.mark.parametrize(("map_index", "name"), [(-1, "start"), (None, "start"), (0, "start_0"), (12, "start_12")])
def test_a_mapped_task_is_named_with_its_index(map_index: int | None, name: str) -> None:
    ti = SimpleNamespace(run_id="r", task_id="start", map_index=map_index)
    assert state_of_task_instance({"r": {name: "failed"}}, ti) == "failed"
    assert state_of_task_instance({"r": {name: SimpleNamespace(value="failed")}}, ti) == "failed"
    assert state_of_task_instance({"r": {"another": "failed"}}, ti) is None
    assert state_of_task_instance({}, ti) is None


# Before the flow run is known


def test_a_run_whose_creation_was_not_answered_is_found_by_the_key_of_the_try(
    prefect: FakePrefect, stopper: FlowRunStopper, ti: Any, this_try: TaskTry
) -> None:
    run_id = prefect.add_flow_run("SCHEDULED", idempotency_key=this_try.idempotency_key)
    airflow_3_says(ti, "failed")
    stopper.stop()
    assert prefect.cancelled == [run_id]


def test_a_run_that_is_just_being_created_is_looked_for_again(
    prefect: FakePrefect, stopper: FlowRunStopper, ti: Any, this_try: TaskTry
) -> None:
    def not_yet(asked: Asked) -> None:
        if asked.path == "/flow_runs/filter" and len(prefect.asked("POST", "/flow_runs/filter")) == 2:
            prefect.add_flow_run("SCHEDULED", idempotency_key=this_try.idempotency_key)

    prefect.instead.append(not_yet)
    airflow_3_says(ti, "failed")
    stopper.stop()
    assert len(prefect.cancelled) == 1


def test_without_a_run_there_is_nothing_to_stop(prefect: FakePrefect, stopper: FlowRunStopper, ti: Any) -> None:
    airflow_3_says(ti, "failed")
    assert stopper.stop() is True
    assert prefect.cancelled == []


# What does not answer


def test_a_cancel_that_fails_is_logged_with_the_link_and_never_raised(
    prefect: FakePrefect, stopper: FlowRunStopper, ti: Any, logged: Callable[[], str]
) -> None:
    stopper.run = running(prefect)
    prefect.answer("POST", "/flow_runs/.*/set_state", 403, {"detail": "not yours"})
    airflow_3_says(ti, "failed")
    assert stopper.stop() is True
    assert "Flow run could not be asked to stop (" in logged()
    assert f"). See {prefect.ui_url}/runs/flow-run/{stopper.run.id}" in logged()


def test_an_airflow_2_that_does_not_tell_leaves_the_run(prefect: FakePrefect, stopper: FlowRunStopper, ti: Any) -> None:
    def locked() -> str:
        raise RuntimeError("database is locked")

    ti.current_state = locked
    stopper.run = running(prefect)
    assert stopper.stop() is True
    assert prefect.cancelled == []


@pytest.fixture
def again() -> Iterator[threading.Event]:
    """Set when the process has been sent the signal once more."""
    came = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    yield came
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("requests", [1, 2])
def test_a_process_amid_requests_to_its_supervisor_goes_on_for_moments_and_is_called_again(
    prefect: FakePrefect, stopper: FlowRunStopper, ti: Any, again: threading.Event, requests: int
) -> None:
    line = threading.Lock()  # as between a task and its supervisor: one request at a time
    line.acquire()
    asked: list[Any] = []

    def get_task_states(**of: Any) -> dict[str, dict[str, Any]]:
        asked.append(of)
        with line:
            return {ti.run_id: {ti.task_id: "failed"}}

    ti.get_task_states = get_task_states
    stopper.run = running(prefect)
    for _ in range(requests):
        again.clear()
        assert stopper.stop() is False
        assert prefect.cancelled == []
        assert again.wait(5)
    line.release()
    assert stopper.stop() is True
    assert prefect.cancelled == [stopper.run.id]
    assert len(asked) == 1


def test_an_airflow_3_that_never_answers_leaves_the_run_in_the_end(
    prefect: FakePrefect, stopper: FlowRunStopper, ti: Any, again: threading.Event
) -> None:
    never = threading.Event()
    ti.get_task_states = lambda **_: never.wait(30)
    stopper.run = running(prefect)
    began = time.monotonic()
    while not stopper.stop():
        assert again.wait(5)
        again.clear()
    assert 0.4 <= time.monotonic() - began < 5
    assert prefect.cancelled == []
    never.set()


def test_an_airflow_3_that_does_not_know_the_task_leaves_the_run(
    prefect: FakePrefect, stopper: FlowRunStopper, ti: Any
) -> None:
    airflow_3_says(ti, None)
    stopper.run = running(prefect)
    assert stopper.stop() is True
    assert prefect.cancelled == []


# The operator


@pytest.fixture
def operator() -> PrefectStartFlowRunOperator:
    return PrefectStartFlowRunOperator(task_id="summarise", deployment="sales/demo", poll_interval=3)


def kill_while_waiting(operator: PrefectStartFlowRunOperator, prefect: FakePrefect) -> None:
    """Have ``on_kill`` called when the task polls its flow run, as a signal handler would."""

    def kill(asked: Asked) -> None:
        if asked.method == "GET" and asked.path.startswith("/flow_runs/"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    prefect.instead.append(kill)


@pytest.fixture
def on_term(operator: PrefectStartFlowRunOperator) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("on_term")
def test_a_stopped_task_ends_at_once_and_stops_its_run(
    operator: PrefectStartFlowRunOperator, prefect: FakePrefect, context: dict[str, Any], ti: Any
) -> None:
    prefect.coming = [state("RUNNING")]
    airflow_3_says(ti, "failed")
    kill_while_waiting(operator, prefect)
    with pytest.raises(TaskStopped):
        operator.execute(context)
    assert prefect.cancelled == [ti.xcoms["flow_run_id"]]


@pytest.mark.usefixtures("on_term")
def test_the_run_of_a_stopped_task_lives_if_it_is_not_to_be_stopped(
    operator: PrefectStartFlowRunOperator, prefect: FakePrefect, context: dict[str, Any], ti: Any
) -> None:
    prefect.coming = [state("RUNNING")]
    operator.cancel_on_kill = False
    airflow_3_says(ti, "failed")
    kill_while_waiting(operator, prefect)
    with pytest.raises(TaskStopped):
        operator.execute(context)
    assert prefect.cancelled == []


def test_before_and_after_the_wait_there_is_nothing_to_stop(
    operator: PrefectStartFlowRunOperator, prefect: FakePrefect, context: dict[str, Any], ti: Any
) -> None:
    airflow_3_says(ti, "failed")
    operator.on_kill()
    prefect.coming = [state("COMPLETED")]
    operator.execute(context)
    operator.on_kill()
    assert prefect.cancelled == []


@pytest.mark.parametrize(("in_state", "stopped"), [("failed", True), ("deferred", False), ("running", False)])
def test_a_task_that_is_just_being_deferred_can_still_be_stopped_by_a_user(
    in_state: str, stopped: bool, operator: PrefectStartFlowRunOperator, prefect: FakePrefect, context: Any, ti: Any
) -> None:
    operator.deferrable = True
    deferral(operator, context)
    airflow_3_says(ti, in_state)
    with pytest.raises(TaskStopped):
        operator.on_kill()
    assert prefect.cancelled == ([ti.xcoms["flow_run_id"]] if stopped else [])


@pytest.mark.parametrize("cancel_on_timeout", [True, False])
def test_airflows_own_alarm_stops_the_run_as_a_timeout_of_the_wait_does(
    cancel_on_timeout: bool,
    operator: PrefectStartFlowRunOperator,
    stopper: FlowRunStopper,
    prefect: FakePrefect,
    ti: Any,
) -> None:
    stopper.run = running(prefect)
    operator._stopper, operator.cancel_on_timeout = stopper, cancel_on_timeout
    airflow_3_says(ti, "running")
    try:
        raise AirflowTaskTimeout("the alarm")
    except AirflowTaskTimeout:
        operator.on_kill()  # does not raise: Airflow raises the timeout itself
    assert prefect.cancelled == ([stopper.run.id] if cancel_on_timeout else [])
