from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import Unreachable, WaitTimeout
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.newest import NewestRun
from airflow_provider_prefect.client.retry import Patience
from tests.unit.client.driving import BUSY, NOON, Again, Script, answer
from tests.unit.client.samples import DEPLOYMENT_ID, RUN_ID, run_json

SINCE = datetime.fromisoformat("2023-11-14T00:00:00+00:00")
NEWEST = NewestRun(DEPLOYMENT_ID, SINCE)
NONE = answer([])
ONE = answer([run_json()])


def waited(script: Script, until: float = math.inf, *, patience: float = 600, told: Any = lambda: None) -> FlowRun:
    waiting = Patience(patience, waiting=True, clock=script.clock)
    return script.run(NEWEST.wait(10, until, waiting, told))


# Which run it is


def test_the_newest_is_the_one_that_was_to_start_last_but_not_in_the_future() -> None:
    script = Script([ONE])
    run = script.run(NEWEST.find(NOON))
    assert run is not None
    assert run.id == RUN_ID
    [request] = script.requests
    assert (request.method, request.path) == ("POST", "/flow_runs/filter")
    assert request.body["sort"] == "EXPECTED_START_TIME_DESC"
    assert request.body["flow_runs"]["deployment_id"] == {"any_": [DEPLOYMENT_ID]}
    times = request.body["flow_runs"]["expected_start_time"]
    assert datetime.fromisoformat(times["after_"]) == SINCE
    assert datetime.fromisoformat(times["before_"]).timestamp() == NOON


def test_only_one_run_is_fetched() -> None:
    script = Script([ONE])
    script.run(NEWEST.find(NOON))
    assert script.requests[0].body["limit"] == 1


def test_tags_have_to_be_there_all_of_them() -> None:
    script = Script([ONE, ONE])
    script.run(NewestRun(DEPLOYMENT_ID, SINCE, ("a", "b")).find(NOON))
    script.run(NEWEST.find(NOON))
    assert script.requests[0].body["flow_runs"]["tags"] == {"all_": ["a", "b"]}
    assert "tags" not in script.requests[1].body["flow_runs"]


def test_there_may_be_none() -> None:
    assert Script([NONE]).run(NEWEST.find(NOON)) is None


def test_it_travels_as_json() -> None:
    newest = NewestRun(DEPLOYMENT_ID, SINCE, ("a", "b"))
    assert NewestRun.from_kwarg(json.loads(json.dumps(newest.as_kwarg()))) == newest


# Waiting for the first one


def test_a_run_that_is_there_is_taken_at_once_and_nothing_told() -> None:
    told: list[str] = []
    script = Script([ONE])
    assert waited(script, told=lambda: told.append("none yet")).id == RUN_ID
    assert (script.sleeps, told) == ([], [])


def test_none_yet_is_told_once_and_looked_for_again_and_again() -> None:
    told: list[str] = []
    script = Script([NONE, NONE, NONE, ONE])
    assert waited(script, told=lambda: told.append("none yet")).id == RUN_ID
    assert (script.sleeps, told) == ([10, 10, 10], ["none yet"])


def test_each_look_reaches_up_to_its_own_time() -> None:
    script = Script([NONE, NONE, ONE])
    waited(script)
    ends = [request.body["flow_runs"]["expected_start_time"]["before_"] for request in script.requests]
    assert [datetime.fromisoformat(end).timestamp() - NOON for end in ends] == [0, 10, 20]


def test_at_the_deadline_there_is_one_last_look() -> None:
    script = Script([NONE, NONE, NONE, NONE])
    with pytest.raises(WaitTimeout, match=rf"No run of deployment {DEPLOYMENT_ID} since 2023-11-14.*in time"):
        waited(script, NOON + 25)
    assert script.sleeps == [10, 10, 5]
    assert script.all_used()


def test_a_timeout_names_the_tags() -> None:
    with pytest.raises(WaitTimeout, match="with the tags a, b since"):
        Script([NONE]).run(
            NewestRun(DEPLOYMENT_ID, SINCE, ("a", "b")).wait(10, NOON, Patience(0, clock=lambda: NOON), lambda: None)
        )


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
