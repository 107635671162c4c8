"""Rows R01 to X06 side by side: ``RenameFlowRun``, ``CancelFlowRun`` and our operators, against the same server."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import FlowRunNotFound
from tests.prefect1 import scenario
from tests.prefect1.our_side import OurSide
from tests.prefect1.real_client import Outcome, run_real
from tests.prefect1.server import Prefect1Server

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    return scenario.register_flow(server, "etl", tasks=["extract", "load"])


@pytest.fixture
def run_id(server: Prefect1Server, flow_id: str) -> str:
    return scenario.start_run(server, flow_id, flow_run_name="old")


def rename(server: Prefect1Server, **arguments: Any) -> Outcome:
    return run_real("RenameFlowRun", server, **arguments)


def cancel(server: Prefect1Server, **arguments: Any) -> Outcome:
    return run_real("CancelFlowRun", server, **arguments)


def name_of(server: Prefect1Server, run_id: str) -> Any:
    return scenario.row(server, "flow_run", run_id)["name"]


def states_of(server: Prefect1Server, run_id: str) -> list[Any]:
    return [row["state"] for row in server.tables.referring("flow_run_state", "flow_run_id", run_id)]


def test_r01_which_run_is_renamed_is_never_guessed(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    real = rename(server, flow_run_name="new", prefect_context={"flow_run_id": run_id})
    assert (real.value, name_of(server, run_id)) == (True, "new")
    real = rename(server, flow_run_name="newer")
    assert (real.error, real.requests) == ("ValueError", ())
    for missing in (None, ""):
        done = ours.rename(name="newer", flow_run_id=missing)
        assert "flow_run_id is missing. To name the flow run that the task 'start' has started" in done.text
        assert done.for_good
        assert done.requests == ()
    done = ours.rename(name="newer", flow_run_id="x")
    assert "flow_run_id='x' is not the id (UUID) of a flow run" in done.text
    assert done.requests == ()
    assert name_of(server, run_id) == "new"


def test_r02_without_a_name_it_is_an_error_before_any_request(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    real, done = rename(server, flow_run_id=run_id), ours.rename(flow_run_id=run_id, name=None)
    assert (real.error, real.requests) == ("ValueError", ())
    assert "name is empty: a flow run's new name needs at least one character" in done.text
    assert done.for_good
    assert done.requests == ()
    assert "name" in ours.rename(flow_run_id=run_id).text
    assert name_of(server, run_id) == "old"


@pytest.mark.parametrize("name", ["", "  "])
def test_r03_an_empty_name_is_refused(server: Prefect1Server, ours: OurSide, run_id: str, name: str) -> None:
    if not name:
        assert rename(server, flow_run_id=run_id, flow_run_name=name).error == "ClientError"
    done = ours.rename(flow_run_id=run_id, name=name)
    assert "name is empty" in done.text
    assert done.for_good
    assert done.requests == ()
    assert name_of(server, run_id) == "old"


def test_r04_an_unknown_run_is_an_error_and_not_false(server: Prefect1Server, ours: OurSide) -> None:
    unknown = str(uuid.uuid4())
    real, done = rename(server, flow_run_id=unknown, flow_run_name="new"), ours.rename(flow_run_id=unknown, name="new")
    assert (real.value, real.error) == (False, None)
    assert isinstance(done.error, FlowRunNotFound)
    assert f"Prefect has no flow run {unknown}" in done.text
    assert done.calls[0].input == real.calls[0].input


@pytest.mark.parametrize("state", ["Scheduled", "Running", "Success", "Cancelled"])
def test_r05_a_run_in_any_state_can_be_renamed(server: Prefect1Server, ours: OurSide, run_id: str, state: str) -> None:
    scenario.move(server, run_id, state)
    assert rename(server, flow_run_id=run_id, flow_run_name="new").value is True
    done = ours.rename(flow_run_id=run_id, name="newer")
    assert (done.value, name_of(server, run_id)) == (run_id, "newer")
    assert (done.xcoms["flow_run_id"], done.xcoms["flow_run_name"]) == (run_id, "newer")


def test_r06_the_constructors_arguments_are_all_that_there_is(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    init = {"flow_run_id": run_id, "flow_run_name": "new"}
    real = run_real("bound", server, task="RenameFlowRun", init=init)
    assert (real.error, "missing a required argument" in str(real.text)) == ("TypeError", True)
    assert ours.rename(flow_run_id=run_id, name="new").value == run_id


def test_x01_which_run_is_cancelled_is_never_guessed(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    real = cancel(server)
    assert (real.error, real.requests) == ("ValueError", ())
    for missing in (None, ""):
        done = ours.cancel(flow_run_id=missing)
        assert "flow_run_id is missing. To name the flow run that the task 'start' has started" in done.text
        assert done.for_good
        assert done.requests == ()
    done = ours.cancel(flow_run_id="x")
    assert "flow_run_id='x' is not the id (UUID) of a flow run" in done.text
    assert done.requests == ()
    assert states_of(server, run_id) == ["Scheduled"]
    assert cancel(server, prefect_context={"flow_run_id": run_id}).value == "Cancelled"


@pytest.mark.parametrize(
    ("state", "then"),
    [("Scheduled", "Cancelled"), ("Submitted", "Cancelled"), ("Running", "Cancelling"), ("Paused", "Cancelled")],
)
def test_x02_x03_a_run_is_cancelled_at_once_or_if_it_runs_cancelling(
    server: Prefect1Server, ours: OurSide, flow_id: str, state: str, then: str
) -> None:
    real_id, our_id = (scenario.start_run(server, flow_id, state) for _ in range(2))
    real, done = cancel(server, flow_run_id=real_id), ours.cancel(flow_run_id=our_id)
    assert real.value == then
    assert done.value == then.upper()
    for run_id in (real_id, our_id):
        run = scenario.row(server, "flow_run", run_id)
        assert run["state"] == then
        of_tasks = {each["state"] for each in server.tables.referring("task_run", "flow_run_id", run_id)}
        assert of_tasks == {"Cancelled" if then == "Cancelled" else "Pending"}


@both_modes
def test_x03_the_end_of_a_running_one_is_waited_for_if_asked(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    scenario.move(server, run_id, "Running")
    scenario.moving_on(server, run_id, "Cancelled", skip=5)
    done = ours.cancel(flow_run_id=run_id, wait_for_completion=True, deferrable=deferrable)
    assert (done.error, done.value) == (None, "CANCELLED")
    assert states_of(server, run_id) == ["Scheduled", "Running", "Cancelling", "Cancelled"]


@pytest.mark.parametrize(
    ("state", "returned"), [("Success", "COMPLETED"), ("Failed", "FAILED"), ("Cancelled", "CANCELLED")]
)
def test_x02_x04_a_finished_run_stays_as_it_is(
    server: Prefect1Server, ours: OurSide, run_id: str, state: str, returned: str
) -> None:
    scenario.move(server, run_id, state)
    before = states_of(server, run_id)
    assert cancel(server, flow_run_id=run_id).value == state
    assert ours.cancel(flow_run_id=run_id).value == returned
    assert states_of(server, run_id) == before


def test_x05_a_run_that_is_stopping_already_is_left_alone(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real_id, our_id = (scenario.start_run(server, flow_id, "Running") for _ in range(2))
    for _ in range(2):
        assert cancel(server, flow_run_id=real_id).value == "Cancelling"
        assert ours.cancel(flow_run_id=our_id).value == "CANCELLING"
    assert states_of(server, real_id).count("Cancelling") == 2
    assert states_of(server, our_id).count("Cancelling") == 1


def test_x06_an_unknown_run_is_an_error_that_names_it(server: Prefect1Server, ours: OurSide) -> None:
    unknown = str(uuid.uuid4())
    real, done = cancel(server, flow_run_id=unknown), ours.cancel(flow_run_id=unknown)
    assert f"Invalid flow run ID: {unknown}." in str(real.text)
    assert isinstance(done.error, FlowRunNotFound)
    assert unknown in done.text
