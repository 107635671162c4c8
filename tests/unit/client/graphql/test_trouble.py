"""Trouble behind Apollo comes with HTTP 200, as a refusal does, and is told apart by its code and its text."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client.errors import ApiError, InvalidRequest, Unreachable
from airflow_provider_prefect.client.graphql.query import with_rest_status
from airflow_provider_prefect.client.model import NewFlowRun, Source
from airflow_provider_prefect.client.transport import run
from tests.unit.client.driving import GRAPHQL, Again, Script, answer
from tests.unit.client.graphql.asking import answered
from tests.unit.client.graphql.samples import GROUP_ID, data, errors, flow_run
from tests.unit.client.samples import FLOW_ID, RUN_ID

INTERNAL = "INTERNAL_SERVER_ERROR"
AT = "http://graphql:4201/graphql/"

TROUBLE = [
    # Node.js and node-fetch
    (INTERNAL, f"request to {AT} failed, reason: connect ECONNREFUSED 10.0.0.7:4201"),
    (INTERNAL, f"request to {AT} failed, reason: socket hang up"),
    (INTERNAL, f"request to {AT} failed, reason: getaddrinfo EAI_AGAIN graphql"),
    (INTERNAL, "connect ECONNREFUSED 127.0.0.1:3000"),
    (INTERNAL, "connect ETIMEDOUT 10.0.0.7:3000"),
    (INTERNAL, "connect EHOSTUNREACH 10.0.0.7:3000"),
    (INTERNAL, "read ECONNRESET"),
    (INTERNAL, "write EPIPE"),
    (INTERNAL, "getaddrinfo ENOTFOUND hasura"),
    (INTERNAL, "socket hang up"),
    (INTERNAL, f"network timeout at: {AT}"),
    (INTERNAL, "Premature close"),
    (INTERNAL, f"invalid json response body at {AT} reason: Unexpected token < in JSON at position 0"),
    (INTERNAL, f"invalid json response body at {AT} reason: Unexpected end of JSON input"),
    (INTERNAL, "Unexpected token U in JSON at position 0"),
    (INTERNAL, "Cannot read property 'flow_run' of undefined"),
    (INTERNAL, "Cannot return null for non-nullable field query_root.flow_run."),
    (INTERNAL, "Cannot return null for non-nullable field Mutation.create_flow_run."),
    # Prefect's service in Python
    (INTERNAL, "Unable to complete operation. An internal API error occurred."),
    (INTERNAL, "Unable to connect to postgres."),
    (INTERNAL, "[Errno 111] Connection refused"),
    (INTERNAL, "[Errno -3] Temporary failure in name resolution"),
    (INTERNAL, "All connection attempts failed"),
    (INTERNAL, "Server disconnected without sending a response."),
    (INTERNAL, "Expecting value: line 1 column 1 (char 0)"),
    (INTERNAL, "timed out"),
    (INTERNAL, "[{'extensions': {'path': '$', 'code': 'unexpected'}, 'message': 'database query error'}]"),
    (INTERNAL, "[{'extensions': {'path': '$', 'code': 'unexpected'}, 'message': 'anything'}]"),
    (INTERNAL, ""),
    # Hasura and PostgreSQL
    ("unexpected", "database query error"),
    ("unexpected", "anything"),
    ("postgres-error", "connection error"),
    ("postgres-error", "anything"),
    ("postgres-max-connections-error", "max connections reached"),
    (INTERNAL, "database query error"),
    (INTERNAL, "connection error"),
    (INTERNAL, "FATAL:  the database system is starting up"),
    (INTERNAL, "sorry, too many clients already"),
    (INTERNAL, "remaining connection slots are reserved"),
    (INTERNAL, "server closed the connection unexpectedly"),
    (INTERNAL, "terminating connection due to administrator command"),
    (INTERNAL, "canceling statement due to statement timeout"),
    (INTERNAL, "deadlock detected"),
    # What a later Apollo of Prefect's makes of all these
    ("API_ERROR", "Unable to complete operation"),
    ("API_ERROR", "Operation timed out"),
]

REFUSALS = [
    (INTERNAL, "Required parameters were not supplied: {'must'}"),
    (INTERNAL, "Required parameters were not supplied: {'ECONNREFUSED', 'postgres', 'timeout'}"),
    (INTERNAL, f"Flow {FLOW_ID} is archived."),
    (INTERNAL, f"Flow {FLOW_ID} not found"),
    (INTERNAL, f"Invalid flow run ID: {RUN_ID}."),
    (INTERNAL, "Invalid name"),
    (INTERNAL, "Uniqueness violation."),
    (INTERNAL, "Foreign key violation."),
    (INTERNAL, "Variable '$input' got invalid value 'socket hang up' at 'input.flow_run_id'; Could not parse UUID: x"),
    (INTERNAL, "something that no Prefect has ever said"),
    ("GRAPHQL_VALIDATION_FAILED", 'Cannot query field "timeout" on type "flow_run".'),
    ("GRAPHQL_PARSE_FAILED", "Syntax Error: Unexpected token <"),
    ("BAD_USER_INPUT", 'Variable "$input" of required type "x" was not provided: connect ECONNREFUSED'),
    ("data-exception", 'invalid input syntax for type uuid: "read ECONNRESET"'),
    ("constraint-violation", "Uniqueness violation. duplicate key value violates unique constraint"),
    ("validation-failed", "field 'postgres' not found in type: 'query_root'"),
    ("FORBIDDEN", "Unauthorized"),
    ("", "no reason that is known"),
]


def error(code: str, message: str) -> dict[str, Any]:
    return {"message": message, "path": ["create_flow_run"], "extensions": {"code": code} if code else {}}


@pytest.mark.parametrize(("code", "message"), TROUBLE)
@pytest.mark.parametrize("status", [200, 503])
def test_trouble_is_what_a_503_is(code: str, message: str, status: int) -> None:
    response = with_rest_status(errors(error(code, message), status=status))
    assert (response.status, response.json()["detail"]) == (503, message or "no reason given")


@pytest.mark.parametrize(("code", "message"), REFUSALS)
def test_a_refusal_is_what_a_400_is(code: str, message: str) -> None:
    assert with_rest_status(errors(error(code, message))).status == 400


def test_trouble_in_one_part_is_trouble_of_the_whole() -> None:
    refusal, trouble = error("x", "refused"), error(INTERNAL, "socket hang up")
    for both in ([refusal, trouble], [trouble, refusal]):
        assert with_rest_status(errors(*both)).status == 503


def test_a_wrong_document_stays_a_refusal_whatever_it_holds() -> None:
    """A 400 is Apollo's own word on the document."""
    assert with_rest_status(errors(error(INTERNAL, "socket hang up"), status=400)).status == 400


