"""PrefectStartFlowRunOperator against a Prefect server that really runs the flows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_prefect.client.errors import (
    FlowRunCancelled,
    FlowRunCrashed,
    FlowRunFailed,
    StartTimeout,
    WaitTimeout,
)
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from tests.integration.conftest import opens_a_page, page_of, prefect_is_at_least
from tests.integration.dag_runs import OFTEN, DagOutcome, TaskOutcome, run_dag
from tools.prefect_stack import PrefectServer

pytestmark = pytest.mark.usefixtures("prefect")

MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["in its own process", "deferred"])

NewDag = Callable[[], DAG]


def start(task_id: str = "start", **arguments: Any) -> PrefectStartFlowRunOperator:
    """The operator as these tests use it: it looks often."""
    return PrefectStartFlowRunOperator(task_id=task_id, **{"poll_interval": OFTEN, **arguments})


def flow_run(prefect: PrefectServer, outcome: TaskOutcome) -> dict[str, Any]:
    """The flow run that a task has started, as Prefect's server has it."""
    record: dict[str, Any] = prefect.request("GET", f"/flow_runs/{outcome.xcoms['flow_run_id']}")
    return record


def ended(prefect: PrefectServer, flow_run_id: str) -> str:
    """The state type in which a flow run has ended."""
    return PrefectHook().wait_for_flow_run(flow_run_id, poll_interval=OFTEN).state.type


# What a task that succeeds leaves


@pytest.fixture(scope="module")
def both_modes(prefect: PrefectServer) -> DagOutcome:
    """The same flow run started by a task that waits itself and by one that defers, each read by a next task."""
    with DAG("both_modes", schedule=None) as dag:
        arguments: dict[str, Any] = {
            "deployment": "quick/served",
            "parameters": {"number": 3, "words": ["{{ ti.task_id }}", "ü"]},
            "tags": ["from-{{ ti.task_id }}"],
        }

        @task
        def take(value: Any) -> Any:
            return {"taken": value}

        waiting = start("waiting", fetch_result=True, **arguments)
        deferred = start("deferred", fetch_result="squares", deferrable=True, **arguments)
        take.override(task_id="take_what_was_returned")(waiting.output["result"])
        take.override(task_id="take_the_artifact")(deferred.output["result"])
    return run_dag(dag)


def test_a_task_succeeds_in_both_modes_and_defers_in_one(both_modes: DagOutcome) -> None:
    assert both_modes.state == "success"
    assert [trigger.flow_run_id for trigger in both_modes.triggers] == [both_modes["deferred"].xcoms["flow_run_id"]]


def test_a_task_leaves_the_same_xcoms_in_both_modes(both_modes: DagOutcome, prefect: PrefectServer) -> None:
    waiting, deferred = both_modes["waiting"].xcoms, both_modes["deferred"].xcoms
    keys = {"flow_run_id", "flow_run_url", "flow_run_name", "state", "result", "return_value"}
    assert set(waiting) == set(deferred) == keys
    for xcoms in (waiting, deferred):
        run = prefect.request("GET", f"/flow_runs/{xcoms['flow_run_id']}")
        assert xcoms["return_value"] == run["id"]
        assert xcoms["flow_run_name"] == run["name"]
        assert xcoms["state"] == run["state_type"] == "COMPLETED"
        assert xcoms["flow_run_url"] == page_of(prefect, run["id"])


def test_what_the_flow_returned_reaches_the_next_task(both_modes: DagOutcome) -> None:
    returned = {"number": 3, "words": ["waiting", "ü"], "nested": {"ünïcode": None, "half": 0.5}}
    assert both_modes["take_what_was_returned"].xcoms["return_value"] == {"taken": returned}


def test_the_table_that_the_flow_left_reaches_the_next_task(both_modes: DagOutcome) -> None:
    rows = [{"n": 1, "square": 1}, {"n": 2, "square": 4}, {"n": 3, "square": 9}]
    assert both_modes["take_the_artifact"].xcoms["return_value"] == {"taken": rows}


@pytest.mark.parametrize("task_id", ["waiting", "deferred"])
def test_a_flow_run_says_which_task_started_it(both_modes: DagOutcome, prefect: PrefectServer, task_id: str) -> None:
    run = flow_run(prefect, both_modes[task_id])
    origin = run["context"]["airflow"]
    assert origin["dag_id"] == "both_modes"
    assert origin["run_id"] == both_modes.run_id
    assert origin["task_id"] == task_id
    assert (origin["map_index"], origin["try_number"]) == (-1, 1)
    if prefect_is_at_least("3.1.15"):
        assert run["labels"]["airflow.dag_id"] == "both_modes"
        assert run["labels"]["airflow.run_id"] == both_modes.run_id
        assert run["labels"]["airflow.task_id"] == task_id
    assert run["name"] == f"both_modes.{task_id} {both_modes.run_id}"


