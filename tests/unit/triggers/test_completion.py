"""A task that ends in the triggerer: which one may, what it pushes, and when a worker ends it all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, XCOM_RETURN_KEY, Asset, BaseOperator
from airflow.triggers.base import TriggerEvent

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from airflow_provider_prefect.triggers import flow_run
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger
from tests.unit.fake_prefect import FakePrefect, state
from tests.unit.running import deferral, event_of

task_runner = pytest.importorskip("airflow.sdk.execution_time.task_runner", reason="Airflow 2 ends tasks in workers")
listener = pytest.importorskip("airflow.sdk.listener", reason="an older Airflow 3 ends tasks in workers")
xcom = pytest.importorskip("airflow.sdk.execution_time.xcom")
if not hasattr(xcom.XCom, "aset"):
    pytest.skip("Airflow before 3.3 ends tasks in workers", allow_module_level=True)


class Supervisor:
    """Answers a trigger as the triggerer's supervisor does, and keeps the XComs that it is sent."""

    def __init__(self, flow_run_id: str) -> None:
        self.state = "deferred"
        self.flow_run_id = flow_run_id
        self.fails_at: str | None = None
        self.xcoms: dict[str, Any] = {}
        self.of: set[tuple[str, str, str, int]] = set()

    async def asend(self, message: Any) -> Any:
        kind = type(message).__name__
        if kind == self.fails_at:
            raise RuntimeError("the API server is away")
        if kind == "GetXCom":
            return SimpleNamespace(value=self.flow_run_id)
        if kind == "GetTaskStates":
            name = "start" if message.map_index < 0 else f"start_{message.map_index}"
            return SimpleNamespace(task_states={"r": {name: self.state}})
        assert kind == "SetXCom"
        self.xcoms[message.key] = message.value
        self.of.add((message.dag_id, message.task_id, message.run_id, message.map_index))
        return None


@pytest.fixture
def run_id(prefect: FakePrefect) -> str:
    return prefect.add_flow_run("RUNNING", "COMPLETED")


