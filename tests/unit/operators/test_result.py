"""Fetching what a flow run has left, through the real hook and the real drivers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_prefect.client.errors import ConfigurationError, FlowRunFailed, FlowRunNotFound, WaitTimeout
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import Answer, Asked, FakePrefect, state
from tests.unit.running import Through, carried_out, deferral

NOWHERE = "00000000-0000-4000-8000-000000000000"
both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


def get(flow_run_id: str, **arguments: Any) -> PrefectGetTaskRunResultOperator:
    task = PrefectGetTaskRunResultOperator(
        **{"task_id": "get", "flow_run_id": flow_run_id, "deferrable": False, **arguments}
    )
    task.poll_interval = 0.01
    return task


@pytest.fixture
def results(
    prefect: FakePrefect, connect: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Any], dict[str, Any]]:
    """Keeps a value as JSON, and gives the state's data that tells where; the connection may read it."""
    connect(host=prefect.api_url, extra={"result_roots": str(tmp_path)})
    monkeypatch.setattr("airflow_provider_prefect.client.rest.task_runs._POLL_INTERVAL", 0)

    def keep(value: Any) -> dict[str, Any]:
        file = tmp_path / uuid.uuid4().hex
        file.write_text(json.dumps(value))
        return {"storage_key": str(file), "serializer": {"type": "json"}}

    return keep


@pytest.fixture
def task_runs(prefect: FakePrefect) -> list[dict[str, Any]]:
    """The task runs that the server knows, whichever flow run's."""
    rows: list[dict[str, Any]] = []

    def more(asked: Asked) -> Answer | None:
        if not asked.path.startswith("/task_runs/"):
            return None
        types = asked.body["task_runs"].get("state", {}).get("type", {}).get("any_")
        found = [row for row in rows if types is None or row["state"]["type"] in types]
        return Answer(200, len(found) if asked.path == "/task_runs/count" else found[asked.body["offset"] :])

    prefect.instead.append(more)
    return rows


def child(number: int, data: dict[str, Any], type_: str = "COMPLETED") -> dict[str, Any]:
    """A child of the mapped task ``load``, as Prefect 2 keeps it."""
    return {
        "id": str(uuid.uuid4()),
        "name": f"load-{number}",
        "task_key": "load-1979d4b9",
        "dynamic_key": str(number),
        "flow_run_run_count": 1,
        "state": state(type_, data=data),
    }


# What it is given


def test_a_task_and_an_artifact_do_not_go_together() -> None:
    with pytest.raises(ConfigurationError, match="Give either task_name or artifact_key"):
        get(NOWHERE, task_name="load", artifact_key="rows")


@pytest.mark.parametrize("index", [-2, "-2", "x", 1.5, "1.5", True])
def test_what_is_no_map_index_is_refused_before_anything_is_sent(
    prefect: FakePrefect, context: dict[str, Any], index: Any
) -> None:
    with pytest.raises(AirflowFailException, match="is neither -1, for all, nor the index of a child"):
        get(NOWHERE, task_name="load", map_index=index).execute(context)
    assert prefect.requests == []


def test_a_map_index_needs_a_task(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="map_index=0 needs task_name"):
        get(NOWHERE, map_index=0).execute(context)


