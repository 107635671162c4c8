from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client.rest.base import RestEndpoints
from airflow_provider_prefect.client.transport import Request, run
from tests.unit.client.driving import Script, answer


def as_it_is(row: Any) -> Any:
    return row


def test_a_response_is_read_whatever_the_method() -> None:
    script = Script([answer({"n": 1}), answer({"n": 2}), answer({"n": 3})])
    endpoints = RestEndpoints(script)
    assert run(endpoints.get("/x", lambda body: body["n"])) == 1
    assert run(endpoints.post("/x", {"a": 1}, lambda body: body["n"])) == 2
    assert run(endpoints.post("/x", {"a": 1}, lambda body: body["n"], repeatable=False)) == 3
    assert script.requests == [
        Request("GET", "/x"),
        Request("POST", "/x", {"a": 1}),
        Request("POST", "/x", {"a": 1}, repeatable=False),
    ]


def test_pages_are_read_until_one_is_empty_each_from_where_the_last_has_ended() -> None:
    script = Script([answer([1, 2]), answer([3]), answer([])])
    assert run(RestEndpoints(script).paginate("/logs/filter", {"sort": "X"}, None, as_it_is)) == [1, 2, 3]
    assert script.sent == ["POST /logs/filter"] * 3
    assert [request.body for request in script.requests] == [{"sort": "X", "offset": offset} for offset in (0, 2, 3)]


def test_no_limit_is_sent_since_the_servers_own_is_not_known() -> None:
    script = Script([answer([])])
    run(RestEndpoints(script).paginate("/x", {}, 3, as_it_is))
    assert "limit" not in script.requests[0].body


@pytest.mark.parametrize(("limit", "rows", "asked"), [(3, [1, 2, 3], 2), (2, [1, 2], 1), (1, [1], 1), (0, [], 0)])
def test_no_more_is_read_or_returned_than_is_wanted(limit: int, rows: list[int], asked: int) -> None:
    script = Script([answer([1, 2]), answer([3, 4])])
    assert run(RestEndpoints(script).paginate("/x", {}, limit, as_it_is)) == rows
    assert len(script.requests) == asked


def test_what_is_asked_for_is_left_as_it_is() -> None:
    body = {"sort": "X"}
    run(RestEndpoints(Script([answer([])])).paginate("/x", body, None, as_it_is))
    assert body == {"sort": "X"}
