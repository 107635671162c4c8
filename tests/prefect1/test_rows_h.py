"""Rows H01 to H21 side by side: the HTTP of Prefect 1.4.1's client and of ours, against the same server."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from airflow_provider_prefect.client import errors
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.hooks.prefect import PrefectHook
from tests.prefect1 import scenario
from tests.prefect1.conftest import KEY
from tests.prefect1.faults import API_ERROR
from tests.prefect1.our_side import Done, OurSide
from tests.prefect1.real_client import Outcome, run_real
from tests.prefect1.server import Prefect1Server

TENANT = "query { tenant { id slug } }"
SECRET = "a-secret-parameter"


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    return scenario.register_flow(server, "etl")


@pytest.fixture
def run_id(server: Prefect1Server, flow_id: str) -> str:
    return scenario.start_run(server, flow_id, "Running")


def graphql(server: Prefect1Server, query: str = TENANT, **more: Any) -> Outcome:
    """A document of our own, sent by the real client."""
    return run_real("Client", server, method="graphql", query=query, **more)


def look(ours: OurSide, run_id: str) -> Done:
    """One request of ours, that is not sent again."""
    return ours.tried(lambda hook: hook.read_flow_run(run_id))


def patient(ours: OurSide, run_id: str) -> Done:
    """The same, with the patience that a hook has."""
    return ours.tried(lambda _: PrefectHook().read_flow_run(run_id))


@pytest.mark.parametrize("path", ["", "/graphql", "/prefect/graphql"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_h01_requests_go_to_the_url_itself_whatever_path_it_has(
    server: Prefect1Server, ours: OurSide, run_id: str, path: str, slash: str
) -> None:
    real = graphql(server, settings={"cloud.api": server.url + path})
    ours.connect(path=path + slash)
    done = look(ours, run_id)
    assert (real.error, done.error) == (None, None)
    assert [request.path for request in (*real.requests, *done.requests)] == [path or "/"] * 2


def test_h02_variables_are_sent_as_an_object(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real, done = run_real("create_flow_run", server, flow_id=flow_id), ours.start(flow_id=flow_id)
    assert all(request.variables_as_text for request in real.requests)
    assert not any(request.variables_as_text for request in done.requests)
    assert all(isinstance(json.loads(request.body)["variables"], dict) for request in done.requests)
    assert all(request.headers["content-type"].startswith("application/json") for request in done.requests)


def test_h03_h04_key_and_tenant_are_sent_to_a_core_server_too_and_headers_of_the_connection_win(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    tenant = server.tenant_id
    settings = {"cloud.api_key": "secret", "cloud.tenant_id": tenant}
    real = run_real("create_flow_run", server, flow_id=flow_id, settings=settings)
    ours.connect(password="secret", tenant_id=tenant)
    done = ours.start(flow_id=flow_id)
    assert (real.error, done.error) == (None, None)
    for request in (*real.requests, *done.requests):
        assert request.headers["authorization"] == "Bearer secret"
        assert request.headers["x-prefect-tenant-id"] == tenant
    assert all("x-prefect-core-version" in request.headers for request in real.requests)
    assert not any("x-prefect-core-version" in request.headers for request in done.requests)
    headers = {"X-Prefect-Tenant-Id": "mine", "X-Proxy": "yes"}
    ours.connect(password="secret", tenant_id=tenant, secret_headers=json.dumps(headers))
    [request] = ours.tried(lambda hook: run(hook.api.find_by_keys(["k"]))).requests
    assert (request.headers["x-prefect-tenant-id"], request.headers["x-proxy"]) == ("mine", "yes")


def test_h03_without_a_key_none_is_sent(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    for request in (*graphql(server).requests, *look(ours, run_id).requests):
        assert not {"authorization", "x-prefect-tenant-id"} & request.headers.keys()


def test_h05_the_key_comes_from_the_connection_and_nowhere_else(
    server: Prefect1Server, ours: OurSide, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert graphql(server, settings={"cloud.api_key": "k"}).requests[0].headers["authorization"] == "Bearer k"
    monkeypatch.setenv("PREFECT__CLOUD__API_KEY", "k")
    monkeypatch.setenv("PREFECT__CLOUD__TENANT_ID", server.tenant_id)
    monkeypatch.setenv("PREFECT_API_KEY", "k")
    assert not {"authorization", "x-prefect-tenant-id"} & look(ours, run_id).requests[0].headers.keys()
    ours.connect(password="mine")
    assert look(ours, run_id).requests[0].headers["authorization"] == "Bearer mine"


def test_h06_a_tenant_that_is_no_uuid_is_refused_before_any_request(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    real = run_real("Client", server, method="tenant_id", init={"api_key": "k", "tenant_id": "x"})
    assert (real.error, real.requests) == ("ValueError", ())
    ours.connect(password="k", tenant_id="x")
    done = ours.wait(run_id)
    assert "The connection's extra field tenant_id is 'x', which is not a UUID" in done.text
    assert done.for_good
    assert done.requests == ()


def test_h07_the_tenant_is_asked_for_by_the_test_of_a_connection_only(
    cloud: Prefect1Server, ours_on_cloud: OurSide
) -> None:
    flow_id = scenario.register_flow(cloud, "etl")
    real = run_real("create_flow_run", cloud, flow_id=flow_id, settings={"cloud.api_key": KEY})
    done = ours_on_cloud.start(flow_id=flow_id)
    assert (real.error, done.error) == (None, None)
    assert {"tenant", "auth_info"} & set(real.names)
    assert not {"tenant", "auth_info"} & set(done.names)
    works, said = ours_on_cloud.hook.test_connection()
    assert (works, f"tenant {cloud.tenant_id}" in said, "with API key" in said) == (True, True, True)
    other = scenario.add_tenant(cloud, "other")
    ours_on_cloud.connect(password=KEY, tenant_id=other)
    works, said = ours_on_cloud.hook.test_connection()
    assert (works, f"tenant {other}" in said) == (True, True)


def test_h07_a_server_without_a_tenant_is_said_to_have_none(server: Prefect1Server, ours: OurSide) -> None:
    assert ours.hook.test_connection()[1].startswith("Prefect 1 server 1.4.1 (tenant 'default') at http://127.0.0.1")
    server.tables.delete("tenant", server.tenant_id)
    assert "has no tenants" in str(run_real("Client", server, method="tenant_id").text)
    works, said = ours.hook.test_connection()
    assert (works, "(no tenant yet)" in said) == (True, True)


def test_h08_without_a_configured_tenant_no_request_of_a_wait_names_one(
    cloud: Prefect1Server, ours_on_cloud: OurSide
) -> None:
    flow_id = scenario.register_flow(cloud, "etl")
    real_id, our_id = (scenario.start_run(cloud, flow_id, "Running") for _ in range(2))
    for run_id in (real_id, our_id):
        scenario.moving_on(cloud, run_id, "Success", skip=2)
    real = run_real("wait_for_flow_run", cloud, flow_run_id=real_id, settings={"cloud.api_key": KEY})
    done = ours_on_cloud.wait(our_id)
    assert (real.error, done.error) == (None, None)
    for request in (*real.requests, *done.requests):
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert "x-prefect-tenant-id" not in request.headers


def test_h08_a_tenant_of_the_connection_is_named_by_every_request(
    cloud: Prefect1Server, ours_on_cloud: OurSide
) -> None:
    tenant = scenario.add_tenant(cloud, "other")
    flow_id = scenario.register_flow(cloud, "etl", tenant_id=tenant)
    assert "no flow and no flow group" in ours_on_cloud.start(flow_id=flow_id).text
    ours_on_cloud.connect(password=KEY, tenant_id=tenant)
    run_id = ours_on_cloud.start(flow_id=flow_id).value
    scenario.moving_on(cloud, run_id, "Success", skip=2)
    for deferrable in (False, True):
        done = ours_on_cloud.wait(run_id, deferrable=deferrable)
        assert done.value["state_name"] == "Success"
        assert {request.headers.get("x-prefect-tenant-id") for request in done.requests} == {tenant}


def test_h09_a_request_may_take_as_long_as_the_connection_says(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    assert ours.hook.settings.timeout == 30
    server.fault(delay=0.3, times=None)
    real = graphql(server, settings={"cloud.request_timeout": 0.05})
    assert real.error is not None
    assert len(real.requests) == 7
    ours.connect(timeout=0.05)
    done = look(ours, run_id)
    assert (type(done.error), len(done.requests)) == (errors.Unreachable, 1)
    ours.connect(timeout=5)
    assert look(ours, run_id).error is None


LOST: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "502": {"status": 502},
    "503": {"status": 503},
    "504": {"status": 504},
    "reset": {"reset": True},
    "done, then 502": {"acted": True, "status": 502},
    "done, then reset": {"acted": True, "reset": True},
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_h10_a_creation_is_sent_again_and_makes_one_run(
    server: Prefect1Server, ours: OurSide, flow_id: str, fault: dict[str, Any]
) -> None:
    server.fault(on="create_flow_run", times=2, **fault)
    real = run_real("create_flow_run", server, flow_id=flow_id)
    assert [run["id"] for run in server.tables.all("flow_run")] == [real.value]
    server.fault(on="create_flow_run", times=2, **fault)
    done = ours.start(flow_id=flow_id)
    assert done.error is None
    assert [run["id"] for run in server.tables.all("flow_run")] == [real.value, done.value]
    assert done.names.count("create_flow_run") == 3
    assert "Created flow run" in ours.logged()


@pytest.mark.parametrize("times", [7, 12])
def test_h10_it_is_a_time_and_no_number_of_tries_that_ends(
    server: Prefect1Server, ours: OurSide, run_id: str, times: int
) -> None:
    server.fault(status=503, times=times)
    assert graphql(server).error == "RetryError"
    server.healthy()
    server.fault(status=503, times=times)
    done = patient(ours, run_id)
    assert (done.error, len(done.requests)) == (None, times + 1)
    assert max(ours.slept) <= 30
    server.fault(status=503, times=None)
    assert ours.wait(run_id, max_unreachable=0).error is not None


@pytest.mark.parametrize("what", ["rename", "cancel"])
def test_h10_other_mutations_are_sent_again_too(server: Prefect1Server, ours: OurSide, run_id: str, what: str) -> None:
    server.fault(on=("set_flow_run_name", "cancel_flow_run"), acted=True, status=502)
    done = ours.rename(flow_run_id=run_id, name="new") if what == "rename" else ours.cancel(flow_run_id=run_id)
    assert done.error is None
    run = scenario.row(server, "flow_run", run_id)
    assert (run["name"] == "new") if what == "rename" else (run["state"] == "Cancelling")


def test_h11_after_429_it_waits_as_long_as_the_server_says(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    server.fault(status=429)
    assert min(graphql(server).slept) >= 180
    server.fault(status=429)
    assert patient(ours, run_id).error is None
    assert max(ours.slept) < 60
    ours.slept.clear()
    server.fault(retry_after=7)
    assert graphql(server).slept == (7,)
    server.fault(retry_after=7)
    assert patient(ours, run_id).error is None
    assert 7 <= ours.slept[0] < 40


def test_h12_a_400_tells_its_reasons_and_never_what_was_sent(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    refusal = {"errors": [{"message": "No such field", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}
    given = {"flow_id": flow_id, "parameters": {"password": SECRET}}
    for _ in range(2):
        server.fault(on="create_flow_run", status=400, answer=refusal)
    real, done = run_real("create_flow_run", server, **given), ours.start(**given)
    assert "GRAPHQL_VALIDATION_FAILED: No such field" in str(real.text)
    assert SECRET in str(real.text)
    assert "Prefect refused the request (HTTP 400): No such field" in done.text
    assert done.for_good
    assert SECRET not in done.text + ours.logged()
    assert server.tables.all("flow_run") == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_h13_a_refused_key_is_not_tried_again_and_passes_in_a_wait(
    server: Prefect1Server, ours: OurSide, run_id: str, status: int
) -> None:
    server.fault(status=status)
    assert (graphql(server).error, server.called("tenant")) == ("HTTPError", server.called("tenant")[:1])
    server.fault(status=status, times=None)
    done = patient(ours, run_id)
    assert len(done.requests) == 1
    assert isinstance(done.error, errors.NotFound if status == 404 else errors.AuthenticationError)
    started = ours.start(flow_name="etl")
    assert started.for_good
    server.healthy()
    server.fault(status=status, skip=1, times=2)
    scenario.moving_on(server, run_id, "Success", skip=4)
    assert ours.wait(run_id).value["state_name"] == "Success"


@pytest.mark.parametrize("body", [b'{"data": ', b""])
def test_h14_half_an_answer_is_asked_for_again(server: Prefect1Server, ours: OurSide, run_id: str, body: bytes) -> None:
    server.fault(body=body)
    assert graphql(server).text == "Malformed response received from API."
    server.fault(body=body, times=2)
    done = patient(ours, run_id)
    assert (done.error, len(done.requests)) == (None, 3)


def test_h14_a_web_page_is_an_error_that_says_what_is_there(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    server.fault(body=b"<!DOCTYPE html><title>Prefect</title>", times=None)
    assert graphql(server).text == "Malformed response received from API."
    done = ours.start(flow_id=flow_id)
    assert "There is no GraphQL API of Prefect 1" in done.text
    assert done.for_good
    assert ours.slept == []


@pytest.mark.parametrize("times", [6, 9])
def test_h15_an_api_error_is_asked_again(server: Prefect1Server, ours: OurSide, run_id: str, times: int) -> None:
    server.fault(errors=API_ERROR, times=times)
    real = graphql(server)
    assert real.error == (None if times == 6 else "ClientError")
    server.healthy()
    server.fault(errors=API_ERROR, times=times)
    done = patient(ours, run_id)
    assert (done.error, len(done.requests)) == (None, times + 1)


def errors_of(code: str, message: str = "no reason") -> list[dict[str, Any]]:
    return [{"message": message, "extensions": {"code": code}}]


@pytest.mark.parametrize(
    ("told", "real_error", "our_error"),
    [
        (errors_of("UNAUTHENTICATED"), "AuthorizationError", errors.AuthenticationError),
        (errors_of("X", "Malformed Authorization header"), "AuthorizationError", errors.AuthenticationError),
        (errors_of("INTERNAL_SERVER_ERROR"), "ClientError", errors.InvalidRequest),
    ],
)
def test_h16_any_errors_are_raised_though_there_is_data(
    server: Prefect1Server, ours: OurSide, run_id: str, told: Any, real_error: str, our_error: type
) -> None:
    for _ in range(2):
        server.fault(edit=lambda content: {**content, "errors": told})
    real, done = graphql(server), look(ours, run_id)
    assert real.error == real_error
    assert type(done.error) is our_error
    assert told[0]["message"] in done.text


@pytest.mark.parametrize("key", [None, "another"])
def test_h16_a_key_that_is_missing_or_wrong_fails_for_good(
    cloud: Prefect1Server, ours_on_cloud: OurSide, key: str | None
) -> None:
    run_id = scenario.start_run(cloud, scenario.register_flow(cloud, "etl"), "Running")
    assert graphql(cloud, settings={"cloud.api_key": key or ""}).error == "AuthorizationError"
    ours_on_cloud.connect(password=key)
    done = ours_on_cloud.wait(run_id)
    assert "the API key (password, without a login)" in done.text
    assert done.for_good
    works, said = ours_on_cloud.hook.test_connection()
    assert (works, "API key" in said) == (False, True)


def test_h17_everything_that_goes_wrong_is_an_exception_of_one_family(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    scenario.move(server, run_id, "Failed")
    signal = run_real("wait_for_flow_run", server, flow_run_id=run_id, raise_final_state=True)
    assert "BaseException" in signal.kinds
    assert "Exception" not in signal.kinds
    for done in (ours.wait(run_id), look(ours, str(uuid.uuid4())), look(ours, "x")):
        assert isinstance(done.error, errors.PrefectError)
        assert isinstance(done.error, Exception)


SHAPES: dict[str, dict[str, Any]] = {
    "400 without data": {
        "status": 400,
        "answer": {
            "errors": [{"message": "why", "locations": [], "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]
        },
    },
    "400 for a scalar": {
        "status": 400,
        "answer": {"errors": [{"message": "why", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]},
    },
    "200 with null": {
        "answer": {
            "errors": [{"message": "why", "path": ["flow_run"], "extensions": {"code": "INTERNAL_SERVER_ERROR"}}],
            "data": {"flow_run": None},
        }
    },
    "200 without data": {"answer": {"errors": [{"message": "why", "extensions": {"code": "x"}}], "data": None}},
    "two errors": {"answer": {"errors": [{"message": "why"}, {"message": "and this"}]}},
    "errors as text": {"answer": {"errors": "why"}},
    "errors as texts": {"answer": {"errors": ["why"], "data": None}},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_h18_errors_of_every_shape_tell_their_reason(
    server: Prefect1Server, ours: OurSide, run_id: str, shape: dict[str, Any]
) -> None:
    server.fault(**shape)
    if "text" not in str(shape["answer"]["errors"]) and isinstance(shape["answer"]["errors"][0], dict):
        real = graphql(server)
        assert (real.error is not None, "why" in str(real.text)) == (True, True)
    server.healthy()
    server.fault(**shape)
    done = look(ours, run_id)
    assert isinstance(done.error, errors.InvalidRequest)
    assert "why" in done.text


def test_h19_a_document_deeper_than_seven_levels_is_refused_and_none_of_ours_is(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    deep = "query { flow_run { flow { flow_runs { flow { flow_runs { flow { flow_runs { flow { id } } } } } } } } }"
    assert "400" in str(graphql(server, deep).text)
    assert look(ours, run_id).error is None


@pytest.mark.parametrize("what", ["wait", "get", "rename", "cancel"])
def test_h20_an_id_that_is_no_uuid_is_refused_by_its_name_before_anything_is_sent(
    server: Prefect1Server, ours: OurSide, what: str
) -> None:
    scenarios: dict[str, tuple[str, dict[str, Any]]] = {
        "wait": ("wait_for_flow_run", {}),
        "get": ("get_task_run_result", {"task_slug": "load-1"}),
        "rename": ("RenameFlowRun", {"flow_run_name": "new"}),
        "cancel": ("CancelFlowRun", {}),
    }
    name, arguments = scenarios[what]
    real = run_real(name, server, flow_run_id="x", **arguments)
    assert real.error == "ClientError"
    assert real.requests
    call = {
        "wait": lambda: ours.wait("x"),
        "get": lambda: ours.get("x"),
        "rename": lambda: ours.rename(flow_run_id="x", name="new"),
        "cancel": lambda: ours.cancel(flow_run_id="x"),
    }
    done = call[what]()
    assert "flow_run_id='x' is not the id (UUID) of a flow run" in done.text
    assert done.for_good
    assert done.requests == ()


@pytest.mark.parametrize("key", [None, "of the proxy in front of it"])
def test_h21_a_core_server_that_knows_no_keys_works_with_and_without_one(
    server: Prefect1Server, ours: OurSide, flow_id: str, key: str | None
) -> None:
    real = run_real("create_flow_run", server, flow_id=flow_id, settings={"cloud.api_key": key or ""})
    assert (real.error, "auth_info" in real.names) == (None, False)
    ours.connect(password=key)
    works, said = ours.hook.test_connection()
    assert (works, "(tenant 'default')" in said) == (True, True)
    done = ours.start(flow_id=flow_id)
    assert (done.error, "auth_info" in done.names) == (None, False)
