"""``get_task_run_result`` of the real client against the double (rows G01 to G17)."""

from __future__ import annotations

import pickle
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.prefect1 import scenario
from tests.prefect1.real_client import Outcome, run_real
from tests.prefect1.scenario import finish_mapped, finish_task, local_result, no_location, prefect_result
from tests.prefect1.server import Prefect1Server


@pytest.fixture
def run_id(server: Prefect1Server) -> str:
    parameters = [scenario.parameter("size", 3)]
    flow_id = scenario.register_flow(server, "etl", tasks=["load", "load"], mapped=["square"], parameters=parameters)
    run_id = scenario.start_run(server, flow_id, "Running")
    finish_task(server, run_id, "size", result=prefect_result(3))
    finish_task(server, run_id, "load-1", result=prefect_result({"rows": [1, 2]}))
    finish_mapped(server, run_id, "square-1", [prefect_result(n) for n in (1, 4, 9)])
    scenario.move(server, run_id, "Success")
    return run_id


def get(server: Prefect1Server, run_id: str, task_slug: Any = "load-1", **arguments: Any) -> Outcome:
    return run_real("get_task_run_result", server, flow_run_id=run_id, task_slug=task_slug, **arguments)


def refused(outcome: Outcome, error: str, text: str) -> None:
    assert outcome.error == error
    assert text in str(outcome.text)


@pytest.mark.parametrize("slug", ["", None])
def test_g01_without_a_slug_nothing_is_asked(server: Prefect1Server, run_id: str, slug: str | None) -> None:
    outcome = get(server, run_id, slug)
    refused(outcome, "ValueError", "Required argument `task_slug` is empty")
    assert outcome.requests == ()


def test_g02_the_current_run_cannot_be_waited_for(server: Prefect1Server, run_id: str) -> None:
    outcome = get(server, run_id, prefect_context={"flow_run_id": run_id})
    refused(outcome, "ValueError", "Given `flow_run_id` is the same as the currently running flow.")


@pytest.mark.parametrize(("arguments", "pause"), [({}, 5), ({"poll_time": 0}, 0), ({"poll_time": 9}, 9)])
def test_g03_it_waits_until_the_run_is_finished(server: Prefect1Server, arguments: dict[str, Any], pause: int) -> None:
    run_id = scenario.start_run(server, scenario.register_flow(server, "slow", tasks=["load"]), "Running")
    finish_task(server, run_id, "load-1", result=prefect_result(7))
    scenario.moving_on(server, run_id, "Success", skip=2)
    outcome = get(server, run_id, **arguments)
    assert (outcome.value, outcome.slept) == (7, (pause, pause))
    assert outcome.names == ("flow_run", "flow_run", "flow_run", "task_run")
    assert sum("to finish before retreiving result" in line for line in outcome.messages) == 2


@pytest.mark.parametrize("state", ["Failed", "Cancelled", "TimedOut"])
def test_g04_results_of_a_run_that_failed_are_read_too(server: Prefect1Server, run_id: str, state: str) -> None:
    scenario.move(server, run_id, state)
    assert get(server, run_id).value == {"rows": [1, 2]}


def test_g05_a_mapped_task_gives_those_of_its_children_in_order(server: Prefect1Server, run_id: str) -> None:
    outcome = get(server, run_id, "square-1")
    assert outcome.value == [1, 4, 9]
    assert outcome.names == ("flow_run", "task_run", "task_run")
    assert outcome.calls[2].arguments["where"]["map_index"] == {"_neq": -1}
    assert outcome.calls[2].arguments["order_by"] == {"map_index": "asc"}


def test_g06_a_map_index_gives_that_child_only(server: Prefect1Server, run_id: str) -> None:
    assert get(server, run_id, "square-1", map_index=1).value == 4
    assert get(server, run_id, "square-1", map_index=None).value == [1, 4, 9]


@pytest.mark.parametrize(("slug", "index"), [("nope-1", -1), ("square-1", 3), ("load-1", 0)])
def test_g07_what_is_not_there_is_a_value_error(server: Prefect1Server, run_id: str, slug: str, index: int) -> None:
    outcome = get(server, run_id, slug, map_index=index)
    refused(outcome, "ValueError", "No task runs found while querying for task runs where")


