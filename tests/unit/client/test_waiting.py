from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from airflow_provider_prefect.client import rest
from airflow_provider_prefect.client.call import Call, Look, Renew, Request, Sleep, handled
from airflow_provider_prefect.client.errors import (
    FlowRunCancelled,
    FlowRunCrashed,
    FlowRunFailed,
    FlowRunNotFound,
    FlowRunUnsuccessful,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.client.logs import LogFollower
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.waiting import Deadlines, Looking, unsuccessful, wait
from tests.unit.client.driving import (
    BUSY,
    NO_SUCH_RUN,
    NOON,
    Again,
    Notes,
    Script,
    answer,
    answered,
    page,
)
from tests.unit.client.samples import RUN_ID, deployment_json, run_json, seen, state_json

UNAUTHORIZED = answer({"exception_message": "Unauthorized"}, 401)


def waited(*answers: FlowRun | None, deadlines: Deadlines | None = None) -> tuple[list[str], list[Look]]:
    """The names of the states that a wait has told of, and how it has looked, with each look answered by hand."""
    script, notes = Script(answers), Notes()
    script.run(wait(rest, RUN_ID, deadlines or Deadlines(), notes, script.clock))
    assert script.all_used()
    return notes.states, [effect for effect in script.effects if isinstance(effect, Look)]


def in_state(type_: str, name: str | None = None) -> object:
    """The server's answer that shows the run in such a state."""
    return answer(run_json(state_json(type_, name)))


def looked(script: Script, look: Look, *, every: float = 10, patience: float = 600) -> FlowRun | None:
    looking = Looking(rest, every, Patience(patience, waiting=True, clock=script.clock))
    return script.run(handled(iter(look), looking))


def wait_by_asking(
    script: Script, deadlines: Deadlines | None = None, *, patience: float = 600, notes: Notes | None = None
) -> FlowRun:
    looking = Looking(rest, 10, Patience(patience, waiting=True, clock=script.clock))
    return script.run(handled(wait(rest, RUN_ID, deadlines or Deadlines(), notes or Notes(), script.clock), looking))


# The machine


@pytest.mark.parametrize("type_", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_a_wait_ends_in_each_final_type(type_: str) -> None:
    assert answered(wait(rest, RUN_ID, Deadlines(), Notes()), seen(type_)).state.type == type_


@pytest.mark.parametrize("type_", ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"])
def test_a_wait_goes_on_in_every_other_type(type_: str) -> None:
    shown, _ = waited(seen(type_), seen("COMPLETED"))
    assert len(shown) == 2


def test_a_cancelling_run_is_waited_for_until_it_is_cancelled() -> None:
    shown, _ = waited(seen("CANCELLING"), seen("CANCELLED"))
    assert shown == ["Cancelling", "Cancelled"]


def test_a_name_never_ends_a_wait_and_never_keeps_one_going() -> None:
    shown, _ = waited(seen("RUNNING", "Completed"), seen("SCHEDULED", "Failed"), seen("COMPLETED", "Running"))
    assert shown == ["Completed", "Failed", "Running"]


def test_every_change_of_state_is_shown_once_and_in_order() -> None:
    states = [
        seen("SCHEDULED"),
        seen("PENDING"),
        seen("RUNNING"),
        seen("SCHEDULED", "AwaitingRetry"),
        seen("COMPLETED"),
    ]
    shown, _ = waited(*states)
    assert shown == ["Scheduled", "Pending", "Running", "AwaitingRetry", "Completed"]


def test_each_look_names_the_state_that_is_known() -> None:
    _, looks = waited(seen("PENDING"), seen("COMPLETED"))
    assert [(look.flow_run_id, look.known) for look in looks] == [(RUN_ID, None), (RUN_ID, "state-PENDING-")]


def test_a_run_that_has_not_finished_in_time_is_a_wait_timeout_that_says_how_far_it_was() -> None:
    with pytest.raises(WaitTimeout, match=r"did not finish in time.*Running") as error:
        waited(seen("RUNNING"), None, deadlines=Deadlines(finished=NOON, started=NOON - 50))
    assert error.value.flow_run_id == RUN_ID


@pytest.mark.parametrize("type_", ["SCHEDULED", "PENDING"])
def test_a_run_that_has_not_started_in_time_is_a_start_timeout(type_: str) -> None:
    with pytest.raises(StartTimeout, match="did not start in time") as error:
        waited(seen(type_, "Late"), None, deadlines=Deadlines(finished=NOON, started=NOON - 50))
    assert error.value.flow_run_id == RUN_ID


def test_a_run_that_was_never_seen_says_so() -> None:
    with pytest.raises(StartTimeout, match="could not be seen even once"):
        waited(None, deadlines=Deadlines(started=NOON))


def test_when_both_deadlines_are_the_same_it_is_a_wait_timeout() -> None:
    with pytest.raises(WaitTimeout):
        waited(seen("SCHEDULED"), None, deadlines=Deadlines(NOON, NOON))


def test_a_finish_deadline_before_the_start_deadline_is_a_wait_timeout() -> None:
    with pytest.raises(WaitTimeout):
        waited(seen("SCHEDULED"), None, deadlines=Deadlines(finished=NOON - 50, started=NOON))


def test_the_start_deadline_ends_with_the_start_for_good() -> None:
    deadlines = Deadlines(finished=NOON, started=NOON - 50)
    _, looks = waited(
        seen("PENDING"), seen("RUNNING"), seen("SCHEDULED", "AwaitingRetry"), seen("COMPLETED"), deadlines=deadlines
    )
    assert [look.until for look in looks] == [NOON - 50, NOON - 50, NOON, NOON]


def test_a_paused_run_has_started() -> None:
    _, looks = waited(seen("PAUSED"), seen("COMPLETED"), deadlines=Deadlines(NOON, NOON - 50))
    assert looks[1].until == NOON


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


def test_a_timed_out_flow_run_has_failed() -> None:
    error = unsuccessful(seen("FAILED", "TimedOut"), "")
    assert isinstance(error, FlowRunFailed)
    assert "TimedOut (FAILED)" in str(error)


def test_a_run_completed_under_whatever_name_is_no_error() -> None:
    assert unsuccessful(seen("COMPLETED", "Failed"), "") is None


def test_a_run_that_is_being_cancelled_has_not_ended_badly_yet() -> None:
    assert unsuccessful(seen("CANCELLING"), "") is None


# Looking by asking


def test_the_first_look_asks_at_once() -> None:
    script = Script([in_state("RUNNING")])
    run = looked(script, Look(RUN_ID, None, math.inf))
    assert run is not None
    assert script.effects == [Request("GET", f"/flow_runs/{RUN_ID}")]


def test_a_known_state_is_asked_for_every_so_often_until_it_is_another() -> None:
    script = Script([in_state("RUNNING"), in_state("RUNNING"), in_state("COMPLETED")])
    run = looked(script, Look(RUN_ID, "state-RUNNING-", math.inf), every=7)
    assert run is not None
    assert run.state.type == "COMPLETED"
    assert script.sleeps == [7, 7, 7]


def test_a_state_entered_again_is_another_state() -> None:
    again = answer(run_json(state_json("SCHEDULED", id="a-later-one")))
    script = Script([again])
    run = looked(script, Look(RUN_ID, "state-SCHEDULED-", math.inf))
    assert run is not None
    assert run.state.id == "a-later-one"


def test_at_the_deadline_there_is_one_last_look_and_then_none() -> None:
    script = Script([in_state("RUNNING"), in_state("RUNNING"), in_state("RUNNING")])
    assert looked(script, Look(RUN_ID, "state-RUNNING-", NOON + 25)) is None
    assert script.sleeps == [10, 10, 5]
    assert script.all_used()


def test_a_run_that_finishes_by_the_deadline_has_finished() -> None:
    script = Script([in_state("RUNNING"), in_state("COMPLETED")])
    run = wait_by_asking(script, Deadlines(finished=NOON + 5))
    assert run.state.type == "COMPLETED"


def test_a_deadline_that_has_passed_still_looks_once() -> None:
    script = Script([in_state("COMPLETED")])
    assert wait_by_asking(script, Deadlines(finished=NOON - 1000)).is_final


def test_trouble_is_waited_out() -> None:
    script = Script([BUSY, page(404), UNAUTHORIZED, Unreachable("down"), in_state("COMPLETED")])
    assert wait_by_asking(script).is_final
    assert script.count(Renew) == 1


def test_trouble_beyond_the_patience_ends_the_wait() -> None:
    script = Script([in_state("RUNNING"), Again(BUSY)])
    with pytest.raises(Unreachable, match="503"):
        wait_by_asking(script, patience=120)
    assert script.clock.now - NOON == pytest.approx(10 + 120)


def test_trouble_that_passed_does_not_count_against_later_trouble() -> None:
    script = Script([*[BUSY] * 4, in_state("PENDING"), *[BUSY] * 4, in_state("RUNNING"), in_state("COMPLETED")])
    assert wait_by_asking(script, patience=20).is_final


def test_trouble_until_the_deadline_is_a_timeout_and_not_unreachable() -> None:
    script = Script([in_state("RUNNING"), Again(BUSY)])
    with pytest.raises(WaitTimeout, match="Running"):
        wait_by_asking(script, Deadlines(finished=NOON + 60))
    assert script.clock.now - NOON == pytest.approx(60)


def test_trouble_before_the_run_was_ever_seen_is_a_timeout_too() -> None:
    script = Script([Again(UNAUTHORIZED)])
    with pytest.raises(WaitTimeout, match="could not be seen even once"):
        wait_by_asking(script, Deadlines(finished=NOON + 60))


def test_a_start_deadline_caps_the_patience_too() -> None:
    script = Script([in_state("SCHEDULED"), Again(BUSY)])
    with pytest.raises(StartTimeout):
        wait_by_asking(script, Deadlines(finished=NOON + 6000, started=NOON + 60))
    assert script.clock.now - NOON == pytest.approx(60)


def test_a_run_that_is_not_found_twice_in_a_row_is_gone() -> None:
    script = Script([NO_SUCH_RUN, NO_SUCH_RUN])
    with pytest.raises(FlowRunNotFound, match=RUN_ID):
        wait_by_asking(script)
    assert script.sleeps == [10]


def test_a_run_that_is_not_found_once_is_not_gone() -> None:
    script = Script([in_state("PENDING"), NO_SUCH_RUN, in_state("PENDING"), NO_SUCH_RUN, in_state("COMPLETED")])
    assert wait_by_asking(script).is_final


@pytest.mark.parametrize("reply", [page(404), answer({"detail": "Not Found"}, 404), answer({"detail": "Gone"}, 410)])
def test_a_404_that_is_not_prefects_never_ends_a_wait(reply: object) -> None:
    script = Script([*[reply] * 5, in_state("COMPLETED")])
    assert wait_by_asking(script).is_final


def test_a_run_not_found_at_the_deadline_is_a_timeout() -> None:
    script = Script([in_state("RUNNING"), NO_SUCH_RUN])
    with pytest.raises(WaitTimeout):
        wait_by_asking(script, Deadlines(finished=NOON + 10))


def test_other_effects_pass_through() -> None:
    def others() -> Call[None]:
        yield from Sleep(3.0)
        yield from Renew()

    script = Script([])
    script.run(handled(others(), Looking(rest, 10, Patience(600, waiting=True, clock=script.clock))))
    assert script.effects == [Sleep(3.0), Renew()]


# A run that does not start


def late(*answers: object, expected: float = NOON) -> tuple[Script, Notes]:
    """A wait for a run that was expected to start at ``expected`` and stays scheduled until the answers end it."""
    expected_start_time = datetime.fromtimestamp(expected, UTC).isoformat()
    scheduled = answer(run_json(state_json("SCHEDULED", "Late"), expected_start_time=expected_start_time))
    script, notes = Script([scheduled, *answers]), Notes()
    looking = Looking(rest, 1000, Patience(600, waiting=True, clock=script.clock))
    run = script.run(handled(wait(rest, RUN_ID, Deadlines(), notes, script.clock), looking))
    assert run.is_final
    assert script.all_used()
    return script, notes


def test_a_run_that_has_not_started_a_minute_after_it_should_have_is_reported_once_with_the_reason() -> None:
    not_ready = answer(deployment_json(status="NOT_READY"))
    script, notes = late(in_late(), not_ready, in_late(), in_state("COMPLETED"))
    ((reason,),) = notes.late
    assert "nothing has asked for runs of its deployment" in reason
    assert script.sleeps[0] == 60


def test_a_run_that_is_scheduled_for_later_is_not_late_before_that() -> None:
    script, notes = late(in_late(), answer(deployment_json()), in_state("COMPLETED"), expected=NOON + 600)
    assert script.sleeps[0] == 660
    assert notes.late == [[]]


def test_a_run_that_has_started_is_not_late() -> None:
    _, notes = late(in_state("RUNNING"), in_state("COMPLETED"))
    assert notes.late == []


def test_reasons_that_cannot_be_read_do_not_spoil_the_wait() -> None:
    _, notes = late(in_late(), page(404), in_state("COMPLETED"))
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
    lines: list[str] = []
    notes = Notes(logs=LogFollower(rest, RUN_ID, lambda record, task: lines.append(record.message)))
    assert wait_by_asking(script, patience=patience, notes=notes).is_final
    return lines


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
