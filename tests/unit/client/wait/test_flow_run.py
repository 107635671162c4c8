from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from airflow_provider_prefect.client.errors import (
    FlowRunCancelled,
    FlowRunCancelledByPrefect,
    FlowRunCrashed,
    FlowRunFailed,
    FlowRunNotFound,
    FlowRunUnsuccessful,
    PrefectError,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.transport import Request, run
from airflow_provider_prefect.client.wait.flow_run import Deadlines, Poller, unsuccessful, wait_for_flow_run
from tests.unit.client.driving import (
    BUSY,
    NO_SUCH_RUN,
    NOON,
    Again,
    Notes,
    Script,
    ScriptedSource,
    answer,
    page,
)
from tests.unit.client.samples import RUN_ID, deployment_json, run_json, seen, state_json

UNAUTHORIZED = answer({"exception_message": "Unauthorized"}, 401)


def waited(source: ScriptedSource, deadlines: Deadlines | None = None, notes: Notes | None = None) -> list[str]:
    """The names of the states that a wait has shown, with each state of ``source`` asked for."""
    notes = notes or Notes()
    run(wait_for_flow_run(source, deadlines or Deadlines(), notes, source.script.clock))
    assert source.all_used()
    return notes.states


def shown(*states: FlowRun | None, deadlines: Deadlines | None = None) -> list[str]:
    return waited(ScriptedSource(states), deadlines)


def in_state(type_: str, name: str | None = None) -> object:
    """The server's answer that shows the run in such a state."""
    return answer(run_json(state_json(type_, name)))


def poller(script: Script, *, interval: float = 10, patience: float = 600, notes: Notes | None = None) -> Poller:
    return Poller(script, RUN_ID, interval, patience, notes or Notes(), script.clock)


def wait_by_polling(
    script: Script,
    deadlines: Deadlines | None = None,
    *,
    interval: float = 10,
    patience: float = 600,
    notes: Notes | None = None,
) -> FlowRun:
    notes = notes or Notes()
    source = poller(script, interval=interval, patience=patience, notes=notes)
    return run(wait_for_flow_run(source, deadlines or Deadlines(), notes, script.clock))


# The loop


@pytest.mark.parametrize("type_", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_a_wait_ends_in_each_final_type(type_: str) -> None:
    source = ScriptedSource([seen(type_)])
    assert run(wait_for_flow_run(source, Deadlines(), Notes())).state.type == type_
    assert source.all_used()


@pytest.mark.parametrize("type_", ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"])
def test_a_wait_goes_on_in_every_other_type(type_: str) -> None:
    script = Script([in_state("PAUSED")] if type_ == "PAUSED" else [])
    assert len(waited(ScriptedSource([seen(type_), seen("COMPLETED")], script))) == 2


def test_a_cancelling_run_is_waited_for_until_it_is_cancelled() -> None:
    assert shown(seen("CANCELLING"), seen("CANCELLED")) == ["Cancelling", "Cancelled"]


def test_a_name_never_ends_a_wait_and_never_keeps_one_going() -> None:
    states = [seen("RUNNING", "Completed"), seen("SCHEDULED", "Failed"), seen("COMPLETED", "Running")]
    assert shown(*states) == ["Completed", "Failed", "Running"]


def test_every_change_of_state_is_shown_once_and_in_order() -> None:
    states = [
        seen("SCHEDULED"),
        seen("PENDING"),
        seen("RUNNING"),
        seen("SCHEDULED", "AwaitingRetry"),
        seen("COMPLETED"),
    ]
    assert shown(*states) == ["Scheduled", "Pending", "Running", "AwaitingRetry", "Completed"]


def test_each_state_is_asked_for_with_the_one_that_is_known() -> None:
    source = ScriptedSource([seen("PENDING"), seen("COMPLETED")])
    waited(source)
    assert [known_state_id for known_state_id, _, _ in source.asked] == [None, "state-PENDING-"]


def test_a_run_that_has_not_finished_in_time_is_a_wait_timeout_that_says_how_far_it_was() -> None:
    with pytest.raises(WaitTimeout, match=r"did not finish in time.*Running") as error:
        shown(seen("RUNNING"), None, deadlines=Deadlines(finished=NOON, started=NOON - 50))
    assert error.value.flow_run_id == RUN_ID


@pytest.mark.parametrize("type_", ["SCHEDULED", "PENDING"])
def test_a_run_that_has_not_started_in_time_is_a_start_timeout(type_: str) -> None:
    with pytest.raises(StartTimeout, match="did not start in time") as error:
        shown(seen(type_, "Late"), None, deadlines=Deadlines(finished=NOON, started=NOON - 50))
    assert error.value.flow_run_id == RUN_ID


def test_a_run_that_was_never_seen_says_so() -> None:
    with pytest.raises(StartTimeout, match="could not be read even once"):
        shown(None, deadlines=Deadlines(started=NOON))


def test_when_both_deadlines_are_the_same_it_is_a_wait_timeout() -> None:
    with pytest.raises(WaitTimeout):
        shown(seen("SCHEDULED"), None, deadlines=Deadlines(NOON, NOON))


def test_a_finish_deadline_before_the_start_deadline_is_a_wait_timeout() -> None:
    with pytest.raises(WaitTimeout):
        shown(seen("SCHEDULED"), None, deadlines=Deadlines(finished=NOON - 50, started=NOON))


def test_the_start_deadline_ends_with_the_start_for_good() -> None:
    source = ScriptedSource([seen("PENDING"), seen("RUNNING"), seen("SCHEDULED", "AwaitingRetry"), seen("COMPLETED")])
    waited(source, Deadlines(finished=NOON, started=NOON - 50))
    assert [until for _, until, _ in source.asked] == [NOON - 50, NOON - 50, NOON, NOON]


def test_a_paused_run_has_started() -> None:
    source = ScriptedSource([seen("PAUSED"), seen("COMPLETED")], Script([in_state("PAUSED")]))
    waited(source, Deadlines(NOON, NOON - 50))
    assert source.asked[1][1] == NOON


# What a run that ended otherwise means


@pytest.mark.parametrize(
    ("type_", "kind"), [("FAILED", FlowRunFailed), ("CRASHED", FlowRunCrashed), ("CANCELLED", FlowRunCancelled)]
)
def test_each_way_to_end_badly_has_its_own_error(type_: str, kind: type[FlowRunUnsuccessful]) -> None:
    run = seen(type_, message="because")
    error = unsuccessful(run, "http://ui/run")
    assert type(error) is kind
    assert error.run is run
    for part in ("calm-otter", type_.capitalize(), "because", "http://ui/run"):
        assert part in str(error)


def test_the_error_of_a_flow_stands_before_what_a_narrow_window_cuts_off() -> None:
    run = seen("FAILED", message="Flow run encountered an exception: ValueError: the well is dry.")
    error = unsuccessful(run, "http://ui/run")
    assert str(error).startswith("Flow run ended in state Failed: ValueError: the well is dry. See http://ui/run ('")


@pytest.mark.parametrize(
    "message",
    [
        "Deployment concurrency limit reached.",
        "Deployment concurrency slot lost.",
        "Cancelled by Automation 6f1f8a3c",
        "State changed by Automation 6f1f8a3c",
    ],
)
def test_a_run_that_prefect_itself_has_cancelled_has_an_error_of_its_own(message: str) -> None:
    assert type(unsuccessful(seen("CANCELLED", message=message), "")) is FlowRunCancelledByPrefect


@pytest.mark.parametrize(
    "message", [None, "", "Cancelled by ada", "Set to Cancelled: Deployment concurrency limit reached"]
)
def test_a_run_that_somebody_else_has_cancelled_is_plainly_cancelled(message: str | None) -> None:
    assert type(unsuccessful(seen("CANCELLED", message=message), "")) is FlowRunCancelled


def test_only_a_cancelled_run_can_have_been_cancelled_by_prefect() -> None:
    message = "Deployment concurrency limit reached."
    assert type(unsuccessful(seen("CRASHED", message=message), "")) is FlowRunCrashed


def test_a_timed_out_flow_run_has_failed() -> None:
    error = unsuccessful(seen("FAILED", "TimedOut"), "")
    assert isinstance(error, FlowRunFailed)
    assert "TimedOut (FAILED)" in str(error)


def test_a_run_completed_under_whatever_name_is_no_error() -> None:
    assert unsuccessful(seen("COMPLETED", "Failed"), "") is None


def test_a_run_that_is_being_cancelled_has_not_ended_badly_yet() -> None:
    assert unsuccessful(seen("CANCELLING"), "") is None


# The poller


def test_the_first_poll_is_made_at_once() -> None:
    script = Script([in_state("RUNNING")])
    assert run(poller(script).next_state(None, math.inf)) is not None
    assert script.requests == [Request("GET", f"/flow_runs/{RUN_ID}")]
    assert script.sleeps == []


def test_a_known_state_is_polled_at_the_interval_until_it_is_another() -> None:
    script = Script([in_state("RUNNING"), in_state("RUNNING"), in_state("COMPLETED")])
    found = run(poller(script, interval=7).next_state("state-RUNNING-", math.inf))
    assert found is not None
    assert found.state.type == "COMPLETED"
    assert script.sleeps == [7, 7, 7]


def test_a_state_entered_again_is_another_state() -> None:
    script = Script([answer(run_json(state_json("SCHEDULED", id="a-later-one")))])
    found = run(poller(script).next_state("state-SCHEDULED-", math.inf))
    assert found is not None
    assert found.state.id == "a-later-one"


def test_at_the_deadline_there_is_one_last_poll_and_then_none() -> None:
    script = Script([in_state("RUNNING"), in_state("RUNNING"), in_state("RUNNING")])
    assert run(poller(script).next_state("state-RUNNING-", NOON + 25)) is None
    assert script.sleeps == [10, 10, 5]
    assert script.all_used()


def test_a_run_that_finishes_by_the_deadline_has_finished() -> None:
    script = Script([in_state("RUNNING"), in_state("COMPLETED")])
    assert wait_by_polling(script, Deadlines(finished=NOON + 5)).state.type == "COMPLETED"


def test_a_deadline_that_has_passed_still_polls_once() -> None:
    script = Script([in_state("COMPLETED")])
    assert wait_by_polling(script, Deadlines(finished=NOON - 1000)).is_final


def test_trouble_is_waited_out() -> None:
    script = Script([BUSY, page(404), UNAUTHORIZED, Unreachable("down"), in_state("COMPLETED")])
    assert wait_by_polling(script).is_final
    assert script.reloads == 1


def test_trouble_beyond_the_patience_ends_the_wait() -> None:
    script = Script([in_state("RUNNING"), Again(BUSY)])
    with pytest.raises(Unreachable, match="503"):
        wait_by_polling(script, patience=120)
    assert script.clock.now - NOON == pytest.approx(10 + 120)


def test_trouble_that_passed_does_not_count_against_later_trouble() -> None:
    script = Script([*[BUSY] * 4, in_state("PENDING"), *[BUSY] * 4, in_state("RUNNING"), in_state("COMPLETED")])
    assert wait_by_polling(script, patience=20).is_final


def test_trouble_until_the_deadline_is_a_timeout_and_not_unreachable() -> None:
    script = Script([in_state("RUNNING"), Again(BUSY)])
    with pytest.raises(WaitTimeout, match="Running"):
        wait_by_polling(script, Deadlines(finished=NOON + 60))
    assert script.clock.now - NOON == pytest.approx(60)


def test_trouble_before_the_run_was_ever_seen_is_a_timeout_too() -> None:
    script = Script([Again(UNAUTHORIZED)])
    with pytest.raises(WaitTimeout, match="could not be read even once"):
        wait_by_polling(script, Deadlines(finished=NOON + 60))


def test_a_start_deadline_caps_the_patience_too() -> None:
    script = Script([in_state("SCHEDULED"), Again(BUSY)])
    with pytest.raises(StartTimeout):
        wait_by_polling(script, Deadlines(finished=NOON + 6000, started=NOON + 60))
    assert script.clock.now - NOON == pytest.approx(60)


def test_a_run_that_is_not_found_twice_in_a_row_is_gone() -> None:
    has_no_events = [answer({"detail": "Not Found"}, 404), answer("2.20.26")]
    script = Script([NO_SUCH_RUN, NO_SUCH_RUN, *has_no_events])
    with pytest.raises(FlowRunNotFound, match=RUN_ID):
        wait_by_polling(script)
    assert script.sleeps == [10]


def test_a_run_that_is_not_found_once_is_not_gone() -> None:
    script = Script([in_state("PENDING"), NO_SUCH_RUN, in_state("PENDING"), NO_SUCH_RUN, in_state("COMPLETED")])
    assert wait_by_polling(script).is_final


@pytest.mark.parametrize("reply", [page(404), answer({"detail": "Not Found"}, 404), answer({"detail": "Gone"}, 410)])
def test_a_404_that_is_not_prefects_never_ends_a_wait(reply: object) -> None:
    script = Script([*[reply] * 5, in_state("COMPLETED")])
    assert wait_by_polling(script).is_final


def test_a_run_not_found_at_the_deadline_is_a_timeout() -> None:
    script = Script([in_state("RUNNING"), NO_SUCH_RUN])
    with pytest.raises(WaitTimeout):
        wait_by_polling(script, Deadlines(finished=NOON + 10))


def test_trouble_and_recovery_are_each_reported_once() -> None:
    script = Script(
        [in_state("PENDING"), BUSY, page(404), Unreachable("down"), in_state("PENDING"), BUSY, in_state("COMPLETED")]
    )
    notes = Notes()
    assert wait_by_polling(script, notes=notes).is_final
    assert ["503" in failure for failure in notes.trouble] == [True, True]
    assert notes.recoveries == 2


def test_trouble_that_lasts_across_pauses_is_reported_once() -> None:
    """A wait that reads log lines asks its source for a few seconds at a time."""
    script, notes = Script([*[BUSY] * 9, in_state("RUNNING")]), Notes()
    source = poller(script, notes=notes)
    while run(source.next_state("state-PENDING-", script.clock.now + 5)) is None:
        pass
    assert (len(notes.trouble), notes.recoveries) == (1, 1)


def test_without_trouble_there_is_no_recovery() -> None:
    notes = Notes()
    wait_by_polling(Script([in_state("RUNNING"), in_state("RUNNING"), in_state("COMPLETED")]), notes=notes)
    assert (notes.trouble, notes.recoveries) == ([], 0)


@pytest.mark.parametrize("status", [401, 403])
def test_after_each_poll_that_is_refused_the_settings_are_read_again(status: int) -> None:
    refused = answer({"exception_message": "Unauthorized"}, status)
    script = Script([refused, refused, in_state("COMPLETED")])
    assert wait_by_polling(script).is_final
    assert script.reloads == 2
    poll = f"GET /flow_runs/{RUN_ID}"
    assert script.steps == [poll, "reload", "sleep", poll, "reload", "sleep", poll]


@pytest.mark.parametrize("trouble", [BUSY, page(404), Unreachable("down")])
def test_other_trouble_does_not_read_the_settings_again(trouble: object) -> None:
    script = Script([trouble, in_state("COMPLETED")])
    wait_by_polling(script)
    assert script.reloads == 0


def test_the_server_is_given_the_time_that_it_asks_for() -> None:
    slow_down = answer({"exception_message": "slow down"}, 429, retry_after="90")
    script = Script([slow_down, in_state("COMPLETED")])
    wait_by_polling(script)
    assert script.sleeps[0] >= 90


# A run that does not start


def at(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def late(*answers: object, expected: float = NOON) -> tuple[Script, Notes]:
    """A wait for a run that was expected to start at ``expected`` and stays scheduled until the answers end it."""
    scheduled = answer(run_json(state_json("SCHEDULED", "Late"), expected_start_time=at(expected)))
    script, notes = Script([scheduled, *answers]), Notes()
    assert wait_by_polling(script, interval=1000, notes=notes).is_final
    assert script.all_used()
    return script, notes


def test_a_run_that_has_not_started_a_minute_after_it_should_have_is_reported_once_with_the_reason() -> None:
    not_ready = answer(deployment_json(status="NOT_READY"))
    script, notes = late(in_late(), not_ready, in_late(), in_state("COMPLETED"))
    ((reason,),) = notes.late
    assert "no worker and no serving process has polled for it lately" in reason
    assert script.sleeps[0] == 60


def test_a_run_that_is_scheduled_for_later_is_not_late_before_that() -> None:
    script, notes = late(in_late(), answer(deployment_json()), in_state("COMPLETED"), expected=NOON + 600)
    assert script.sleeps[0] == 660
    assert notes.late == [[]]


def test_a_run_that_has_started_is_not_late() -> None:
    _, notes = late(in_state("RUNNING"), in_state("COMPLETED"))
    assert notes.late == []


def test_a_run_that_waits_for_its_retry_too_long_is_reported_with_the_reason() -> None:
    retrying = answer(run_json(state_json("SCHEDULED", "AwaitingRetry"), next_scheduled_start_time=at(NOON + 1300)))
    not_ready = answer(deployment_json(status="NOT_READY"))
    script, notes = late(in_state("RUNNING"), retrying, retrying, not_ready, in_state("COMPLETED"))
    ((state, reason),) = notes.late
    assert state == "its state is AwaitingRetry (SCHEDULED)"
    assert "no worker and no serving process" in reason
    # Two polls at an interval of 1,000 s, then until a minute after the retry should have begun.
    assert sum(script.sleeps[:2]) == 1060
    assert notes.states == ["Late", "Running", "AwaitingRetry", "Completed"]


def test_reasons_that_cannot_be_read_do_not_spoil_the_wait() -> None:
    _, notes = late(in_late(), page(404), in_state("COMPLETED"))
    assert notes.late == [[]]


def test_an_error_of_the_source_about_the_reasons_does_not_spoil_the_wait() -> None:
    notes = Notes()
    source = ScriptedSource([seen("SCHEDULED"), None, seen("COMPLETED")], reasons=PrefectError("no idea"))
    waited(source, notes=notes)
    assert notes.late == [[]]


def in_late() -> object:
    return answer(run_json(state_json("SCHEDULED", "Late")))


# Log lines meanwhile


def log_lines(*numbers: int) -> object:
    return answer(
        [{"id": f"l{n}", "level": 20, "message": f"line {n}", "timestamp": "2026-01-02T03:04:05Z"} for n in numbers]
    )


def with_logs(script: Script, *, patience: float = 600) -> list[str]:
    """The lines that a wait has shown."""
    notes = Notes(follows_logs=True)
    assert wait_by_polling(script, patience=patience, notes=notes).is_final
    return [line for line, _ in notes.lines]


def test_log_lines_are_read_while_the_run_runs_and_once_more_at_its_end() -> None:
    states = iter([in_state("RUNNING"), in_state("RUNNING"), in_state("COMPLETED")])
    arrived = iter([(1,), (1, 2), (1, 2, 3)])

    def serve(asked: Request) -> object:
        if asked.method == "GET":
            return next(states)
        return log_lines() if asked.body["offset"] else log_lines(*next(arrived, (1, 2, 3)))

    assert with_logs(Script([Again(serve)])) == ["line 1", "line 2", "line 3"]


def test_log_lines_that_are_wanted_do_not_make_an_api_that_is_gone_be_waited_for_for_ever() -> None:
    script = Script([in_state("RUNNING"), Again(lambda asked: BUSY if asked.method == "GET" else page(404))])
    with pytest.raises(Unreachable):
        with_logs(script, patience=60)
    assert NOON + 60 <= script.clock.now < NOON + 200


def test_log_lines_that_are_wanted_do_not_hide_that_the_run_is_gone() -> None:
    script = Script([in_state("RUNNING"), Again(NO_SUCH_RUN)])
    with pytest.raises(FlowRunNotFound):
        with_logs(script)


def test_trouble_with_log_lines_is_not_trouble_with_the_run() -> None:
    states = iter([in_state("RUNNING"), in_state("RUNNING"), in_state("COMPLETED")])
    assert with_logs(Script([Again(lambda asked: next(states) if asked.method == "GET" else page(404))])) == []
