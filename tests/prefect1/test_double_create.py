"""``create_flow_run`` of the real client against the double (rows C01 to C38)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.prefect1 import scenario
from tests.prefect1.real_client import Outcome, duration, run_config, run_real
from tests.prefect1.server import Prefect1Server
from tests.prefect1.tables import Row

PARENT = {"flow_run_name": "crazy-pudu", "task_run_id": "tr-1"}


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    return scenario.register_flow(server, "etl", tasks=["extract", "load"], labels=["lab"])


def create(server: Prefect1Server, **arguments: Any) -> Outcome:
    return run_real("create_flow_run", server, **arguments)


def created(server: Prefect1Server, outcome: Outcome) -> Row:
    assert outcome.error is None, outcome.traceback
    return scenario.row(server, "flow_run", outcome.value)


def refused(outcome: Outcome, error: str, text: str, *, although_created: bool = False) -> None:
    assert outcome.error == error
    assert text in str(outcome.text)
    # Only the server's own refusals come after the client has asked for a run.
    assert "create_flow_run" not in outcome.names or error == "ClientError" or although_created


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"flow_id": "a", "flow_name": "b"}, "Received both `flow_id` and `flow_name`."),
        ({}, "Both `flow_id` and `flow_name` are null."),
        ({"flow_id": "", "flow_name": ""}, "Both `flow_id` and `flow_name` are null."),
    ],
    ids=["c01", "c02", "c02-empty"],
)
def test_c01_c02_exactly_one_identifier_is_asked_for_before_any_request(
    server: Prefect1Server, arguments: dict[str, Any], text: str
) -> None:
    outcome = create(server, **arguments)
    refused(outcome, "ValueError", text)
    assert outcome.requests == ()


def test_c03_an_id_may_be_that_of_a_flow_or_of_a_flow_group(server: Prefect1Server, flow_id: str) -> None:
    by_flow = create(server, flow_id=flow_id)
    assert created(server, by_flow)["flow_id"] == flow_id
    assert by_flow.names == ("flow", "create_flow_run", "tenant", "tenant")
    newer = scenario.register_flow(server, "etl")
    by_group = create(server, flow_id=scenario.group_id(server, flow_id))
    assert created(server, by_group)["flow_id"] == newer
    assert by_group.names == ("flow", "flow", "create_flow_run", "tenant", "tenant")


def test_c04_an_unknown_id_is_a_value_error(server: Prefect1Server) -> None:
    unknown = str(uuid.uuid4())
    refused(
        create(server, flow_id=unknown), "ValueError", f"Given id '{unknown}' is not an existing flow or flow group"
    )


def test_c05_an_id_must_be_a_str(server: Prefect1Server) -> None:
    outcome = create(server, flow_id=uuid.uuid4())
    refused(outcome, "TypeError", "Unexpected type <class 'uuid.UUID'> for `flow_id`, expected 'str'.")


def test_c06_an_id_that_is_no_uuid_is_refused_by_the_server(server: Prefect1Server) -> None:
    refused(create(server, flow_id="x"), "ClientError", 'invalid input syntax for type uuid: "x"')


def test_c07_an_archived_flow_is_found_by_id_and_then_refused(server: Prefect1Server, flow_id: str) -> None:
    scenario.archive(server, flow_id)
    outcome = create(server, flow_id=flow_id)
    refused(outcome, "ClientError", f"Flow {flow_id} is archived.")
    assert outcome.names == ("flow", "create_flow_run")
    assert server.tables.all("flow_run") == []


def test_c08_by_name_only_unarchived_flows_of_all_projects_are_found(server: Prefect1Server, flow_id: str) -> None:
    newer = scenario.register_flow(server, "etl")
    outcome = create(server, flow_name="etl")
    assert created(server, outcome)["flow_id"] == newer
    assert outcome.calls[0].arguments == {
        "where": {"name": {"_eq": "etl"}, "archived": {"_eq": False}},
        "order_by": {"created": "desc"},
    }


def test_c09_c10_several_flows_with_that_name_need_a_project(server: Prefect1Server, flow_id: str) -> None:
    other = scenario.register_flow(server, "etl", project="other")
    refused(create(server, flow_name="etl"), "ValueError", "Found multiple flows matching")
    assert created(server, create(server, flow_name="etl", project_name="other"))["flow_id"] == other
    assert created(server, create(server, flow_name="etl", project_name="main"))["flow_id"] == flow_id


@pytest.mark.parametrize(
    "arguments",
    [
        {"flow_name": "nope"},
        {"flow_name": "etl", "project_name": "nope"},
        {"flow_name": "etl", "project_name": None},
    ],
    ids=["c11-name", "c11-project", "c10-null-project"],
)
def test_c10_c11_a_name_that_is_not_found_is_a_value_error(
    server: Prefect1Server, flow_id: str, arguments: dict[str, Any]
) -> None:
    refused(create(server, **arguments), "ValueError", "No results found while querying for flows where")


@pytest.mark.parametrize("data", [{"flow": None}, {}])
def test_c12_a_result_without_flows_is_bad(server: Prefect1Server, flow_id: str, data: Any) -> None:
    server.fault(answer={"data": data})
    refused(create(server, flow_name="etl"), "ValueError", "Received bad result while querying for flows where")


@pytest.mark.parametrize("given", ["storage", "run_config"])
def test_c13_a_storage_or_run_config_of_an_unknown_type_is_in_the_way(server: Prefect1Server, given: str) -> None:
    scenario.register_flow(server, "odd", **{given: {"type": "Odd", "__version__": "9"}})  # type: ignore[arg-type]
    outcome = create(server, flow_name="odd")
    assert outcome.error is not None
    assert outcome.names == ("flow",)


@pytest.mark.parametrize("run_name", [None, ""])
def test_c14_a_run_is_named_after_the_current_run_and_the_flow(
    server: Prefect1Server, flow_id: str, run_name: str | None
) -> None:
    outcome = create(server, flow_id=flow_id, run_name=run_name, prefect_context=PARENT)
    assert created(server, outcome)["name"] == "crazy-pudu-etl"
    assert (
        created(server, create(server, flow_id=flow_id, run_name="mine", prefect_context={"flow_run_name": "x"}))[
            "name"
        ]
        == "mine"
    )


def test_c15_outside_a_run_the_server_makes_a_name(server: Prefect1Server, flow_id: str) -> None:
    outcome = create(server, flow_id=flow_id)
    assert created(server, outcome)["name"].count("-") == 1
    assert "flow_run_name" not in outcome.calls[1].input


def test_c16_an_empty_name_is_sent_and_is_none_to_the_server(server: Prefect1Server, flow_id: str) -> None:
    outcome = create(server, flow_id=flow_id, run_name="")
    assert outcome.calls[1].input["flow_run_name"] == ""
    assert created(server, outcome)["name"] != ""


def test_c17_a_new_name_of_the_parent_is_not_seen_by_its_children(server: Prefect1Server, flow_id: str) -> None:
    parent = scenario.start_run(server, flow_id, "Running", flow_run_name="old")
    run_real("RenameFlowRun", server, flow_run_id=parent, flow_run_name="new")
    outcome = create(server, flow_id=flow_id, prefect_context={"flow_run_id": parent, "flow_run_name": "old"})
    assert created(server, outcome)["name"] == "old-etl"


def test_c18_c37_the_log_tells_the_name_and_the_url(server: Prefect1Server, flow_id: str) -> None:
    named = create(server, flow_id=flow_id, run_name="mine")
    url = f"http://localhost:8080/default/flow-run/{named.value}"
    assert ("INFO", "Creating flow run 'mine' for flow 'etl'...") in named.logs
    assert ("INFO", f"Created flow run 'mine': {url}") in named.logs
    assert "Creating flow run '<generated-name>' for flow 'etl'..." in create(server, flow_id=flow_id).messages


@pytest.mark.parametrize(
    ("context", "key"),
    [({"task_run_id": "tr-2"}, "tr-2"), ({"task_run_id": "tr-1", "map_index": 3}, "tr-1-3")],
)
def test_c19_the_idempotency_key_is_that_of_the_task_run(
    server: Prefect1Server, flow_id: str, context: dict[str, Any], key: str
) -> None:
    assert created(server, create(server, flow_id=flow_id, prefect_context=context))["idempotency_key"] == key


@pytest.mark.parametrize("key", [None, ""])
def test_c20_without_a_key_a_random_one_is_sent(server: Prefect1Server, flow_id: str, key: str | None) -> None:
    keys = {created(server, create(server, flow_id=flow_id, idempotency_key=key))["idempotency_key"] for _ in range(2)}
    assert len(keys) == 2
    assert all(len(each) == 32 for each in keys)


def test_c21_the_same_key_is_the_same_run_even_with_other_parameters(server: Prefect1Server, flow_id: str) -> None:
    first = create(server, flow_id=flow_id, idempotency_key="k", parameters={"a": 1})
    second = create(server, flow_id=flow_id, idempotency_key="k", parameters={"a": 2})
    assert first.value == second.value
    assert created(server, second)["parameters"] == {"a": 1}
    assert create(server, flow_id=flow_id, idempotency_key="l").value != first.value


def test_c22_a_new_version_of_the_flow_is_run_anew(server: Prefect1Server, flow_id: str) -> None:
    first = create(server, flow_name="etl", idempotency_key="k")
    scenario.register_flow(server, "etl")
    second = create(server, flow_name="etl", idempotency_key="k")
    assert second.error is None
    assert second.value != first.value


@pytest.mark.parametrize("delta", [timedelta(hours=1), duration(3600)])
def test_c23_a_delta_is_counted_from_now(server: Prefect1Server, flow_id: str, delta: Any) -> None:
    run = created(server, create(server, flow_id=flow_id, scheduled_start_time=delta))
    expected = datetime.now(UTC) + timedelta(hours=1)
    assert abs(datetime.fromisoformat(run["scheduled_start_time"]) - expected) < timedelta(minutes=1)
    assert run["state_start_time"] == run["scheduled_start_time"]


def test_c24_a_time_without_a_zone_is_in_utc(server: Prefect1Server, flow_id: str) -> None:
    outcome = create(server, flow_id=flow_id, scheduled_start_time=datetime(2031, 1, 2, 3, 4))
    assert outcome.calls[1].input["scheduled_start_time"] == "2031-01-02T03:04:00"
    assert created(server, outcome)["scheduled_start_time"] == "2031-01-02T03:04:00.000000+00:00"


def test_c25_a_text_is_no_time(server: Prefect1Server, flow_id: str) -> None:
    outcome = create(server, flow_id=flow_id, scheduled_start_time="2031-01-02")
    refused(outcome, "AttributeError", "'str' object has no attribute 'isoformat'")


def test_c26_without_a_time_a_run_is_due_now(server: Prefect1Server, flow_id: str) -> None:
    run = created(server, create(server, flow_id=flow_id))
    age = datetime.now(UTC) - datetime.fromisoformat(run["scheduled_start_time"])
    assert timedelta(0) <= age < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("registered", "expected"),
    [
        ({"group_labels": ["b", "a"], "labels": ["no"]}, ["a", "b"]),
        ({"group_labels": [], "labels": ["no"]}, []),
        ({"group_run_config": scenario.local_run(["g"]), "labels": ["no"]}, ["g"]),
        ({"labels": ["lab"]}, ["lab"]),
        ({"environment": {"type": "LocalEnvironment", "labels": ["e"], "__version__": "0.12"}}, ["e"]),
        ({}, []),
    ],
    ids=["group", "group-empty", "group-run-config", "run-config", "environment", "none"],
)
def test_c27_labels_come_from_the_first_that_has_some(
    server: Prefect1Server, registered: dict[str, Any], expected: list[str]
) -> None:
    scenario.register_flow(server, "labelled", **registered)
    assert created(server, create(server, flow_name="labelled"))["labels"] == expected


@pytest.mark.parametrize(("labels", "expected"), [([], []), (["b", "a"], ["a", "b"]), (("b", "a"), ["a", "b"])])
def test_c28_c31_labels_of_the_run_override_and_leave_the_run_config_alone(
    server: Prefect1Server, flow_id: str, labels: Any, expected: list[str]
) -> None:
    run = created(server, create(server, flow_id=flow_id, labels=labels))
    assert run["labels"] == expected
    assert run["run_config"]["labels"] == ["lab"]


def test_c28_a_set_of_labels_is_a_type_error(server: Prefect1Server, flow_id: str) -> None:
    refused(create(server, flow_id=flow_id, labels={"a"}), "TypeError", "not JSON serializable")


def test_c29_a_run_config_without_labels_drops_those_of_the_flow(server: Prefect1Server, flow_id: str) -> None:
    run = created(server, create(server, flow_id=flow_id, run_config=run_config(env={"A": "1"})))
    assert run["labels"] == []


def test_c30_a_run_config_is_sent_as_prefect_writes_it(server: Prefect1Server, flow_id: str) -> None:
    run = created(server, create(server, flow_id=flow_id, run_config=run_config(env={"A": "1"}, labels=["b", "a"])))
    assert run["run_config"] == scenario.local_run(["a", "b"], env={"A": "1"})
    assert run["labels"] == ["a", "b"]
    assert create(server, flow_id=flow_id, run_config={"type": "LocalRun"}).error == "AttributeError"
