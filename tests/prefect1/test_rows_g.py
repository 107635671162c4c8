"""Rows G01 to G18 side by side: ``get_task_run_result`` of Prefect 1.4.1 and our operator, against the same server."""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import FlowRunCancelled, FlowRunFailed
from tests.prefect1 import scenario
from tests.prefect1.our_side import OurSide
from tests.prefect1.real_client import Outcome, run_real
from tests.prefect1.scenario import finish_mapped, finish_task, local_result, no_location, prefect_result
from tests.prefect1.server import Prefect1Server

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


@pytest.fixture
def run_id(server: Prefect1Server) -> str:
    parameters = [scenario.parameter("size", 3), scenario.parameter("fast", False)]
    flow_id = scenario.register_flow(server, "etl", tasks=["load", "load"], mapped=["square"], parameters=parameters)
    run_id = scenario.start_run(server, flow_id, "Running")
    finish_task(server, run_id, "size", result=prefect_result(3))
    finish_task(server, run_id, "fast", result=prefect_result(False))
    finish_task(server, run_id, "load-1", result=prefect_result({"rows": [1, 2]}))
    finish_mapped(server, run_id, "square-1", [prefect_result(n) for n in (1, 4, 9)])
    scenario.move(server, run_id, "Success")
    return run_id


def get(server: Prefect1Server, run_id: str, task_slug: Any = "load-1", **arguments: Any) -> Outcome:
    return run_real("get_task_run_result", server, flow_run_id=run_id, task_slug=task_slug, **arguments)


def running(server: Prefect1Server) -> str:
    """A run whose result is there, and which is still going on."""
    flow_id = scenario.register_flow(server, f"slow-{uuid.uuid4()}", tasks=["load"])
    run_id = scenario.start_run(server, flow_id, "Running")
    finish_task(server, run_id, "load-1", result=prefect_result(7))
    return run_id


@pytest.mark.parametrize("slug", [None, ""])
def test_g01_without_a_slug_nothing_is_asked(
    server: Prefect1Server, ours: OurSide, run_id: str, slug: str | None
) -> None:
    real, done = get(server, run_id, slug), ours.get(run_id, slug)
    assert (real.error, real.requests) == ("ValueError", ())
    assert "Name a task by its slug, such as 'load-1'" in done.text
    assert done.for_good
    assert done.requests == ()


@both_modes
def test_g03_it_waits_for_the_end_looking_as_often_as_asked(
    server: Prefect1Server, ours: OurSide, deferrable: bool
) -> None:
    run_id = running(server)
    scenario.moving_on(server, run_id, "Success", skip=2)
    real = get(server, run_id)
    assert (real.value, real.slept) == (7, (5, 5))
    run_id = running(server)
    scenario.moving_on(server, run_id, "Success", skip=2)
    done = ours.get(run_id, pause=0 if deferrable else 4, deferrable=deferrable)
    assert (done.value, done.xcoms["state"]) == (7, "COMPLETED")
    assert deferrable or ours.slept == [4, 4] or ours.slept == [4]


def test_g03_a_pause_under_three_seconds_is_refused_and_a_timeout_ends_the_wait(
    server: Prefect1Server, ours: OurSide
) -> None:
    run_id = running(server)
    scenario.moving_on(server, run_id, "Success", skip=3)
    assert get(server, run_id, poll_time=0).slept == (0, 0, 0)
    refused = ours.get(run_id, poll_interval=0)
    assert "poll_interval=0 is too short" in refused.text
    assert refused.requests == ()
    assert get(server, running(server), patience=50).error == "PatienceEnded"
    assert "WaitTimeout" in ours.get(running(server), timeout=0.2).kinds


@both_modes
@pytest.mark.parametrize(("state", "error"), [("Failed", FlowRunFailed), ("Cancelled", FlowRunCancelled)])
def test_g04_results_of_a_run_that_has_failed_are_read_only_if_asked_for(
    server: Prefect1Server, ours: OurSide, state: str, error: Any, deferrable: bool
) -> None:
    run_id = running(server)
    scenario.move(server, run_id, state)
    assert get(server, run_id).value == 7
    assert isinstance(ours.get(run_id, deferrable=deferrable).error, error)
    assert ours.get(run_id, deferrable=deferrable, fail_on_unsuccessful=False).value == 7


