"""The double selects rows as Hasura does."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.prefect1 import scenario
from tests.prefect1.server import Prefect1Server
from tests.prefect1.test_double_http import ask


@pytest.fixture
def server(server: Prefect1Server) -> Prefect1Server:
    """Three runs of two flows: "a" has finished, "b" runs and "c" is scheduled."""
    etl = scenario.register_flow(server, "etl", labels=["x"])
    report = scenario.register_flow(server, "report", project="other")
    for flow_id, name, states in ((etl, "a", ["Running", "Success"]), (etl, "b", ["Running"]), (report, "c", [])):
        scenario.start_run(server, flow_id, *states, flow_run_name=name, parameters={"of": name})
    return server


def names(server: Prefect1Server, arguments: str, **variables: Any) -> list[str]:
    """The names of the flow runs that these arguments select."""
    declared = f"({', '.join(f'${name}: flow_run_bool_exp' for name in variables)})" if variables else ""
    status, body = ask(server, f"query{declared} {{ flow_run{arguments} {{ name }} }}", variables)
    assert status == 200, body
    assert "errors" not in body, body
    return [run["name"] for run in body["data"]["flow_run"]]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("{}", "abc"),
        ('{name: {_eq: "a"}}', "a"),
        ('{name: {_neq: "a"}}', "bc"),
        ('{name: {_in: ["a", "c", "d"]}}', "ac"),
        ("{name: {_in: []}}", ""),
        ('{name: {_nin: ["a"]}}', "bc"),
        ('{name: {_gt: "a", _lt: "c"}}', "b"),
        ('{name: {_gte: "a", _lte: "b"}}', "ab"),
        ('{state: {_like: "S%"}}', "ac"),
        ('{state: {_like: "_unning"}}', "b"),
        ('{state: {_ilike: "s%"}}', "ac"),
        ('{state: {_nlike: "S%"}}', "b"),
        ("{end_time: {_is_null: true}}", "bc"),
        ("{end_time: {_is_null: false}}", "a"),
        ('{labels: {_contains: ["x"]}}', "ab"),
        ('{parameters: {_contains: {of: "c"}}}', "c"),
        ('{parameters: {_has_key: "of"}}', "abc"),
        ('{_and: [{name: {_neq: "a"}}, {state: {_eq: "Running"}}]}', "b"),
        ('{_or: [{name: {_eq: "a"}}, {state: {_eq: "Running"}}]}', "ab"),
        ("{_or: []}", ""),
        ("{_and: []}", "abc"),
        ('{_not: {name: {_eq: "a"}}}', "bc"),
        ("{_not: {}}", ""),
        ('{flow: {name: {_eq: "etl"}}}', "ab"),
        ('{flow: {project: {name: {_eq: "other"}}}}', "c"),
        ('{states: {state: {_eq: "Running"}}}', "ab"),
        ('{task_runs: {task: {slug: {_eq: "work-1"}}}}', "abc"),
        ('{task_runs: {task: {slug: {_eq: "work-2"}}}}', ""),
    ],
)
def test_a_where_selects(server: Prefect1Server, where: str, expected: str) -> None:
    assert names(server, f"(where: {where}, order_by: {{name: asc}})") == list(expected)


@pytest.mark.parametrize(
    "where", ["null", "{name: null}", "{name: {_eq: null}}", "{_and: null}", "{name: {_in: null}}"]
)
def test_an_expression_that_is_null_is_true(server: Prefect1Server, where: str) -> None:
    assert len(names(server, f"(where: {where})")) == 3


def test_a_comparison_with_a_missing_value_is_neither_true_nor_false(server: Prefect1Server) -> None:
    moment = '"2031-01-01"'
    assert names(server, f"(where: {{end_time: {{_lt: {moment}}}}})") == ["a"]
    assert names(server, f"(where: {{_not: {{end_time: {{_gt: {moment}}}}}}})") == ["a"]


def test_times_are_compared_as_times(server: Prefect1Server) -> None:
    [run] = [run for run in server.tables.all("flow_run") if run["name"] == "a"]
    server.tables.update("flow_run", run["id"], start_time="2030-01-01T12:00:00+02:00")
    assert names(server, '(where: {start_time: {_gt: "2030-01-01T09:59:59Z"}})') == ["a"]
    assert names(server, '(where: {start_time: {_gt: "2030-01-01T10:00:00.000000001Z"}})') == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("(order_by: {name: desc})", "cba"),
        ("(order_by: [{state: asc}, {name: desc}])", "bca"),
        ("(order_by: {end_time: asc})", "abc"),
        ("(order_by: [{end_time: desc}, {name: asc}])", "bca"),
        ("(order_by: [{end_time: desc_nulls_last}, {name: asc}])", "abc"),
        ("(order_by: [{flow: {name: desc}}, {name: asc}])", "cab"),
        ("(order_by: {name: asc}, limit: 2)", "ab"),
        ("(order_by: {name: asc}, limit: 2, offset: 2)", "c"),
        ("(order_by: {name: asc}, limit: 0)", ""),
        ('(order_by: [{flow_id: asc}, {name: asc}], distinct_on: [flow_id], where: {flow: {name: {_eq: "etl"}}})', "a"),
    ],
)
def test_rows_are_ordered_and_cut(server: Prefect1Server, arguments: str, expected: str) -> None:
    assert names(server, arguments) == list(expected)


def test_a_where_may_be_a_variable(server: Prefect1Server) -> None:
    assert names(server, "(where: $where)", where={"name": {"_eq": "b"}}) == ["b"]


def test_relations_take_arguments_too(server: Prefect1Server) -> None:
    states = "states(order_by: {timestamp: desc}, limit: 1) { state }"
    _, body = ask(server, f'query {{ flow_run(where: {{name: {{_eq: "a"}}}}) {{ flow {{ name }} {states} }} }}')
    assert body["data"]["flow_run"] == [{"flow": {"name": "etl"}, "states": [{"state": "Success"}]}]


def test_rows_are_counted(server: Prefect1Server) -> None:
    selection = "aggregate { count max { name } } nodes { name }"
    _, body = ask(
        server, f'query {{ flow_run_aggregate(where: {{flow: {{name: {{_eq: "etl"}}}}}}) {{ {selection} }} }}'
    )
    aggregate = {"count": 2, "max": {"name": "b"}}
    assert body["data"]["flow_run_aggregate"] == {"aggregate": aggregate, "nodes": [{"name": "a"}, {"name": "b"}]}


def test_a_row_is_found_by_its_key(server: Prefect1Server) -> None:
    run = server.tables.all("flow_run")[0]
    query = "query($id: uuid!) { flow_run_by_pk(id: $id) { name } }"
    assert ask(server, query, {"id": run["id"].upper()})[1]["data"] == {"flow_run_by_pk": {"name": "a"}}
    assert ask(server, query, {"id": run["flow_id"]})[1]["data"] == {"flow_run_by_pk": None}


def test_a_table_holds_no_row_that_the_schema_does_not_allow(server: Prefect1Server) -> None:
    with pytest.raises(ValueError, match="has no nope"):
        server.tables.insert("project", name="x", nope=1)
    with pytest.raises(ValueError, match="needs name"):
        server.tables.insert("project")


def test_what_the_double_cannot_do_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="could not answer"), Prefect1Server() as server:
        ask(server, "mutation { delete_log(where: {}) { affected_rows } }")


def test_a_thousand_runs_are_asked_for_at_once_in_a_moment(server: Prefect1Server) -> None:
    flow_id = scenario.register_flow(server, "many")
    ids = [scenario.start_run(server, flow_id) for _ in range(2000)]
    where = "{id: {_in: $ids}, state: {_in: $states}}"
    query = f"query($ids: [uuid!], $states: [String!]) {{ flow_run(where: {where}) {{ id state }} }}"
    variables = {"ids": ids[:1000], "states": ["Scheduled", "Running"]}
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        _, body = ask(server, query, variables)
        took.append(time.perf_counter() - begin)
        assert len(body["data"]["flow_run"]) == 1000
    # It takes some tens of milliseconds; a busy machine gets more.
    assert min(took) < 1


def test_agents_are_given_the_runs_that_are_due_and_have_their_labels(server: Prefect1Server) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    flow_id = scenario.register_flow(server, "etl", labels=["x"])
    due = scenario.start_run(server, flow_id)
    scenario.start_run(server, flow_id, scheduled_start_time=later.isoformat())
    query = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }"
    for labels, expected in ((["x", "y"], [due]), (["y"], [])):
        given = {"tenant_id": server.tenant_id, "labels": labels}
        _, body = ask(server, query, {"input": given})
        assert body["data"]["get_runs_in_queue"]["flow_run_ids"] == expected