@pytest.fixture
def supervisor(run_id: str, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    answering = Supervisor(run_id)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", answering, raising=False)
    return answering


def trigger(run_id: str, completes_with: str | None, map_index: int = -1, **arguments: Any) -> PrefectFlowRunTrigger:
    made = PrefectFlowRunTrigger(run_id, "prefect_default", poll_interval=0, completes_with=completes_with, **arguments)
    made.task_instance = SimpleNamespace(  # type: ignore[assignment]
        dag_id="shop", run_id="r", task_id="start", map_index=map_index, try_number=1
    )
    return made


def sent(one: PrefectFlowRunTrigger) -> TriggerEvent:
    async def only() -> TriggerEvent:
        (event,) = [event async for event in one.run()]
        return event

    return asyncio.run(only())


def ends_the_task(event: TriggerEvent) -> bool:
    return type(event).__name__ == "TaskSuccessEvent"


def start(**arguments: Any) -> PrefectStartFlowRunOperator:
    return PrefectStartFlowRunOperator(
        **{"task_id": "start", "deployment": "sales/demo", "deferrable": True, **arguments}
    )


def completes_with(task: Any, context: dict[str, Any]) -> Any:
    if not task.has_dag():
        DAG("shop", schedule=None).add_task(task)
    return deferral(task, context).trigger.serialize()[1]["completes_with"]


@pytest.mark.parametrize("map_index", [-1, 3])
def test_a_start_succeeds_with_the_id_of_its_flow_run(run_id: str, supervisor: Supervisor, map_index: int) -> None:
    event = sent(trigger(run_id, "flow_run_id", map_index))
    assert ends_the_task(event)
    assert event.xcoms is None  # type: ignore[attr-defined]
    assert supervisor.xcoms == {"state": "COMPLETED", XCOM_RETURN_KEY: run_id}
    assert supervisor.of == {("shop", "start", "r", map_index)}


def test_a_sensor_succeeds_with_what_it_returns_in_a_worker(
    prefect: FakePrefect, run_id: str, supervisor: Supervisor
) -> None:
    event = event_of(trigger(run_id, None))
    prefect.flow_runs[run_id]["name"] = "renamed-otter"
    assert ends_the_task(sent(trigger(run_id, "flow_run")))
    renamed = {**event["flow_run"], "name": "renamed-otter"}
    assert supervisor.xcoms == {"state": "COMPLETED", "flow_run_name": "renamed-otter", XCOM_RETURN_KEY: renamed}


def test_a_task_that_pushes_no_return_value_pushes_its_state_only(run_id: str, supervisor: Supervisor) -> None:
    assert ends_the_task(sent(trigger(run_id, "")))
    assert supervisor.xcoms == {"state": "COMPLETED"}


def test_it_is_not_held_back_until_the_worker_has_reported_the_deferral(run_id: str, supervisor: Supervisor) -> None:
    assert ends_the_task(sent(trigger(run_id, "flow_run_id", not_before=time.time() + 100_000)))


@pytest.mark.parametrize("kind", ["FAILED", "CRASHED", "CANCELLED"])
def test_a_worker_ends_the_task_of_a_flow_run_that_did_not_complete(
    prefect: FakePrefect, supervisor: Supervisor, kind: str
) -> None:
    run = supervisor.flow_run_id = prefect.add_flow_run("RUNNING", state(kind))
    event = sent(trigger(run, "flow_run_id"))
    assert event.payload["flow_run"]["state_type"] == kind
    assert supervisor.xcoms == {}


def test_a_worker_ends_the_task_of_a_wait_that_failed(prefect: FakePrefect, supervisor: Supervisor) -> None:
    run = supervisor.flow_run_id = prefect.add_flow_run("RUNNING")
    event = sent(trigger(run, "flow_run_id", deadline=time.time()))
    assert event.payload["error"]["kind"] == "WaitTimeout"
    assert supervisor.xcoms == {}


@pytest.mark.parametrize("now", ["failed", "success", "scheduled", "running"])
def test_a_task_that_no_longer_waits_is_left_alone(run_id: str, supervisor: Supervisor, now: str) -> None:
    supervisor.state = now
    assert not ends_the_task(sent(trigger(run_id, "flow_run_id")))
    assert supervisor.xcoms == {}


def test_a_cleared_task_that_waits_for_another_flow_run_is_left_alone(run_id: str, supervisor: Supervisor) -> None:
    supervisor.flow_run_id = "another"
    assert not ends_the_task(sent(trigger(run_id, "flow_run_id")))
    assert supervisor.xcoms == {}


@pytest.mark.parametrize("fails_at", ["GetTaskStates", "GetXCom", "SetXCom"])
def test_a_worker_ends_the_task_if_airflow_takes_no_xcom(
    run_id: str, supervisor: Supervisor, fails_at: str, logged: Callable[[], str]
) -> None:
    supervisor.fails_at = fails_at
    event = sent(trigger(run_id, "flow_run_id"))
    assert event.payload["flow_run"]["state_type"] == "COMPLETED"
    assert "The task could not be ended here (RuntimeError). A worker ends it." in logged()


def test_many_ends_at_once_are_shared_with_the_workers(
    prefect: FakePrefect, run_id: str, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_run, "_MAX_ENDED_AT_ONCE", 2)
    answer, waiting = supervisor.asend, asyncio.Event()

    async def once_all_have_come(message: Any) -> Any:
        await waiting.wait()
        return await answer(message)

    supervisor.asend = once_all_have_come  # type: ignore[method-assign]

    async def all_at_once() -> list[TriggerEvent]:
        ends = [asyncio.ensure_future(anext(trigger(run_id, "flow_run_id").run())) for _ in range(5)]
        done: set[asyncio.Future[TriggerEvent]] = set()
        while len(done) < 3:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=0.1)
        assert not any(ends_the_task(end.result()) for end in done)
        waiting.set()
        return await asyncio.gather(*ends)

    assert sum(map(ends_the_task, asyncio.run(all_at_once()))) == 2
    assert flow_run._ending == set()