def test_a_flow_run_has_its_own_tags_and_those_of_the_deployment(
    both_modes: DagOutcome, prefect: PrefectServer
) -> None:
    assert set(flow_run(prefect, both_modes["waiting"])["tags"]) == {"from-the-deployment", "from-waiting"}


def test_the_link_opens_a_page_of_prefects_ui(both_modes: DagOutcome) -> None:
    assert opens_a_page(both_modes["deferred"].xcoms["flow_run_url"])


@MODES
def test_a_state_with_a_name_of_its_own_is_a_success(new_dag: NewDag, deferrable: bool) -> None:
    with new_dag() as dag:
        start(deployment="all-good/served", deferrable=deferrable)
    outcome = run_dag(dag)
    assert outcome.state == "success"
    assert outcome["start"].xcoms["state"] == "COMPLETED"


# Flow runs that do not complete


@MODES
def test_a_flow_run_that_fails_fails_the_task_with_its_message(new_dag: NewDag, deferrable: bool) -> None:
    with new_dag() as dag:
        start(deployment="failing/served", deferrable=deferrable, fetch_result=True)
    outcome = run_dag(dag)
    failed = outcome["start"]
    assert (outcome.state, failed.state) == ("failed", "failed")
    assert isinstance(failed.error, FlowRunFailed)
    assert "the well is dry" in str(failed.error)
    assert failed.xcoms["flow_run_url"] in str(failed.error)
    assert failed.xcoms["state"] == "FAILED"
    assert set(failed.xcoms) == {"flow_run_id", "flow_run_url", "flow_run_name", "state"}


def test_a_flow_run_that_crashes_fails_the_task_with_its_message(new_dag: NewDag) -> None:
    with new_dag() as dag:
        start(deployment="crashing/served", deferrable=True)
    crashed = run_dag(dag)["start"]
    assert isinstance(crashed.error, FlowRunCrashed)
    assert "status code: 3" in str(crashed.error)
    assert (crashed.state, crashed.xcoms["state"]) == ("failed", "CRASHED")


