"""What people write in arguments, rendered by Airflow itself, and what of it reaches a Prefect server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.operators.flow_run import PrefectRenameFlowRunOperator, PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.integration.dag_runs import AIRFLOW, TaskOutcome, dags_in, run_dag
from tools.prefect_stack import PrefectServer

pytestmark = pytest.mark.usefixtures("prefect")

NewDag = Callable[[], DAG]


def start(task_id: str = "start", **arguments: Any) -> PrefectStartFlowRunOperator:
    return PrefectStartFlowRunOperator(
        task_id=task_id, **{"deployment": "quick/served", "wait_for_completion": False, **arguments}
    )


def flow_run(prefect: PrefectServer, outcome: TaskOutcome) -> dict[str, Any]:
    """The flow run that a task has started, as Prefect's server has it."""
    record: dict[str, Any] = prefect.request("GET", f"/flow_runs/{outcome.xcoms['flow_run_id']}")
    return record


def test_the_outputs_of_mapped_tasks_are_lists_in_parameters_at_any_depth(
    new_dag: NewDag, prefect: PrefectServer
) -> None:
    with new_dag() as dag:

        @task
        def word_of(number: int) -> str:
            return f"word {number}"

        @task
        def no_numbers() -> list[int]:
            return []

        words = word_of.expand(number=[1, 2, 3])
        none = word_of.override(task_id="none")
        later = start(parameters={"words": words}, trigger_rule="all_done")
        start("deep", parameters={"number": 1, "words": words, "more": {"in": [words]}}, enforce_parameter_schema=False)
        empty = none.expand(number=no_numbers())
        start("empty", parameters={"words": empty}, tags=words, enforce_parameter_schema=False, trigger_rule="all_done")
        assert later
    outcome = run_dag(dag)
    assert flow_run(prefect, outcome["start"])["parameters"] == {"words": ["word 1", "word 2", "word 3"]}
    assert flow_run(prefect, outcome["deep"])["parameters"]["more"] == {"in": [["word 1", "word 2", "word 3"]]}
    assert flow_run(prefect, outcome["empty"])["parameters"]["words"] in ([], None)  # as Airflow gives it
    assert {"word 1", "word 2", "word 3"} <= set(flow_run(prefect, outcome["empty"])["tags"])


def test_a_template_that_renders_to_none_counts_as_not_given_and_says_so(
    new_dag: NewDag, prefect: PrefectServer, logged: Callable[[], str]
) -> None:
    with new_dag() as dag:
        start(
            idempotency_key="{{ dag_run.conf.get('key') }}",
            run_name="{{ none }}",
            tags=["{{ none }}", "kept"],
            parameters="{{ none }}",
            job_variables="",
            work_queue_name="{{ dag_run.conf.get('queue', '') }}",
            scheduled_start_time="{{ none }}",
        )
    outcome = run_dag(dag)
    record = flow_run(prefect, outcome["start"])
    assert record["idempotency_key"].startswith("airflow-")
    assert record["name"] == f"{dag.dag_id}.start {outcome.run_id}"
    assert sorted(record["tags"]) == ["from-the-deployment", "kept"]
    log = logged()
    for name in ("idempotency_key", "run_name", "tags[0]", "parameters", "scheduled_start_time"):
        assert log.count(f"{name} rendered to None and is") == 1, name
    for name in ("job_variables", "work_queue_name"):
        assert log.count(f"{name} rendered to '' and is ignored") == 1, name


def test_what_native_rendering_makes_of_text_becomes_text_again(new_dag: NewDag, prefect: PrefectServer) -> None:
    dag = new_dag()
    dag.render_template_as_native_obj = True
    with dag:
        start(
            run_name="{{ 5 }}",
            idempotency_key="{{ 2026 }}-{{ 10 }}",
            tags=["{{ 7 }}", "{{ none }}"],
            parameters={"number": "{{ 3 }}", "words": "{{ ['a', 'b'] }}"},
        )
        start("none", idempotency_key="{{ none }}", run_name="{{ none }}", parameters="{{ {'number': 4} }}")
        start("number", deployment="{{ 123 }}")
    outcome = run_dag(dag)
    record = flow_run(prefect, outcome["start"])
    assert (record["name"], sorted(record["tags"]), record["parameters"]) == (
        "5",
        ["7", "from-the-deployment"],
        {"number": 3, "words": ["a", "b"]},
    )
    record = flow_run(prefect, outcome["none"])
    assert record["name"] == f"{dag.dag_id}.none {outcome.run_id}"
    assert record["parameters"] == {"number": 4}
    assert "deployment='123' is neither 'flow/deployment' nor the id" in str(outcome["number"].error)


@pytest.mark.usefixtures("nothing_created")
def test_an_integer_that_prefect_could_not_list_is_refused_before_anything_is_created(new_dag: NewDag) -> None:
    with new_dag() as dag:
        start(parameters={"number": 1, "words": [{"id": 2**64}]})
    error = run_dag(dag)["start"].error
    assert "parameters['words'][0]['id'] cannot be sent as JSON: it is an integer beyond 64 bits" in str(error)


