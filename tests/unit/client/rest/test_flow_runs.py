from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    FlowRunNotFound,
    InvalidRequest,
    MalformedAnswer,
    NotFound,
)
from airflow_provider_prefect.client.model import FlowRun, NewFlowRun, Source
from airflow_provider_prefect.client.rest import RestApi
from airflow_provider_prefect.client.transport import Request, Response, run
from tests.unit.client.driving import (
    BAD_PARAMETERS,
    NO_CONTENT,
    NO_SUCH_RUN,
    Script,
    answer,
    page,
)
from tests.unit.client.rest.asking import answered, rest
from tests.unit.client.samples import (
    DEPLOYMENT_ID,
    RUN_ID,
    run_json,
    run_json_2,
    state_json,
)


def bodies(script: Script) -> list[Any]:
    return [request.body for request in script.requests]


# Creating

SOURCE = Source(DEPLOYMENT_ID, "nightly", lineage=DEPLOYMENT_ID)


def sent(new: NewFlowRun) -> Any:
    """What a flow run is created with."""
    script = Script([answer(run_json(), 201)])
    run(rest(script).create_flow_run(SOURCE, new))
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
    created = run(rest(script).create_flow_run(SOURCE, new))
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
    created = answered(lambda api: api.create_flow_run(SOURCE, NewFlowRun()), answer(run_json(), 200))
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
    run(rest(script).create_flow_run(SOURCE, NewFlowRun(idempotency_key=key)))
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
    created = run(rest(script).create_flow_run(SOURCE, new))
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
        run(rest(script).create_flow_run(SOURCE, NewFlowRun(labels={"dag": "d"})))


def test_a_422_about_labels_that_were_not_sent_is_an_error() -> None:
    refused = answer({"exception_detail": [{"loc": ["body", "labels"], "msg": "no"}], "exception_message": "Bad"}, 422)
    with pytest.raises(InvalidRequest):
        run(rest(Script([refused])).create_flow_run(SOURCE, NewFlowRun()))


def test_parameters_that_the_schema_refuses_are_an_error_with_the_servers_reason() -> None:
    with pytest.raises(InvalidRequest, match="'s' is a required property"):
        run(rest(Script([BAD_PARAMETERS])).create_flow_run(SOURCE, NewFlowRun(labels={"dag": "d"})))


# Reading and changing


def test_a_flow_run_is_read() -> None:
    script = Script([answer(run_json())])
    assert run(rest(script).read_flow_run(RUN_ID)) == FlowRun.from_json(run_json())
    assert script.sent == [f"GET /flow_runs/{RUN_ID}"]


CALLS_ABOUT_A_RUN: list[Callable[[RestApi], Coroutine[Any, Any, Any]]] = [
    lambda api: api.read_flow_run(RUN_ID),
    lambda api: api.rename_flow_run(RUN_ID, "new"),
    lambda api: api.restart_flow_run(RUN_ID),
    lambda api: api.cancel_flow_run(RUN_ID),
]


@pytest.mark.parametrize("call", CALLS_ABOUT_A_RUN)
@pytest.mark.parametrize(
    "reply", [NO_SUCH_RUN, answer({"exception_message": f"Flow run with id {RUN_ID} not found"}, 404)]
)
def test_prefects_word_that_there_is_no_such_run_is_an_error_of_its_own(
    call: Callable[[RestApi], Coroutine[Any, Any, Any]], reply: Response
) -> None:
    with pytest.raises(FlowRunNotFound, match=f"{RUN_ID}.*deleted") as error:
        run(call(rest(Script([reply]))))
    assert error.value.__suppress_context__


@pytest.mark.parametrize("call", CALLS_ABOUT_A_RUN)
@pytest.mark.parametrize("reply", [page(404), answer({"detail": "Not Found"}, 404)])
def test_a_404_of_a_proxy_does_not_mean_that_there_is_no_such_run(
    call: Callable[[RestApi], Coroutine[Any, Any, Any]], reply: Response
) -> None:
    with pytest.raises(NotFound) as error:
        run(call(rest(Script([reply]))))
    assert not isinstance(error.value, FlowRunNotFound)


def test_a_flow_run_is_renamed() -> None:
    script = Script([NO_CONTENT])
    run(rest(script).rename_flow_run(RUN_ID, "new"))
    assert script.requests == [Request("PATCH", f"/flow_runs/{RUN_ID}", {"name": "new"})]


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_new_name_is_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name is empty"):
        answered(lambda api: api.rename_flow_run(RUN_ID, name))


