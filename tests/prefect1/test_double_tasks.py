"""``StartFlowRun``, ``RenameFlowRun`` and ``CancelFlowRun`` against the double (rows S01 to S18, R and X)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.prefect1 import scenario
from tests.prefect1.real_client import Outcome, run_config, run_real, task
from tests.prefect1.server import Prefect1Server
from tests.prefect1.test_double_create import created

NOBODY = "00000000-0000-0000-0000-000000000000"
NAMED = {"flow_name": "etl", "project_name": "main"}


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    return scenario.register_flow(server, "etl", labels=["lab"])


@pytest.fixture
def run_id(server: Prefect1Server, flow_id: str) -> str:
    return scenario.start_run(server, flow_id)


def start(server: Prefect1Server, init: dict[str, Any] | None = None, **arguments: Any) -> Outcome:
    return run_real("StartFlowRun", server, init=NAMED if init is None else init, **arguments)


def rename(server: Prefect1Server, **arguments: Any) -> Outcome:
    return run_real("RenameFlowRun", server, **arguments)


def cancel(server: Prefect1Server, **arguments: Any) -> Outcome:
    return run_real("CancelFlowRun", server, **arguments)


def refused(outcome: Outcome, error: str, text: str) -> None:
    assert outcome.error == error
    assert text in str(outcome.text)


@pytest.mark.parametrize(
    ("init", "text"),
    [
        ({"project_name": "main"}, "Must provide a flow name."),
        ({"flow_name": "etl"}, "Must provide a project name."),
    ],
)
def test_s01_a_flow_and_a_project_must_be_named(server: Prefect1Server, init: dict[str, Any], text: str) -> None:
    outcome = start(server, init)
    refused(outcome, "ValueError", text)
    assert outcome.requests == ()


@pytest.mark.parametrize(
    ("flow", "project"), [("", "main"), ("nope", "main"), ("etl", "nope")], ids=["s02", "s03-flow", "s03-project"]
)
def test_s02_s03_a_flow_that_is_not_there_is_a_value_error(
    server: Prefect1Server, flow_id: str, flow: str, project: str
) -> None:
    outcome = start(server, {"flow_name": flow, "project_name": project})
    refused(outcome, "ValueError", f"Flow '{flow}' not found.")
    assert outcome.names == ("flow",)


def test_s04_the_highest_version_that_is_not_archived_is_started(server: Prefect1Server, flow_id: str) -> None:
    second = scenario.register_flow(server, "etl", keep_older=True)
    third = scenario.register_flow(server, "etl", keep_older=True)
    scenario.archive(server, third)
    outcome = start(server)
    assert created(server, outcome)["flow_id"] == second
    assert outcome.calls[0].arguments["order_by"] == {"version": "desc"}
    assert outcome.names == ("flow", "create_flow_run", "tenant", "tenant")


def test_s05_what_is_given_to_run_goes_before_the_constructor(server: Prefect1Server, flow_id: str) -> None:
    init = {**NAMED, "parameters": {"a": 1}, "new_flow_context": {"c": 1}, "run_name": "one"}
    outcome = start(server, init, parameters={"a": 2}, run_name="two", idempotency_key="k")
    run = created(server, outcome)
    assert (run["parameters"], run["context"], run["name"]) == ({"a": 2}, {"c": 1}, "two")
    assert run["idempotency_key"] == "k"


@pytest.mark.parametrize("wait", [True, False])
def test_s06_a_pause_under_three_seconds_is_refused(server: Prefect1Server, flow_id: str, wait: bool) -> None:
    init = {**NAMED, "wait": wait, "poll_interval": timedelta(seconds=2.9)}
    outcome = start(server, init)
    assert (outcome.error, outcome.requests) == ("ValueError", ())
    allowed = {**NAMED, "wait": False, "poll_interval": timedelta(seconds=3)}
    assert start(server, allowed).error is None


def test_s07_a_task_is_no_parameter(server: Prefect1Server, flow_id: str) -> None:
    outcome = start(server, {**NAMED, "parameters": {"a": task("other")}})
    refused(outcome, "TypeError", "An instance of `Task` was passed")


def test_s08_the_task_is_named_after_the_flow(server: Prefect1Server) -> None:
    assert run_real("name", server, task="StartFlowRun", init=NAMED).value == ["Flow etl", "Flow etl-1"]


def test_s09_the_key_of_a_mapped_task_leaves_the_index_out(server: Prefect1Server, flow_id: str) -> None:
    outcome = start(server, prefect_context={"task_run_id": "tr-9", "map_index": 2})
    assert created(server, outcome)["idempotency_key"] == "tr-9"


def test_s10_the_name_is_not_made_from_the_parents(server: Prefect1Server, flow_id: str) -> None:
    outcome = start(server, prefect_context={"flow_run_name": "crazy-pudu"})
    assert not created(server, outcome)["name"].startswith("crazy-pudu")
    assert "flow_run_name" not in outcome.calls[1].input


def test_s10_a_delta_is_no_start_time(server: Prefect1Server, flow_id: str) -> None:
    assert start(server, scheduled_start_time=timedelta(hours=1)).error == "AttributeError"


def test_s10_c29_a_run_config_can_be_given(server: Prefect1Server, flow_id: str) -> None:
    assert created(server, start(server, run_config=run_config(labels=["x"])))["labels"] == ["x"]


def backend(server: Prefect1Server, run_id: str) -> dict[str, Any]:
    """What is in the context of a task that runs in a flow run."""
    return {"running_with_backend": True, "task_run_id": scenario.task_run_id(server, run_id, "work-1")}


def test_s11_a_link_is_left_at_the_task_run(server: Prefect1Server, flow_id: str, run_id: str) -> None:
    context = backend(server, run_id)
    outcome = start(server, prefect_context=context)
    [artifact] = server.tables.all("task_run_artifact")
    assert (artifact["task_run_id"], artifact["kind"]) == (context["task_run_id"], "link")
    assert artifact["data"] == {"link": f"/default/flow-run/{outcome.value}"}
    assert outcome.names == ("flow", "create_flow_run", "tenant", "tenant", "create_task_run_artifact")
    start(server, {**NAMED, "create_link_artifact": False}, prefect_context=context, idempotency_key="other")
    start(server, prefect_context={"task_run_id": context["task_run_id"]}, idempotency_key="third")
    assert len(server.tables.all("task_run_artifact")) == 1


def test_s12_a_task_run_that_is_not_found_is_looked_for_five_times(server: Prefect1Server, flow_id: str) -> None:
    outcome = start(server, prefect_context={"running_with_backend": True, "task_run_id": NOBODY})
    assert (outcome.error, outcome.slept) == ("ClientError", (1,) * 5)
    assert outcome.names.count("create_task_run_artifact") == 6
    assert len(server.tables.all("flow_run")) == 1


def test_s13_without_a_wait_the_id_is_returned(server: Prefect1Server, flow_id: str) -> None:
    assert start(server).value == server.tables.all("flow_run")[0]["id"]


def waiting(server: Prefect1Server, *states: str, **init: Any) -> Outcome:
    """Start a run and wait for it; it moves one state on with each answer about it."""
    for number, state in enumerate(states):
        server.meanwhile(_mover(server, state), on="flow_run_by_pk", skip=number)
    return start(server, {**NAMED, "wait": True, **init})


def _mover(server: Prefect1Server, state: str) -> Any:
    return lambda: scenario.move(server, server.tables.all("flow_run")[-1]["id"], state, "so it ended")


def test_s14_it_sleeps_before_each_look(server: Prefect1Server, flow_id: str) -> None:
    outcome = waiting(server, "Submitted", "Running", "Success", poll_interval=timedelta(seconds=3))
    assert outcome.slept == (3.0, 3.0, 3.0)
    assert outcome.names[-3:] == ("flow_run_by_pk",) * 3
    assert "agent" not in outcome.names


@pytest.mark.parametrize(("state", "signal"), [("Success", "SUCCESS"), ("Failed", "FAIL"), ("Skipped", "SKIP")])
def test_s15_the_final_state_is_mirrored(server: Prefect1Server, flow_id: str, state: str, signal: str) -> None:
    outcome = waiting(server, state)
    run_id = server.tables.all("flow_run")[0]["id"]
    assert (outcome.error, outcome.state) == (signal, state)
    assert outcome.text == f'{run_id} finished in state <{state}: "so it ended">'


@pytest.mark.parametrize("state", ["Cancelled", "TimedOut"])
def test_s16_some_states_have_no_signal(server: Prefect1Server, flow_id: str, state: str) -> None:
    refused(waiting(server, state), "ValueError", "No signal matches the provided state")


def test_s17_a_retry_of_the_task_finds_the_run_of_the_first_try(server: Prefect1Server, flow_id: str) -> None:
    context = {"task_run_id": "tr-1"}
    server.meanwhile(_mover(server, "Failed"), on="flow_run_by_pk")
    outcomes = [start(server, {**NAMED, "wait": True}, prefect_context=context) for _ in range(2)]
    assert [outcome.error for outcome in outcomes] == ["FAIL", "FAIL"]
    assert len(server.tables.all("flow_run")) == 1


def test_s18_a_run_that_vanishes_is_a_client_error(server: Prefect1Server, flow_id: str) -> None:
    def vanish() -> None:
        server.tables.delete("flow_run", server.tables.all("flow_run")[0]["id"])

    server.meanwhile(vanish, on="flow_run_by_pk")
    refused(start(server, {**NAMED, "wait": True}), "ClientError", "Flow run ID not found: ")


@pytest.mark.parametrize("given", ["argument", "constructor", "context"])
def test_r01_r04_the_run_is_that_of_the_argument_or_the_current_one(
    server: Prefect1Server, run_id: str, given: str
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "argument": {"flow_run_id": run_id},
        "constructor": {"init": {"flow_run_id": run_id}},
        "context": {"prefect_context": {"flow_run_id": run_id}, "flow_run_id": ""},
    }
    outcome = rename(server, flow_run_name="new", **ways[given])
    assert (outcome.value, outcome.names) == (True, ("set_flow_run_name",))
    assert scenario.row(server, "flow_run", run_id)["name"] == "new"


def test_r01_without_a_run_it_is_a_value_error(server: Prefect1Server) -> None:
    text = "`flow_run_id` must be explicitly provided or available in the context"
    refused(rename(server, flow_run_name="new"), "ValueError", text)
    refused(rename(server), "ValueError", text)


def test_r02_without_a_name_it_is_a_value_error(server: Prefect1Server, run_id: str) -> None:
    outcome = rename(server, flow_run_id=run_id)
    refused(outcome, "ValueError", "Must provide a flow name.")
    assert outcome.requests == ()


def test_r03_an_empty_name_is_refused_by_the_server(server: Prefect1Server, run_id: str) -> None:
    refused(rename(server, flow_run_id=run_id, flow_run_name=""), "ClientError", "Invalid name")


def test_r04_an_unknown_run_is_false_and_no_error(server: Prefect1Server) -> None:
    outcome = rename(server, flow_run_id=NOBODY, flow_run_name="new")
    assert (outcome.value, outcome.error) == (False, None)


def test_r05_a_finished_run_is_renamed_too(server: Prefect1Server, run_id: str) -> None:
    scenario.move(server, run_id, "Cancelled")
    assert rename(server, flow_run_id=run_id, flow_run_name="new").value is True


def test_r06_in_a_flow_what_the_constructor_got_is_not_enough(server: Prefect1Server) -> None:
    outcome = run_real("bound", server, task="RenameFlowRun", init={"flow_run_id": "a", "flow_run_name": "b"})
    refused(outcome, "TypeError", "missing a required argument: 'flow_run_id'")


def test_x01_without_a_run_there_is_nothing_to_cancel(server: Prefect1Server, run_id: str) -> None:
    refused(cancel(server), "ValueError", "Can't cancel a flow run without flow run ID.")
    assert cancel(server, init={"flow_run_id": run_id}).value == "Cancelled"
    assert cancel(server, prefect_context={"flow_run_id": run_id}).value == "Cancelled"


@pytest.mark.parametrize("states", [(), ("Submitted",)])
def test_x02_x03_a_run_that_does_not_run_yet_is_cancelled_at_once(
    server: Prefect1Server, run_id: str, states: tuple[str, ...]
) -> None:
    for state in states:
        scenario.move(server, run_id, state)
    outcome = cancel(server, flow_run_id=run_id)
    assert (outcome.value, outcome.names) == ("Cancelled", ("cancel_flow_run",))
    run = scenario.row(server, "flow_run", run_id)
    assert (run["state"], run["state_message"]) == ("Cancelled", "Flow run is cancelled")
    assert {each["state"] for each in server.tables.referring("task_run", "flow_run_id", run_id)} == {"Cancelled"}


def test_x03_x05_a_running_one_is_cancelling_each_time(server: Prefect1Server, run_id: str) -> None:
    scenario.move(server, run_id, "Running")
    assert [cancel(server, flow_run_id=run_id).value for _ in range(2)] == ["Cancelling", "Cancelling"]
    states = [each["state"] for each in server.tables.referring("flow_run_state", "flow_run_id", run_id)]
    assert states == ["Scheduled", "Running", "Cancelling", "Cancelling"]
    assert scenario.row(server, "flow_run", run_id)["state_message"] == "Flow run is cancelling"


@pytest.mark.parametrize("state", ["Cancelled", "Success", "Failed"])
def test_x02_x04_a_finished_run_stays_as_it_is(server: Prefect1Server, run_id: str, state: str) -> None:
    scenario.move(server, run_id, state, "long ago")
    assert cancel(server, flow_run_id=run_id).value == state
    assert scenario.row(server, "flow_run", run_id)["state_message"] == "long ago"


def test_x06_an_unknown_run_is_a_client_error(server: Prefect1Server) -> None:
    refused(cancel(server, flow_run_id=NOBODY), "ClientError", f"Invalid flow run ID: {NOBODY}.")
