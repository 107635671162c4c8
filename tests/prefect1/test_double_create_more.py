"""What a created flow run holds, and what its creation returns (rows C32 to C38)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.prefect1 import scenario
from tests.prefect1.conftest import KEY
from tests.prefect1.real_client import not_json
from tests.prefect1.server import Prefect1Server
from tests.prefect1.test_double_create import create, created, refused
from tests.prefect1.test_double_http import ask

PARAMETERS = [
    scenario.parameter("must", required=True),
    scenario.parameter("size", 3),
    scenario.parameter("zero", 0),
    scenario.parameter("no", False),
    scenario.parameter("empty", ""),
]


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    return scenario.register_flow(server, "etl", tasks=["extract", "load"], parameters=PARAMETERS)


def test_c32_parameters_are_merged_and_falsy_defaults_are_not_stored(server: Prefect1Server, flow_id: str) -> None:
    run = created(server, create(server, flow_id=flow_id, parameters={"must": 1, "unknown": 2}))
    assert run["parameters"] == {"must": 1, "size": 3, "unknown": 2}


def test_c32_those_of_the_group_are_between_the_flows_and_the_given(server: Prefect1Server) -> None:
    defaults = {"size": 4, "must": 5}
    flow_id = scenario.register_flow(server, "grouped", parameters=PARAMETERS, default_parameters=defaults)
    assert created(server, create(server, flow_id=flow_id))["parameters"] == {"size": 4, "must": 5}
    given = create(server, flow_id=flow_id, parameters={"size": 9})
    assert created(server, given)["parameters"] == {"size": 9, "must": 5}


def test_c33_a_required_parameter_must_be_given(server: Prefect1Server, flow_id: str) -> None:
    outcome = create(server, flow_id=flow_id)
    refused(outcome, "ClientError", "Required parameters were not supplied: {'must'}")
    assert server.tables.all("flow_run") == []


def test_c34_a_parameter_that_is_no_json_is_not_sent(server: Prefect1Server, flow_id: str) -> None:
    outcome = create(server, flow_id=flow_id, parameters={"must": not_json()})
    assert (outcome.error, outcome.names) == ("TypeError", ("flow",))


@pytest.mark.parametrize("context", [{"ctx": "hello", "nothing": None}, {}])
def test_c35_a_context_is_stored_as_given(server: Prefect1Server, flow_id: str, context: dict[str, Any]) -> None:
    outcome = create(server, flow_id=flow_id, parameters={"must": 1}, context=context)
    assert outcome.calls[1].input["context"] == context
    assert created(server, outcome)["context"] == context


def test_c36_the_id_is_returned_as_a_str(server: Prefect1Server, flow_id: str) -> None:
    outcome = create(server, flow_id=flow_id, parameters={"must": 1})
    assert outcome.value == server.tables.all("flow_run")[0]["id"]


def test_c36_a_run_is_created_although_its_url_cannot_be_made(cloud: Prefect1Server) -> None:
    flow_id = scenario.register_flow(cloud, "etl")
    cloud.fault(on="auth_info", status=403, times=None)
    outcome = create(cloud, flow_id=flow_id, idempotency_key="k", settings={"cloud.api_key": KEY})
    assert outcome.error == "HTTPError"
    [run] = cloud.tables.all("flow_run")
    cloud.healthy()
    again = create(cloud, flow_id=flow_id, idempotency_key="k", settings={"cloud.api_key": KEY})
    assert again.value == run["id"]


def test_c36_without_a_key_the_run_is_created_and_the_task_fails(server: Prefect1Server, flow_id: str) -> None:
    outcome = create(server, flow_id=flow_id, parameters={"must": 1}, settings={"backend": "cloud"})
    refused(outcome, "ValueError", "You have not set an API key for authentication.", although_created=True)
    assert len(server.tables.all("flow_run")) == 1


def test_c36_without_a_tenant_the_run_is_created_and_the_task_fails(server: Prefect1Server, flow_id: str) -> None:
    server.fault(on="tenant", answer={"data": {"tenant": []}}, times=None)
    outcome = create(server, flow_id=flow_id, parameters={"must": 1})
    refused(outcome, "ClientError", "Your Prefect Server instance has no tenants.")
    assert len(server.tables.all("flow_run")) == 1


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({"server.ui.endpoint": "https://prefect.example/"}, "https://prefect.example"),
        ({}, "http://localhost:8080"),
    ],
)
def test_c37_the_url_is_that_of_the_ui(
    server: Prefect1Server, flow_id: str, settings: dict[str, Any], base: str
) -> None:
    outcome = create(server, flow_id=flow_id, parameters={"must": 1}, settings=settings)
    assert outcome.messages[-1].endswith(f": {base}/default/flow-run/{outcome.value}")


def test_c38_a_run_starts_scheduled_with_a_pending_task_run_for_each_task(server: Prefect1Server, flow_id: str) -> None:
    run = created(server, create(server, flow_id=flow_id, parameters={"must": 1}))
    assert (run["state"], run["state_message"]) == ("Scheduled", "Flow run scheduled.")
    [state] = server.tables.referring("flow_run_state", "flow_run_id", run["id"])
    assert state["serialized_state"]["type"] == "Scheduled"
    task_runs = server.tables.referring("task_run", "flow_run_id", run["id"])
    tasks = {task["id"]: task["slug"] for task in server.tables.referring("task", "flow_id", flow_id)}
    assert {tasks[each["task_id"]] for each in task_runs} == set(tasks.values())
    assert len(task_runs) == len(PARAMETERS) + 2
    assert {(each["state"], each["map_index"]) for each in task_runs} == {("Pending", -1)}


def test_a_version_group_runs_its_newest_version(server: Prefect1Server) -> None:
    scenario.register_flow(server, "etl")
    newest = scenario.register_flow(server, "etl")
    group = scenario.row(server, "flow", newest)["version_group_id"]
    query = "mutation($input: create_flow_run_input!) { create_flow_run(input: $input) { id } }"
    _, body = ask(server, query, {"input": {"version_group_id": group}})
    assert scenario.row(server, "flow_run", body["data"]["create_flow_run"]["id"])["flow_id"] == newest