@pytest.mark.parametrize(
    ("status", "state", "done"),
    [
        ("ACCEPT", state_json("SCHEDULED"), True),
        ("REJECT", state_json("SCHEDULED"), False),
        ("ABORT", state_json("SCHEDULED"), False),
        ("ABORT", None, False),
    ],
)
def test_a_restart_is_asked_for_once_without_force_and_only_accepted_if_prefect_says_so(
    status: str, state: Any, done: bool
) -> None:
    script = Script([answer({"state": state, "status": status, "details": {"reason": "already over"}}, 201)])
    assert run(rest(script).restart_flow_run(RUN_ID)) is done
    (request,) = script.requests
    assert (request.method, request.path) == ("POST", f"/flow_runs/{RUN_ID}/set_state")
    assert (request.body["state"]["type"], request.body["force"], request.repeatable) == ("SCHEDULED", False, False)


@pytest.mark.parametrize(
    ("status", "type_"),
    [("ACCEPT", "CANCELLING"), ("REJECT", "CANCELLED"), ("REJECT", "CANCELLING"), ("REJECT", "PAUSED")],
)
def test_only_the_state_that_is_answered_says_what_came_of_a_cancellation(status: str, type_: str) -> None:
    script = Script([answer({"state": state_json(type_), "status": status, "details": None})])
    assert run(rest(script).cancel_flow_run(RUN_ID)).type == type_
    assert bodies(script) == [{"state": {"type": "CANCELLING"}, "force": False}]
    assert script.requests[0].repeatable


@pytest.mark.parametrize("state", [None, state_json("CANCELLING")])
def test_a_cancellation_that_comes_too_late_returns_the_state_that_the_run_has(state: Any) -> None:
    aborted = answer({"state": state, "status": "ABORT", "details": {"reason": "already in a terminal state"}})
    script = Script([aborted, answer(run_json(state_json("COMPLETED")))])
    assert run(rest(script).cancel_flow_run(RUN_ID)).type == "COMPLETED"


# Lists


def test_a_list_is_read_page_by_page_without_a_limit_until_a_page_is_empty() -> None:
    first, second = [run_json(name=f"run-{n}") for n in range(3)], [run_json(name="run-3")]
    script = Script([answer(first), answer(second), answer([])])
    found = run(rest(script).find_flow_runs({"flow_runs": {"tags": {"all_": ["x"]}}}))
    assert [found_run.name for found_run in found] == ["run-0", "run-1", "run-2", "run-3"]
    assert [body["offset"] for body in bodies(script)] == [0, 3, 4]
    assert all("limit" not in body for body in bodies(script))
    assert all(body["flow_runs"] == {"tags": {"all_": ["x"]}} for body in bodies(script))
    assert all(body["sort"] == "ID_DESC" for body in bodies(script))


def test_a_list_of_nothing_is_asked_for_once() -> None:
    assert answered(lambda api: api.find_flow_runs({}), answer([])) == []


def test_no_more_is_read_than_is_wanted() -> None:
    first, second = [[run_json(name=f"run-{n}") for n in numbers] for numbers in (range(3), range(3, 6))]
    found = answered(lambda api: api.find_flow_runs({}, limit=4), answer(first), answer(second))
    assert len(found) == 4


def test_a_page_that_is_long_enough_is_the_last() -> None:
    records = [run_json(name=f"run-{n}") for n in range(3)]
    assert len(answered(lambda api: api.find_flow_runs({}, limit=2), answer(records))) == 2
    assert answered(lambda api: api.find_flow_runs({}, limit=0)) == []


def test_a_list_may_be_sorted() -> None:
    script = Script([answer([])])
    run(rest(script).find_flow_runs({}, sort="START_TIME_DESC"))
    assert bodies(script) == [{"sort": "START_TIME_DESC", "offset": 0}]


def asked_for(call: Callable[[RestApi], Coroutine[Any, Any, Any]]) -> Any:
    """The criteria of the list that ``call`` reads."""
    script = Script([answer([])])
    run(call(rest(script)))
    assert script.sent == ["POST /flow_runs/filter"]
    return bodies(script)[0]


def test_several_runs_are_read_by_their_ids_or_by_their_keys_whatever_the_deployment() -> None:
    by_id = asked_for(lambda api: api.read_flow_runs([RUN_ID, "b"]))
    assert by_id == {"flow_runs": {"id": {"any_": [RUN_ID, "b"]}}, "sort": "ID_DESC", "offset": 0}
    by_key = asked_for(lambda api: api.find_by_keys(["k1", "k2"]))
    assert by_key == {"flow_runs": {"idempotency_key": {"any_": ["k1", "k2"]}}, "sort": "ID_DESC", "offset": 0}


