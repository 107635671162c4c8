"""What the REST API is asked about many flow runs at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client import rest
from airflow_provider_prefect.client.errors import ApiError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience, retried
from tests.unit.client.driving import BUSY, Script, answer
from tests.unit.client.samples import run_json


def asked(call: Any, given: Any) -> tuple[Any, Script]:
    script = Script([given])
    return script.run(retried(call, Patience(0))), script


def test_of_a_run_that_is_waited_for_what_may_be_large_is_not_kept() -> None:
    record = run_json(parameters={"rows": [1] * 1000}, context={"airflow": {"dag_id": "d"}})
    (run,), _ = asked(rest.read_changed(["a"], known=None, limit=200), answer([record]))
    assert (run.id, run.parameters, run.context) == (record["id"], {}, {})
    assert run.labels == FlowRun.from_json(record).labels


def test_existing_runs_are_counted() -> None:
    counted, script = asked(rest.count_existing(["a", "b"]), answer(1))
    assert counted == 1
    assert script.sent == ["POST /flow_runs/count"]
    assert script.requests[0].body == {"flow_runs": {"id": {"any_": ["a", "b"]}}}


def test_lines_of_several_runs_come_in_the_order_of_their_times() -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    line = {"id": "l", "level": 20, "message": "m", "timestamp": when.isoformat(), "flow_run_id": "a"}
    lines, script = asked(rest.read_logs_of(["a", "b"], after=when, limit=200), answer([line]))
    assert [one.flow_run_id for one in lines] == ["a"]
    assert script.requests[0].body == {
        "logs": {"flow_run_id": {"any_": ["a", "b"]}, "timestamp": {"after_": "2026-01-02T00:00:00+00:00"}},
        "sort": "TIMESTAMP_ASC",
        "limit": 200,
    }


@pytest.mark.parametrize(
    ("given", "has"),
    [
        (answer("3.8.8"), True),
        (answer("3.0.0rc1"), True),
        (answer("2.20.26"), False),
        (answer({"detail": "Not Found"}, 404), True),  # Prefect Cloud
    ],
)
def test_prefect_2_is_not_asked_for_events(given: Any, has: bool) -> None:
    assert asked(rest.has_event_feed(), given)[0] is has


def test_a_server_that_does_not_say_its_version_is_not_judged() -> None:
    with pytest.raises(ApiError):
        asked(rest.has_event_feed(), BUSY)
