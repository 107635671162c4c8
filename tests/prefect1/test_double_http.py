"""The real client speaks to the double as it does to a real server (rows H1 to H21)."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.prefect1 import scenario
from tests.prefect1.conftest import KEY
from tests.prefect1.faults import API_ERROR
from tests.prefect1.real_client import run_real
from tests.prefect1.server import Prefect1Server
from tools import web

TENANT = "query { tenant { id slug } }"


def ask(server: Prefect1Server, query: str, variables: Any = None) -> tuple[int, Any]:
    """The status and the body of an answer, without any client in between."""
    try:
        return 200, web.request("POST", server.url, {"query": query, "variables": variables})
    except web.HttpError as error:
        return error.status, json.loads(error.text)


def graphql(server: Prefect1Server, query: str, **more: Any) -> Any:
    """A document of our own, sent by the real client."""
    return run_real("Client", server, method="graphql", query=query, **more)


def error(code: str, message: str = "no") -> list[dict[str, Any]]:
    return [{"message": message, "extensions": {"code": code}}]


@pytest.mark.parametrize("suffix", ["", "/graphql"])
def test_h01_a_request_is_posted_to_the_url_as_it_stands(server: Prefect1Server, suffix: str) -> None:
    outcome = graphql(server, TENANT, settings={"cloud.api": server.url + suffix})
    assert outcome.error is None
    assert [request.path for request in outcome.requests] == [suffix or "/"]


def test_h02_the_real_client_sends_variables_as_text(server: Prefect1Server) -> None:
    outcome = run_real("CancelFlowRun", server, flow_run_id=str(uuid.uuid4()))
    assert isinstance(json.loads(outcome.requests[0].body)["variables"], str)
    assert json.loads(graphql(server, TENANT).requests[0].body)["variables"] == "null"


def test_h02_a_server_takes_variables_as_an_object_too(server: Prefect1Server) -> None:
    query = "query($slug: String) { tenant(where: {slug: {_eq: $slug}}) { slug } }"
    expected = (200, {"data": {"tenant": [{"slug": "default"}]}})
    assert ask(server, query, {"slug": "default"}) == expected
    assert ask(server, query, json.dumps({"slug": "default"})) == expected
    assert ask(server, query, {"slug": "other"}) == (200, {"data": {"tenant": []}})


def test_h03_h04_a_key_and_a_tenant_are_sent_whatever_the_backend_is(server: Prefect1Server) -> None:
    flow_id = scenario.register_flow(server, "etl")
    tenant = server.tenant_id
    settings = {"cloud.api_key": "secret", "cloud.tenant_id": tenant}
    outcome = run_real("create_flow_run", server, flow_id=flow_id, settings=settings)
    assert outcome.error is None
    for request in outcome.requests:
        assert request.headers["authorization"] == "Bearer secret"
        assert request.headers["x-prefect-tenant-id"] == tenant
        assert request.headers["x-prefect-core-version"] == "1.4.1"
        assert request.headers["user-agent"].startswith("python-requests/")


def test_h03_without_a_key_only_the_version_is_sent(server: Prefect1Server) -> None:
    [request] = graphql(server, TENANT).requests
    assert "authorization" not in request.headers
    assert "x-prefect-tenant-id" not in request.headers
    assert request.headers["x-prefect-core-version"] == "1.4.1"


def test_h06_a_tenant_that_is_no_uuid_is_refused_before_any_request(server: Prefect1Server) -> None:
    outcome = run_real("Client", server, method="tenant_id", init={"api_key": "k", "tenant_id": "x"})
    assert (outcome.error, outcome.requests) == ("ValueError", ())
    assert outcome.text == "The `tenant_id` must be a valid UUID. Got 'x'."


def test_h07_on_a_core_server_the_first_tenant_is_the_default(server: Prefect1Server) -> None:
    scenario.add_tenant(server, "second")
    outcome = run_real("Client", server, method="tenant_id")
    assert outcome.value == server.tenant_id
    assert [call.selection for call in outcome.calls] == [{"id": {}}]


def test_h07_a_core_server_without_a_tenant_is_an_error() -> None:
    with Prefect1Server(tenant=None) as server:
        outcome = run_real("Client", server, method="tenant_id")
    assert outcome.error == "ClientError"
    assert "has no tenants" in str(outcome.text)


def test_h07_on_cloud_the_key_leads_to_the_tenant(cloud: Prefect1Server) -> None:
    outcome = run_real("Client", cloud, method="tenant_id", init={"api_key": KEY})
    assert (outcome.value, outcome.names) == (cloud.tenant_id, ("auth_info",))


def test_h07_on_cloud_null_for_the_tenant_is_an_authorization_error(cloud: Prefect1Server) -> None:
    cloud.fault(answer={"data": {"auth_info": {"tenant_id": None}}})
    outcome = run_real("Client", cloud, method="tenant_id", init={"api_key": KEY})
    assert outcome.error == "AuthorizationError"
    cloud.fault(answer={"data": {}})
    assert run_real("Client", cloud, method="tenant_id", init={"api_key": KEY}).error == "ClientError"


def test_h07_on_cloud_no_key_is_a_value_error(cloud: Prefect1Server) -> None:
    outcome = run_real("Client", cloud, method="tenant_id")
    assert (outcome.error, outcome.text) == ("ValueError", "You have not set an API key for authentication.")


def test_h08_a_view_never_sends_a_tenant_that_is_not_configured(cloud: Prefect1Server) -> None:
    run_id = scenario.start_run(cloud, scenario.register_flow(cloud, "etl"), "Running")
    scenario.moving_on(cloud, run_id, "Success", skip=2)
    outcome = run_real("wait_for_flow_run", cloud, flow_run_id=run_id, settings={"cloud.api_key": KEY})
    assert outcome.error is None
    assert len(outcome.requests) > 2
    assert not [request for request in outcome.requests if "x-prefect-tenant-id" in request.headers]


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 502}, {"status": 503}, {"status": 504}, {"reset": True}])
def test_h10_a_mutation_is_sent_again_after_5xx_and_a_lost_connection(
    server: Prefect1Server, fault: dict[str, Any]
) -> None:
    run_id = scenario.start_run(server, scenario.register_flow(server, "etl"))
    server.fault(on="set_flow_run_name", times=2, **fault)
    outcome = run_real("RenameFlowRun", server, flow_run_id=run_id, flow_run_name="new")
    assert (outcome.value, len(outcome.requests)) == (True, 3)
    assert scenario.row(server, "flow_run", run_id)["name"] == "new"


def test_h10_a_run_that_was_created_before_the_answer_was_lost_is_created_once(server: Prefect1Server) -> None:
    flow_id = scenario.register_flow(server, "etl")
    server.fault(on="create_flow_run", acted=True, reset=True)
    server.fault(on="create_flow_run", acted=True, status=502)
    outcome = run_real("create_flow_run", server, flow_id=flow_id)
    assert [run["id"] for run in server.tables.all("flow_run")] == [outcome.value]
    assert len(server.called("create_flow_run")) == 3


def test_h10_after_six_more_tries_the_client_gives_up(server: Prefect1Server) -> None:
    server.fault(status=503, times=None)
    outcome = graphql(server, TENANT)
    assert (outcome.error, len(outcome.requests)) == ("RetryError", 7)


def test_h11_after_429_the_client_sleeps_for_minutes(server: Prefect1Server) -> None:
    server.fault(status=429, times=2)
    outcome = graphql(server, TENANT)
    assert (outcome.error, len(outcome.requests)) == (None, 3)
    assert len(outcome.slept) == 2
    assert min(outcome.slept) >= 180


def test_h11_after_six_pauses_a_429_is_an_error(server: Prefect1Server) -> None:
    server.fault(status=429, times=None)
    outcome = graphql(server, TENANT)
    assert (outcome.error, len(outcome.requests)) == ("HTTPError", 7)


def test_h11_a_429_that_says_how_long_is_obeyed_by_the_layer_below(server: Prefect1Server) -> None:
    server.fault(retry_after=3, times=2)
    outcome = graphql(server, TENANT)
    assert (outcome.error, outcome.slept) == (None, (3, 3))


def test_h12_a_400_tells_the_codes_and_the_messages(server: Prefect1Server) -> None:
    outcome = graphql(server, "query { nope }")
    assert outcome.error == "ClientError"
    assert "GRAPHQL_VALIDATION_FAILED" in str(outcome.text)
    assert "Cannot query field" in str(outcome.text)


def test_h12_a_400_that_cannot_be_read_is_called_poorly_formatted(server: Prefect1Server) -> None:
    server.fault(status=400, body=b"<html>")
    outcome = graphql(server, TENANT)
    assert outcome.error == "ClientError"
    assert "This is likely caused by a poorly formatted GraphQL query" in str(outcome.text)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_h13_other_statuses_are_bare_http_errors(server: Prefect1Server, status: int) -> None:
    server.fault(status=status)
    outcome = graphql(server, TENANT)
    assert (outcome.error, len(outcome.requests)) == ("HTTPError", 1)
    assert "ClientError" not in outcome.kinds


@pytest.mark.parametrize("body", [b"<html>", b'{"data": ', b""])
def test_h14_an_answer_that_is_no_json_is_malformed(server: Prefect1Server, body: bytes) -> None:
    server.fault(body=body)
    outcome = graphql(server, TENANT)
    assert (outcome.error, outcome.text) == ("ClientError", "Malformed response received from API.")


def test_h14_on_cloud_without_a_key_it_is_an_authorization_error(cloud: Prefect1Server) -> None:
    cloud.fault(body=b"<html>")
    outcome = graphql(cloud, TENANT)
    assert outcome.error == "AuthorizationError"
    assert str(outcome.text).startswith("Malformed response received from Cloud")


def test_h15_an_api_error_is_tried_again_after_growing_pauses(server: Prefect1Server) -> None:
    server.fault(errors=API_ERROR, times=6)
    assert graphql(server, TENANT).error is None
    server.fault(errors=API_ERROR, times=7)
    outcome = graphql(server, TENANT)
    assert (outcome.error, len(outcome.requests)) == ("ClientError", 7)
    assert outcome.slept == (0.25, 0.5, 1, 2, 4, 8)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (error("UNAUTHENTICATED"), "AuthorizationError"),
        (error("X", "Malformed Authorization header"), "AuthorizationError"),
        (error("VERSION_LOCKING_ERROR"), "VersionLockMismatchSignal"),
        (error("INTERNAL_SERVER_ERROR"), "ClientError"),
    ],
)
def test_h16_any_errors_in_a_200_are_raised(server: Prefect1Server, errors: Any, expected: str) -> None:
    server.fault(edit=lambda content: {**content, "errors": errors})
    assert graphql(server, TENANT).error == expected


def test_h16_a_cloud_like_server_refuses_a_key_that_it_does_not_know(cloud: Prefect1Server) -> None:
    for key in ("", "another"):
        assert graphql(cloud, TENANT, settings={"cloud.api_key": key}).error == "AuthorizationError"
    assert graphql(cloud, TENANT, settings={"cloud.api_key": KEY}).error is None


def test_h17_an_authorization_error_is_a_client_error(cloud: Prefect1Server) -> None:
    kinds = graphql(cloud, TENANT).kinds
    assert kinds[:4] == ("AuthorizationError", "ClientError", "PrefectException", "Exception")
