"""``wait_for_flow_run`` of the real client against the double (rows W02 to W21)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.prefect1 import scenario
from tests.prefect1.real_client import Outcome, run_real
from tests.prefect1.server import Prefect1Server


@pytest.fixture
def run_id(server: Prefect1Server) -> str:
    flow_id = scenario.register_flow(server, "etl", labels=["lab"])
    return scenario.start_run(server, flow_id, flow_run_name="brave-otter")


def wait(server: Prefect1Server, run_id: str, **arguments: Any) -> Outcome:
    return run_real("wait_for_flow_run", server, flow_run_id=run_id, **arguments)


def test_w02_the_run_is_returned_as_it_is_after_the_watch(server: Prefect1Server, run_id: str) -> None:
    scenario.moving_on(server, run_id, "Submitted", "Running", "Success", skip=2)
    outcome = wait(server, run_id)
    assert outcome.value == {
        "flow_run_id": run_id,
        "name": "brave-otter",
        "state": "Success",
        "message": "All reference tasks succeeded.",
    }
    assert outcome.names == ("flow_run",) * 6


def test_w03_w05_each_state_is_a_line_with_the_name_of_the_run(server: Prefect1Server, run_id: str) -> None:
    scenario.moving_on(server, run_id, "Running", "Cancelling", "Cancelling", "Cancelled", skip=2)
    assert wait(server, run_id).logs == tuple(
        ("INFO", f"Flow 'brave-otter': Entered state <{state}>: {message}")
        for state, message in [
            ("Scheduled", "Flow run scheduled."),
            ("Running", "Running flow."),
            ("Cancelling", "Flow run is cancelling"),
            ("Cancelling", "Flow run is cancelling"),
            ("Cancelled", "Flow run is cancelled"),
        ]
    )


def test_w03_the_name_is_read_once(server: Prefect1Server, run_id: str) -> None:
    server.meanwhile(lambda: server.tables.update("flow_run", run_id, name="new"), skip=1)
    scenario.moving_on(server, run_id, "Success", skip=2)
    outcome = wait(server, run_id)
    assert outcome.value["name"] == "new"
    assert all(message.startswith("Flow 'brave-otter': ") for message in outcome.messages)


def test_w04_of_a_finished_run_only_its_age_is_told_and_no_logs(server: Prefect1Server, run_id: str) -> None:
    scenario.move(server, run_id, "Success", at=datetime.now(UTC) - timedelta(minutes=5))
    scenario.write_log(server, run_id, "never shown")
    outcome = wait(server, run_id, stream_logs=True)
    assert outcome.logs == (("INFO", "Flow 'brave-otter': Your flow run finished 5 minutes ago"),)
    assert outcome.slept == ()
    assert wait(server, run_id, stream_states=False, stream_logs=True).logs == ()


def test_w06_states_and_logs_are_told_in_the_order_of_their_times(server: Prefect1Server, run_id: str) -> None:
    now = datetime.now(UTC)
    scenario.move(server, run_id, "Running", at=now - timedelta(seconds=20))
    scenario.write_log(server, run_id, "second", "WARNING", at=now - timedelta(seconds=10))
    scenario.write_log(server, run_id, "first", "DEBUG", at=now - timedelta(seconds=15))
    server.tables.update(
        "flow_run_state",
        server.tables.referring("flow_run_state", "flow_run_id", run_id)[0]["id"],
        timestamp=now - timedelta(seconds=30),
    )
    scenario.moving_on(server, run_id, "Success", skip=4)
    assert [
        (level, text.removeprefix("Flow 'brave-otter': "))
        for level, text in wait(server, run_id, stream_logs=True).logs
    ] == [
        ("INFO", "Entered state <Scheduled>: Flow run scheduled."),
        ("INFO", "Entered state <Running>: Running flow."),
        ("DEBUG", "first"),
        ("WARNING", "second"),
        ("INFO", "Entered state <Success>: All reference tasks succeeded."),
    ]


def test_w07_logs_are_streamed_without_states_too(server: Prefect1Server, run_id: str) -> None:
    scenario.write_log(server, run_id, "hello")
    scenario.moving_on(server, run_id, "Success", skip=4)
    outcome = wait(server, run_id, stream_states=False, stream_logs=True)
    assert outcome.messages == ("Flow 'brave-otter': hello",)
    assert wait(server, run_id, stream_states=False, stream_logs=False).messages == ()


def test_w08_logs_that_arrive_late_are_lost(server: Prefect1Server, run_id: str) -> None:
    scenario.write_log(server, run_id, "in time")
    late = datetime.now(UTC) - timedelta(minutes=1)
    server.meanwhile(lambda: scenario.write_log(server, run_id, "older", at=late), skip=4)
    server.meanwhile(lambda: scenario.write_log(server, run_id, "newer"), skip=4)
    scenario.moving_on(server, run_id, "Success", skip=6)
    server.meanwhile(lambda: scenario.write_log(server, run_id, "after the end"), skip=8)
    outcome = wait(server, run_id, stream_states=False, stream_logs=True)
    assert [message.split(": ")[1] for message in outcome.messages] == ["in time", "newer"]
    assert len(server.tables.all("log")) == 4


def test_w09_the_run_is_asked_for_every_two_seconds(server: Prefect1Server, run_id: str) -> None:
    scenario.move(server, run_id, "Running")
    scenario.moving_on(server, run_id, "Success", skip=35)
    outcome = wait(server, run_id)
    assert outcome.retried == ()
    assert outcome.slept == (2,) * 34


def test_w10_there_is_one_more_sleep_after_the_end_was_seen(server: Prefect1Server, run_id: str) -> None:
    scenario.moving_on(server, run_id, "Success", skip=2)
    outcome = wait(server, run_id)
    assert outcome.slept == (2,)
    assert len(outcome.requests) == 4


def test_w11_a_run_that_no_agent_takes_is_warned_about(server: Prefect1Server, run_id: str) -> None:
    outcome = wait(server, run_id, max_duration=timedelta(seconds=55))
    warnings = [message for level, message in outcome.logs if level == "WARNING"]
    begin = "Flow 'brave-otter': It has been"
    more = "seconds and your flow run has not been submitted by an agent. There are no healthy agents in your tenant"
    assert [
        warning.startswith(f"{begin} {seconds} {more}") for warning, seconds in zip(warnings, (15, 50), strict=True)
    ] == [
        True,
        True,
    ]
    assert outcome.names.count("agent") == 2
    quiet = wait(server, run_id, stream_states=False, max_duration=timedelta(seconds=55))
    assert (quiet.logs, quiet.names.count("agent")) == ((), 0)


@pytest.mark.parametrize("state", ["Submitted", "Running"])
def test_w11_a_run_that_an_agent_took_is_not_warned_about(server: Prefect1Server, run_id: str, state: str) -> None:
    scenario.move(server, run_id, state)
    assert "agent" not in wait(server, run_id, max_duration=timedelta(seconds=55)).names


NOW, LONG_AGO, NEVER = timedelta(0), timedelta(minutes=10), None


@pytest.mark.parametrize(
    ("agents", "advice"),
    [
        ([(["lab", "more"], NOW)], "has matching labels and last queried"),
        ([(["lab"], NOW), (["lab"], NOW)], "Found 2 healthy agents with matching labels."),
        (
            [([], NOW), (["other"], NOW)],
            "You have 2 healthy agents in your tenant but do not have an agent with labels {'lab'}",
        ),
        ([(["lab"], LONG_AGO)], "Since it hasn't queried recently, it looks unhealthy."),
        ([(["lab"], LONG_AGO), (["lab"], LONG_AGO)], "Found 2 agents with matching labels but they have not queried"),
        ([(["lab"], NEVER), (["other"], LONG_AGO)], "There are no healthy agents in your tenant"),
    ],
)
def test_w12_the_advice_depends_on_the_agents(server: Prefect1Server, run_id: str, agents: Any, advice: str) -> None:
    for labels, seen in agents:
        scenario.add_agent(server, labels, seen=seen)
    outcome = wait(server, run_id, max_duration=timedelta(seconds=20))
    [warning] = [message for level, message in outcome.logs if level == "WARNING"]
    assert advice in warning


def test_w13_a_bad_answer_about_agents_fails_the_wait(server: Prefect1Server, run_id: str) -> None:
    server.fault(on="agent", answer={"data": {"agent": None}})
    outcome = wait(server, run_id, max_duration=timedelta(seconds=20))
    assert outcome.error == "ValueError"
    assert "Received bad result while querying for agents" in str(outcome.text)


@pytest.mark.parametrize(("seconds", "sleeps"), [(55, 29), (4, 2)])
def test_w14_w15_the_limit_counts_slept_time_and_does_not_cancel(
    server: Prefect1Server, run_id: str, seconds: int, sleeps: int
) -> None:
    scenario.move(server, run_id, "Running")
    outcome = wait(server, run_id, max_duration=timedelta(seconds=seconds))
    assert outcome.error == "RuntimeError"
    assert "`watch_flow_run` timed out after 0.0 hours of waiting for completion." in str(outcome.text)
    assert "Your flow run is still in state: <Running:" in str(outcome.text)
    assert outcome.slept == (2,) * sleeps
    assert scenario.row(server, "flow_run", run_id)["state"] == "Running"


@pytest.mark.parametrize(
    ("state", "signal"),
    [
        ("Success", "SUCCESS"),
        ("Failed", "FAIL"),
        ("Skipped", "SKIP"),
        ("TriggerFailed", "TRIGGERFAIL"),
        ("ValidationFailed", "VALIDATIONFAIL"),
        ("Looped", "LOOP"),
    ],
)
def test_w16_the_final_state_is_raised_if_wanted(server: Prefect1Server, run_id: str, state: str, signal: str) -> None:
    scenario.move(server, run_id, state, "so it ended")
    outcome = wait(server, run_id, raise_final_state=True)
    assert (outcome.error, outcome.state) == (signal, state)
    assert outcome.text == f'{run_id} finished in state <{state}: "so it ended">'


@pytest.mark.parametrize("state", ["Cancelled", "TimedOut", "Cached", "Mapped", "Finished"])
def test_w17_some_states_have_no_signal(server: Prefect1Server, run_id: str, state: str) -> None:
    scenario.move(server, run_id, state)
    outcome = wait(server, run_id, raise_final_state=True)
    assert outcome.error == "ValueError"
    assert f"No signal matches the provided state: <{state}:" in str(outcome.text)


@pytest.mark.parametrize("state", ["Failed", "Cancelled"])
def test_w18_without_that_a_failed_run_is_a_success_of_the_wait(
    server: Prefect1Server, run_id: str, state: str
) -> None:
    scenario.move(server, run_id, state)
    outcome = wait(server, run_id)
    assert (outcome.error, outcome.value["state"]) == (None, state)


def test_w19_an_unknown_run_is_a_value_error(server: Prefect1Server, run_id: str) -> None:
    unknown = str(uuid.uuid4())
    outcome = wait(server, unknown)
    text = f"No flow runs found while querying for flow runs where {{'id': {{'_eq': '{unknown}'}}}}"
    assert (outcome.error, outcome.text) == ("ValueError", text)


def test_w19_null_and_more_than_one_are_value_errors(server: Prefect1Server, run_id: str) -> None:
    server.fault(answer={"data": {"flow_run": None}})
    assert "Received bad result" in str(wait(server, run_id).text)
    server.fault(edit=lambda content: {"data": {"flow_run": content["data"]["flow_run"] * 2}})
    assert "Found multiple (2)" in str(wait(server, run_id).text)


def test_w20_a_run_without_a_state_is_pending(server: Prefect1Server, run_id: str) -> None:
    server.tables.update("flow_run", run_id, serialized_state=None)
    outcome = wait(server, run_id, max_duration=timedelta(seconds=1))
    assert "A state for this flow run is not yet available." in str(outcome.text)


def test_w21_an_error_of_the_api_fails_the_wait(server: Prefect1Server, run_id: str) -> None:
    server.fault(skip=2, status=403)
    assert wait(server, run_id).error == "HTTPError"
