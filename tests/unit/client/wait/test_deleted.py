"""A flow run that is deleted while it is waited for: an automation of Prefect may delete runs as they complete."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client.errors import FlowRunDeleted, FlowRunNotFound, Unreachable
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.client.wait.flow_run import Deadlines, Poller, wait_for_flow_run
from tests.unit.client.driving import NO_SUCH_RUN, Again, Notes, Script, ScriptedSource, answer
from tests.unit.client.samples import RUN_ID, run_json, seen, state_json

GONE = FlowRunNotFound("Prefect has no flow run", detail="Flow run not found")

NO_EVENTS = answer({"events": [], "total": 0, "next_page": None})
NO_EVENT_LOG = answer({"detail": "Not Found"}, 404)
VERSION_3, VERSION_2 = answer("3.8.8"), answer("2.20.26")


def event(type_: str, message: str = "") -> Any:
    """The server's answer that has the event of the flow run's end."""
    resource = {
        "prefect.resource.id": f"prefect.flow-run.{RUN_ID}",
        "prefect.resource.name": "brave-otter",
        "prefect.state-type": type_,
        "prefect.state-name": type_.capitalize(),
        "prefect.state-message": message,
        "prefect.state-timestamp": "2026-10-01T12:00:00+00:00",
    }
    return answer({"events": [{"occurred": "2026-10-01T12:00:00Z", "event": "x", "resource": resource}]})


def poll(*answers: Any, notes: Notes | None = None) -> tuple[FlowRun, Script]:
    """The flow run as it ended, polled from a server that answers so."""
    script = Script(answers)
    notes = notes or Notes()
    poller = Poller(script, RUN_ID, 10, 600, notes, script.clock)
    return run(wait_for_flow_run(poller, Deadlines(), notes, script.clock)), script


RUNNING = answer(run_json(state_json("RUNNING")))


@pytest.mark.parametrize("type_", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_the_end_of_a_deleted_flow_run_is_what_its_last_event_says(type_: str) -> None:
    notes = Notes()
    ended, script = poll(RUNNING, NO_SUCH_RUN, NO_SUCH_RUN, event(type_, "because"), notes=notes)
    assert (ended.id, ended.name) == (RUN_ID, "brave-otter")
    assert (ended.state.type, ended.state.message, ended.end_time is not None) == (type_, "because", True)
    assert notes.deleted == [f"{type_.capitalize()}: because"]
    assert script.requests[-1].path == "/events/filter"


def test_an_event_is_looked_for_again_since_it_is_stored_late() -> None:
    ended, _ = poll(RUNNING, NO_SUCH_RUN, NO_SUCH_RUN, NO_EVENTS, VERSION_3, event("COMPLETED"))
    assert ended.state.type == "COMPLETED"


@pytest.mark.parametrize(
    "answers", [(NO_EVENTS, VERSION_3, NO_EVENTS), (NO_EVENT_LOG, VERSION_2), (answer({}, 403),), (answer([]),)]
)
def test_without_an_event_it_is_an_error_that_says_what_is_not_known(answers: tuple[Any, ...]) -> None:
    with pytest.raises(FlowRunDeleted, match=r"last known state was Running, .* whether it has done its work") as error:
        poll(RUNNING, NO_SUCH_RUN, NO_SUCH_RUN, *answers)
    assert isinstance(error.value, FlowRunNotFound)


def test_a_flow_run_that_was_never_there_is_not_said_to_have_had_a_state() -> None:
    with pytest.raises(FlowRunDeleted, match="could not be read even once"):
        poll(NO_SUCH_RUN, NO_SUCH_RUN, NO_EVENT_LOG, VERSION_2)


def test_what_the_source_has_heard_of_the_end_counts_without_asking_prefect() -> None:
    source, notes = ScriptedSource([seen("RUNNING"), GONE], ends=[seen("COMPLETED")]), Notes()
    ended = run(wait_for_flow_run(source, Deadlines(), notes, source.script.clock))
    assert (ended.state.type, source.end_reads, source.script.requests) == ("COMPLETED", 1, [])


def test_an_event_log_that_is_not_answering_does_not_hide_that_the_flow_run_is_gone() -> None:
    with pytest.raises(FlowRunDeleted):
        poll(RUNNING, NO_SUCH_RUN, NO_SUCH_RUN, Again(Unreachable("down")))
