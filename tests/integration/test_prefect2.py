"""Every operator, the sensor and the trigger against a Prefect 2.20 server that really runs the flows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_prefect.client.errors import FlowRunFailed, InvalidRequest, WaitTimeout
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import (
    PrefectCancelFlowRunOperator,
    PrefectRenameFlowRunOperator,
    PrefectStartFlowRunOperator,
)
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.operators.resume import PrefectResumeFlowRunOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.integration.conftest import EXAMPLE_FLOW, FLOWS, opens_a_page
from tests.integration.dag_runs import OFTEN, RESCHEDULED, TaskOutcome, run_dag
from tools.prefect_stack import PrefectServer
from tools.processes import wait_until

MODES = pytest.mark.parametrize(
    "deferrable",
    [pytest.param(False, id="in its own process", marks=pytest.mark.long), pytest.param(True, id="deferred")],
)
SENSOR_MODES = pytest.mark.parametrize(
    "mode",
    [{"mode": "poke"}, {"mode": "reschedule", "poke_interval": RESCHEDULED}, {"deferrable": True}],
    ids=["poke", "reschedule", "deferred"],
)

NewDag = Callable[[], DAG]

pytestmark = pytest.mark.prefect_alone


@pytest.fixture(scope="module")
def server(prefect_2: PrefectServer) -> PrefectServer:
    """The Prefect 2 server, with the flows that are for it alone."""
    prefect_2.serve(FLOWS.with_name("for_prefect_2.py"), "mapping/served")
    return prefect_2


@pytest.fixture
def hook(server: PrefectServer) -> PrefectHook:
    return PrefectHook("prefect_2")


@pytest.fixture(scope="module")
def finished(server: PrefectServer) -> dict[str, str]:
    """Flow runs that have ended, by the name of their flow."""
    hook = PrefectHook("prefect_2")
    flows = ("quick", "mapping", "plain", "true", "none", "forgetful")
    runs = {flow: hook.start_flow_run(f"{flow}/served").run.id for flow in flows}
    for flow_run_id in runs.values():
        assert hook.wait_for_flow_run(flow_run_id, poll_interval=OFTEN).state.type == "COMPLETED"
    return runs


def run_task(new_dag: NewDag, operator: Any, **arguments: Any) -> TaskOutcome:
    """Run a Dag of one task, which looks often."""
    interval = "poke_interval" if operator is PrefectFlowRunSensor else "poll_interval"
    if operator is not PrefectRenameFlowRunOperator:
        arguments = {interval: OFTEN, **arguments}
    with new_dag() as dag:
        operator(task_id="it", prefect_conn_id="prefect_2", **arguments)
    return run_dag(dag)["it"]


def state_of(server: PrefectServer, flow_run_id: str) -> str:
    return str(server.request("GET", f"/flow_runs/{flow_run_id}")["state_type"])


def running(server: PrefectServer, hook: PrefectHook, **arguments: Any) -> str:
    """A flow run that runs, and will for a minute."""
    run = hook.start_flow_run("sleeping/served", **arguments).run
    wait_until(lambda: state_of(server, run.id) == "RUNNING", f"flow run {run.id} runs", timeout=60)
    return run.id


# The connection


def test_the_connection_test_names_prefect_2(server: PrefectServer, hook: PrefectHook) -> None:
    assert hook.test_connection() == (True, f"Prefect 2 server 2.20.26 at {server.api_url}, with no credentials.")


# Starting


@MODES
def test_a_flow_run_is_started_and_waited_for(new_dag: NewDag, server: PrefectServer, deferrable: bool) -> None:
    started = run_task(
        new_dag,
        PrefectStartFlowRunOperator,
        deployment="quick/served",
        parameters={"number": 2, "words": ["ü"]},
        tags=["ours"],
        fetch_result=True,
        deferrable=deferrable,
    )
    assert started.state == "success"
    xcoms = started.xcoms
    run = server.request("GET", f"/flow_runs/{xcoms['flow_run_id']}")
    assert (xcoms["return_value"], xcoms["flow_run_name"]) == (run["id"], run["name"])
    assert xcoms["state"] == run["state_type"] == "COMPLETED"
    assert xcoms["result"] == {"number": 2, "words": ["ü"], "nested": {"ünïcode": None, "half": 0.5}}
    assert set(run["tags"]) == {"ours", "from-the-deployment"}


def test_labels_which_prefect_2_refuses_are_left_out_and_the_context_says_who_started_the_run(
    new_dag: NewDag, server: PrefectServer
) -> None:
    started = run_task(new_dag, PrefectStartFlowRunOperator, deployment="quick/served", wait_for_completion=False)
    run = server.request("GET", f"/flow_runs/{started.xcoms['return_value']}")
    assert "labels" not in run
    assert run["context"]["airflow"]["task_id"] == "it"


def test_the_hook_leaves_labels_out_too(server: PrefectServer, hook: PrefectHook) -> None:
    before = server.request("POST", "/flow_runs/count", {})
    created = hook.start_flow_run("quick/served", labels={"a": "b"})
    assert created.is_new
    assert created.run.labels is None
    assert server.request("POST", "/flow_runs/count", {}) == before + 1


def test_the_link_leads_to_the_page_that_prefect_2_has(new_dag: NewDag, server: PrefectServer) -> None:
    started = run_task(new_dag, PrefectStartFlowRunOperator, deployment="quick/served", wait_for_completion=False)
    url = started.xcoms["flow_run_url"]
    assert url == f"{server.ui_url}/flow-runs/flow-run/{started.xcoms['flow_run_id']}"
    assert opens_a_page(url)


def test_the_same_key_finds_the_same_flow_run(new_dag: NewDag, hook: PrefectHook) -> None:
    run = hook.start_flow_run("quick/served", idempotency_key="of October").run
    started = run_task(
        new_dag, PrefectStartFlowRunOperator, deployment="quick/served", idempotency_key="of October", fetch_result=True
    )
    assert started.xcoms["return_value"] == run.id
    assert started.xcoms["result"]["number"] == 1


@MODES
def test_a_flow_run_that_fails_fails_the_task(new_dag: NewDag, server: PrefectServer, deferrable: bool) -> None:
    failed = run_task(new_dag, PrefectStartFlowRunOperator, deployment="failing/served", deferrable=deferrable)
    assert (failed.state, failed.xcoms["state"]) == ("failed", "FAILED")
    assert isinstance(failed.error, FlowRunFailed)
    assert "the well is dry" in str(failed.error)


@MODES
def test_a_flow_run_that_takes_too_long_is_cancelled(
    new_dag: NewDag, server: PrefectServer, hook: PrefectHook, deferrable: bool
) -> None:
    late = run_task(
        new_dag, PrefectStartFlowRunOperator, deployment="sleeping/served", timeout=5, deferrable=deferrable
    )
    assert isinstance(late.error, WaitTimeout)
    run = hook.wait_for_flow_run(late.xcoms["flow_run_id"], poll_interval=OFTEN)
    assert run.state.type == "CANCELLED"


def test_a_start_in_the_future_is_a_scheduled_run(new_dag: NewDag, server: PrefectServer) -> None:
    started = run_task(
        new_dag,
        PrefectStartFlowRunOperator,
        deployment="quick/served",
        scheduled_start_time=timedelta(hours=2),
        wait_for_completion=False,
    )
    run = server.request("GET", f"/flow_runs/{started.xcoms['return_value']}")
    assert run["state_type"] == "SCHEDULED"
    assert datetime.fromisoformat(run["expected_start_time"]) > datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"deployment": "quick/serve"}, "'quick/served'"),
        ({"deployment": "00000000-0000-0000-0000-000000000000"}, "no deployment"),
        ({"deployment": "typed/served", "enforce_parameter_schema": True}, "'count' is a required property"),
        ({"flow_name": "twofold"}, "'twofold/second'"),
    ],
    ids=["an unknown name", "an unknown id", "a missing parameter", "a flow with two deployments"],
)
def test_what_cannot_be_started_is_refused_with_a_sentence(
    new_dag: NewDag, server: PrefectServer, arguments: dict[str, Any], words: str
) -> None:
    refused = run_task(new_dag, PrefectStartFlowRunOperator, **arguments)
    assert isinstance(refused.error, AirflowFailException)
    assert words in str(refused.error)
    assert "flow_run_id" not in refused.xcoms


# Results


def get_result(new_dag: NewDag, flow_run_id: str, **arguments: Any) -> TaskOutcome:
    return run_task(new_dag, PrefectGetTaskRunResultOperator, flow_run_id=flow_run_id, **arguments)


@pytest.mark.parametrize(
    ("flow", "value"),
    [
        ("quick", {"number": 1, "words": [], "nested": {"ünïcode": None, "half": 0.5}}),
        ("mapping", [number * number for number in range(12)]),
        ("plain", {"day": date(2026, 10, 1), "price": Decimal("1.50"), "words": ("ü", None, True)}),
        ("true", True),
        ("none", None),
    ],
    ids=["JSON", "compressed JSON", "a pickle of plain data", "True in the state itself", "None in the state itself"],
)
def test_a_result_of_each_format_is_read(hook: PrefectHook, finished: dict[str, str], flow: str, value: Any) -> None:
    assert hook.read_result(hook.read_flow_run(finished[flow])) == value


def test_a_flows_result_is_the_return_value(new_dag: NewDag, finished: dict[str, str]) -> None:
    got = get_result(new_dag, finished["mapping"])
    assert got.state == "success"
    assert got.xcoms["return_value"] == [number * number for number in range(12)]


def test_a_flow_that_keeps_nothing_is_told_how_to(new_dag: NewDag, finished: dict[str, str]) -> None:
    got = get_result(new_dag, finished["forgetful"])
    assert isinstance(got.error, AirflowFailException)
    assert "persist_result=True" in str(got.error)


def test_an_artifact_is_read(new_dag: NewDag, finished: dict[str, str]) -> None:
    got = get_result(new_dag, finished["quick"], artifact_key="squares")
    assert got.xcoms["return_value"] == [{"n": 1, "square": 1}]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({"task_name": "square"}, [number * number for number in range(12)]),
        ({"task_name": "square", "map_index": 10}, 100),
        ({"task_name": "square-11"}, 121),
    ],
    ids=["all children", "one child", "a task run by its name"],
)
def test_a_tasks_result_is_read_in_the_order_of_the_mapping(
    new_dag: NewDag, finished: dict[str, str], arguments: dict[str, Any], value: Any
) -> None:
    assert get_result(new_dag, finished["mapping"], **arguments).xcoms["return_value"] == value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task_name": "cube"}, "no task run 'cube'"),
        ({"task_name": "square", "map_index": 12}, "has runs 0 to 11 only"),
    ],
    ids=["an unknown task", "an index that is too high"],
)
def test_a_task_run_that_is_not_there_is_an_error(
    new_dag: NewDag, finished: dict[str, str], arguments: dict[str, Any], words: str
) -> None:
    got = get_result(new_dag, finished["mapping"], **arguments)
    assert isinstance(got.error, AirflowFailException)
    assert words in str(got.error)


@MODES
def test_a_result_is_waited_for(new_dag: NewDag, hook: PrefectHook, deferrable: bool) -> None:
    run = hook.start_flow_run("mapping/served", parameters={"most": 3}).run
    got = get_result(new_dag, run.id, task_name="square", deferrable=deferrable)
    assert got.xcoms["return_value"] == [0, 1, 4]
    assert got.xcoms["state"] == "COMPLETED"


# Renaming and cancelling


def test_a_finished_flow_run_is_renamed(new_dag: NewDag, server: PrefectServer, finished: dict[str, str]) -> None:
    renamed = run_task(new_dag, PrefectRenameFlowRunOperator, flow_run_id=finished["quick"], name="ünlike before")
    assert renamed.xcoms["return_value"] == finished["quick"]
    assert server.request("GET", f"/flow_runs/{finished['quick']}")["name"] == "ünlike before"


def test_a_flow_run_that_is_not_there_is_neither_renamed_nor_cancelled(new_dag: NewDag, server: PrefectServer) -> None:
    nowhere = "00000000-0000-4000-8000-000000000000"
    assert nowhere in str(run_task(new_dag, PrefectRenameFlowRunOperator, flow_run_id=nowhere, name="x").error)
    assert nowhere in str(run_task(new_dag, PrefectCancelFlowRunOperator, flow_run_id=nowhere).error)


@MODES
def test_a_running_flow_run_is_cancelled(
    new_dag: NewDag, server: PrefectServer, hook: PrefectHook, deferrable: bool
) -> None:
    flow_run_id = running(server, hook)
    cancelled = run_task(
        new_dag,
        PrefectCancelFlowRunOperator,
        flow_run_id=flow_run_id,
        wait_for_completion=True,
        deferrable=deferrable,
    )
    assert cancelled.state == "success"
    assert cancelled.xcoms["return_value"] == state_of(server, flow_run_id) == "CANCELLED"


def test_a_cancel_that_does_not_wait_returns_the_state_that_it_left(
    new_dag: NewDag, server: PrefectServer, hook: PrefectHook
) -> None:
    flow_run_id = running(server, hook)
    cancelled = run_task(new_dag, PrefectCancelFlowRunOperator, flow_run_id=flow_run_id)
    assert cancelled.xcoms["return_value"] == "CANCELLING"


def test_a_scheduled_flow_run_is_cancelled_at_once(new_dag: NewDag, server: PrefectServer, hook: PrefectHook) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    run = hook.start_flow_run("quick/served", scheduled_start_time=later).run
    cancelled = run_task(new_dag, PrefectCancelFlowRunOperator, flow_run_id=run.id)
    assert cancelled.xcoms["return_value"] == state_of(server, run.id) == "CANCELLED"


def test_a_finished_flow_run_stays_as_it_is(new_dag: NewDag, server: PrefectServer, finished: dict[str, str]) -> None:
    cancelled = run_task(new_dag, PrefectCancelFlowRunOperator, flow_run_id=finished["true"], wait_for_completion=True)
    assert cancelled.state == "success"
    assert cancelled.xcoms["return_value"] == state_of(server, finished["true"]) == "COMPLETED"


def test_all_live_runs_of_a_deployment_with_a_tag_are_cancelled(
    new_dag: NewDag, server: PrefectServer, hook: PrefectHook
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    ours = {hook.start_flow_run("quick/served", tags=["batch"], scheduled_start_time=later).run.id for _ in range(3)}
    other = hook.start_flow_run("quick/served", tags=["other"], scheduled_start_time=later).run.id
    cancelled = run_task(new_dag, PrefectCancelFlowRunOperator, deployment="quick/served", tags=["batch"])
    assert {run["id"]: run["state"] for run in cancelled.xcoms["return_value"]} == dict.fromkeys(ours, "CANCELLED")
    assert state_of(server, other) == "SCHEDULED"


def test_a_paused_flow_run_which_prefect_2_does_not_cancel_is_an_error(
    new_dag: NewDag, server: PrefectServer, hook: PrefectHook
) -> None:
    flow_run_id = running(server, hook)
    details = {"pause_timeout": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "pause_key": "1"}
    paused = {"state": {"type": "PAUSED", "state_details": details}}
    answer = server.request("POST", f"/flow_runs/{flow_run_id}/set_state", paused)
    assert answer["status"] == "ACCEPT"
    refused = run_task(new_dag, PrefectCancelFlowRunOperator, flow_run_id=flow_run_id)
    assert refused.state == "failed"
    assert state_of(server, flow_run_id) == "PAUSED"
    assert "PAUSED" in str(refused.error)


# The sensor


@MODES
def test_a_sensor_waits_for_a_flow_run(new_dag: NewDag, hook: PrefectHook, deferrable: bool) -> None:
    run = hook.start_flow_run("sleeping/served", parameters={"seconds": 2}).run
    waited = run_task(new_dag, PrefectFlowRunSensor, flow_run_id=run.id, deferrable=deferrable)
    assert waited.state == "success"
    assert (waited.xcoms["return_value"]["id"], waited.xcoms["state"]) == (run.id, "COMPLETED")


@pytest.fixture(scope="module")
def newest(server: PrefectServer) -> tuple[datetime, str]:
    """A moment, and the newest run tagged "nightly" since then that is not one of the future."""
    hook, moment = PrefectHook("prefect_2"), datetime.now(UTC)
    hook.start_flow_run("quick/served", tags=["nightly"])
    run = hook.start_flow_run("quick/served", tags=["nightly"]).run
    hook.start_flow_run("quick/served", tags=["hourly"])
    hook.start_flow_run("quick/served", tags=["nightly"], scheduled_start_time=moment + timedelta(hours=1))
    return moment, run.id


@SENSOR_MODES
def test_a_sensor_waits_for_the_newest_run_of_a_deployment_with_a_tag(
    new_dag: NewDag, newest: tuple[datetime, str], mode: dict[str, Any]
) -> None:
    since, flow_run_id = newest
    waited = run_task(new_dag, PrefectFlowRunSensor, deployment="quick/served", since=since, tags=["nightly"], **mode)
    assert waited.xcoms["return_value"]["id"] == flow_run_id


@MODES
def test_a_sensor_waits_for_a_run_that_is_not_there_yet(new_dag: NewDag, hook: PrefectHook, deferrable: bool) -> None:
    arguments: dict[str, Any] = {"deployment": "quick/served", "tags": [f"deferred: {deferrable}"]}
    started: list[str] = []

    def somebody() -> None:
        time.sleep(4)
        started.append(PrefectHook("prefect_2").start_flow_run(**arguments).run.id)

    person = threading.Thread(target=somebody)
    person.start()
    waited = run_task(new_dag, PrefectFlowRunSensor, since=datetime.now(UTC), deferrable=deferrable, **arguments)
    person.join()
    assert waited.xcoms["return_value"]["id"] == started[0]


# What the task's log shows


@MODES
def test_states_and_log_lines_appear_in_the_tasks_log(
    new_dag: NewDag,
    server: PrefectServer,
    deferrable: bool,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = run_task(
        new_dag, PrefectStartFlowRunOperator, deployment="talking/served", stream_logs=True, deferrable=deferrable
    )
    assert failed.state == "failed"
    shown = "".join(capfd.readouterr())
    shown = shown if "the well sinks" in shown else caplog.text
    for line in ("the well sinks", "say twice-0: water, quietly", "say twice-0: water, loudly"):
        # After a deferral the worker shows the last lines again, without their task runs: the trigger's log may be
        # elsewhere.
        assert shown.count(line) == (2 if deferrable and line == "the well sinks" else 1)
    assert "is in state Failed" in shown
    assert shown.index("the well sinks") < shown.index("water, quietly") < shown.index("water, loudly")


def test_the_last_lines_appear_after_a_failure_without_streaming(
    new_dag: NewDag, server: PrefectServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run_task(new_dag, PrefectStartFlowRunOperator, deployment="talking/served", stream_states=False)
    shown = "".join(capfd.readouterr()) + caplog.text
    assert "water, loudly" in shown
    assert "is in state Running" not in shown


def test_a_paused_flow_run_shows_what_it_asks_for_and_goes_on_with_the_answer(
    new_dag: NewDag, server: PrefectServer, hook: PrefectHook
) -> None:
    server.serve(EXAMPLE_FLOW.with_name("price_list.py"), "price-list/demo")
    run = hook.start_flow_run("price-list/demo", parameters={"season": "spring"}).run
    wait_until(lambda: hook.read_flow_run(run.id).state.type == "PAUSED", "the flow run is paused", 60)
    assert str(hook.read_run_input(run.id)) == "approved (boolean), note (string, optional)"
    with pytest.raises(InvalidRequest, match=r"Prefect refuses run_input.*approved"):
        hook.resume_flow_run(run.id, {"approved": "perhaps"})
    with new_dag() as dag:
        PrefectResumeFlowRunOperator(
            task_id="it",
            prefect_conn_id="prefect_2",
            flow_run_id=run.id,
            run_input={"approved": True, "note": "well done"},
        )
    assert run_dag(dag)["it"].xcoms["return_value"] == "RUNNING"
    ended = hook.wait_for_flow_run(run.id, poll_interval=OFTEN)
    assert hook.read_result(ended) == "published the prices of the spring season: well done"