@pytest.mark.parametrize("values", [[1, 4, 9], [5], [None, "x", {"a": []}]], ids=["three", "one", "mixed"])
def test_g05_a_mapped_task_gives_the_list_of_its_children_also_of_one(
    server: Prefect1Server, ours: OurSide, values: list[Any]
) -> None:
    flow_id = scenario.register_flow(server, "mapped", mapped=["square"])
    run_id = scenario.start_run(server, flow_id, "Running")
    finish_mapped(server, run_id, "square-1", [prefect_result(value) for value in values])
    scenario.move(server, run_id, "Success")
    real, done = get(server, run_id, "square-1"), ours.get(run_id, "square-1")
    assert real.value == done.value == values


def test_g05_children_are_in_the_order_of_the_mapping(server: Prefect1Server, ours: OurSide) -> None:
    run_id = scenario.start_run(server, scenario.register_flow(server, "mapped", mapped=["square"]), "Running")
    for index in (10, 2, 0, 1, *range(3, 10)):
        finish_task(server, run_id, "square-1", result=prefect_result(index), map_index=index)
    finish_task(server, run_id, "square-1", "Mapped", n_map_states=11)
    scenario.move(server, run_id, "Success")
    assert get(server, run_id, "square-1").value == ours.get(run_id, "square-1").value == [*range(11)]


@pytest.mark.parametrize("index", [0, 2, "1"])
def test_g06_a_map_index_gives_that_child_only(
    server: Prefect1Server, ours: OurSide, run_id: str, index: int | str
) -> None:
    expected = (1, 4, 9)[int(index)]
    assert get(server, run_id, "square-1", map_index=int(index)).value == expected
    assert ours.get(run_id, "square-1", map_index=index).value == expected


