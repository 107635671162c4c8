from __future__ import annotations

import json
import math
from datetime import datetime

import pytest

from airflow_provider_prefect.client.errors import Unreachable, WaitTimeout
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.client.wait.newest import NewestRun, find_newest, wait_for_newest
from tests.unit.client.driving import BUSY, NOON, Again, Notes, Script, answer
from tests.unit.client.samples import DEPLOYMENT_ID, RUN_ID, run_json

SINCE = datetime.fromisoformat("2023-11-14T00:00:00+00:00")
NEWEST = NewestRun(DEPLOYMENT_ID, SINCE)
NONE = answer([])
ONE = answer([run_json()])


def find(script: Script, newest: NewestRun = NEWEST) -> FlowRun | None:
    return run(find_newest(script, newest, Patience(0, script.clock)))


def waited(
    script: Script,
    until: float = math.inf,
    *,
    newest: NewestRun = NEWEST,
    patience: float = 600,
    notes: Notes | None = None,
) -> FlowRun:
    call = wait_for_newest(
        script,
        newest,
        interval=10,
        until=until,
        patience=patience,
        observer=notes or Notes(),
        clock=script.clock,
    )
    return run(call)


# Which run it is


def test_the_newest_is_the_one_that_was_to_start_last_but_not_in_the_future() -> None:
    script = Script([ONE])
    found = find(script)
    assert found is not None
    assert found.id == RUN_ID
    [request] = script.requests
    assert (request.method, request.path) == ("POST", "/flow_runs/filter")
    assert request.body["sort"] == "EXPECTED_START_TIME_DESC"
    assert request.body["flow_runs"]["deployment_id"] == {"any_": [DEPLOYMENT_ID]}
    times = request.body["flow_runs"]["expected_start_time"]
    assert datetime.fromisoformat(times["after_"]) == SINCE
    assert datetime.fromisoformat(times["before_"]).timestamp() == NOON


def test_only_one_run_is_fetched() -> None:
    script = Script([ONE])
    find(script)
    assert script.requests[0].body["limit"] == 1


def test_tags_have_to_be_there_all_of_them() -> None:
    script = Script([ONE, ONE])
    find(script, NewestRun(DEPLOYMENT_ID, SINCE, ("a", "b")))
    find(script)
    assert script.requests[0].body["flow_runs"]["tags"] == {"all_": ["a", "b"]}
    assert "tags" not in script.requests[1].body["flow_runs"]


def test_there_may_be_none() -> None:
    assert find(Script([NONE])) is None


def test_trouble_is_waited_out_for_as_long_as_the_patience_lasts() -> None:
    passes, stays = Script([BUSY, BUSY, ONE]), Script([Again(BUSY)])
    assert run(find_newest(passes, NEWEST, Patience(60, passes.clock))) is not None
    with pytest.raises(Unreachable):
        run(find_newest(stays, NEWEST, Patience(60, stays.clock)))


def test_it_travels_as_json() -> None:
    newest = NewestRun(DEPLOYMENT_ID, SINCE, ("a", "b"))
    assert NewestRun.from_kwarg(json.loads(json.dumps(newest.as_kwarg()))) == newest


# Waiting for the first one


def test_a_run_that_is_there_is_taken_at_once_and_nothing_is_reported() -> None:
    script, notes = Script([ONE]), Notes()
    assert waited(script, notes=notes).id == RUN_ID
    assert (script.sleeps, notes) == ([], Notes())


def test_none_yet_is_reported_once_and_polled_again_and_again() -> None:
    script, notes = Script([NONE, NONE, NONE, ONE]), Notes()
    assert waited(script, notes=notes).id == RUN_ID
    assert (script.sleeps, notes.none_yet) == ([10, 10, 10], 1)


def test_each_poll_reaches_up_to_its_own_time() -> None:
    script = Script([NONE, NONE, ONE])
    waited(script)
    ends = [request.body["flow_runs"]["expected_start_time"]["before_"] for request in script.requests]
    assert [datetime.fromisoformat(end).timestamp() - NOON for end in ends] == [0, 10, 20]


def test_at_the_deadline_there_is_one_last_poll() -> None:
    script = Script([NONE, NONE, NONE, NONE])
    with pytest.raises(WaitTimeout, match=rf"no run of deployment {DEPLOYMENT_ID} since 2023-11-14.*in time"):
        waited(script, NOON + 25)
    assert script.sleeps == [10, 10, 5]
    assert script.all_used()


def test_a_timeout_names_the_tags() -> None:
    with pytest.raises(WaitTimeout, match="with the tags a, b since"):
        waited(Script([NONE]), NOON, newest=NewestRun(DEPLOYMENT_ID, SINCE, ("a", "b")), patience=0)


def test_a_run_that_is_there_by_the_deadline_is_taken() -> None:
    assert waited(Script([NONE, ONE]), NOON + 5).id == RUN_ID


def test_trouble_is_waited_out() -> None:
    assert waited(Script([BUSY, NONE, BUSY, BUSY, ONE])).id == RUN_ID


def test_trouble_beyond_the_patience_ends_the_wait() -> None:
    script = Script([NONE, Again(BUSY)])
    with pytest.raises(Unreachable, match="503"):
        waited(script, patience=60)
    assert script.clock.now == pytest.approx(NOON + 70)


def test_trouble_until_the_deadline_is_a_timeout() -> None:
    script = Script([NONE, Again(BUSY)])
    with pytest.raises(WaitTimeout):
        waited(script, NOON + 100)
    assert script.clock.now == pytest.approx(NOON + 100)


def test_trouble_and_recovery_are_each_reported_once() -> None:
    notes = Notes()
    waited(Script([NONE, BUSY, BUSY, BUSY, NONE, NONE, ONE]), notes=notes)
    assert (len(notes.trouble), notes.recoveries) == (1, 1)
    assert "503" in notes.trouble[0]


def test_a_poll_that_is_refused_reads_the_settings_again() -> None:
    script = Script([answer({"exception_message": "Unauthorized"}, 401), ONE])
    assert waited(script).id == RUN_ID
    assert script.reloads == 1
