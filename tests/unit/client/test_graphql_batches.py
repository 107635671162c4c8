"""What a watcher asks of Prefect 1 about many flow runs at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client import graphql_batches
from airflow_provider_prefect.client.call import Call
from tests.unit.client.driving import Script, answered
from tests.unit.client.graphql_samples import NOON, data, flow_run, line
from tests.unit.client.samples import RUN_ID


def asked(call: Call[Any], answer: Any) -> tuple[Any, dict[str, Any]]:
    script = Script([answer])
    found = script.run(call)
    [request] = script.requests
    return found, request.body["variables"]


def test_all_are_asked_for_where_no_state_is_known() -> None:
    call = graphql_batches.read_changed([RUN_ID, "b"], known=None, limit=50)
    found, sent = asked(call, data(flow_run=[flow_run("Success")]))
    assert [(run.id, run.state.type) for run in found] == [(RUN_ID, "COMPLETED")]
    assert sent == {"where": {"id": {"_in": [RUN_ID, "b"]}}, "limit": 50}


@pytest.mark.parametrize(
    ("known", "names"),
    [
        ("RUNNING", {"Running"}),
        ("SCHEDULED", {"Scheduled", "Queued", "Resume", "Retrying"}),
        ("CANCELLING", {"Cancelling"}),
    ],
)
def test_those_of_another_state_type_are_asked_for_and_those_without_a_state(known: str, names: set[str]) -> None:
    _, sent = asked(graphql_batches.read_changed([RUN_ID], known=known, limit=50), data(flow_run=[]))
    others, stateless = sent["where"]["_or"]
    assert set(others["state"]["_nin"]) == names
    assert stateless == {"state": {"_is_null": True}}


def test_a_run_without_a_state_is_one_that_is_known_to_be_pending() -> None:
    _, sent = asked(graphql_batches.read_changed([RUN_ID], known="PENDING", limit=50), data(flow_run=[]))
    [others] = sent["where"]["_or"]
    assert set(others["state"]["_nin"]) == {"Pending", "Submitted", "ClientFailed"}


def test_runs_are_counted_by_the_server() -> None:
    counted = data(flow_run_aggregate={"aggregate": {"count": 2}})
    found, sent = asked(graphql_batches.count_existing([RUN_ID, "b", "c"]), counted)
    assert (found, sent) == (2, {"where": {"id": {"_in": [RUN_ID, "b", "c"]}}})


def test_the_lines_of_many_runs_are_read_from_a_time_on_that_is_included() -> None:
    call = graphql_batches.read_logs_of([RUN_ID, "b"], after=datetime(2026, 1, 2, 12, tzinfo=UTC), limit=200)
    found, sent = asked(call, data(log=[line(1, flow_run_id=RUN_ID), line(2, flow_run_id="b")]))
    assert [(each.id, each.flow_run_id) for each in found] == [("line-1", RUN_ID), ("line-2", "b")]
    assert sent == {"where": {"flow_run_id": {"_in": [RUN_ID, "b"]}, "timestamp": {"_gte": NOON}}, "limit": 200}


def test_there_is_no_feed_of_events_and_nothing_is_asked_to_know_that() -> None:
    assert answered(graphql_batches.has_event_feed()) is False
