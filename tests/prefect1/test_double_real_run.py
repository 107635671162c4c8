"""The real client registers and runs a real flow through the double, as an agent's process would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.prefect1 import mutations, registering, scenario
from tests.prefect1.real_client import run_real
from tests.prefect1.server import Prefect1Server
from tests.prefect1.states import serialized


@pytest.fixture
def register(server: Prefect1Server, tmp_path: Path) -> Callable[..., str]:
    """Registers a flow by the real client, which can load its code afterwards; its id."""
    scenario.project_id(server, "main")

    def register(**more: Any) -> str:
        given = {"name": "squares", "project": "main", "directory": str(tmp_path), "labels": ["lab"], **more}
        outcome = run_real("register", server, **given)
        assert outcome.error is None, outcome.traceback
        # The heartbeat would be a process of its own.
        registering.set_heartbeat(False)(server.tables, flow_id=outcome.value)
        return str(outcome.value)

    return register


@pytest.fixture
def registered(register: Callable[..., str]) -> str:
    return register()


def states(server: Prefect1Server, run_id: str) -> list[str]:
    return [row["state"] for row in server.tables.referring("flow_run_state", "flow_run_id", run_id)]


def test_a_real_flow_runs_through_the_double(server: Prefect1Server, registered: str) -> None:
    created = run_real("create_flow_run", server, flow_name="squares", parameters={"numbers": 4})
    run_id = created.value
    assert scenario.row(server, "flow_run", run_id)["labels"] == ["lab"]
    outcome = run_real("execute", server, flow_run_id=run_id)
    assert outcome.error is None, outcome.traceback
    assert states(server, run_id) == ["Scheduled", "Running", "Success"]
    result = run_real("get_task_run_result", server, flow_run_id=run_id, task_slug="square-1")
    assert result.value == [0, 1, 4, 9]
    assert run_real("get_task_run_result", server, flow_run_id=run_id, task_slug="numbers").value == 4
    logs = [row["message"] for row in server.tables.referring("log", "flow_run_id", run_id)]
    assert "counting to 4" in logs
    assert logs[-1] == "Flow run SUCCESS: all reference tasks succeeded"


def test_a_real_flow_that_was_cancelled_before_it_ran_does_not_run(server: Prefect1Server, registered: str) -> None:
    run_id = scenario.start_run(server, registered)
    assert run_real("CancelFlowRun", server, flow_run_id=run_id).value == "Cancelled"
    assert run_real("execute", server, flow_run_id=run_id).value["state"] == "Cancelled"
    assert states(server, run_id)[-1] == "Cancelled"


def test_x03_a_real_flow_that_is_cancelled_while_it_runs_ends_as_cancelled(
    server: Prefect1Server, register: Callable[..., str]
) -> None:
    run_id = scenario.start_run(server, register(slow=True))
    answers: list[Any] = []

    def cancel() -> None:
        answers.append(mutations.cancel_flow_run(server.tables, flow_run_id=run_id))

    # The first square is told to have begun.
    server.meanwhile(cancel, on="set_task_run_states", about="Starting task run", skip=2)
    outcome = run_real("execute", server, flow_run_id=run_id, settings={"cloud.check_cancellation_interval": 0.1})
    assert outcome.value["state"] == "Cancelled", outcome.traceback
    assert answers == [{"state": "Cancelling"}]
    assert states(server, run_id) == ["Scheduled", "Running", "Cancelling", "Cancelled"]


def test_g17_the_real_result_in_a_file_is_described_and_read(
    server: Prefect1Server, register: Callable[..., str], tmp_path: Path
) -> None:
    run_id = scenario.start_run(server, register(results=str(tmp_path / "results")))
    run_real("execute", server, flow_run_id=run_id, settings={"flows.checkpointing": True})
    child = scenario.row(server, "task_run", scenario.task_run_id(server, run_id, "square-1", 2))
    described = child["serialized_state"]["_result"]
    assert described == scenario.local_result(described["location"], described["dir"])
    assert (Path(described["dir"]) / described["location"]).is_file()
    outcome = run_real("get_task_run_result", server, flow_run_id=run_id, task_slug="square-1")
    assert outcome.value == [0, 1, 4]


def test_the_states_that_the_double_writes_are_those_of_the_real_client(
    server: Prefect1Server, registered: str, tmp_path: Path
) -> None:
    run_id = scenario.start_run(server, registered)
    run_real("execute", server, flow_run_id=run_id)
    real = {row["state"]: row["serialized_state"] for row in server.tables.all("task_run_state")}
    real |= {row["state"]: row["serialized_state"] for row in server.tables.all("flow_run_state")}
    for name, state in real.items():
        assert serialized(name).keys() == state.keys(), name
    [mapped] = [row for row in server.tables.all("task_run") if row["state"] == "Mapped"]
    assert mapped["serialized_state"]["n_map_states"] == 3


NOT_FINISHED = ["Pending", "Scheduled", "Submitted", "Queued", "Running", "Retrying", "Paused", "Resume", "Cancelling"]
SUCCESSFUL = ["Success", "Skipped", "Cached", "Mapped"]
FINISHED = [*SUCCESSFUL, "Failed", "TimedOut", "TriggerFailed", "ValidationFailed", "Cancelled", "Looped", "Finished"]


@pytest.mark.parametrize("state", [*NOT_FINISHED, *FINISHED])
def test_a5_the_real_client_reads_every_state(server: Prefect1Server, state: str) -> None:
    run_id = scenario.start_run(server, scenario.register_flow(server, "etl"))
    scenario.move(server, run_id, state, "so it is")
    outcome = run_real("state", server, flow_run_id=run_id)
    finished = state in FINISHED
    assert outcome.value == {"state": state, "message": "so it is", "finished": finished, "same": True}