@pytest.mark.prefect_alone
@pytest.mark.parametrize("number", [2**64 - 1, -(2**63)])
def test_the_largest_integers_that_are_sent_can_be_listed_by_prefect(
    new_dag: NewDag, prefect: PrefectServer, unserved: str, number: int
) -> None:
    with new_dag() as dag:  # nobody may run it: the served flow makes a table with so many rows
        start(deployment=unserved, parameters={"number": number}, enforce_parameter_schema=False)
    run_id = run_dag(dag)["start"].xcoms["flow_run_id"]
    (listed,) = prefect.request("POST", "/flow_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
    assert listed["parameters"] == {"number": number}


@pytest.mark.prefect_alone
def test_a_value_that_is_nested_as_deeply_as_it_may_be_can_be_listed_by_prefect(
    new_dag: NewDag, prefect: PrefectServer, unserved: str
) -> None:
    deep: Any = 1
    for _ in range(99):
        deep = [deep]
    with new_dag() as dag:
        start(deployment=unserved, parameters={"number": deep}, enforce_parameter_schema=False)
    run_id = run_dag(dag)["start"].xcoms["flow_run_id"]
    (listed,) = prefect.request("POST", "/flow_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
    assert listed["parameters"] == {"number": deep}


# One wrong element of a mapped task

GOOD = {"deployment": "quick/served"}
WRONG = {
    "both sources": ({"deployment": "quick/served", "flow_name": "quick"}, "Give exactly one of"),
    "no source": ({"parameters": {"number": 1}}, "Give exactly one of"),
    "an unknown argument": ({**GOOD, "paramters": {}}, "paramters"),
    "a poll interval": ({**GOOD, "wait_for_completion": True, "poll_interval": 1e-9}, "poll_interval=1e-09 is too"),
    "a poll interval that is none": ({**GOOD, "wait_for_completion": True, "poll_interval": "5"}, "poll_interval='5'"),
    "a timeout": ({**GOOD, "timeout": -1}, "timeout=-1 is not a duration"),
    "a state to skip on": ({**GOOD, "skip_on": ["BROKEN"]}, "skip_on='BROKEN'"),
    "a size": ({**GOOD, "max_result_size": "1MB"}, "max_result_size='1MB'"),
    "a value that is no JSON": ({**GOOD, "parameters": {"at": [b"x"]}}, r"parameters['at'][0] cannot be sent as JSON"),
    "a deployment that is none": ({"deployment": 123}, "deployment='123' is neither"),
}


def tries_of(new_dag: NewDag, add_tasks: Callable[..., Any]) -> tuple[Any, list[int]]:
    """Run a mapped task that Airflow may retry twice; return its instances, and which ones have been retried."""
    retried: list[int] = []
    with new_dag() as dag:
        add_tasks(
            retries=2,
            retry_delay=timedelta(0),
            on_retry_callback=lambda context: retried.append(context["ti"].map_index),
        )
    return run_dag(dag), retried


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_element_of_expand_kwargs_fails_once_and_harms_no_other(what: str, new_dag: NewDag) -> None:
    wrong, said = WRONG[what]
    outcome, retried = tries_of(
        new_dag,
        lambda **tries: PrefectStartFlowRunOperator.partial(
            task_id="start", **({} if "wait_for_completion" in wrong else {"wait_for_completion": False}), **tries
        ).expand_kwargs([{**GOOD, "wait_for_completion": False} if "wait_for_completion" in wrong else GOOD, wrong]),
    )
    good, bad = outcome.mapped("start")
    assert (good.state, bad.state) == ("success", "failed")
    assert retried == []
    if bad.error is not None:  # Airflow 2 loses it where it cannot unmap the task
        assert isinstance(bad.error, ConfigurationError)
        assert isinstance(bad.error, AirflowFailException)
        assert said in str(bad.error)


@pytest.mark.parametrize(
    ("operator", "wrong"),
    [
        (PrefectRenameFlowRunOperator, {"flow_run_id": "x"}),
        (PrefectRenameFlowRunOperator, {"flow_run_id": "x", "name": None}),
        (PrefectRenameFlowRunOperator, {"name": "x"}),
        (PrefectGetTaskRunResultOperator, {"task_name": "load"}),
        (PrefectGetTaskRunResultOperator, {"flow_run_id": "x", "task_name": "load", "artifact_key": "a"}),
        (PrefectFlowRunSensor, {}),
        (PrefectFlowRunSensor, {"flow_run_id": "x", "since": "2026-10-01"}),
        (PrefectFlowRunSensor, {"flow_run_id": "x", "poke_interval": -1}),
        (PrefectFlowRunSensor, {"flow_run_id": "x", "poke_interval": "often"}),
    ],
)
def test_a_wrong_element_of_any_operator_fails_once(operator: Any, wrong: dict[str, Any], new_dag: NewDag) -> None:
    outcome, retried = tries_of(new_dag, lambda **tries: operator.partial(task_id="it", **tries).expand_kwargs([wrong]))
    assert [instance.state for instance in outcome.mapped("it")] == ["failed"]
    assert retried == []


def test_what_airflow_retries_is_retried_in_these_tests_too(new_dag: NewDag) -> None:
    def fails(**tries: Any) -> None:
        @task(**tries)
        def fail(number: int) -> None:
            raise ValueError(number)

        fail.expand(number=[1])

    outcome, retried = tries_of(new_dag, fails)
    assert (outcome.mapped("fail")[0].state, retried) == ("failed", [0, 0])


def test_a_wrong_argument_in_a_dag_file_is_an_import_error_that_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(
        "from airflow.providers.common.compat.sdk import DAG\n"
        "from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator\n"
        "with DAG('wrong', schedule=None):\n"
        "    PrefectStartFlowRunOperator(task_id='start', deployment='a/b', paramters={})\n"
    )
    with pytest.raises(AssertionError) as raised:
        dags_in(file)
    assert "paramters" in str(raised.value)
    assert "ConfigurationErrorForGood" in str(raised.value)
    assert AIRFLOW
