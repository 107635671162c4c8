"""The double says no as a real server does (rows H18 to H21)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.prefect1 import scenario
from tests.prefect1.server import Prefect1Server
from tests.prefect1.test_double_http import ask, graphql

CANCEL = "mutation($input: cancel_flow_run_input!) { cancel_flow_run(input: $input) { state } }"
NOBODY = "00000000-0000-0000-0000-000000000000"


def nested(depth: int) -> str:
    """A query whose deepest field is ``depth`` levels below the first."""
    query = "id"
    for level in range(depth - 1, 0, -1):
        query = f"{'flow_runs' if level % 2 == 0 else 'flow'} {{ {query} }}"
    return f"query {{ flow_run {{ {query} }} }}"


@pytest.mark.parametrize("query", ["query { nope }", "query { tenant { nope } }", "query { tenant(nope: 1) { id } }"])
def test_h18_what_the_schema_does_not_have_is_a_400_without_data(server: Prefect1Server, query: str) -> None:
    status, body = ask(server, query)
    assert status == 400
    assert set(body) == {"errors"}
    assert [each["extensions"]["code"] for each in body["errors"]] == ["GRAPHQL_VALIDATION_FAILED"]
    assert body["errors"][0]["locations"]


def test_h18_what_is_no_graphql_is_a_400(server: Prefect1Server) -> None:
    status, body = ask(server, "query {")
    assert (status, set(body)) == (400, {"errors"})


@pytest.mark.parametrize("variables", [{"slug": 5}, {"slug": ["default"]}])
def test_h18_a_wrong_scalar_in_the_variables_is_a_400(server: Prefect1Server, variables: Any) -> None:
    status, body = ask(server, "query($slug: String) { tenant(where: {slug: {_eq: $slug}}) { id } }", variables)
    assert status == 400
    assert [each["extensions"]["code"] for each in body["errors"]] == ["INTERNAL_SERVER_ERROR"]


def test_h18_what_prefect_refuses_is_a_200_with_a_path_and_null(server: Prefect1Server) -> None:
    status, body = ask(server, CANCEL, {"input": {"flow_run_id": NOBODY}})
    message = f"Invalid flow run ID: {NOBODY}."
    assert (status, body["data"]) == (200, {"cancel_flow_run": None})
    [error] = body["errors"]
    assert (error["message"], error["path"]) == (message, ["cancel_flow_run"])
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "exception": {"message": message}}


def test_h18_what_hasura_refuses_is_a_200_without_data(server: Prefect1Server) -> None:
    status, body = ask(server, 'query { flow(where: {id: {_eq: "x"}}) { id } }')
    assert (status, body["data"]) == (200, None)
    assert body["errors"][0]["extensions"]["code"] == "data-exception"


def test_h19_the_depth_of_a_document_is_limited(server: Prefect1Server) -> None:
    assert ask(server, nested(7)) == (200, {"data": {"flow_run": []}})
    status, body = ask(server, nested(8))
    assert status == 400
    assert "exceeds maximum operation depth of 7" in body["errors"][0]["message"]
    assert body["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert graphql(server, nested(8)).error == "ClientError"


@pytest.mark.parametrize("where", ['id: {_eq: "x"}', 'id: {_in: ["x"]}', '_not: {flow: {project_id: {_neq: "x"}}}'])
def test_h20_a_bad_uuid_in_a_where_is_said_in_the_words_of_the_database(server: Prefect1Server, where: str) -> None:
    _, body = ask(server, f"query {{ flow_run(where: {{{where}}}) {{ id }} }}")
    assert body["errors"][0]["message"] == 'invalid input syntax for type uuid: "x"'


def test_h20_a_bad_uuid_in_a_mutation_could_not_be_parsed(server: Prefect1Server) -> None:
    status, body = ask(server, CANCEL, {"input": {"flow_run_id": "x"}})
    assert status == 200
    assert body["errors"][0]["message"].endswith("Could not parse UUID: x")


def test_h21_a_core_server_has_no_auth_info(server: Prefect1Server, cloud: Prefect1Server) -> None:
    query = "query { auth_info { tenant_id } }"
    assert ask(server, query)[0] == 400
    assert ask(cloud, query)[0] == 200


def test_a_core_server_tells_what_it_is(server: Prefect1Server) -> None:
    _, body = ask(server, "query { api { backend version core_version } tenant { id slug } }")
    assert body["data"]["api"] == {"backend": "SERVER", "version": "2022.12.06", "core_version": "1.4.1"}
    assert body["data"]["tenant"] == [{"id": server.tenant_id, "slug": "default"}]


def test_a_tenant_of_a_cloud_like_server_sees_its_own_rows_only(cloud: Prefect1Server) -> None:
    other = scenario.add_tenant(cloud, "other")
    cloud.api_keys["other"] = other
    scenario.register_flow(cloud, "ours")
    scenario.register_flow(cloud, "theirs", tenant_id=other)
    for key, names in (("key-of-the-default-tenant", ["ours"]), ("other", ["theirs"])):
        outcome = graphql(cloud, "query { flow { name } }", settings={"cloud.api_key": key})
        assert outcome.value == {"data": {"flow": [{"name": name} for name in names]}}