@MODES
def test_a_flow_run_that_a_person_cancels_fails_the_task(
    new_dag: NewDag, prefect: PrefectServer, deferrable: bool
) -> None:
    with new_dag() as dag:
        start(deployment="sleeping/served", run_name=f"cancel me {dag.dag_id}", deferrable=deferrable)
    criteria = {"flow_runs": {"name": {"any_": [f"cancel me {dag.dag_id}"]}, "state": {"type": {"any_": ["RUNNING"]}}}}

    def cancel_when_it_runs() -> None:
        give_up = time.monotonic() + 60
        while not (found := prefect.request("POST", "/flow_runs/filter", criteria)) and time.monotonic() < give_up:
            time.sleep(0.3)
        for run in found:
            prefect.request("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})

    person = threading.Thread(target=cancel_when_it_runs)
    person.start()
    cancelled = run_dag(dag)["start"]
    person.join()
    assert isinstance(cancelled.error, FlowRunCancelled | AirflowFailException)
    assert "ancelled" in str(cancelled.error)
    assert (cancelled.state, cancelled.xcoms["state"]) == ("failed", "CANCELLED")


# Results that cannot be handed on


@pytest.fixture(scope="module")
def finished(prefect: PrefectServer) -> dict[str, str]:
    """Flow runs that have ended, by the name of their flow: the idempotency keys that find them again."""
    hook = PrefectHook()
    names = ["none", "forgetful", "pickling", "large"]
    runs = {name: hook.start_flow_run(f"{name}/served", idempotency_key=f"finished {name}").run for name in names}
    for run in runs.values():
        hook.wait_for_flow_run(run.id, poll_interval=OFTEN)
    return {name: f"finished {name}" for name in names}


def take_result_of(name: str, finished: dict[str, str], new_dag: NewDag, **arguments: Any) -> TaskOutcome:
    with new_dag() as dag:
        start(deployment=f"{name}/served", idempotency_key=finished[name], **{"fetch_result": True, **arguments})
    return run_dag(dag)["start"]


def test_none_is_a_result_if_the_flow_keeps_it(finished: dict[str, str], new_dag: NewDag) -> None:
    took = take_result_of("none", finished, new_dag)
    assert took.state == "success"
    assert took.xcoms["result"] is None


@pytest.mark.parametrize("fetch_result", [True, "squares"])
def test_a_flow_that_leaves_nothing_fails_the_task_with_the_way_out(
    finished: dict[str, str], new_dag: NewDag, fetch_result: bool | str
) -> None:
    took = take_result_of("forgetful", finished, new_dag, fetch_result=fetch_result)
    assert (took.state, took.xcoms["state"]) == ("failed", "COMPLETED")
    assert isinstance(took.error, AirflowFailException)
    expected = "persist_result=True" if fetch_result is True else "no artifact with the key 'squares'"
    assert expected in str(took.error)


def test_a_result_that_is_too_large_fails_the_task_with_its_size(finished: dict[str, str], new_dag: NewDag) -> None:
    took = take_result_of("large", finished, new_dag)
    assert took.state == "failed"
    assert isinstance(took.error, AirflowFailException)
    assert "1,048,576" in str(took.error)
    assert "result" not in took.xcoms


def test_a_large_result_is_handed_on_where_that_is_asked_for(finished: dict[str, str], new_dag: NewDag) -> None:
    took = take_result_of("large", finished, new_dag, max_result_size=3 * 1024 * 1024)
    assert took.state == "success"
    assert took.xcoms["result"] == "x" * (2 * 1024 * 1024)


# Many at once


def test_a_mapped_task_starts_a_flow_run_for_each_parameter_set(new_dag: NewDag, prefect: PrefectServer) -> None:
    with new_dag() as dag:
        PrefectStartFlowRunOperator.partial(
            task_id="start", deployment="quick/served", deferrable=True, poll_interval=OFTEN, fetch_result=True
        ).expand(parameters=[{"number": 1}, {"number": 2}, {"number": 3}])
    outcome = run_dag(dag)
    assert outcome.state == "success"
    instances = outcome.mapped("start")
    assert [instance.xcoms["result"]["number"] for instance in instances] == [1, 2, 3]
    assert len({instance.xcoms["flow_run_id"] for instance in instances}) == 3
    runs = [flow_run(prefect, instance) for instance in instances]
    assert [run["context"]["airflow"]["map_index"] for run in runs] == [0, 1, 2]
    assert runs[2]["name"] == f"{dag.dag_id}.start[2] {outcome.run_id}"


def test_expand_kwargs_gives_each_flow_run_its_own_arguments(new_dag: NewDag, prefect: PrefectServer) -> None:
    with new_dag() as dag:
        PrefectStartFlowRunOperator.partial(task_id="start", wait_for_completion=False).expand_kwargs(
            [
                {"deployment": "quick/served", "parameters": {"number": 5}},
                {"flow_name": "quick", "parameters": '{"number": 6}', "run_name": "six"},
                {"deployment": "typed/served", "parameters": {"count": 7}, "tags": ["seven"]},
            ]
        )
    outcome = run_dag(dag)
    assert outcome.state == "success"
    runs = [flow_run(prefect, instance) for instance in outcome.mapped("start")]
    assert [run["parameters"].get("number", run["parameters"].get("count")) for run in runs] == [5, 6, 7]
    assert runs[1]["name"] == "six"
    assert "seven" in runs[2]["tags"]


# Arguments


def test_a_scheduled_start_may_be_a_timedelta_and_the_wait_begins_before_it(
    new_dag: NewDag, prefect: PrefectServer
) -> None:
    before = datetime.now(UTC)
    with new_dag() as dag:
        start(deployment="quick/served", scheduled_start_time=timedelta(seconds=4), deferrable=True, start_timeout=60)
    outcome = run_dag(dag)
    assert outcome.state == "success"
    run = flow_run(prefect, outcome["start"])
    assert datetime.fromisoformat(run["expected_start_time"]) >= before + timedelta(seconds=4)


def test_a_scheduled_start_may_be_iso_text_of_any_time_zone(new_dag: NewDag, prefect: PrefectServer) -> None:
    moment = (datetime.now(UTC) + timedelta(seconds=5)).replace(microsecond=0)
    elsewhere = (moment + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%S+05:00")
    with new_dag() as dag:
        start("zoned", deployment="quick/served", scheduled_start_time=elsewhere, wait_for_completion=False)
        start(
            "utc",
            deployment="quick/served",
            scheduled_start_time=f"{moment.replace(tzinfo=None).isoformat()}",
            wait_for_completion=False,
        )
        start("duration", deployment="quick/served", scheduled_start_time="P1D", wait_for_completion=False)
    outcome = run_dag(dag)
    assert outcome.state == "success"
    runs = {task_id: flow_run(prefect, outcome[task_id]) for task_id in ("zoned", "utc", "duration")}
    assert datetime.fromisoformat(runs["zoned"]["expected_start_time"]) == moment
    assert datetime.fromisoformat(runs["utc"]["expected_start_time"]) == moment
    assert datetime.fromisoformat(runs["duration"]["expected_start_time"]) > moment + timedelta(hours=23)
    assert runs["duration"]["state_type"] == "SCHEDULED"


def test_a_key_given_twice_creates_one_flow_run(new_dag: NewDag, prefect: PrefectServer) -> None:
    before = prefect.request("POST", "/flow_runs/count", {})
    with new_dag() as dag:
        key = "the month of {{ dag.dag_id }}"
        first = start("first", deployment="quick/served", idempotency_key=key, wait_for_completion=False)
        second = start("second", deployment="quick/served", idempotency_key=key, fetch_result=True)
        first >> second
    outcome = run_dag(dag)
    assert outcome.state == "success"
    assert outcome["first"].xcoms["flow_run_id"] == outcome["second"].xcoms["flow_run_id"]
    assert outcome["second"].xcoms["result"]["number"] == 1
    assert prefect.request("POST", "/flow_runs/count", {}) == before + 1


def test_parameters_may_be_json_text_made_by_a_template(new_dag: NewDag, prefect: PrefectServer) -> None:
    with new_dag() as dag:
        start(
            deployment="{{ 'quick' }}/served",
            parameters='{"number": {{ 40 + 2 }}, "words": {{ ["ü", ti.task_id] | tojson }}}',
            wait_for_completion=False,
        )
    outcome = run_dag(dag)
    assert outcome.state == "success"
    assert flow_run(prefect, outcome["start"])["parameters"] == {"number": 42, "words": ["ü", "start"]}


def test_dates_and_decimals_in_parameters_are_sent_as_text(new_dag: NewDag, prefect: PrefectServer) -> None:
    with new_dag() as dag:
        start(
            deployment="quick/served",
            parameters={"words": [datetime(2026, 10, 1, tzinfo=UTC), Decimal("1.50")]},
            wait_for_completion=False,
        )
    run = flow_run(prefect, run_dag(dag)["start"])
    assert run["parameters"]["words"] == ["2026-10-01T00:00:00+00:00", "1.50"]


# Time that runs out


@MODES
def test_a_flow_run_that_takes_too_long_is_cancelled(new_dag: NewDag, prefect: PrefectServer, deferrable: bool) -> None:
    with new_dag() as dag:
        start(deployment="sleeping/served", timeout=5, deferrable=deferrable)
    late = run_dag(dag)["start"]
    assert late.state == "failed"
    assert isinstance(late.error, WaitTimeout)
    assert "did not finish in time" in str(late.error)
    assert "asked to stop" in str(late.error)
    assert ended(prefect, late.xcoms["flow_run_id"]) == "CANCELLED"


@MODES
def test_a_flow_run_that_nobody_starts_is_cancelled(
    new_dag: NewDag, prefect: PrefectServer, unserved: str, deferrable: bool
) -> None:
    with new_dag() as dag:
        start(deployment=unserved, start_timeout=4, deferrable=deferrable)
    late = run_dag(dag)["start"]
    assert late.state == "failed"
    assert isinstance(late.error, StartTimeout)
    assert "did not start in time" in str(late.error)
    assert flow_run(prefect, late)["state_type"] == "CANCELLED"


@MODES
def test_a_flow_run_goes_on_after_the_timeout_if_so_asked(
    new_dag: NewDag, prefect: PrefectServer, unserved: str, deferrable: bool
) -> None:
    with new_dag() as dag:
        start(deployment=unserved, timeout=3, cancel_on_timeout=False, deferrable=deferrable)
    late = run_dag(dag)["start"]
    assert isinstance(late.error, WaitTimeout)
    assert "The flow run continues" in str(late.error)
    assert flow_run(prefect, late)["state_type"] == "SCHEDULED"


# What is refused before anything is created


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown deployment, with the nearest names": (
        {"deployment": "quick/serve"},
        ["'quick/serve'", "'quick/served'"],
    ),
    "an unknown flow, with the nearest names": ({"flow_name": "quik"}, ["'quik'", "'quick/served'"]),
    "the id of no deployment": ({"deployment": "00000000-0000-0000-0000-000000000000"}, ["no deployment"]),
    "a flow with several deployments, which are listed": (
        {"flow_name": "twofold"},
        ["'twofold/first'", "'twofold/second'"],
    ),
    "a missing parameter, with the server's reason": (
        {"deployment": "typed/served"},
        ["Validation failed", "'count' is a required property"],
    ),
    "a parameter of the wrong type, with the server's reason": (
        {"deployment": "typed/served", "parameters": {"count": "many"}},
        ["Validation failed", "'many' is not of type 'integer'"],
    ),
    "JSON text that is no JSON": ({"deployment": "quick/served", "parameters": "{number: 1}"}, ["not JSON"]),
    "JSON text that is no object": ({"deployment": "quick/served", "parameters": "[1]"}, ["not an object"]),
    "a time that is none": (
        {"deployment": "quick/served", "scheduled_start_time": "tomorrow"},
        ["scheduled_start_time='tomorrow'"],
    ),
    "a name that is neither": ({"deployment": "quick"}, ["neither 'flow/deployment' nor the id"]),
    "an unknown connection": (
        {"deployment": "quick/served", "prefect_conn_id": "prefect_nowhere"},
        ["'prefect_nowhere'", "AIRFLOW_CONN_PREFECT_NOWHERE"],
    ),
}


