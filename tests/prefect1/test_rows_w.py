"""Rows W01 to W21 side by side: ``wait_for_flow_run`` of Prefect 1.4.1 and our sensor, against the same server."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import FlowRunCancelled, FlowRunFailed, FlowRunNotFound
from airflow_provider_prefect.client.wait import flow_run as waiting
from tests.prefect1 import scenario
from tests.prefect1.our_side import OurSide
from tests.prefect1.real_client import Outcome, run_real
from tests.prefect1.server import Prefect1Server

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
NAME = "brave-otter"


@pytest.fixture
def run_id(server: Prefect1Server) -> str:
    return another(server)


def another(server: Prefect1Server, *states: str) -> str:
    """A run of its own for one side, as each moves it on."""
    flow_id = scenario.register_flow(server, f"etl-{uuid.uuid4()}", labels=["lab"])
    return scenario.start_run(server, flow_id, *states, flow_run_name=NAME)


def wait(server: Prefect1Server, run_id: str, **arguments: Any) -> Outcome:
    return run_real("wait_for_flow_run", server, flow_run_id=run_id, **arguments)


def state_of(server: Prefect1Server, run_id: str) -> Any:
    return scenario.row(server, "flow_run", run_id)["state"]


def states_in(text: str) -> list[str]:
    """The states that our log tells of."""
    return re.findall(r"Flow run is in state (\w+)", text)


def lines_in(text: str) -> list[str]:
    """The lines of the flow run that our log shows."""
    return re.findall(r"\[\d\d:\d\d:\d\d\.\d{3}\] (.*?)\s*(?:\[airflow|\n)", text)


@both_modes
def test_w01_by_default_states_are_shown_and_logs_are_not(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    scenario.move(server, run_id, "Running")
    scenario.write_log(server, run_id, "never shown")
    scenario.moving_on(server, run_id, "Success", skip=2)
    real = wait(server, run_id)
    assert [re.findall(r"<(\w+)>", text) for text in real.messages] == [["Scheduled"], ["Running"], ["Success"]]
    run_id = another(server, "Running")
    scenario.write_log(server, run_id, "never shown")
    scenario.moving_on(server, run_id, "Success", skip=2)
    done = ours.wait(run_id, deferrable=deferrable)
    assert (done.error, states_in(ours.logged())) == (None, ["Running", "Success"])
    assert "never shown" not in ours.logged()
    assert "log" not in done.names


@both_modes
def test_w02_the_run_is_returned_as_it_is_after_the_wait(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    returned = []
    for waited in (wait, lambda _, run_id: ours.wait(run_id, deferrable=deferrable)):
        run_id = another(server)
        scenario.moving_on(server, run_id, "Submitted", "Running", "Success", skip=2)
        server.meanwhile(lambda run_id=run_id: server.tables.update("flow_run", run_id, name="renamed"), skip=4)
        returned.append(waited(server, run_id).value)
    real, value = returned
    assert (real["name"], real["state"], real["message"]) == ("renamed", "Success", "All reference tasks succeeded.")
    assert (value["name"], value["state_name"], value["state_message"]) == tuple(real.values())[1:]
    assert (value["id"], value["state_type"]) == (run_id, "COMPLETED")
    assert value["url"].endswith(f"/default/flow-run/{run_id}")


@both_modes
def test_w03_a_line_is_shown_at_its_own_level_with_its_time_and_task(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    def logging(run_id: str) -> None:
        at = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC) - timedelta(days=3650)
        task_run = scenario.task_run_id(server, run_id, "work-1")
        scenario.write_log(server, run_id, "careful", "WARNING", at=at, task_run=task_run)
        scenario.moving_on(server, run_id, "Success", skip=4)

    logging(run_id)
    assert ("WARNING", f"Flow '{NAME}': careful") in wait(server, run_id, stream_logs=True).logs
    run_id = another(server, "Running")
    logging(run_id)
    assert ours.wait(run_id, stream_logs=True, deferrable=deferrable).error is None
    [line] = [line for line in ours.logged().splitlines() if "careful" in line and "warning" in line.lower()][:1]
    assert "[03:04:05.678] work-1: careful" in line


@both_modes
def test_w04_a_finished_run_tells_its_state_and_its_logs(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    scenario.move(server, run_id, "Success", at=datetime.now(UTC) - timedelta(minutes=5))
    scenario.write_log(server, run_id, "hello")
    real = wait(server, run_id, stream_logs=True)
    assert real.messages == (f"Flow '{NAME}': Your flow run finished 5 minutes ago",)
    done = ours.wait(run_id, stream_logs=True, deferrable=deferrable)
    assert done.value["state_name"] == "Success"
    assert states_in(ours.logged()) == ["Success"]
    assert "hello" in lines_in(ours.logged())


def test_w05_the_state_at_each_look_is_shown_and_two_alike_are_two(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    def happenings(run_id: str) -> None:
        def two_at_once() -> None:
            scenario.move(server, run_id, "Submitted")
            scenario.move(server, run_id, "Running")

        server.meanwhile(two_at_once, about=run_id, skip=2)
        scenario.moving_on(server, run_id, "Cancelling", "Cancelling", "Cancelled", skip=3)

    happenings(run_id)
    told = [re.findall(r"<(\w+)>", text)[0] for text in wait(server, run_id).messages]
    assert told == ["Scheduled", "Submitted", "Running", "Cancelling", "Cancelling", "Cancelled"]
    run_id = another(server)
    happenings(run_id)
    ours.wait(run_id, fail_on_unsuccessful=False)
    assert states_in(ours.logged()) == ["Scheduled", "Running", "Cancelling", "Cancelling", "Cancelled"]


@both_modes
def test_w06_lines_are_shown_in_the_order_of_their_times(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    def logging(run_id: str) -> None:
        now = datetime.now(UTC)
        scenario.write_log(server, run_id, "second", at=now - timedelta(seconds=10))
        scenario.write_log(server, run_id, "first", at=now - timedelta(seconds=15))
        scenario.moving_on(server, run_id, "Success", skip=4)

    logging(run_id)
    told = [text.removeprefix(f"Flow '{NAME}': ") for text in wait(server, run_id, stream_logs=True).messages]
    assert [text for text in told if not text.startswith("Entered")] == ["first", "second"]
    assert told.index("second") < next(number for number, text in enumerate(told) if "<Success>" in text)
    run_id = another(server)
    logging(run_id)
    ours.wait(run_id, stream_logs=True, deferrable=deferrable)
    shown = [line for line in lines_in(ours.logged()) if line in ("first", "second")]
    assert shown[:2] == ["first", "second"]


@both_modes
def test_w07_lines_are_shown_without_states_too(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    scenario.write_log(server, run_id, "hello")
    scenario.moving_on(server, run_id, "Success", skip=4)
    assert wait(server, run_id, stream_states=False, stream_logs=True).messages == (f"Flow '{NAME}': hello",)
    run_id = another(server)
    scenario.write_log(server, run_id, "hello")
    scenario.moving_on(server, run_id, "Success", skip=4)
    done = ours.wait(run_id, stream_states=False, stream_logs=True, deferrable=deferrable)
    assert (done.error, states_in(ours.logged())) == (None, [])
    assert "hello" in lines_in(ours.logged())


@both_modes
def test_w08_lines_that_arrive_late_are_shown_once(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOG_INTERVAL", 0.0)
    late = datetime.now(UTC) - timedelta(seconds=5)

    def happenings(run_id: str, skip: int) -> None:
        scenario.write_log(server, run_id, "in time")
        for text, at in (("older", late), ("newer", None)):
            server.meanwhile(
                lambda text=text, at=at: scenario.write_log(server, run_id, text, at=at), about=run_id, skip=skip
            )
        scenario.moving_on(server, run_id, "Success", skip=skip + 2)

    happenings(run_id, 4)
    server.meanwhile(lambda: scenario.write_log(server, run_id, "after the end"), about=run_id, skip=8)
    told = wait(server, run_id, stream_states=False, stream_logs=True).messages
    assert [text.split(": ")[1] for text in told] == ["in time", "newer"]

    run_id = another(server, "Running")
    happenings(run_id, 4)
    done = []
    seen_end = server.tables.get("flow_run", run_id)
    assert seen_end is not None

    def after_the_end() -> None:
        if state_of(server, run_id) == "Success" and not done:
            done.append(scenario.write_log(server, run_id, "after the end"))

    server.meanwhile(after_the_end, on="log", about=run_id, times=None)
    assert ours.wait(run_id, stream_logs=True, deferrable=deferrable).error is None
    shown = lines_in(ours.logged())
    for text in ("in time", "older", "newer", "after the end"):
        assert shown.count(text) in (1, 2), (text, shown)
    # Some Airflows show this test every line twice: in the output, and through pytest.
    assert len({shown.count(text) for text in ("in time", "older", "newer", "after the end")}) == 1


@pytest.mark.parametrize("pause", [10, 3])
def test_w09_it_looks_as_often_as_asked_and_not_every_two_seconds(
    server: Prefect1Server, ours: OurSide, run_id: str, pause: int
) -> None:
    scenario.moving_on(server, run_id, "Running", "Success", skip=8)
    assert set(wait(server, run_id).slept) == {2}
    run_id = another(server)
    scenario.moving_on(server, run_id, "Running", "Success", skip=8)
    done = ours.wait(run_id, **({} if pause == 10 else {"poke_interval": pause}), pause=pause)
    assert done.error is None
    assert set(ours.slept) == {pause}
    assert len(ours.slept) == 8


def test_w09_less_than_three_seconds_is_refused(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    done = ours.wait(run_id, poke_interval=2)
    assert "is too short: it is at least 3 seconds" in done.text
    assert done.requests == ()


def test_w10_it_returns_as_soon_as_the_end_is_seen(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    scenario.moving_on(server, run_id, "Success", skip=2)
    assert wait(server, run_id).slept == (2,)
    run_id = another(server)
    scenario.moving_on(server, run_id, "Success", skip=1)
    done = ours.wait(run_id)
    assert done.value["state_name"] == "Success"
    assert (ours.slept, done.names) == ([], ("flow_run",) * 2)


def warned(ours: OurSide, server: Prefect1Server, run_id: str, timeout: float = 20, **arguments: Any) -> list[str]:
    """The warnings of a wait; the run ends when it is asked for the agents, which is when a warning is due."""
    server.meanwhile(lambda: scenario.move(server, run_id, "Success"), on="agent")
    done = ours.wait(run_id, timeout=timeout, **arguments)
    assert (done.error is None) == ("agent" in done.names)
    return re.findall(r"Flow run has not started yet \((.*?)\)\. Still waiting for it", ours.logged())


@both_modes
def test_w11_a_run_that_no_agent_takes_is_warned_about_once(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = wait(server, run_id, max_duration=timedelta(seconds=55))
    assert [level for level, _ in real.logs].count("WARNING") == real.names.count("agent") == 2
    assert waiting.LATE_START_AFTER == 60
    monkeypatch.setattr(waiting, "LATE_START_AFTER", 0.1)
    reason = "there is no agent with the labels 'lab', which the flow run asks for"
    assert set(warned(ours, server, run_id, deferrable=deferrable)) == {reason}
    asked = [call for call in server.called("agent") if "last_queried" in call.fields and "name" not in call.fields]
    assert len(asked) == 1


@pytest.mark.parametrize("state", ["Running", "Cancelling"])
def test_w11_a_run_that_has_begun_is_not_warned_about(
    server: Prefect1Server, ours: OurSide, run_id: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LATE_START_AFTER", 0.1)
    scenario.move(server, run_id, state)
    assert "agent" not in wait(server, run_id, max_duration=timedelta(seconds=55)).names
    assert warned(ours, server, run_id, timeout=0.4) == []


NOW, LONG_AGO, NEVER = timedelta(0), timedelta(minutes=10), None
NONE_MATCHES, NONE_ASKS, NO_REASON = "there is no agent with", "none has asked for work", "Prefect shows no reason"


@pytest.mark.parametrize(
    ("labels", "agents", "advice", "reason"),
    [
        (["lab"], [(["lab", "more"], NOW)], "has matching labels and last queried", NO_REASON),
        (["lab"], [(["lab"], LONG_AGO), (["lab"], NOW)], "", NO_REASON),
        (["lab"], [([], NOW), (["other"], NOW)], "do not have an agent with labels", NONE_MATCHES),
        (["lab", "x"], [(["lab"], NOW)], "do not have an agent with labels", NONE_MATCHES),
        (["lab"], [(["lab"], LONG_AGO)], "it looks unhealthy", NONE_ASKS),
        (["lab"], [(["lab"], LONG_AGO), (["lab"], NEVER)], "", NONE_ASKS),
        (["lab"], [], "There are no healthy agents", NONE_MATCHES),
        ([], [(["lab"], NOW)], "", NONE_MATCHES),
        ([], [([], NOW)], "has matching labels and last queried", NO_REASON),
    ],
)
def test_w12_the_warning_says_whether_no_agent_has_the_labels_or_none_of_them_asks(
    server: Prefect1Server,
    ours: OurSide,
    run_id: str,
    labels: list[str],
    agents: Any,
    advice: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "LATE_START_AFTER", 0.1)
    server.tables.update("flow_run", run_id, labels=labels)
    for of_agent, seen in agents:
        scenario.add_agent(server, of_agent, seen=seen)
    if advice:
        real = wait(server, run_id, max_duration=timedelta(seconds=20))
        assert advice in str([text for level, text in real.logs if level == "WARNING"])
    [said] = set(warned(ours, server, run_id))
    assert reason in said


def test_w13_a_bad_answer_about_agents_leaves_the_warning_without_a_reason(
    server: Prefect1Server, ours: OurSide, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LATE_START_AFTER", 0.1)
    server.fault(on="agent", status=403)
    assert wait(server, run_id, max_duration=timedelta(seconds=20)).error == "HTTPError"
    server.fault(on="agent", status=403)
    assert set(warned(ours, server, run_id)) == {"Prefect shows no reason"}


@both_modes
def test_w14_w15_the_time_is_up_and_the_run_goes_on(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    scenario.move(server, run_id, "Running")
    real = wait(server, run_id, max_duration=timedelta(seconds=4))
    assert (real.error, real.slept) == ("RuntimeError", (2, 2))
    assert "Your flow run is still in state: <Running:" in str(real.text)
    began = datetime.now(UTC)
    done = ours.wait(run_id, timeout=0.3, deferrable=deferrable)
    assert timedelta(seconds=0.3) <= datetime.now(UTC) - began < timedelta(seconds=3)
    assert "AirflowSensorTimeout" in done.kinds
    assert "Flow run did not finish in time. Its last known state is Running: Running flow." in done.text
    assert f"Its id is {run_id}." in done.text
    assert state_of(server, run_id) == "Running"
    assert server.called("cancel_flow_run") == []


ENDS = {
    "Success": ("SUCCESS", None),
    "Skipped": ("SKIP", None),
    "Failed": ("FAIL", FlowRunFailed),
    "TriggerFailed": ("TRIGGERFAIL", FlowRunFailed),
    "ValidationFailed": ("VALIDATIONFAIL", FlowRunFailed),
    "Looped": ("LOOP", FlowRunFailed),
}


@both_modes
@pytest.mark.parametrize(("state", "signal", "error"), [(state, *end) for state, end in ENDS.items()], ids=[*ENDS])
def test_w16_a_final_state_is_a_return_or_an_error_that_names_it(
    server: Prefect1Server, ours: OurSide, run_id: str, state: str, signal: str, error: Any, deferrable: bool
) -> None:
    for moved in (run_id, other := another(server)):
        scenario.moving_on(server, moved, "Running", state, skip=2)
    real = wait(server, run_id, raise_final_state=True)
    assert (real.error, real.state) == (signal, state)
    done = ours.wait(other, deferrable=deferrable)
    if error is None:
        assert done.value["state_name"] == state
        assert done.xcoms["state"] == "COMPLETED"
    else:
        assert type(done.error) is error
        assert f"Flow run ended in state {state}" in done.text
        assert f"/default/flow-run/{other} ('{NAME}')" in done.text
        assert done.xcoms["state"] == "FAILED"


@both_modes
@pytest.mark.parametrize(
    ("state", "error"),
    [("Cancelled", FlowRunCancelled), ("TimedOut", FlowRunFailed), ("Finished", FlowRunFailed), ("Cached", None)],
)
def test_w17_a_cancelled_or_timed_out_run_is_what_it_is_and_no_value_error(
    server: Prefect1Server, ours: OurSide, run_id: str, state: str, error: Any, deferrable: bool
) -> None:
    scenario.move(server, run_id, state)
    real = wait(server, run_id, raise_final_state=True)
    assert real.error == "ValueError"
    assert f"No signal matches the provided state: <{state}:" in str(real.text)
    done = ours.wait(other := another(server, "Running"), **moving(server, other, state), deferrable=deferrable)
    assert (done.error is None) if error is None else isinstance(done.error, error)
    assert done.for_good == (state == "Cancelled")


def moving(server: Prefect1Server, run_id: str, state: str) -> dict[str, Any]:
    """Let the run end at the third look."""
    scenario.moving_on(server, run_id, state, skip=2)
    return {}


@both_modes
@pytest.mark.parametrize("state", ["Failed", "Cancelled"])
def test_w18_an_unsuccessful_run_is_a_failure_unless_asked_otherwise(
    server: Prefect1Server, ours: OurSide, run_id: str, state: str, deferrable: bool
) -> None:
    scenario.move(server, run_id, state)
    assert wait(server, run_id).error is None
    assert "FlowRunUnsuccessful" in ours.wait(run_id, deferrable=deferrable).kinds
    allowed = ours.wait(run_id, deferrable=deferrable, fail_on_unsuccessful=False)
    assert (allowed.error, allowed.value["state_name"]) == (None, state)
    assert "AirflowSkipException" in ours.wait(run_id, deferrable=deferrable, soft_fail=True).kinds


@both_modes
def test_w19_an_unknown_run_is_an_error_that_names_it(server: Prefect1Server, ours: OurSide, deferrable: bool) -> None:
    unknown = str(uuid.uuid4())
    real, done = wait(server, unknown), ours.wait(unknown, deferrable=deferrable)
    assert (real.error, unknown in str(real.text)) == ("ValueError", True)
    assert isinstance(done.error, FlowRunNotFound)
    assert f"Prefect has no flow run {unknown}" in done.text


def test_w19_null_instead_of_runs_is_an_error_too(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    server.fault(answer={"data": {"flow_run": None}}, times=None)
    assert "Received bad result" in str(wait(server, run_id).text)
    assert "PrefectError" in ours.wait(run_id, max_unreachable=0).kinds


@both_modes
def test_w20_a_run_without_a_state_is_pending(
    server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool
) -> None:
    server.tables.update("flow_run", run_id, serialized_state=None, state=None, state_message=None)
    real = wait(server, run_id, max_duration=timedelta(seconds=1))
    assert "<Pending" in str(real.text)
    assert "A state for this flow run is not yet available." in str(real.text)
    done = ours.wait(run_id, timeout=0.2, deferrable=deferrable)
    assert "Its last known state is Pending: Its state is not yet available." in done.text
    scenario.moving_on(server, run_id, "Success", skip=2)
    assert ours.wait(run_id, deferrable=deferrable).value["state_name"] == "Success"


FAULTS: dict[str, dict[str, Any]] = {
    "403": {"status": 403},
    "404": {"status": 404},
    "a web page": {"body": b"<html>"},
    "errors": {"errors": [{"message": "connection pool is exhausted"}]},
    "half an answer": {"truncate": 30},
}


@both_modes
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_w21_an_error_of_the_api_in_the_wait_is_waited_out(
    server: Prefect1Server, ours: OurSide, run_id: str, fault: dict[str, Any], deferrable: bool
) -> None:
    server.fault(skip=2, **fault)
    assert wait(server, run_id).error is not None
    server.healthy()
    run_id = another(server, "Running")
    server.fault(skip=1, times=3, **fault)
    scenario.moving_on(server, run_id, "Success", skip=6)
    done = ours.wait(run_id, deferrable=deferrable)
    assert done.error is None
    assert state_of(server, run_id) == "Success"
    server.fault(times=None, skip=1, **fault)
    assert "PrefectError" in ours.wait(another(server), max_unreachable=0, deferrable=deferrable).kinds