def test_a_dag_that_is_only_tried_out_ends_its_tasks_itself(run_id: str, supervisor: Supervisor) -> None:
    one = trigger(run_id, "flow_run_id")
    one.task_instance = None
    assert sent(one).payload["flow_run"]["state_type"] == "COMPLETED"


def test_plain_tasks_may_end_in_the_triggerer(prefect: FakePrefect, context: dict[str, Any]) -> None:
    sensor = PrefectFlowRunSensor(task_id="wait", flow_run_id=prefect.add_flow_run("RUNNING"), deferrable=True)
    assert completes_with(start(), context) == "flow_run_id"
    assert completes_with(start(skip_on=["FAILED"], fail_on_unsuccessful=False), context) == "flow_run_id"
    assert completes_with(start(do_xcom_push=False), context) == ""
    assert completes_with(sensor, context) == "flow_run"


class Own(PrefectStartFlowRunOperator):
    """An operator of somebody's own."""


def ignore(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    "arguments",
    [
        {"fetch_result": True},
        {"fetch_result": "report"},
        {"skip_on": ["COMPLETED"]},
        {"outlets": [Asset("report")]},
        {"on_success_callback": ignore},
        {"post_execute": ignore},
        {"map_index_template": "{{ task.task_id }}"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_task_that_has_more_to_do_ends_in_a_worker(
    prefect: FakePrefect, context: dict[str, Any], arguments: dict[str, Any]
) -> None:
    assert completes_with(start(**arguments), context) is None


def test_a_sensor_that_returns_parameters_or_looks_for_the_newest_run_ends_in_a_worker(
    prefect: FakePrefect, context: dict[str, Any]
) -> None:
    run = prefect.add_flow_run("RUNNING")
    asking = PrefectFlowRunSensor(task_id="ask", flow_run_id=run, deferrable=True, include_parameters=True)
    newest = PrefectFlowRunSensor(task_id="find", deployment="sales/demo", since="2999-01-01", deferrable=True)
    assert completes_with(asking, context) is None
    assert completes_with(newest, context) is None


def test_a_task_of_a_class_of_ones_own_ends_in_a_worker(prefect: FakePrefect, context: dict[str, Any]) -> None:
    assert completes_with(Own(task_id="start", deployment="sales/demo", deferrable=True), context) is None


def test_a_task_with_several_outputs_or_that_of_the_dag_ends_in_a_worker(
    prefect: FakePrefect, context: dict[str, Any]
) -> None:
    for name in ("multiple_outputs", "returns_dag_result"):
        task = start()
        setattr(task, name, True)
        assert completes_with(task, context) is None


def test_a_task_that_others_are_mapped_over_ends_in_a_worker(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with DAG("shop", schedule=None):
        task = start()
        PrefectFlowRunSensor.partial(task_id="wait").expand(flow_run_id=task.output)
    assert completes_with(task, context) is None


def test_a_listener_has_tasks_end_in_a_worker(
    prefect: FakePrefect, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "get_listener_manager", lambda: SimpleNamespace(has_listeners=True))
    assert completes_with(start(), context) is None


def test_an_xcom_backend_of_ones_own_has_tasks_end_in_a_worker(
    prefect: FakePrefect, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backend(xcom.XCom):  # type: ignore[name-defined,misc]
        """Somebody's own."""

    monkeypatch.setattr(xcom, "XCom", Backend)
    assert completes_with(start(), context) is None


def test_a_state_store_that_is_cleared_on_success_has_tasks_end_in_a_worker(
    prefect: FakePrefect, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    assert completes_with(start(), context) is None


def test_a_task_whose_post_execute_was_replaced_ends_in_a_worker(
    prefect: FakePrefect, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrefectStartFlowRunOperator, "post_execute", ignore, raising=False)
    assert PrefectStartFlowRunOperator.post_execute is not BaseOperator.post_execute
    assert completes_with(start(), context) is None