def test_g06_none_is_the_whole(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    everything = get(server, run_id, "square-1", map_index=None).value
    assert everything == ours.get(run_id, "square-1", map_index=None).value == [1, 4, 9]


@pytest.mark.parametrize("index", [-2, "first"])
def test_g06_what_is_no_index_is_refused_before_anything_is_asked(
    server: Prefect1Server, ours: OurSide, run_id: str, index: Any
) -> None:
    done = ours.get(run_id, "square-1", map_index=index)
    assert f"map_index={index!r} is neither -1, for all, nor the index of a child" in done.text
    assert done.for_good
    assert done.requests == ()


@pytest.mark.parametrize(
    ("slug", "index", "shown"),
    [
        ("nope-1", -1, "'nope-1'"),
        ("square-1", 3, "'square-1[3]'"),
        ("load-1", 0, "'load-1[0]'"),
        ("load", -1, "'load'"),
    ],
)
def test_g07_an_unknown_slug_or_index_is_an_error_that_lists_what_there_is(
    server: Prefect1Server, ours: OurSide, run_id: str, slug: str, index: int, shown: str
) -> None:
    real, done = get(server, run_id, slug, map_index=index), ours.get(run_id, slug, map_index=index)
    assert "No task runs found while querying for task runs" in str(real.text)
    assert f"Flow run {run_id} has no task run {shown}. It has: " in done.text
    assert "'load-1', 'load-2', 'size', 'square-1', 'square-1[0]'" in done.text
    assert done.for_good


@pytest.mark.parametrize(("slug", "value"), [("load-1", {"rows": [1, 2]}), ("load-2", [2]), ("size", 3)])
def test_g08_a_slug_is_the_name_with_a_number_and_a_parameters_its_name(
    server: Prefect1Server, ours: OurSide, run_id: str, slug: str, value: Any
) -> None:
    finish_task(server, run_id, "load-2", result=prefect_result([2]))
    assert get(server, run_id, slug).value == ours.get(run_id, slug).value == value


def test_g09_a_task_run_that_is_not_finished_is_an_error(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    real, done = get(server, run_id, "load-2"), ours.get(run_id, "load-2")
    assert "cannot be loaded if it is not finished" in str(real.text)
    assert "Task run 'load-2' has returned nothing: it is in state Pending" in done.text
    assert done.for_good


@pytest.mark.parametrize("state", ["Cancelled", "Skipped"])
def test_g10_a_task_run_that_never_ran_is_an_error(
    server: Prefect1Server, ours: OurSide, run_id: str, state: str
) -> None:
    finish_task(server, run_id, "load-2", state)
    real, done = get(server, run_id, "load-2"), ours.get(run_id, "load-2")
    assert (real.error, "`Result` type" in str(real.text)) == ("TypeError", True)
    assert "Task run 'load-2' has " in done.text
    assert done.for_good


@pytest.mark.parametrize("kind", ["Result", "LocalResult", "PrefectResult", "S3Result"])
def test_g11_a_result_without_location_is_an_error_that_says_what_to_do(
    server: Prefect1Server, ours: OurSide, run_id: str, kind: str
) -> None:
    result = {**no_location(kind), **({"dir": "/tmp"} if kind == "LocalResult" else {})}
    result |= {"bucket": "b"} if kind == "S3Result" else {}
    finish_task(server, run_id, "load-2", result=result)
    real, done = get(server, run_id, "load-2"), ours.get(run_id, "load-2")
    assert "has no `location`" in str(real.text)
    assert "Task run 'load-2' has left no result: it either returned None or has no Result to keep it in" in done.text
    assert "@task(result=LocalResult(dir='…'))" in done.text
    assert done.for_good


def test_g11_a_failed_task_is_an_error_that_names_its_state(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    finish_task(server, run_id, "load-2", "Failed", result=no_location(), message="Boom")
    assert "has no `location`" in str(get(server, run_id, "load-2").text)
    assert "Task run 'load-2' has returned nothing: it is in state Failed: Boom" in ours.get(run_id, "load-2").text


def test_g12_a_result_class_of_somebodys_own_is_an_error(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    result = {"type": "CustomResult", "location": "somewhere", "__version__": "1.4.1"}
    finish_task(server, run_id, "load-2", result=result)
    real, done = get(server, run_id, "load-2"), ours.get(run_id, "load-2")
    assert real.error is not None
    assert "Task run 'load-2' has its result in a CustomResult, which is not supported" in done.text
    assert done.for_good


def test_g13_a_mapped_task_without_children_is_an_error(server: Prefect1Server, ours: OurSide) -> None:
    run_id = scenario.start_run(server, scenario.register_flow(server, "mapped", mapped=["square"]), "Running")
    finish_mapped(server, run_id, "square-1", [])
    scenario.move(server, run_id, "Success")
    real, done = get(server, run_id, "square-1"), ours.get(run_id, "square-1")
    assert "No child task runs were found" in str(real.text)
    assert "Task 'square-1' was mapped, but" in done.text
    assert done.for_good


@pytest.mark.parametrize("state", ["Running", "Failed"])
def test_g13_a_child_that_is_unfinished_or_failed_is_an_error_that_names_it(
    server: Prefect1Server, ours: OurSide, run_id: str, state: str
) -> None:
    finish_task(server, run_id, "square-1", state, map_index=1, result=no_location() if state == "Failed" else None)
    real, done = get(server, run_id, "square-1"), ours.get(run_id, "square-1")
    assert real.error == "ValueError"
    assert f"Task run 'square-1[1]' has returned nothing: it is in state {state}" in done.text
    assert done.for_good
    assert ours.get(run_id, "square-1", map_index=2).value == 9


# Files


@pytest.fixture
def kept(server: Prefect1Server, ours: OurSide, run_id: str, tmp_path: Path) -> Callable[..., str]:
    """Keeps bytes as the result of load-2, in a folder that the connection allows; gives the file's name."""
    (tmp_path / "allowed").mkdir()
    ours.connect(result_roots=str(tmp_path / "allowed"))

    def keep(content: bytes | None, name: str = "result", directory: str = "allowed") -> str:
        if content is not None:
            (tmp_path / directory / name).write_bytes(content)
        finish_task(server, run_id, "load-2", result=local_result(name, str(tmp_path / directory)))
        return name

    return keep


def test_g14_a_file_that_is_not_there_is_an_error_that_names_it(
    server: Prefect1Server, ours: OurSide, run_id: str, kept: Callable[..., str]
) -> None:
    kept(None, "gone")
    real, done = get(server, run_id, "load-2"), ours.get(run_id, "load-2")
    assert real.error is not None
    assert "/allowed/gone' does not exist on this machine" in done.text
    assert done.for_good


@pytest.mark.parametrize(
    ("name", "directory"),
    [("result", "."), ("../result", "allowed"), ("link", "allowed")],
    ids=["folder", "..", "link"],
)
def test_g14_only_files_under_the_roots_of_the_connection_are_read(
    server: Prefect1Server,
    ours: OurSide,
    run_id: str,
    kept: Callable[..., str],
    tmp_path: Path,
    name: str,
    directory: str,
) -> None:
    (tmp_path / "result").write_bytes(pickle.dumps(7))
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "result")
    kept(None, name, directory)
    assert get(server, run_id, "load-2").value == 7
    done = ours.get(run_id, "load-2")
    assert "which is not under any of the connection's result_roots" in done.text
    assert done.for_good
    ours.connect()
    assert "result_roots (none)" in ours.get(run_id, "load-2").text
    ours.connect(result_roots=[str(tmp_path)])
    assert ours.get(run_id, "load-2").value == 7


@pytest.mark.parametrize(("slug", "value"), [("size", 3), ("fast", False), ("load-1", {"rows": [1, 2]})])
def test_g16_a_prefect_result_carries_its_value(
    server: Prefect1Server, ours: OurSide, run_id: str, slug: str, value: Any
) -> None:
    real, done = get(server, run_id, slug), ours.get(run_id, slug)
    assert real.value == done.value == value
    assert type(done.value) is type(value)


def test_g16_a_prefect_result_that_is_no_json_is_an_error(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    finish_task(server, run_id, "load-2", result={**prefect_result(1), "location": "{half"})
    real, done = get(server, run_id, "load-2"), ours.get(run_id, "load-2")
    assert real.error is not None
    assert "load-2" in done.text
    assert done.for_good


PLAIN = {"rows": [1, 2.5, None, True, "ä"], "of": (1, 2)}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_g17_a_pickle_of_plain_data_is_read(
    server: Prefect1Server, ours: OurSide, run_id: str, kept: Callable[..., str], protocol: int
) -> None:
    kept(pickle.dumps(PLAIN, protocol))
    real, done = get(server, run_id, "load-2"), ours.get(run_id, "load-2")
    assert real.value == {**PLAIN, "of": [1, 2]}
    assert done.value == PLAIN


def test_g17_dates_and_decimals_in_a_pickle_are_plain(
    server: Prefect1Server, ours: OurSide, run_id: str, kept: Callable[..., str]
) -> None:
    value = {"on": date(2026, 10, 1), "at": datetime(2026, 10, 1, 12, tzinfo=UTC), "price": Decimal("1.5"), "of": {1}}
    kept(pickle.dumps(value, 5))
    assert get(server, run_id, "load-2").error is None
    assert ours.get(run_id, "load-2").value == value


def test_g17_json_is_read_which_the_real_client_takes_for_a_pickle(
    server: Prefect1Server, ours: OurSide, run_id: str, kept: Callable[..., str]
) -> None:
    kept(json.dumps({"rows": [1]}).encode())
    assert get(server, run_id, "load-2").error is not None
    assert ours.get(run_id, "load-2").value == {"rows": [1]}


class Loaded:
    """Its pickle would call something when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.file),)

    file = ""


def test_g17_a_pickle_that_names_a_class_or_function_is_refused_and_nothing_of_it_runs(
    server: Prefect1Server, ours: OurSide, run_id: str, kept: Callable[..., str], tmp_path: Path
) -> None:
    trap = Loaded()
    trap.file = str(tmp_path / "sprung")
    kept(pickle.dumps([1, trap]))
    done = ours.get(run_id, "load-2")
    assert "The result is a pickle that needs pathlib" in done.text
    assert "JSONSerializer()" in done.text
    assert done.for_good
    assert not (tmp_path / "sprung").exists()
    get(server, run_id, "load-2")
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"type": "S3Result", "bucket": "b", "location": "a/x"}, "s3://b/a/x"),
        ({"type": "GCSResult", "bucket": "b", "location": "/a/x"}, "gs://b//a/x"),
        ({"type": "AzureResult", "container": "c", "location": "x"}, "abfs://c/x"),
    ],
)
def test_g17_results_in_object_stores_have_a_url_that_the_roots_are_to_allow(
    server: Prefect1Server, ours: OurSide, run_id: str, result: dict[str, Any], shown: str
) -> None:
    finish_task(server, run_id, "load-2", result={**result, "__version__": "1.4.1"})
    done = ours.get(run_id, "load-2")
    assert (
        f"The result is stored at {shown!r}, which is not under any of the connection's result_roots (none)"
        in done.text
    )
    assert done.for_good
