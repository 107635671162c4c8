"""Deployments: finding them, and what keeps their runs from starting."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    DeploymentNotFound,
    NotFound,
)
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.transport import Response, run
from tests.unit.client.driving import (
    NO_SUCH_DEPLOYMENT,
    Script,
    answer,
    page,
)
from tests.unit.client.rest.asking import answered, rest
from tests.unit.client.samples import (
    DEPLOYMENT_ID,
    FLOW_ID,
    deployment_json,
    run_json,
    seen,
    state_json,
)


def bodies(script: Script) -> list[Any]:
    return [request.body for request in script.requests]


# Finding a deployment


def test_a_deployment_is_found_by_its_id() -> None:
    script = Script([answer(deployment_json())])
    assert run(rest(script).find_deployment(DEPLOYMENT_ID)).name == "nightly"
    assert script.sent == [f"GET /deployments/{DEPLOYMENT_ID}"]


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("etl/nightly", "etl/nightly"),
        ("my flow/my deployment", "my%20flow/my%20deployment"),
        ("größe/100%", "gr%C3%B6%C3%9Fe/100%25"),
        ("a?b#c/d&e", "a%3Fb%23c/d%26e"),
    ],
)
def test_a_deployment_is_found_by_its_names_each_quoted(reference: str, path: str) -> None:
    script = Script([answer(deployment_json())])
    run(rest(script).find_deployment(reference))
    assert script.sent == [f"GET /deployments/name/{path}"]


@pytest.mark.parametrize("reference", ["etl", "/nightly", "etl/", "/", "", "etl/nightly/extra"])
def test_what_is_neither_an_id_nor_two_names_is_refused_before_anything_is_sent(reference: str) -> None:
    with pytest.raises(ConfigurationError, match="neither 'flow/deployment' nor the id"):
        answered(lambda api: api.find_deployment(reference))


@pytest.mark.parametrize("reference", [DEPLOYMENT_ID, "etl/nigtly"])
def test_an_unknown_deployment_is_answered_with_the_nearest_names(reference: str) -> None:
    there = [deployment_json("nightly"), deployment_json("hourly"), deployment_json("report", flow_id="other")]
    flows = [{"id": FLOW_ID, "name": "etl"}, {"id": "other", "name": "x"}]
    script = Script([NO_SUCH_DEPLOYMENT, answer(there), answer(flows)])
    with pytest.raises(DeploymentNotFound) as error:
        run(rest(script).find_deployment(reference))
    assert reference in str(error.value)
    assert "'etl/nightly'" in str(error.value)
    assert bodies(script)[2] == {"flows": {"id": {"any_": sorted([FLOW_ID, "other"])}}}


def test_only_near_names_are_listed_if_there_are_any_and_the_nearest_first() -> None:
    there = [deployment_json(name) for name in ("zzzzzzzzzzzzzz", "nightly-eu", "nightly")]
    script = Script([NO_SUCH_DEPLOYMENT, answer(there), answer([{"id": FLOW_ID, "name": "etl"}])])
    with pytest.raises(DeploymentNotFound, match=r"nearest it has: 'etl/nightly', 'etl/nightly-eu'\."):
        run(rest(script).find_deployment("etl/nigtly"))


def test_a_deployment_whose_flow_is_not_listed_does_not_spoil_the_message() -> None:
    there = [deployment_json("nightly"), deployment_json("orphan", flow_id="gone")]
    script = Script([NO_SUCH_DEPLOYMENT, answer(there), answer([{"id": FLOW_ID, "name": "etl"}])])
    with pytest.raises(DeploymentNotFound, match="'etl/nightly'"):
        run(rest(script).find_deployment("etl/nigtly"))


def test_a_server_without_deployments_says_so() -> None:
    script = Script([NO_SUCH_DEPLOYMENT, answer([])])
    with pytest.raises(DeploymentNotFound, match="no deployments at all"):
        run(rest(script).find_deployment("etl/nightly"))


@pytest.mark.parametrize("reply", [page(404), answer({"detail": "Not Found"}, 404)])
def test_a_404_that_is_not_of_prefect_does_not_mean_that_there_is_no_such_deployment(reply: Response) -> None:
    with pytest.raises(NotFound) as error:
        run(rest(Script([reply])).find_deployment("etl/nightly"))
    assert not isinstance(error.value, DeploymentNotFound)


def test_the_only_deployment_of_a_flow_is_found_by_the_flows_name() -> None:
    script = Script([answer([deployment_json()])])
    assert run(rest(script).find_deployment_of_flow("my flow/1")).id == DEPLOYMENT_ID
    assert script.sent == ["POST /deployments/filter"]
    assert bodies(script)[0]["flows"] == {"name": {"any_": ["my flow/1"]}}


def test_a_flow_with_several_deployments_is_ambiguous_and_they_are_listed() -> None:
    script = Script([answer([deployment_json("hourly"), deployment_json("nightly")])])
    with pytest.raises(ConfigurationError, match=r"has 2 deployments.*'etl/hourly', 'etl/nightly'"):
        run(rest(script).find_deployment_of_flow("etl"))


def test_a_flow_without_a_deployment_is_answered_with_the_nearest_names() -> None:
    script = Script([answer([]), answer([deployment_json()]), answer([{"id": FLOW_ID, "name": "etl"}])])
    with pytest.raises(DeploymentNotFound, match=r"no deployment of a flow 'elt'.*'etl/nightly'"):
        run(rest(script).find_deployment_of_flow("elt"))


# Why a run has not started


def reasons(flow_run: FlowRun, *answers: Response) -> list[str]:
    return answered(lambda api: api.reasons_not_started(flow_run), *answers)


def test_a_run_without_deployment_and_pool_has_no_reason_but_its_state() -> None:
    assert reasons(FlowRun.from_json(run_json(state_json("SCHEDULED", "Late"), deployment_id=None))) == []
    waiting = state_json("SCHEDULED", "AwaitingConcurrencySlot", message="Deployment concurrency limit reached.")
    assert reasons(FlowRun.from_json(run_json(waiting, deployment_id=None))) == [
        "its state is AwaitingConcurrencySlot (SCHEDULED): Deployment concurrency limit reached."
    ]


def test_nobody_who_polls_for_the_deployment_is_a_reason() -> None:
    (reason,) = reasons(seen("SCHEDULED", "Late"), answer(deployment_json(status="NOT_READY")))
    assert "no worker and no serving process has polled for it lately" in reason
    assert reasons(seen("SCHEDULED", "Late"), answer(deployment_json(status="READY"))) == []


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        ({"is_paused": True, "status": "PAUSED"}, "its work pool 'a pool/1' is paused"),
        ({"is_paused": True}, "its work pool 'a pool/1' is paused"),
        ({"is_paused": False, "status": "NOT_READY"}, "no worker of its work pool 'a pool/1' is online"),
    ],
)
def test_a_pool_that_is_paused_or_without_workers_is_a_reason(pool: dict[str, Any], reason: str) -> None:
    flow_run = FlowRun.from_json(run_json(state_json("SCHEDULED"), deployment_id=None, work_pool_name="a pool/1"))
    script = Script([answer(pool)])
    assert run(rest(script).reasons_not_started(flow_run)) == [reason]
    assert script.sent == ["GET /work_pools/a%20pool%2F1"]


def test_a_paused_queue_is_a_reason() -> None:
    changes = {"deployment_id": None, "work_pool_name": "pool", "work_queue_name": "a queue"}
    flow_run = FlowRun.from_json(run_json(state_json("SCHEDULED"), **changes))
    script = Script([answer({"status": "READY"}), answer({"is_paused": True})])
    assert run(rest(script).reasons_not_started(flow_run)) == ["its work queue 'a queue' is paused"]
    assert script.sent[1] == "GET /work_pools/pool/queues/a%20queue"
