"""What is sent to a Prefect 1 server, and what its answers mean: those of status 200 that tell of errors, too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    InvalidRequest,
    MalformedAnswer,
    Unreachable,
)
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.graphql.query import GraphqlQueries, GraphqlTransport
from airflow_provider_prefect.client.retry import Patience, RetryingTransport
from airflow_provider_prefect.client.transport import Response, run
from tests.unit.client.driving import GRAPHQL, Again, Script, answer, page
from tests.unit.client.graphql.samples import data, errors

API_ERROR = {"message": "API_ERROR", "extensions": {"code": "API_ERROR"}}


def queries(script: Script, seconds: float = 0) -> GraphqlQueries:
    return GraphqlQueries(RetryingTransport(GraphqlTransport(script), Patience(seconds, script.clock)))


def hello(data: Fields) -> dict[str, Any]:
    return {"hello": data.value("hello")}


def asked(*answers: Any, seconds: float = 0, repeatable: bool = True) -> tuple[Any, Script]:
    script = Script(answers, GRAPHQL)
    return run(queries(script, seconds).query("{ hello }", hello, repeatable=repeatable)), script


def refused(kind: type[Exception], *answers: Any) -> str:
    with pytest.raises(kind) as refusal:
        asked(*answers)
    assert type(refusal.value) is kind
    return str(refusal.value)


def test_a_document_is_posted_to_the_api_url_itself_with_its_variables_as_an_object() -> None:
    script = Script([data(flow_run=[])], GRAPHQL)
    query = queries(script).query("query q($id: uuid) { … }", lambda data: data.value("flow_run"), id="x", limit=None)
    assert run(query) == []
    [request] = script.requests
    assert (request.method, request.path) == ("POST", "")
    assert request.body == {"query": "query q($id: uuid) { … }", "variables": {"id": "x", "limit": None}}


@pytest.mark.parametrize("repeatable", [True, False])
def test_whether_a_document_may_be_sent_twice_is_said(repeatable: bool) -> None:
    _, script = asked(data(hello="hi"), repeatable=repeatable)
    assert [request.repeatable for request in script.requests] == [repeatable]


def test_an_answer_that_is_lost_is_asked_for_again_only_if_it_may_be() -> None:
    found, script = asked(Unreachable("reset"), data(hello="hi"), seconds=60)
    assert (found, len(script.requests)) == ({"hello": "hi"}, 2)
    with pytest.raises(Unreachable):
        asked(Unreachable("reset"), data(hello="hi"), seconds=60, repeatable=False)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "no", "extensions": {"code": "UNAUTHENTICATED"}},
        {"message": "AuthenticationError: UNAUTHENTICATED"},
        {"message": "Malformed Authorization header"},
    ],
)
def test_an_error_about_the_key_in_an_answer_of_status_200_is_one_about_credentials(error: Any) -> None:
    assert "API key" in refused(AuthenticationError, errors(error))


def test_an_api_error_is_asked_again_until_it_passes() -> None:
    found, script = asked(errors(API_ERROR), errors(API_ERROR), data(hello="hi"), seconds=60)
    assert (found, len(script.requests)) == ({"hello": "hi"}, 3)
    assert len(script.sleeps) == 2


def test_an_api_error_that_does_not_pass_ends_with_the_patience() -> None:
    with pytest.raises(Unreachable, match="API_ERROR"):
        asked(Again(errors(API_ERROR)), seconds=60)


def test_any_other_error_is_a_refusal_with_all_the_servers_reasons() -> None:
    text = refused(InvalidRequest, errors("Required parameters were not supplied: {'must'}", "and more"))
    assert "Required parameters were not supplied: {'must'}; and more" in text


def test_what_there_is_of_the_data_beside_an_error_is_not_used() -> None:
    refused(InvalidRequest, errors("Uniqueness violation.", hello="hi"))


def test_a_document_that_the_server_does_not_understand_is_a_refusal() -> None:
    assert 'Cannot query field "x"' in refused(InvalidRequest, errors('Cannot query field "x"', status=400))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("just text", "just text"),
        ({"message": "an object"}, "an object"),
        ([{"extensions": {}}], "no reason given"),
        ([None], "None"),
        (["a", {"message": "b"}], "a; b"),
    ],
)
def test_errors_of_an_unusual_form_are_told_as_far_as_can_be(found: Any, reason: str) -> None:
    assert reason in refused(InvalidRequest, answer({"errors": found}))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_the_servers_own_trouble_is_asked_again_and_its_reason_kept(status: int) -> None:
    found, _ = asked(errors("down for now", status=status), data(hello="hi"), seconds=60)
    assert found == {"hello": "hi"}
    assert "down for now" in refused(ApiError, errors("down for now", status=status))


@pytest.mark.parametrize(
    "body", [{"data": None}, {"data": {}}, {}, {"data": {"hello": None}}, {"data": {"a": [], "b": None}}, {"data": 3}]
)
def test_an_answer_without_what_was_asked_for_is_trouble_that_may_pass(body: Any) -> None:
    found, script = asked(answer(body), data(hello="hi"), seconds=60)
    assert (found, len(script.requests)) == ({"hello": "hi"}, 2)


@pytest.mark.parametrize("empty", [[], 0, "", False])
def test_an_empty_value_is_no_missing_one(empty: Any) -> None:
    assert asked(data(hello=empty))[0] == {"hello": empty}


def test_a_web_page_is_said_to_be_one() -> None:
    with pytest.raises(MalformedAnswer) as refusal:
        asked(page())
    assert refusal.value.is_page


def test_half_an_answer_is_asked_for_again() -> None:
    found, _ = asked(Response(200, '{"data": {"hel'), data(hello="hi"), seconds=60)
    assert found == {"hello": "hi"}


def test_a_status_of_a_proxy_stays_what_it_is() -> None:
    refused(AuthenticationError, page(401))
    refused(AuthenticationError, answer({"detail": "Forbidden"}, 403))


@pytest.mark.parametrize("text", ["[]", "null", '"ok"', "3", '\n{"errors": [{"message": "no"}]}'])
def test_json_that_is_no_answer_of_graphql_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(ApiError):
        asked(Response(200, text))


@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_secret_that_the_server_repeats_in_an_error_is_hidden(status: int) -> None:
    settings = replace(GRAPHQL, api_key="s3cret-key")
    script = Script([errors("not for Bearer s3cret-key", status=status)], settings)
    with pytest.raises(ApiError, match=r"not for Bearer \*\*\*"):
        run(queries(script).query("query { hello }", hello))


def test_pauses_and_settings_are_those_of_the_transport_within() -> None:
    script = Script([], GRAPHQL)
    transport = GraphqlTransport(script)
    run(transport.sleep(3.0))
    assert script.sleeps == [3.0]
    assert transport.settings is GRAPHQL
