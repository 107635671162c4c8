"""What the tests that use the double rely on: calls that can be compared, faults, and a real run."""

from __future__ import annotations

import http.client
import time
from typing import Any

import pytest
from graphql import parse

from tests.prefect1 import mutations, scenario
from tests.prefect1.calls import Call, calls
from tests.prefect1.server import Prefect1Server
from tests.prefect1.test_double_http import TENANT, ask


def read(query: str, **variables: Any) -> tuple[Call, ...]:
    return calls(parse(query), variables)


def test_calls_are_equal_whatever_the_text_is() -> None:
    inlined = read('query { flow(where: {id: {_eq: "a"}, name: {_eq: "b"}}, limit: 1) { id project { name id } } }')
    variables = read(
        "query Named($w: flow_bool_exp, $n: Int) { flow(limit: $n, where: $w) { ...f } } fragment f on flow "
        "{ project { id name } ... on flow { id } }",
        w={"name": {"_eq": "b"}, "id": {"_eq": "a"}},
        n=1,
    )
    assert inlined == variables
    assert inlined[0].selection == {"id": {}, "project": {"id": {}, "name": {}}}


@pytest.mark.parametrize(
    "other",
    [
        'query { flow(where: {id: {_eq: "b"}}) { id } }',
        'query { flow(where: {id: {_eq: "a"}}) { id name } }',
        'query { flow(where: {id: {_eq: "a"}}, limit: 1) { id } }',
        'query { flow_run(where: {id: {_eq: "a"}}) { id } }',
        'mutation { flow(where: {id: {_eq: "a"}}) { id } }',
    ],
)
def test_calls_that_ask_for_something_else_differ(other: str) -> None:
    assert read('query { flow(where: {id: {_eq: "a"}}) { id } }') != read(other)


def test_a_fault_is_about_the_requests_that_it_names(server: Prefect1Server) -> None:
    server.fault(on="tenant", about="slug", skip=1, times=1, status=503)
    queries = ("query { tenant { id } }", TENANT, "query { flow { id } }", TENANT, TENANT)
    statuses = []
    for query in queries:
        try:
            statuses.append(ask(server, query)[0])
        except ValueError:  # the body of a 503 is no JSON
            statuses.append(503)
    assert statuses == [200, 200, 200, 503, 200]


def test_an_answer_can_be_lost_after_the_server_acted(server: Prefect1Server) -> None:
    run_id = scenario.start_run(server, scenario.register_flow(server, "etl"))
    query = "mutation($input: set_flow_run_name_input!) { set_flow_run_name(input: $input) { success } }"
    for fault, name in (({}, "unchanged"), ({"acted": True}, "new")):
        mutations.set_flow_run_name(server.tables, flow_run_id=run_id, name="unchanged")
        server.fault(reset=True, **fault)  # type: ignore[arg-type]
        with pytest.raises(OSError):
            ask(server, query, {"input": {"flow_run_id": run_id, "name": "new"}})
        assert scenario.row(server, "flow_run", run_id)["name"] == name


def test_an_answer_can_end_early_or_come_late(server: Prefect1Server) -> None:
    server.fault(truncate=5)
    with pytest.raises(http.client.IncompleteRead):
        ask(server, TENANT)
    server.fault(delay=0.2)
    begin = time.perf_counter()
    assert ask(server, TENANT)[0] == 200
    assert time.perf_counter() - begin >= 0.2


def test_a_server_keeps_its_rows_when_it_is_started_again(server: Prefect1Server) -> None:
    port = server.port
    server.stop()
    with pytest.raises(OSError):
        ask(server, TENANT)
    server.start(port)
    assert ask(server, TENANT)[1]["data"]["tenant"][0]["slug"] == "default"
