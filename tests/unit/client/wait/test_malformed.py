"""A poll whose response is of another shape is trouble that may pass, and never an end of the wait."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client.errors import PrefectError, Unreachable
from airflow_provider_prefect.client.transport import Response, run
from airflow_provider_prefect.client.wait.flow_run import Deadlines, Poller, wait_for_flow_run
from airflow_provider_prefect.client.wait.logs import LogFollower
from tests.unit.client.driving import Again, Notes, Script, ScriptedSource, answer
from tests.unit.client.samples import RUN_ID, run_json, state_json

DONE = answer(run_json(state_json("COMPLETED")))
MALFORMED = {
    "an unknown state type": answer(run_json(state_json("FINISHED", "Completed"))),
    "no state": answer({**run_json(), "state": None}),
    "no state at all": answer({key: value for key, value in run_json().items() if key != "state"}),
    "a state that is text": answer({**run_json(), "state": "COMPLETED"}),
    "a type that is a number": answer({**run_json(), "state": {"type": 5}}),
    "a list": answer([run_json(state_json("COMPLETED"))]),
    "nothing": answer(None),
    "nested too deeply": Response(200, "[" * 100_000),
}


def waited(script: Script, notes: Notes, patience: float = 600) -> Any:
    poller = Poller(script, RUN_ID, 10, patience, notes, script.clock)
    return run(wait_for_flow_run(poller, Deadlines(), notes, script.clock))


@pytest.mark.parametrize("response", MALFORMED.values(), ids=MALFORMED.keys())
def test_it_is_waited_out_and_reported_once(response: Response) -> None:
    notes = Notes()
    script = Script([answer(run_json()), response, response, DONE])
    assert waited(script, notes).state.type == "COMPLETED"
    assert (len(notes.trouble), notes.recoveries) == (1, 1)
    assert f"GET /flow_runs/{RUN_ID}" in notes.trouble[0]


@pytest.mark.parametrize("response", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_does_not_pass_ends_the_wait_with_an_error(response: Response) -> None:
    with pytest.raises(Unreachable, match=r"not what Prefect sends|not Prefect's JSON"):
        waited(Script([answer(run_json()), Again(response)]), Notes(), patience=100)


# The flow run's log


def line(number: int, **changes: Any) -> dict[str, Any]:
    time = f"2026-01-02T12:00:{number // 1000:02}Z"
    return {"id": f"line-{number}", "level": 20, "message": f"line {number}", "timestamp": time, **changes}


def followed(*answers: Any) -> tuple[list[str], LogFollower, Script]:
    shown: list[str] = []
    script = Script(answers)
    source = ScriptedSource((), script)
    return shown, LogFollower(source, lambda record, _: shown.append(record.message)), script


@pytest.mark.parametrize("change", [{"timestamp": None}, {"level": "INFO"}, {"message": 5}, {"id": None}])
def test_lines_of_another_shape_are_trouble_that_may_pass(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    bad = answer([line(1, **change)])
    shown, follower, _ = followed(bad, bad, answer([line(1)]), answer([]))
    assert [run(follower.read_new()) for _ in range(3)] == [0, 0, 1]
    assert shown == ["line 1"]
    assert caplog.text.count("cannot be read at present") == 1


def test_a_server_that_ignores_the_offset_does_not_hold_the_wait_up(caplog: pytest.LogCaptureFixture) -> None:
    shown, follower, script = followed(Again(answer([line(number) for number in range(200)])))
    assert run(follower.read_new()) == 200
    assert len(script.requests) == 2
    assert "whatever the offset" in caplog.text
    run(follower.read_last())
    assert len(shown) == 200
    assert len(script.requests) < 30


@pytest.mark.parametrize("failure", [TypeError("ours"), KeyError("ours")])
def test_a_fault_of_our_own_is_not_taken_for_one_of_the_server(failure: Exception) -> None:
    _, follower, _ = followed(failure)
    with pytest.raises(type(failure)):
        run(follower.read_new())
    assert not isinstance(failure, PrefectError)