def test_a_flow_run_that_is_not_there_is_an_error_with_its_id(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(FlowRunNotFound, match=NOWHERE):
        get(NOWHERE).execute(context)


def test_what_is_templated() -> None:
    assert set(PrefectGetTaskRunResultOperator.template_fields) == {
        "flow_run_id",
        "task_name",
        "map_index",
        "artifact_key",
        "prefect_conn_id",
    }


# What it fetches


@both_modes
def test_without_a_task_it_is_what_the_flow_returned(
    prefect: FakePrefect,
    context: dict[str, Any],
    ti: TaskInstance,
    results: Callable[[Any], dict[str, Any]],
    through_airflow: Through,
    deferrable: bool,
) -> None:
    run_id = prefect.add_flow_run("RUNNING", "RUNNING", state("COMPLETED", data=results({"a": 1})))
    assert carried_out(get(run_id, deferrable=deferrable), context, through_airflow) == {"a": 1}
    assert (ti.xcoms["flow_run_id"], ti.xcoms["state"]) == (run_id, "COMPLETED")
    assert ti.xcoms["flow_run_url"].endswith(run_id)


@both_modes
def test_an_artifact_is_read_instead(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    run_id = prefect.add_flow_run("RUNNING", "RUNNING", "COMPLETED")
    prefect.artifacts.append({"id": "a", "key": "rows", "type": "table", "data": "[1]", "flow_run_id": run_id})
    assert carried_out(get(run_id, artifact_key="rows", deferrable=deferrable), context, through_airflow) == [1]


@both_modes
@pytest.mark.parametrize(("index", "value"), [(-1, [10, 11, 12]), ("-1", [10, 11, 12]), (1, 11), ("2", 12)])
def test_the_children_of_a_task_are_read_all_or_one(
    prefect: FakePrefect,
    context: dict[str, Any],
    results: Callable[[Any], dict[str, Any]],
    task_runs: list[dict[str, Any]],
    through_airflow: Through,
    deferrable: bool,
    index: Any,
    value: Any,
) -> None:
    run_id = prefect.add_flow_run("RUNNING", "RUNNING", "COMPLETED")
    task_runs += [child(number, results(10 + number)) for number in (2, 0, 1)]
    task = get(run_id, task_name="load", map_index=index, deferrable=deferrable)
    assert carried_out(task, context, through_airflow) == value


def test_the_full_name_of_a_task_run_means_it_alone(
    prefect: FakePrefect,
    context: dict[str, Any],
    results: Callable[[Any], dict[str, Any]],
    task_runs: list[dict[str, Any]],
) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    task_runs += [child(number, results(10 + number)) for number in range(3)]
    assert get(run_id, task_name="load-1").execute(context) == 11


def test_a_task_that_ran_once_has_one_value_and_no_list(
    prefect: FakePrefect,
    context: dict[str, Any],
    results: Callable[[Any], dict[str, Any]],
    task_runs: list[dict[str, Any]],
) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    task_runs.append(child(0, results("only")))
    assert get(run_id, task_name="load").execute(context) == "only"


def test_one_child_without_a_value_is_an_error_and_no_gap(
    prefect: FakePrefect,
    context: dict[str, Any],
    results: Callable[[Any], dict[str, Any]],
    task_runs: list[dict[str, Any]],
) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    exception = results({"__exc_type__": "builtins.ValueError", "message": "boom"})
    task_runs += [child(0, results(10)), child(1, exception, "FAILED")]
    with pytest.raises(AirflowFailException, match="Task run 'load-1' has returned nothing: it is in state Failed"):
        get(run_id, task_name="load").execute(context)
    assert get(run_id, task_name="load", map_index=0).execute(context) == 10


def test_all_children_together_may_not_be_too_large(
    prefect: FakePrefect,
    context: dict[str, Any],
    results: Callable[[Any], dict[str, Any]],
    task_runs: list[dict[str, Any]],
) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    task_runs += [child(number, results("x" * 90)) for number in range(3)]
    assert len(get(run_id, task_name="load", max_result_size=300).execute(context)) == 3
    with pytest.raises(AirflowFailException, match="max_result_size=200"):
        get(run_id, task_name="load", max_result_size=200).execute(context)


def test_the_value_is_one_that_an_xcom_can_carry(
    prefect: FakePrefect, context: dict[str, Any], results: Callable[[Any], dict[str, Any]]
) -> None:
    identifier = {"__class__": "uuid.UUID", "data": NOWHERE}
    run_id = prefect.add_flow_run(state("COMPLETED", data=results([identifier])))
    assert get(run_id).execute(context) == [NOWHERE]


def test_no_result_is_an_error_that_no_retry_meets_again(prefect: FakePrefect, context: dict[str, Any]) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    with pytest.raises(AirflowFailException, match=r"has left no result.*persist_result=True"):
        get(run_id).execute(context)


# How the flow run ended


@both_modes
def test_a_flow_run_that_failed_fails_the_task(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    run_id = prefect.add_flow_run("RUNNING", "FAILED")
    with pytest.raises(FlowRunFailed):
        carried_out(get(run_id, deferrable=deferrable), context, through_airflow)


def test_what_a_task_of_a_failed_flow_run_returned_is_fetched_if_so_asked(
    prefect: FakePrefect,
    context: dict[str, Any],
    results: Callable[[Any], dict[str, Any]],
    task_runs: list[dict[str, Any]],
) -> None:
    run_id = prefect.add_flow_run(state("FAILED", data=results({"__exc_type__": "builtins.ValueError"})))
    task_runs.append(child(0, results(10)))
    assert get(run_id, task_name="load", fail_on_unsuccessful=False).execute(context) == 10
    with pytest.raises(AirflowFailException, match="has returned nothing: it is in state Failed"):
        get(run_id, fail_on_unsuccessful=False).execute(context)


def test_an_end_to_skip_on_skips(prefect: FakePrefect, context: dict[str, Any]) -> None:
    run_id = prefect.add_flow_run("CANCELLED")
    with pytest.raises(AirflowSkipException):
        get(run_id, skip_on=["CANCELLED"]).execute(context)


@both_modes
def test_a_wait_that_takes_too_long_is_a_timeout(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, deferrable: bool
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    with pytest.raises(WaitTimeout):
        carried_out(get(run_id, timeout=0.2, deferrable=deferrable), context, through_airflow)


def test_a_finished_flow_run_never_defers(
    prefect: FakePrefect, context: dict[str, Any], results: Callable[[Any], dict[str, Any]]
) -> None:
    run_id = prefect.add_flow_run(state("COMPLETED", data=results(1)))
    assert get(run_id, deferrable=True).execute(context) == 1


def test_a_deferral_carries_what_was_asked_for(prefect: FakePrefect, context: dict[str, Any]) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    trigger: Any = deferral(get(run_id, deferrable=True, stream_logs=True, stream_states=False), context).trigger
    assert (trigger.flow_run_id, trigger.stream_logs, trigger.stream_states) == (run_id, True, False)
