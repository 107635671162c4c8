from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client import rest
from airflow_provider_prefect.client.call import Call, Request, Response
from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    DeploymentNotFound,
    FlowRunNotFound,
    InvalidRequest,
    MalformedAnswer,
    NotFound,
)
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.new_flow_run import NewFlowRun, Source
from airflow_provider_prefect.client.retry import Patience, retried
from tests.unit.client.driving import (
    BAD_PARAMETERS,
    NO_CONTENT,
    NO_SUCH_DEPLOYMENT,
    NO_SUCH_RUN,
    Script,
    answer,
    answered,
    page,
)
from tests.unit.client.samples import (
    DEPLOYMENT_ID,
    FLOW_ID,
    RUN_ID,
    deployment_json,
    run_json,
    run_json_2,
    seen,
    state_json,
)


def asked(script: Script, call: Call[Any]) -> Any:
    """What ``call`` returns when failures are told apart, as they always are, and none is sent again."""
    return script.run(retried(call, Patience(0, clock=script.clock)))


def bodies(script: Script) -> list[Any]:
    return [request.body for request in script.requests]


# Finding a deployment


def test_a_deployment_is_found_by_its_id() -> None:
    script = Script([answer(deployment_json())])
    assert asked(script, rest.find_deployment(DEPLOYMENT_ID)).name == "nightly"
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
    asked(script, rest.find_deployment(reference))
    assert script.sent == [f"GET /deployments/name/{path}"]


@pytest.mark.parametrize("reference", ["etl", "/nightly", "etl/", "/", "", "etl/nightly/extra"])
def test_what_is_neither_an_id_nor_two_names_is_refused_before_anything_is_sent(reference: str) -> None:
    with pytest.raises(ConfigurationError, match="neither 'flow/deployment' nor the id"):
        answered(rest.find_deployment(reference))


@pytest.mark.parametrize("reference", [DEPLOYMENT_ID, "etl/nigtly"])
def test_an_unknown_deployment_is_answered_with_the_nearest_names(reference: str) -> None:
    there = [deployment_json("nightly"), deployment_json("hourly"), deployment_json("report", flow_id="other")]
    flows = [{"id": FLOW_ID, "name": "etl"}, {"id": "other", "name": "x"}]
    script = Script([NO_SUCH_DEPLOYMENT, answer(there), answer(flows)])
    with pytest.raises(DeploymentNotFound) as error:
        asked(script, rest.find_deployment(reference))
    assert reference in str(error.value)
    assert "'etl/nightly'" in str(error.value)
    assert bodies(script)[2] == {"flows": {"id": {"any_": sorted([FLOW_ID, "other"])}}}


def test_only_near_names_are_listed_if_there_are_any_and_the_nearest_first() -> None:
    there = [deployment_json(name) for name in ("zzzzzzzzzzzzzz", "nightly-eu", "nightly")]
    script = Script([NO_SUCH_DEPLOYMENT, answer(there), answer([{"id": FLOW_ID, "name": "etl"}])])
    with pytest.raises(DeploymentNotFound, match=r"nearest it has: 'etl/nightly', 'etl/nightly-eu'\."):
        asked(script, rest.find_deployment("etl/nigtly"))


def test_a_deployment_whose_flow_is_not_listed_does_not_spoil_the_message() -> None:
    there = [deployment_json("nightly"), deployment_json("orphan", flow_id="gone")]
    script = Script([NO_SUCH_DEPLOYMENT, answer(there), answer([{"id": FLOW_ID, "name": "etl"}])])
    with pytest.raises(DeploymentNotFound, match="'etl/nightly'"):
        asked(script, rest.find_deployment("etl/nigtly"))


def test_a_server_without_deployments_says_so() -> None:
    script = Script([NO_SUCH_DEPLOYMENT, answer([])])
    with pytest.raises(DeploymentNotFound, match="no deployments at all"):
        asked(script, rest.find_deployment("etl/nightly"))