@pytest.mark.usefixtures("nothing_created")
@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_a_sentence_and_without_a_retry_before_anything_is_created_is(what: str, new_dag: NewDag) -> None:
    arguments, words = REFUSED[what]
    with new_dag() as dag:
        start(retries=2, retry_delay=timedelta(0), **arguments)
    refused = run_dag(dag)["start"]
    assert refused.state == "failed"
    assert isinstance(refused.error, AirflowFailException)
    for word in words:
        assert word in str(refused.error)
    assert "flow_run_id" not in refused.xcoms


def test_parameters_that_the_schema_refuses_are_sent_if_so_asked(new_dag: NewDag, prefect: PrefectServer) -> None:
    with new_dag() as dag:
        start(
            deployment="typed/served",
            parameters={"count": "many"},
            enforce_parameter_schema=False,
            scheduled_start_time=timedelta(days=1),
            wait_for_completion=False,
        )
    assert flow_run(prefect, run_dag(dag)["start"])["parameters"] == {"count": "many"}


@pytest.mark.prefect_alone
def test_a_wrong_password_fails_the_task_before_anything_is_created(
    new_dag: NewDag, protected_prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = PrefectHook("prefect_protected")
    before = len(hook.find_flow_runs({}))
    for conn_id, fields in {
        "PREFECT_KEY": {"password": "pnu_wrong-key-51c9"},
        "PREFECT_LOGIN": {"login": "airflow", "password": "wrong-password-51c9"},
        "PREFECT_NOBODY": {},
    }.items():
        connection = {"conn_type": "prefect", "host": protected_prefect.api_url, **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection))
    with new_dag() as dag:
        for conn_id in ("prefect_key", "prefect_login", "prefect_nobody"):
            start(conn_id, deployment="quick/served", prefect_conn_id=conn_id, retries=2)
    outcome = run_dag(dag)
    for refused in outcome.tasks.values():
        assert refused.state == "failed"
        assert isinstance(refused.error, AirflowFailException)
        assert "401" in str(refused.error)
        assert "51c9" not in str(refused.error)
    assert len(hook.find_flow_runs({})) == before


# A server that asks for more


@pytest.mark.prefect_alone
@MODES
def test_a_server_with_user_password_and_csrf_protection_works(
    new_dag: NewDag, protected_prefect: PrefectServer, deferrable: bool
) -> None:
    with new_dag() as dag:
        start(
            deployment="quick/served",
            parameters={"number": 2},
            fetch_result="squares",
            deferrable=deferrable,
            prefect_conn_id="prefect_protected",
        )
    outcome = run_dag(dag)
    assert outcome.state == "success"
    assert outcome["start"].xcoms["result"] == [{"n": 1, "square": 1}, {"n": 2, "square": 4}]


@pytest.mark.prefect_alone
def test_a_timeout_cancels_on_a_server_with_csrf_protection(new_dag: NewDag, protected_prefect: PrefectServer) -> None:
    with new_dag() as dag:
        start(
            deployment="quick/served",
            scheduled_start_time=timedelta(hours=1),
            timeout=3,
            deferrable=True,
            prefect_conn_id="prefect_protected",
        )
    late = run_dag(dag)["start"]
    assert isinstance(late.error, WaitTimeout)
    assert flow_run(protected_prefect, late)["state_type"] == "CANCELLED"