def test_g08_g16_the_slug_of_a_parameter_is_its_name(server: Prefect1Server, run_id: str) -> None:
    assert get(server, run_id, "size").value == 3
    refused(get(server, run_id, "size-1"), "ValueError", "No task runs found")


def test_g09_a_task_run_that_is_not_finished_has_no_result(server: Prefect1Server, run_id: str) -> None:
    finish_task(server, run_id, "load-2", "Running", result=prefect_result(1))
    refused(get(server, run_id, "load-2"), "ValueError", "cannot be loaded if it is not finished")


def test_g10_a_task_run_that_never_ran_has_no_result_type(server: Prefect1Server, run_id: str) -> None:
    finish_task(server, run_id, "load-2", "Cancelled")
    refused(
        get(server, run_id, "load-2"), "TypeError", "The task has a no `Result` type so the result cannot be loaded."
    )


@pytest.mark.parametrize("kind", ["Result", "LocalResult"])
@pytest.mark.parametrize("state", ["Success", "Failed"])
def test_g11_a_result_without_a_location_cannot_be_read(
    server: Prefect1Server, run_id: str, kind: str, state: str
) -> None:
    result = {**no_location(kind), **({"dir": "/tmp"} if kind == "LocalResult" else {})}
    finish_task(server, run_id, "load-2", state, result=result)
    refused(get(server, run_id, "load-2"), "ValueError", "The task result has no `location`")


def test_g12_a_class_of_somebody_else_is_a_type_error(server: Prefect1Server, run_id: str) -> None:
    result = {"type": "CustomResult", "location": "somewhere", "__version__": "1.4.1"}
    finish_task(server, run_id, "load-2", result=result)
    refused(get(server, run_id, "load-2"), "TypeError", "Only built-in `Result` types are supported.")


def test_g13_an_unfinished_child_is_in_the_way(server: Prefect1Server, run_id: str) -> None:
    finish_task(server, run_id, "square-1", "Running", map_index=1)
    refused(get(server, run_id, "square-1"), "ValueError", "Loading results for mapped tasks in running flows")


def test_g13_a_failed_child_is_in_the_way(server: Prefect1Server, run_id: str) -> None:
    finish_task(server, run_id, "square-1", "Failed", result=no_location(), map_index=1)
    refused(get(server, run_id, "square-1"), "ValueError", "The task result has no `location`")


def test_g13_a_mapped_task_without_children_is_a_value_error(server: Prefect1Server) -> None:
    run_id = scenario.start_run(server, scenario.register_flow(server, "few", mapped=["square"]))
    finish_mapped(server, run_id, "square-1", [])
    scenario.move(server, run_id, "Success")
    refused(get(server, run_id, "square-1"), "ValueError", "No child task runs were found")


def test_g14_a_file_is_read_where_the_task_runs(server: Prefect1Server, run_id: str, tmp_path: Path) -> None:
    file = tmp_path / "load.prefect"
    file.write_bytes(pickle.dumps({"answer": 42}))
    finish_task(server, run_id, "load-2", result=local_result(str(file), str(tmp_path)))
    assert get(server, run_id, "load-2").value == {"answer": 42}
    file.unlink()
    assert get(server, run_id, "load-2").error == "FileNotFoundError"


def test_g15_the_class_that_reads_is_logged(server: Prefect1Server, run_id: str) -> None:
    assert ("DEBUG", "Loading task run result from PrefectResult...") in get(server, run_id).logs


def test_g16_a_false_parameter_is_false(server: Prefect1Server, run_id: str) -> None:
    finish_task(server, run_id, "size", result=prefect_result(False))
    assert get(server, run_id, "size").value is False


def test_an_unknown_flow_run_is_a_value_error(server: Prefect1Server) -> None:
    refused(get(server, str(uuid.uuid4())), "ValueError", "No flow runs found while querying for flow runs where")