@pytest.mark.parametrize("reply", [page(404), answer({"detail": "Not Found"}, 404)])
def test_a_404_that_is_not_of_prefect_does_not_mean_that_there_is_no_such_deployment(reply: Response) -> None:
    with pytest.raises(NotFound) as error:
        asked(Script([reply]), rest.find_deployment("etl/nightly"))
    assert not isinstance(error.value, DeploymentNotFound)


def test_the_only_deployment_of_a_flow_is_found_by_the_flows_name() -> None:
    script = Script([answer([deployment_json()])])
    assert asked(script, rest.find_deployment_of_flow("my flow/1")).id == DEPLOYMENT_ID
    assert script.sent == ["POST /deployments/filter"]
    assert bodies(script)[0]["flows"] == {"name": {"any_": ["my flow/1"]}}


def test_a_flow_with_several_deployments_is_ambiguous_and_they_are_listed() -> None:
    script = Script([answer([deployment_json("hourly"), deployment_json("nightly")])])
    with pytest.raises(ConfigurationError, match=r"has 2 deployments.*'etl/hourly', 'etl/nightly'"):
        asked(script, rest.find_deployment_of_flow("etl"))


def test_a_flow_without_a_deployment_is_answered_with_the_nearest_names() -> None:
    script = Script([answer([]), answer([deployment_json()]), answer([{"id": FLOW_ID, "name": "etl"}])])
    with pytest.raises(DeploymentNotFound, match=r"no deployment of a flow 'elt'.*'etl/nightly'"):
        asked(script, rest.find_deployment_of_flow("elt"))


# Creating

SOURCE = Source(DEPLOYMENT_ID, "nightly", lineage=DEPLOYMENT_ID)


def sent(new: NewFlowRun) -> Any:
    """What a flow run is created with."""
    script = Script([answer(run_json(), 201)])
    asked(script, rest.create_flow_run(SOURCE, new))
    return bodies(script)[0]


def test_a_flow_run_is_created_with_all_that_is_given() -> None:
    new = NewFlowRun(
        parameters={"n": 3},
        name="calm-otter",
        tags=("a", "b"),
        labels={"dag": "d"},
        context={"airflow": {}},
        idempotency_key="key-1",
        scheduled_start_time=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        job_variables={"env": {}},
        work_queue_name="q",
        enforce_parameter_schema=False,
    )
    script = Script([answer(run_json(), 201)])
    created = asked(script, rest.create_flow_run(SOURCE, new))
    assert script.sent == [f"POST /deployments/{DEPLOYMENT_ID}/create_flow_run"]
    assert bodies(script) == [
        {
            "parameters": {"n": 3},
            "name": "calm-otter",
            "tags": ["a", "b"],
            "labels": {"dag": "d"},
            "context": {"airflow": {}},
            "idempotency_key": "key-1",
            "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-01-02T03:04:00+00:00"}},
            "job_variables": {"env": {}},
            "work_queue_name": "q",
            "enforce_parameter_schema": False,
        }
    ]
    assert (created.run.id, created.is_new) == (RUN_ID, True)


def test_a_200_says_that_the_run_was_there_already() -> None:
    created = answered(rest.create_flow_run(SOURCE, NewFlowRun()), answer(run_json(), 200))
    assert not created.is_new


def test_nothing_is_sent_for_what_is_left_to_the_deployment() -> None:
    assert sent(NewFlowRun()) == {}


def test_an_empty_key_and_an_empty_name_are_never_sent() -> None:
    assert sent(NewFlowRun(idempotency_key="", name="")) == {}


def test_empty_parameters_and_a_schema_that_is_not_enforced_are_sent() -> None:
    assert sent(NewFlowRun(parameters={}, enforce_parameter_schema=False)) == {
        "parameters": {},
        "enforce_parameter_schema": False,
    }


