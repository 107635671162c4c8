"""The calls of Prefect 1's GraphQL API, driven by hand: what they ask for, and what they make of the answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    DeploymentNotFound,
    FlowRunNotFound,
    InvalidRequest,
)
from airflow_provider_prefect.client.graphql.records import flow_run as parsed
from airflow_provider_prefect.client.model import Created, NewFlowRun, Source
from airflow_provider_prefect.client.transport import Request, Response, run
from tests.unit.client.driving import Script
from tests.unit.client.graphql.asking import answered, asked, graphql, variables
from tests.unit.client.graphql.samples import GROUP_ID, data, errors, flow, flow_run
from tests.unit.client.samples import FLOW_ID, RUN_ID

OTHER = "5b2f8f0e-0f43-4d5e-8df3-fb2d1f4f9f10"
SOURCE = Source(FLOW_ID, "etl", lineage=GROUP_ID, agent_labels=("of-flow",))


def find(script: Script, **given: Any) -> Source:
    wanted = {"deployment": None, "flow_id": None, "flow_name": None, "project_name": None, **given}
    return run(graphql(script).find_source(**wanted))


# Finding a flow


def test_a_flow_is_found_by_its_name_among_those_that_are_not_archived() -> None:
    script = Script([data(flow=[flow()])])
    assert find(script, flow_name="etl") == SOURCE
    assert variables(script)[0]["where"] == {"name": {"_eq": "etl"}, "archived": {"_eq": False}}


def test_of_several_versions_the_server_is_asked_for_the_highest_first_and_that_is_taken() -> None:
    script = Script([data(flow=[flow(id=OTHER, version=10), flow(version=9)])])
    assert find(script, flow_name="etl").id == OTHER
    assert variables(script)[0]["order"][0] == {"version": "desc"}


def test_a_project_is_part_of_what_is_asked_for() -> None:
    script = Script([data(flow=[flow()])])
    find(script, flow_name="etl", project_name="main")
    assert variables(script)[0]["where"]["project"] == {"name": {"_eq": "main"}}


@pytest.mark.parametrize("project_name", [None, ""])
def test_without_a_project_all_are_searched(project_name: str | None) -> None:
    script = Script([data(flow=[flow()])])
    find(script, flow_name="etl", project_name=project_name)
    assert "project" not in variables(script)[0]["where"]


def test_a_flow_of_several_projects_is_an_error_that_lists_them() -> None:
    there = [flow(), flow(flow_group_id=OTHER, project={"name": "attic"})]
    with pytest.raises(ConfigurationError, match=r"project_name='attic', project_name='main'.*flow_id"):
        find(Script([data(flow=there)]), flow_name="etl")


@pytest.mark.parametrize(("given", "text"), [({}, "no flow 'etl' that"), ({"project_name": "p"}, "in project 'p'")])
def test_a_name_that_no_flow_has_is_said(given: dict[str, Any], text: str) -> None:
    with pytest.raises(DeploymentNotFound, match=text):
        find(Script([data(flow=[])]), flow_name="etl", **given)


def test_a_flow_is_found_by_the_id_of_a_version() -> None:
    script = Script([data(flow=[flow()])])
    assert find(script, flow_id=FLOW_ID) == SOURCE
    assert [each["where"] for each in variables(script)] == [{"id": {"_eq": FLOW_ID}}]


def test_an_id_that_no_version_has_is_that_of_a_flow_group_whose_newest_is_meant() -> None:
    script = Script([data(flow=[]), data(flow=[flow(), flow(id=OTHER)])])
    assert find(script, flow_id=GROUP_ID).id == FLOW_ID
    assert variables(script)[1] == {"where": {"flow_group_id": {"_eq": GROUP_ID}}, "order": [{"created": "desc"}]}


def test_an_id_that_neither_has_is_said() -> None:
    with pytest.raises(DeploymentNotFound, match="no flow and no flow group"):
        find(Script([data(flow=[]), data(flow=[])]), flow_id=FLOW_ID)


def test_an_id_that_is_none_is_refused_before_anything_is_sent() -> None:
    script = Script([])
    with pytest.raises(ConfigurationError, match="not the id"):
        find(script, flow_id="etl")
    assert not script.requests


def test_a_flow_group_whose_newest_version_is_archived_is_refused_with_the_newest_that_is_not() -> None:
    versions = [flow(id="c", version=4, archived=True), flow(id=OTHER, version=3), flow(version=2)]
    with pytest.raises(
        ConfigurationError, match=rf"\(flow 'etl', version 4\) is archived.*is 3: give flow_id='{OTHER}'"
    ):
        find(Script([data(flow=[]), data(flow=versions)]), flow_id=GROUP_ID)


def test_a_flow_group_of_archived_versions_only_is_refused_with_the_name_as_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match=r"All versions of flow group.*archived.*flow_name='etl'"):
        find(Script([data(flow=[]), data(flow=[flow(archived=True)])]), flow_id=GROUP_ID)


def test_an_archived_version_is_refused_with_the_flow_group_as_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match=f"archived.*flow_id='{GROUP_ID}'"):
        find(Script([data(flow=[flow(archived=True)])]), flow_id=FLOW_ID)


@pytest.mark.parametrize(
    ("record", "labels"),
    [
        ({}, ("of-flow",)),
        ({"flow_group": {"labels": ["of-group"], "run_config": {"labels": ["x"]}}}, ("of-group",)),
        ({"flow_group": {"labels": [], "run_config": {"labels": ["x"]}}}, ()),
        ({"flow_group": {"labels": None, "run_config": {"labels": ["of-groups-config"]}}}, ("of-groups-config",)),
        ({"flow_group": None}, ("of-flow",)),
        ({"run_config": None, "environment": {"labels": ["of-environment"]}}, ("of-environment",)),
        ({"run_config": {"type": "LocalRun"}}, ()),
        ({"run_config": {"type": "LocalRun"}, "environment": {"labels": ["of-environment"]}}, ()),
        ({"flow_group": {"labels": None, "run_config": {"type": "LocalRun"}}}, ()),
        ({"run_config": None}, ()),
    ],
)
def test_the_labels_of_a_flow_are_those_that_the_server_would_give_its_runs(
    record: dict[str, Any], labels: tuple[str, ...]
) -> None:
    assert find(Script([data(flow=[flow(**record)])]), flow_name="etl").agent_labels == labels


def test_a_run_is_called_after_the_dag_run_and_the_flow() -> None:
    assert graphql(Script([])).default_run_name(SOURCE, "shop.summarise", "manual__1") == "manual__1-etl"


# Creating


def create(new: NewFlowRun, **of_run: Any) -> tuple[Created, Script]:
    """What is sent to create a flow run, on a server that makes a new one of it."""

    def made(_: Request) -> Response:
        sent = script.requests[0].body["variables"]["input"]
        return data(flow_run=[flow_run("Scheduled", context=sent["context"], **of_run)])

    script = Script([data(create_flow_run={"id": RUN_ID}), made])
    created = run(graphql(script).create_flow_run(SOURCE, new))
    assert created.run.id == RUN_ID
    return created, script


def sent(new: NewFlowRun) -> dict[str, Any]:
    _, script = create(new)
    found: dict[str, Any] = script.requests[0].body["variables"]["input"]
    return found


def test_only_what_is_given_is_sent() -> None:
    fields = sent(NewFlowRun())
    assert set(fields) == {"flow_id", "context"}
    assert fields["flow_id"] == FLOW_ID


def test_all_that_is_given_is_sent() -> None:
    start = datetime(2026, 1, 2, 12, tzinfo=UTC)
    fields = sent(
        NewFlowRun(
            parameters={"n": 3},
            name="my run",
            agent_labels=("b", "a"),
            context={"who": "me", "airflow": {"try_number": 2}},
            idempotency_key="key-1",
            scheduled_start_time=start,
            run_config={"type": "LocalRun", "labels": ["x"]},
        )
    )
    mark = fields["context"]["airflow"].pop("request")
    assert mark
    assert fields == {
        "flow_id": FLOW_ID,
        "parameters": {"n": 3},
        "flow_run_name": "my run",
        "labels": ["b", "a"],
        "context": {"who": "me", "airflow": {"try_number": 2}},
        "idempotency_key": "key-1",
        "scheduled_start_time": "2026-01-02T12:00:00+00:00",
        "run_config": {"type": "LocalRun", "labels": ["x"]},
    }


def test_what_prefect_3_alone_has_is_not_sent() -> None:
    fields = sent(NewFlowRun(labels={"airflow.dag_id": "shop"}, tags=("t",), enforce_parameter_schema=True))
    assert set(fields) == {"flow_id", "context"}


def test_empty_parameters_and_labels_are_sent_as_they_are() -> None:
    fields = sent(NewFlowRun(parameters={}, agent_labels=()))
    assert (fields["parameters"], fields["labels"]) == ({}, [])


@pytest.mark.parametrize("run_config", [{"type": "LocalRun"}, {"type": "LocalRun", "labels": None}])
def test_a_run_config_without_labels_keeps_those_of_the_flow(run_config: dict[str, Any]) -> None:
    assert sent(NewFlowRun(run_config=run_config))["labels"] == ["of-flow"]


@pytest.mark.parametrize(
    ("new", "labels"),
    [
        (NewFlowRun(run_config={"type": "LocalRun", "labels": []}), None),
        (NewFlowRun(run_config={"type": "LocalRun", "labels": ["x"]}), None),
        (NewFlowRun(run_config={"type": "LocalRun"}, agent_labels=()), []),
        (NewFlowRun(run_config={"type": "LocalRun"}, agent_labels=("y",)), ["y"]),
    ],
)
def test_labels_that_are_given_are_not_replaced_by_those_of_the_flow(new: NewFlowRun, labels: Any) -> None:
    assert sent(new).get("labels") == labels


def test_the_users_own_context_is_left_as_it_is() -> None:
    given = {"airflow": {"try_number": 1}}
    sent(NewFlowRun(context=given))
    assert given == {"airflow": {"try_number": 1}}


def test_a_run_with_the_mark_of_this_request_is_new() -> None:
    created, _ = create(NewFlowRun(idempotency_key="key-1"))
    assert created.is_new


@pytest.mark.parametrize(
    "context", [None, {}, {"airflow": None}, {"airflow": {"try_number": 1}}, {"airflow": {"request": "of another"}}]
)
def test_a_run_without_it_was_found_by_its_key(context: Any) -> None:
    script = Script([data(create_flow_run={"id": RUN_ID}), data(flow_run=[flow_run(context=context)])])
    assert not run(graphql(script).create_flow_run(SOURCE, NewFlowRun(idempotency_key="key-1"))).is_new


def test_two_requests_have_different_marks() -> None:
    marks = {sent(NewFlowRun())["context"]["airflow"]["request"] for _ in range(3)}
    assert len(marks) == 3


@pytest.mark.parametrize(("key", "repeatable"), [("key-1", True), (None, False), ("", False)])
def test_a_create_may_be_sent_twice_only_with_a_key(key: str | None, repeatable: bool) -> None:
    _, script = create(NewFlowRun(idempotency_key=key))
    assert script.requests[0].repeatable is repeatable


def test_a_refusal_of_the_server_is_told_in_its_words() -> None:
    refusal = errors("Required parameters were not supplied: {'must'}", create_flow_run=None)
    with pytest.raises(InvalidRequest, match="Required parameters were not supplied"):
        run(graphql(Script([refusal])).create_flow_run(SOURCE, NewFlowRun()))


@pytest.mark.parametrize("run_config", [{}, {"labels": ["a"]}, {"type": ""}, {"type": None}])
def test_a_run_config_without_a_type_is_refused_before_anything_is_sent(run_config: dict[str, Any]) -> None:
    script = Script([])
    with pytest.raises(ConfigurationError, match="run_config has no type"):
        run(graphql(script).create_flow_run(SOURCE, NewFlowRun(run_config=run_config)))


# Reading


def test_a_flow_run_is_read_by_its_id() -> None:
    script = Script([data(flow_run=[flow_run()])])
    found = run(graphql(script).read_flow_run(RUN_ID))
    assert (found.id, found.deployment_id, found.tenant) == (RUN_ID, GROUP_ID, "warehouse")
    assert variables(script) == [{"where": {"id": {"_in": [RUN_ID]}}}]


def test_a_flow_run_that_is_not_there_is_not_found_in_the_words_that_a_wait_knows() -> None:
    with pytest.raises(FlowRunNotFound, match=RUN_ID) as refusal:
        run(graphql(Script([data(flow_run=[])])).read_flow_run(RUN_ID))
    assert refusal.value.detail == "Flow run not found"


def test_flow_runs_are_found_by_their_keys_whatever_the_flow() -> None:
    script = Script([data(flow_run=[flow_run()])])
    [found] = run(graphql(script).find_by_keys(["key-1", "key-2"]))
    assert found.idempotency_key == "key-1"
    assert variables(script) == [{"where": {"idempotency_key": {"_in": ["key-1", "key-2"]}}}]


# Why a run has not started


def agent(*labels: str, ago: float | None = 5) -> dict[str, Any]:
    asked_at = None if ago is None else (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    return {"labels": list(labels), "last_queried": asked_at}


def reasons(wanted: list[str] | None, *agents: dict[str, Any]) -> list[str]:
    answer = data(flow_run=[{"labels": wanted}], agent=list(agents))
    return answered(lambda api: api.reasons_not_started(parsed(flow_run("Scheduled"))), answer)


@pytest.mark.parametrize(
    ("wanted", "agents"),
    [
        ([], [agent()]),
        (None, [agent()]),
        (["a"], [agent("a")]),
        (["a"], [agent("b", "a")]),
        (["a"], [agent("a", ago=500), agent("a")]),
    ],
)
def test_where_an_agent_that_may_run_it_is_at_work_there_is_no_reason(wanted: Any, agents: Any) -> None:
    assert reasons(wanted, *agents) == []


@pytest.mark.parametrize(
    ("wanted", "agents", "text"),
    [
        (["b", "a"], [], "no agent with the labels 'a', 'b'"),
        (["a", "b"], [agent("a")], "no agent with the labels 'a', 'b'"),
        (["a"], [agent()], "no agent with the labels 'a'"),
        ([], [agent("a")], "no agent with no labels"),
        (["a"], [agent("a", ago=61)], "none has asked for work within the last minute"),
        (["a"], [agent("a", ago=None)], "none has asked for work within the last minute"),
        (["a"], [agent("a", ago=500), agent("b")], "none has asked for work within the last minute"),
    ],
)
def test_where_none_is_that_is_the_reason(wanted: Any, agents: Any, text: str) -> None:
    [reason] = reasons(wanted, *agents)
    assert text in reason


def test_a_run_that_is_gone_has_no_labels() -> None:
    found = answered(lambda api: api.reasons_not_started(parsed(flow_run())), data(flow_run=[], agent=[agent()]))
    assert found == []


# Renaming and cancelling


def test_a_run_is_renamed() -> None:
    script = Script([data(set_flow_run_name={"success": True})])
    run(graphql(script).rename_flow_run(RUN_ID, "new name"))
    assert variables(script) == [{"input": {"flow_run_id": RUN_ID, "name": "new name"}}]


def test_a_rename_without_success_means_that_there_is_no_such_run() -> None:
    with pytest.raises(FlowRunNotFound, match=RUN_ID):
        run(graphql(Script([data(set_flow_run_name={"success": False})])).rename_flow_run(RUN_ID, "x"))


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_refused_before_anything_is_sent(name: str) -> None:
    script = Script([])
    with pytest.raises(ConfigurationError, match="name is empty"):
        run(graphql(script).rename_flow_run(RUN_ID, name))


@pytest.mark.parametrize(("before", "after"), [("Running", "Cancelling"), ("Scheduled", "Cancelled")])
def test_a_live_run_is_cancelled_and_the_state_it_is_in_then_is_returned(before: str, after: str) -> None:
    script = Script(
        [data(flow_run=[flow_run(before)]), data(cancel_flow_run={"state": after}), data(flow_run=[flow_run(after)])]
    )
    assert run(graphql(script).cancel_flow_run(RUN_ID)).type == after.upper()
    assert "mutation cancel" in script.requests[1].body["query"]
    assert variables(script)[1] == {"input": {"flow_run_id": RUN_ID}}


@pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled", "Cancelling"])
def test_a_run_that_has_ended_or_is_being_cancelled_is_not_asked_again(state: str) -> None:
    assert answered(lambda api: api.cancel_flow_run(RUN_ID), data(flow_run=[flow_run(state)])).name == state


def test_a_run_that_is_not_there_is_not_cancelled() -> None:
    with pytest.raises(FlowRunNotFound):
        run(graphql(Script([data(flow_run=[])])).cancel_flow_run(RUN_ID))


# Many at once


def test_all_are_asked_for_where_no_state_is_known() -> None:
    found, [sent] = asked(
        lambda api: api.read_changed([RUN_ID, "b"], known_type=None, limit=50), data(flow_run=[flow_run("Success")])
    )
    assert [(each.id, each.state.type) for each in found] == [(RUN_ID, "COMPLETED")]
    assert sent == {"where": {"id": {"_in": [RUN_ID, "b"]}}, "limit": 50}


@pytest.mark.parametrize(
    ("known_type", "names"),
    [
        ("RUNNING", {"Running"}),
        ("SCHEDULED", {"Scheduled", "Queued", "Resume", "Retrying"}),
        ("CANCELLING", {"Cancelling"}),
    ],
)
def test_those_of_another_state_type_are_asked_for_and_those_without_a_state(known_type: str, names: set[str]) -> None:
    _, [sent] = asked(lambda api: api.read_changed([RUN_ID], known_type=known_type, limit=50), data(flow_run=[]))
    others, stateless = sent["where"]["_or"]
    assert set(others["state"]["_nin"]) == names
    assert stateless == {"state": {"_is_null": True}}


def test_a_run_without_a_state_is_one_that_is_known_to_be_pending() -> None:
    _, [sent] = asked(lambda api: api.read_changed([RUN_ID], known_type="PENDING", limit=50), data(flow_run=[]))
    [others] = sent["where"]["_or"]
    assert set(others["state"]["_nin"]) == {"Pending", "Submitted", "ClientFailed"}


def test_runs_are_counted_by_the_server() -> None:
    counted = data(flow_run_aggregate={"aggregate": {"count": 2}})
    found, [sent] = asked(lambda api: api.count_existing([RUN_ID, "b", "c"]), counted)
    assert (found, sent) == (2, {"where": {"id": {"_in": [RUN_ID, "b", "c"]}}})