SOURCE = Source(FLOW_ID, "etl", lineage=GROUP_ID)


def create(script: Script, patience: float = 60) -> Any:
    script.settings = GRAPHQL
    return run(script.api(patience).create_flow_run(SOURCE, NewFlowRun(idempotency_key="key-1")))


def test_a_create_whose_response_was_lost_is_sent_again_with_the_same_key_and_finds_its_own_flow_run() -> None:
    script = Script([])

    def created(_: Any) -> Any:
        context = script.requests[0].body["variables"]["input"]["context"]
        return data(flow_run=[flow_run(context=context)])

    script = Script([errors(error(INTERNAL, "socket hang up")), data(create_flow_run={"id": RUN_ID}), created])
    assert create(script).is_new
    first, second = (request.body["variables"]["input"] for request in script.requests[:2])
    assert first == second
    assert first["idempotency_key"] == "key-1"
    assert len(script.sleeps) == 1


def test_trouble_that_does_not_pass_ends_with_the_patience_and_its_reason() -> None:
    with pytest.raises(Unreachable, match="connect ECONNREFUSED"):
        create(Script([Again(errors(error(INTERNAL, "connect ECONNREFUSED 10.0.0.7:4201")))]))


def test_a_refusal_is_final_at_once() -> None:
    script = Script([errors(error(INTERNAL, "Required parameters were not supplied: {'must'}"))])
    with pytest.raises(InvalidRequest, match="Required parameters were not supplied"):
        create(script)
    assert script.sleeps == []


def test_the_reason_is_shown_on_one_line_and_not_too_long() -> None:
    message = "refused\n[2026-01-01] {taskinstance.py:1} INFO - forged \x1b[31m ::group::x" + "x" * 5000
    with pytest.raises(ApiError) as refused:
        answered(lambda api: api.read_flow_run(RUN_ID), errors(error(INTERNAL, message)))
    shown = str(refused.value)
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert "::group::" not in shown
    assert len(shown) < 1000


def test_it_is_not_what_a_response_without_errors_is() -> None:
    assert with_rest_status(answer({"data": {"flow": []}, "errors": []})).status == 200
