"""What a flow run of Prefect 1 leaves behind: its log, its task runs, and where their results are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import Selected, State
from airflow_provider_prefect.client.results.formats import Literal, Record
from tests.unit.client.driving import Script
from tests.unit.client.graphql.asking import asked, graphql
from tests.unit.client.graphql.samples import NOON, data, line, task_run
from tests.unit.client.samples import RUN_ID

OF_RUN = {"flow_run_id": {"_eq": RUN_ID}}


def lines(first: int, number: int) -> Any:
    return data(log=[line(first + count) for count in range(number)])


# Log lines


def test_log_lines_are_read_page_by_page_until_one_is_not_full() -> None:
    found, sent = asked(lambda api: api.read_logs(RUN_ID), lines(0, 200), lines(200, 200), lines(400, 3))
    assert [each.id for each in found] == [f"line-{number}" for number in range(403)]
    assert [each["offset"] for each in sent] == [0, 200, 400]
    assert sent[0] == {"where": OF_RUN, "order": "asc", "limit": 200, "offset": 0}


def test_no_more_lines_are_returned_than_are_wanted() -> None:
    found, sent = asked(lambda api: api.read_logs(RUN_ID, limit=150), lines(0, 200))
    assert (len(found), len(sent)) == (150, 1)
    assert asked(lambda api: api.read_logs(RUN_ID, limit=0)) == ([], [])


@pytest.mark.parametrize(
    ("level", "without"), [(30, {"DEBUG", "INFO", "NOTSET"}), (50, {"ERROR", "WARNING", "INFO"}), (10, {"NOTSET"})]
)
def test_lines_of_a_level_and_above_are_asked_for_by_the_names_of_the_levels(level: int, without: set[str]) -> None:
    _, [sent] = asked(lambda api: api.read_logs(RUN_ID, level=level), lines(0, 0))
    names = set(sent["where"]["level"]["_in"])
    assert "CRITICAL" in names
    assert not names & without


def test_a_page_of_lines_begins_after_a_time() -> None:
    after = datetime(2026, 1, 2, 12, tzinfo=UTC)
    _, [sent] = asked(lambda api: api.read_log_page(RUN_ID, after=after, offset=7), lines(0, 1))
    assert sent["where"] == {**OF_RUN, "timestamp": {"_gt": NOON}}
    assert (sent["order"], sent["offset"]) == ("asc", 7)


def test_the_first_page_has_no_time_to_begin_after() -> None:
    _, [sent] = asked(lambda api: api.read_log_page(RUN_ID, after=None, offset=0), lines(0, 1))
    assert sent["where"] == OF_RUN


def test_the_last_lines_are_read_from_the_end_and_shown_from_the_oldest() -> None:
    newest_first = data(log=[line(9), line(8)])
    found, [sent] = asked(lambda api: api.read_last_logs(RUN_ID, 2), newest_first)
    assert [each.id for each in found] == ["line-8", "line-9"]
    assert (sent["order"], sent["limit"], sent["offset"]) == ("desc", 2, 0)


def test_lines_are_counted_by_the_server() -> None:
    found, [sent] = asked(lambda api: api.count_logs(RUN_ID), data(log_aggregate={"aggregate": {"count": 12}}))
    assert (found, sent) == (12, {"where": OF_RUN})


def test_the_lines_of_many_runs_are_read_from_a_time_on_that_is_included() -> None:
    after = datetime(2026, 1, 2, 12, tzinfo=UTC)
    found, [sent] = asked(
        lambda api: api.read_logs_of([RUN_ID, "b"], after=after, limit=200),
        data(log=[line(1, flow_run_id=RUN_ID), line(2, flow_run_id="b")]),
    )
    assert [(each.id, each.flow_run_id) for each in found] == [("line-1", RUN_ID), ("line-2", "b")]
    assert sent == {"where": {"flow_run_id": {"_in": [RUN_ID, "b"]}, "timestamp": {"_gte": NOON}}, "limit": 200}


# Task runs


def test_all_task_runs_of_a_flow_run_are_read() -> None:
    found, [sent] = asked(lambda api: api.read_task_runs(RUN_ID), data(task_run=[task_run(), task_run(map_index=0)]))
    assert [each.name for each in found] == ["load-1", "load-1[0]"]
    assert sent == {"where": OF_RUN, "limit": None}


def test_only_those_of_these_ids_or_in_these_states_are_read() -> None:
    _, [sent] = asked(
        lambda api: api.read_task_runs(RUN_ID, ids=["a", "b"], state_types=["FAILED", "CRASHED"], limit=10),
        data(task_run=[]),
    )
    assert sent["where"]["id"] == {"_in": ["a", "b"]}
    assert set(sent["where"]["state"]["_in"]) >= {"Failed", "TriggerFailed", "TimedOut"}
    assert "Success" not in sent["where"]["state"]["_in"]
    assert sent["limit"] == 10


# Which task runs are meant


def select(map_index: int, *answers: Any) -> tuple[Selected, list[dict[str, Any]]]:
    return asked(lambda api: api.select_task_runs(RUN_ID, "load-1", map_index), *answers)


def test_a_task_that_is_not_mapped_has_one_value() -> None:
    selected, [sent] = select(-1, data(task_run=[task_run()]))
    assert (len(selected.task_runs), selected.many) == (1, False)
    assert sent["where"] == {"task": {"slug": {"_eq": "load-1"}}, **OF_RUN, "map_index": {"_eq": -1}}


def test_of_a_mapped_task_all_children_are_meant_in_the_servers_order() -> None:
    children = [task_run(map_index=0), task_run(map_index=1)]
    selected, sent = select(-1, data(task_run=[task_run("Mapped")]), data(task_run=children))
    assert [each.name for each in selected.task_runs] == ["load-1[0]", "load-1[1]"]
    assert selected.many
    assert sent[1]["where"]["map_index"] == {"_neq": -1}


def test_one_child_is_still_a_list() -> None:
    selected, _ = select(-1, data(task_run=[task_run("Mapped")]), data(task_run=[task_run(map_index=0)]))
    assert selected.many


def test_a_child_is_chosen_by_its_index() -> None:
    selected, [sent] = select(1, data(task_run=[task_run(map_index=1)]))
    assert ([each.name for each in selected.task_runs], selected.many) == (["load-1[1]"], False)
    assert sent["where"]["map_index"] == {"_eq": 1}


def test_a_child_that_is_itself_in_the_state_mapped_is_one_value() -> None:
    assert not select(1, data(task_run=[task_run("Mapped", map_index=1)]))[0].many


@pytest.mark.parametrize(("map_index", "name"), [(-1, "'load-1'"), (7, r"'load-1\[7\]'")])
def test_a_task_run_that_is_not_there_is_said_with_those_that_are(map_index: int, name: str) -> None:
    there = data(task_run=[task_run(task={"slug": "save-1"}), task_run(task={"slug": "read-1"})])
    with pytest.raises(ResultError, match=rf"no task run {name}.*It has: 'read-1', 'save-1'\."):
        select(map_index, data(task_run=[]), there)


def test_a_flow_run_without_task_runs_is_said_to_have_none() -> None:
    with pytest.raises(ResultError, match="none at all"):
        select(-1, data(task_run=[]), data(task_run=[]))


def test_a_mapped_task_without_children_has_no_value() -> None:
    with pytest.raises(ResultError, match="no task runs of its children"):
        select(-1, data(task_run=[task_run("Mapped")]), data(task_run=[]))


# Where a result is


def find_result(result: Any) -> Literal | Record:
    return graphql(Script([])).find_result(State("", "COMPLETED", "Success", data=result), "Task run 'load-1'")


@pytest.mark.parametrize(
    ("location", "value"), [("3", 3), ("false", False), ("null", None), ('{"a": [1]}', {"a": [1]})]
)
def test_a_prefect_result_carries_its_value_itself(location: str, value: Any) -> None:
    assert find_result({"type": "PrefectResult", "location": location}) == Literal(value)


@pytest.mark.parametrize(
    ("result", "path"),
    [
        ({"type": "LocalResult", "dir": "/mnt/results", "location": "a/b.prefect"}, "/mnt/results/a/b.prefect"),
        ({"type": "LocalResult", "dir": "/mnt/results", "location": "/else/where"}, "/else/where"),
        ({"type": "LocalResult", "dir": None, "location": "/else/where"}, "/else/where"),
        ({"type": "S3Result", "bucket": "b", "location": "a/b"}, "s3://b/a/b"),
        ({"type": "S3Result", "bucket": "b", "location": "/a/b"}, "s3://b//a/b"),
        ({"type": "GCSResult", "bucket": "b", "location": "a/b"}, "gs://b/a/b"),
        ({"type": "AzureResult", "container": "c", "location": "a/b"}, "abfs://c/a/b"),
    ],
)
def test_a_result_in_a_file_is_where_prefect_1_has_put_it(result: dict[str, Any], path: str) -> None:
    assert find_result(result) == Record(path, None, {"type": "prefect-1"})


@pytest.mark.parametrize("result", [None, {}, {"type": "Result", "location": None}, {"type": "LocalResult"}, "text"])
def test_a_task_without_a_place_for_its_result_has_left_none_and_the_way_out_is_said(result: Any) -> None:
    with pytest.raises(ResultError, match=r"has left no result.*returned None.*LocalResult"):
        find_result(result)


@pytest.mark.parametrize(
    "result",
    [
        {"type": "SecretResult", "location": "x"},
        {"type": "ConstantResult", "location": "x"},
        {"type": "S3Result", "location": "x"},
        {"type": "S3Result", "bucket": "", "location": "x"},
        {"location": "x"},
    ],
)
def test_a_result_of_another_kind_is_refused_by_its_name(result: dict[str, Any]) -> None:
    with pytest.raises(ResultError, match=f"in a {result.get('type', 'Result')}, which is not supported"):
        find_result(result)


def test_a_prefect_result_that_is_no_json_is_refused() -> None:
    with pytest.raises(ResultError):
        find_result({"type": "PrefectResult", "location": "{'a': 1}"})