@pytest.mark.parametrize(
    ("tags", "criterion"), [((), {}), (["a", "b"], {"tags": {"all_": ["a", "b"]}})], ids=["no tags", "tags"]
)
def test_live_runs_are_those_of_the_deployment_that_have_all_tags(tags: Any, criterion: dict[str, Any]) -> None:
    asked = asked_for(lambda api: api.find_live_flow_runs(DEPLOYMENT_ID, tags))
    types = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED"]
    assert asked["flow_runs"] == {
        "deployment_id": {"any_": [DEPLOYMENT_ID]},
        "state": {"type": {"any_": types}},
        **criterion,
    }


def test_live_runs_of_prefects_own_schedule_are_left_out_until_they_start() -> None:
    there = [
        run_json(state_json(type_), name=f"{type_} {scheduled}", auto_scheduled=scheduled)
        for type_ in ("SCHEDULED", "RUNNING")
        for scheduled in (True, False)
    ]
    found = answered(lambda api: api.find_live_flow_runs(DEPLOYMENT_ID, ()), answer(there), answer([]))
    assert [each.name for each in found] == ["SCHEDULED False", "RUNNING True", "RUNNING False"]


@pytest.mark.parametrize("tags", [(), ("a",)])
def test_the_newest_run_of_a_deployment_is_the_last_that_was_to_start_between_two_times(tags: tuple[str, ...]) -> None:
    since, until = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
    script = Script([answer([run_json()])])
    newest = run(rest(script).find_newest(DEPLOYMENT_ID, tags, since, until))
    assert newest == FlowRun.from_json(run_json())
    (body,) = bodies(script)
    assert body["flow_runs"] == {
        "deployment_id": {"any_": [DEPLOYMENT_ID]},
        "expected_start_time": {"after_": "2026-01-02T00:00:00+00:00", "before_": "2026-01-03T00:00:00+00:00"},
        **({"tags": {"all_": ["a"]}} if tags else {}),
    }
    assert (body["sort"], body["limit"]) == ("EXPECTED_START_TIME_DESC", 1)
    assert answered(lambda api: api.find_newest(DEPLOYMENT_ID, tags, since, until), answer([])) is None


def test_a_run_is_called_after_the_task_and_the_dag_run() -> None:
    assert rest(Script([])).default_run_name(SOURCE, "shop.summarise", "manual__1") == "shop.summarise manual__1"


# Many at once


def test_of_a_run_that_is_waited_for_what_may_be_large_is_not_kept() -> None:
    record = run_json(parameters={"rows": [1] * 1000}, context={"airflow": {"dag_id": "d"}})
    [found] = answered(lambda api: api.read_changed(["a"], known_type=None, limit=200), answer([record]))
    assert (found.id, found.parameters, found.context) == (record["id"], {}, {})
    assert found.labels == FlowRun.from_json(record).labels


def changed(known_type: str | None) -> Any:
    """What is asked for where the flow runs are known to be in a state of this type."""
    script = Script([answer([])])
    assert run(rest(script).read_changed(["a", "b"], known_type=known_type, limit=50)) == []
    assert script.sent == ["POST /flow_runs/filter"]
    return script.requests[0].body


def test_all_are_asked_for_where_no_state_is_known() -> None:
    assert changed(None) == {"flow_runs": {"id": {"any_": ["a", "b"]}}, "limit": 50}


def test_those_of_every_other_state_type_are_asked_for() -> None:
    others = {"SCHEDULED", "PENDING", "PAUSED", "CANCELLING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    criteria = changed("RUNNING")["flow_runs"]
    assert criteria["id"] == {"any_": ["a", "b"]}
    assert set(criteria["state"]) == {"type"}
    assert set(criteria["state"]["type"]) == {"any_"}
    assert sorted(criteria["state"]["type"]["any_"]) == sorted(others)


def test_existing_runs_are_counted() -> None:
    script = Script([answer(1)])
    assert run(rest(script).count_existing(["a", "b"])) == 1
    assert script.sent == ["POST /flow_runs/count"]
    assert script.requests[0].body == {"flow_runs": {"id": {"any_": ["a", "b"]}}}


# The server


def test_flow_runs_are_counted() -> None:
    script = Script([answer(7)])
    assert run(rest(script).count_flow_runs({})) == 7
    assert script.requests == [Request("POST", "/flow_runs/count", {})]


def test_an_answer_that_is_a_page_is_never_taken_for_prefects() -> None:
    with pytest.raises(MalformedAnswer):
        answered(lambda api: api.count_flow_runs({}), page(200))