@pytest.mark.parametrize(("key", "repeatable"), [("k", True), ("", False), (None, False)])
def test_only_a_create_with_a_key_may_be_repeated(key: str | None, repeatable: bool) -> None:
    script = Script([answer(run_json(), 201)])
    asked(script, rest.create_flow_run(SOURCE, NewFlowRun(idempotency_key=key)))
    assert script.requests[0].repeatable is repeatable


@pytest.mark.parametrize(
    "detail",
    [
        {"loc": ["body", "labels"], "msg": "extra fields not permitted", "type": "value_error.extra"},
        {"loc": ["body", "labels"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden", "input": {}},
    ],
)
@pytest.mark.parametrize("name", ["exception_detail", "detail"])
def test_labels_are_left_out_for_a_prefect_2_that_refuses_them(detail: dict[str, Any], name: str) -> None:
    refused = answer({"exception_message": "Invalid request received.", name: [detail]}, 422)
    script = Script([refused, answer(run_json_2(), 201)])
    new = NewFlowRun(labels={"dag": "d"}, context={"x": 1}, idempotency_key="k")
    created = asked(script, rest.create_flow_run(SOURCE, new))
    assert bodies(script) == [
        {"labels": {"dag": "d"}, "context": {"x": 1}, "idempotency_key": "k"},
        {"context": {"x": 1}, "idempotency_key": "k"},
    ]
    assert script.requests[1].repeatable
    assert created.run.labels is None


def test_a_422_about_something_else_is_not_tried_without_labels() -> None:
    refused = answer({"exception_detail": [{"loc": ["body", "tags"], "msg": "no"}], "exception_message": "Bad"}, 422)
    script = Script([refused])
    with pytest.raises(InvalidRequest, match="tags: no"):
        asked(script, rest.create_flow_run(SOURCE, NewFlowRun(labels={"dag": "d"})))


def test_a_422_about_labels_that_were_not_sent_is_an_error() -> None:
    refused = answer({"exception_detail": [{"loc": ["body", "labels"], "msg": "no"}], "exception_message": "Bad"}, 422)
    with pytest.raises(InvalidRequest):
        asked(Script([refused]), rest.create_flow_run(SOURCE, NewFlowRun()))


def test_parameters_that_the_schema_refuses_are_an_error_with_the_servers_reason() -> None:
    with pytest.raises(InvalidRequest, match="'s' is a required property"):
        asked(Script([BAD_PARAMETERS]), rest.create_flow_run(SOURCE, NewFlowRun(labels={"dag": "d"})))


# Reading and changing


def test_a_flow_run_is_read() -> None:
    script = Script([answer(run_json())])
    assert asked(script, rest.read_flow_run(RUN_ID)) == FlowRun.from_json(run_json())
    assert script.sent == [f"GET /flow_runs/{RUN_ID}"]


CALLS_ABOUT_A_RUN: list[Callable[[], Call[Any]]] = [
    lambda: rest.read_flow_run(RUN_ID),
    lambda: rest.rename_flow_run(RUN_ID, "new"),
    lambda: rest.set_flow_run_state(RUN_ID, {"type": "CANCELLING"}, repeatable=True),
    lambda: rest.restart_flow_run(RUN_ID),
    lambda: rest.cancel_flow_run(RUN_ID),
]


@pytest.mark.parametrize("call", CALLS_ABOUT_A_RUN)
@pytest.mark.parametrize(
    "reply", [NO_SUCH_RUN, answer({"exception_message": f"Flow run with id {RUN_ID} not found"}, 404)]
)
def test_prefects_word_that_there_is_no_such_run_is_an_error_of_its_own(
    call: Callable[[], Call[Any]], reply: Response
) -> None:
    with pytest.raises(FlowRunNotFound, match=f"{RUN_ID}.*deleted") as error:
        asked(Script([reply]), call())
    assert error.value.__suppress_context__


@pytest.mark.parametrize("call", CALLS_ABOUT_A_RUN)
@pytest.mark.parametrize("reply", [page(404), answer({"detail": "Not Found"}, 404)])
def test_a_404_of_a_proxy_does_not_mean_that_there_is_no_such_run(
    call: Callable[[], Call[Any]], reply: Response
) -> None:
    with pytest.raises(NotFound) as error:
        asked(Script([reply]), call())
    assert not isinstance(error.value, FlowRunNotFound)


def test_a_flow_run_is_renamed() -> None:
    script = Script([NO_CONTENT])
    asked(script, rest.rename_flow_run(RUN_ID, "new"))
    assert script.requests == [Request("PATCH", f"/flow_runs/{RUN_ID}", {"name": "new"})]


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_new_name_is_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name is empty"):
        answered(rest.rename_flow_run(RUN_ID, name))


def test_a_state_is_asked_for_without_force() -> None:
    script = Script([answer({"state": state_json("SCHEDULED"), "status": "ACCEPT", "details": {}}, 201)])
    reply = asked(script, rest.set_flow_run_state(RUN_ID, {"type": "SCHEDULED"}, repeatable=False))
    (request,) = script.requests
    assert (request.body, request.repeatable) == ({"state": {"type": "SCHEDULED"}, "force": False}, False)
    assert (reply.status, reply.reason, reply.state.type) == ("ACCEPT", "", "SCHEDULED")


def test_a_state_that_is_not_given_is_answered_with_the_reason() -> None:
    reply = answer({"state": None, "status": "ABORT", "details": {"type": "abort_details", "reason": "already over"}})
    result = answered(rest.set_flow_run_state(RUN_ID, {"type": "CANCELLING"}, repeatable=True), reply)
    assert (result.status, result.reason, result.state) == ("ABORT", "already over", None)


@pytest.mark.parametrize(("status", "done"), [("ACCEPT", True), ("REJECT", False), ("ABORT", False)])
def test_a_restart_is_asked_for_once_and_only_accepted_if_prefect_says_so(status: str, done: bool) -> None:
    script = Script([answer({"state": state_json("SCHEDULED"), "status": status, "details": {}})])
    assert asked(script, rest.restart_flow_run(RUN_ID)) is done
    (request,) = script.requests
    assert (request.body["state"]["type"], request.body["force"], request.repeatable) == ("SCHEDULED", False, False)


@pytest.mark.parametrize(
    ("status", "type_"),
    [("ACCEPT", "CANCELLING"), ("REJECT", "CANCELLED"), ("REJECT", "CANCELLING"), ("REJECT", "PAUSED")],
)
def test_only_the_state_that_is_answered_says_what_came_of_a_cancellation(status: str, type_: str) -> None:
    script = Script([answer({"state": state_json(type_), "status": status, "details": None})])
    assert asked(script, rest.cancel_flow_run(RUN_ID)).type == type_
    assert bodies(script) == [{"state": {"type": "CANCELLING"}, "force": False}]
    assert script.requests[0].repeatable


@pytest.mark.parametrize("state", [None, state_json("CANCELLING")])
def test_a_cancellation_that_comes_too_late_returns_the_state_that_the_run_has(state: Any) -> None:
    aborted = answer({"state": state, "status": "ABORT", "details": {"reason": "already in a terminal state"}})
    script = Script([aborted, answer(run_json(state_json("COMPLETED")))])
    assert asked(script, rest.cancel_flow_run(RUN_ID)).type == "COMPLETED"


# Lists


def test_a_list_is_read_page_by_page_without_a_limit_until_a_page_is_empty() -> None:
    first, second = [run_json(name=f"run-{n}") for n in range(3)], [run_json(name="run-3")]
    script = Script([answer(first), answer(second), answer([])])
    found = asked(script, rest.filter_flow_runs({"flow_runs": {"tags": {"all_": ["x"]}}}))
    assert [run.name for run in found] == ["run-0", "run-1", "run-2", "run-3"]
    assert [body["offset"] for body in bodies(script)] == [0, 3, 4]
    assert all("limit" not in body for body in bodies(script))
    assert all(body["flow_runs"] == {"tags": {"all_": ["x"]}} for body in bodies(script))
    assert all(body["sort"] == "ID_DESC" for body in bodies(script))


def test_a_list_of_nothing_is_asked_for_once() -> None:
    assert answered(rest.filter_flow_runs({}), answer([])) == []


def test_no_more_is_read_than_is_wanted() -> None:
    records = [run_json(name=f"run-{n}") for n in range(3)]
    found = answered(rest.filter_flow_runs({}, most=4), answer(records), answer(records))
    assert len(found) == 4


def test_a_page_that_is_long_enough_is_the_last() -> None:
    records = [run_json(name=f"run-{n}") for n in range(3)]
    assert len(answered(rest.filter_flow_runs({}, most=2), answer(records))) == 2
    assert answered(rest.filter_flow_runs({}, most=0)) == []


def test_a_list_may_be_sorted() -> None:
    script = Script([answer([])])
    asked(script, rest.filter_flow_runs({}, sort="START_TIME_DESC"))
    assert bodies(script) == [{"sort": "START_TIME_DESC", "offset": 0}]


# Why a run has not started


def reasons(run: FlowRun, *answers: Response) -> list[str]:
    return answered(rest.reasons_not_started(run), *answers)


def test_a_run_without_deployment_and_pool_has_no_reason_but_its_state() -> None:
    assert reasons(FlowRun.from_json(run_json(state_json("SCHEDULED", "Late"), deployment_id=None))) == []
    waiting = state_json("SCHEDULED", "AwaitingConcurrencySlot", message="Deployment concurrency limit reached.")
    assert reasons(FlowRun.from_json(run_json(waiting, deployment_id=None))) == [
        "its state is AwaitingConcurrencySlot (SCHEDULED): Deployment concurrency limit reached."
    ]


def test_nobody_who_polls_for_the_deployment_is_a_reason() -> None:
    (reason,) = reasons(seen("SCHEDULED", "Late"), answer(deployment_json(status="NOT_READY")))
    assert "nothing has asked for runs of its deployment" in reason
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
    run = FlowRun.from_json(run_json(state_json("SCHEDULED"), deployment_id=None, work_pool_name="a pool/1"))
    script = Script([answer(pool)])
    assert asked(script, rest.reasons_not_started(run)) == [reason]
    assert script.sent == ["GET /work_pools/a%20pool%2F1"]


def test_a_paused_queue_is_a_reason() -> None:
    changes = {"deployment_id": None, "work_pool_name": "pool", "work_queue_name": "a queue"}
    run = FlowRun.from_json(run_json(state_json("SCHEDULED"), **changes))
    script = Script([answer({"status": "READY"}), answer({"is_paused": True})])
    assert asked(script, rest.reasons_not_started(run)) == ["its work queue 'a queue' is paused"]
    assert script.sent[1] == "GET /work_pools/pool/queues/a%20queue"


# The server


def test_the_version_is_read() -> None:
    script = Script([answer("3.8.8")])
    assert asked(script, rest.read_version()) == "3.8.8"
    assert script.sent == ["GET /admin/version"]


def test_flow_runs_are_counted() -> None:
    script = Script([answer(7)])
    assert asked(script, rest.count_flow_runs()) == 7
    assert script.requests == [Request("POST", "/flow_runs/count", {})]


@pytest.mark.parametrize(
    ("body", "is_it"),
    [({"data": {"__typename": "Query"}}, True), ({"data": None}, False), ({"errors": []}, False), ([], False)],
)
def test_a_graphql_server_is_recognised(body: Any, is_it: bool) -> None:
    script = Script([answer(body)])
    assert asked(script, rest.is_graphql()) is is_it
    assert script.sent == ["POST "]


def test_an_answer_that_is_a_page_is_never_taken_for_prefects() -> None:
    with pytest.raises(MalformedAnswer):
        answered(rest.read_version(), page(200))
