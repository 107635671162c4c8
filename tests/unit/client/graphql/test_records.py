"""What a Prefect 1 server tells, as the values that everything else works with."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.graphql import records
from airflow_provider_prefect.client.model import FINAL, LIVE
from tests.unit.client.graphql.samples import GROUP_ID, NOON, TASK_RUN_ID, flow_run, line, task_run
from tests.unit.client.samples import FLOW_ID, RUN_ID

# The states of prefect 1.4.1, which says itself of each whether it has ended: engine/state.py.
STATES = {
    **dict.fromkeys(("Pending", "Submitted", "ClientFailed"), "PENDING"),
    **dict.fromkeys(("Scheduled", "Queued", "Resume", "Retrying"), "SCHEDULED"),
    "Paused": "PAUSED",
    "Running": "RUNNING",
    "Cancelling": "CANCELLING",
    **dict.fromkeys(("Success", "Cached", "Mapped", "Skipped"), "COMPLETED"),
    **dict.fromkeys(("Failed", "TriggerFailed", "ValidationFailed", "TimedOut", "Looped", "Finished"), "FAILED"),
    "Cancelled": "CANCELLED",
}
HAVE_ENDED = {
    *("Success", "Cached", "Mapped", "Skipped", "Failed", "TriggerFailed", "ValidationFailed", "TimedOut"),
    *("Cancelled", "Looped", "Finished"),
}


@pytest.mark.parametrize(("name", "state_type"), STATES.items())
def test_a_state_has_the_type_of_prefect_3_and_keeps_its_name(name: str, state_type: str) -> None:
    state = records.state({"state": name})
    assert (state.type, state.name) == (state_type, name)
    assert (state.type in FINAL) is (name in HAVE_ENDED)


def test_no_state_has_a_type_that_prefect_3_does_not_have() -> None:
    assert set(STATES.values()) <= {*FINAL, *LIVE, "CANCELLING"}


def test_the_names_of_a_type_are_all_states_of_it() -> None:
    for state_type in set(STATES.values()):
        assert set(records.names([state_type])) == {name for name, kind in STATES.items() if kind == state_type}
    assert set(records.names(["FAILED", "CANCELLED"])) == {
        name for name, kind in STATES.items() if kind in ("FAILED", "CANCELLED")
    }
    assert records.names(["CRASHED"]) == []


def test_a_flow_run_without_a_state_is_pending() -> None:
    assert records.flow_run(flow_run(None)).state.type == "PENDING"
    assert not records.flow_run(flow_run(None)).is_final


@pytest.mark.parametrize(("end", "state_type"), [(None, "RUNNING"), (NOON, "FAILED")])
def test_a_state_of_a_flows_own_has_ended_if_the_run_has_and_is_no_success_then(
    end: str | None, state_type: str
) -> None:
    run = records.flow_run(flow_run("Brewing", end_time=end))
    assert (run.state.type, run.state.name) == (state_type, "Brewing")


def test_two_states_of_the_same_name_are_told_apart() -> None:
    first = records.state({"state": "Cancelling", "version": 3, "state_timestamp": NOON})
    second = records.state({"state": "Cancelling", "version": 4, "state_timestamp": NOON})
    again = records.state({"state": "Cancelling", "version": 3, "state_timestamp": NOON})
    assert first.id != second.id
    assert first.id == again.id


def test_a_flow_run_has_all_that_is_used_of_it() -> None:
    run = records.flow_run(flow_run())
    assert (run.id, run.name, run.flow_id, run.tenant) == (RUN_ID, "calm-otter", FLOW_ID, "warehouse")
    assert (run.parameters, run.context) == ({"n": 3}, {"airflow": {"try_number": 1}})
    assert (run.idempotency_key, run.auto_scheduled, run.end_time) == ("key-1", False, None)
    assert run.expected_start_time == run.start_time == datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert run.state.message == "Running flow."
    assert run.state.timestamp == datetime(2026, 1, 2, 12, 0, 1, 500_000, tzinfo=UTC)


def test_what_the_versions_of_a_flow_have_in_common_is_the_flow_group() -> None:
    assert records.flow_run(flow_run()).deployment_id == GROUP_ID


def test_a_flow_run_that_is_only_polled_needs_no_more_than_id_and_state() -> None:
    run = records.flow_run({"id": RUN_ID, "state": "Success"})
    assert (run.name, run.is_final, run.parameters, run.context) == ("", True, {}, {})


@pytest.mark.parametrize("tenant", [None, {"slug": None}, {"slug": ""}])
def test_a_flow_run_without_a_tenant_is_shown_in_the_default_one(tenant: Any) -> None:
    assert records.flow_run(flow_run(tenant=tenant)).tenant == "default"


def test_nulls_are_empty() -> None:
    run = records.flow_run(flow_run(parameters=None, context=None, name=None, flow=None, auto_scheduled=None))
    assert (run.parameters, run.context, run.name, run.deployment_id, run.auto_scheduled) == ({}, {}, "", None, False)


# Task runs


@pytest.mark.parametrize(("index", "name"), [(-1, "load-1"), (None, "load-1"), (0, "load-1[0]"), (12, "load-1[12]")])
def test_a_task_run_is_named_by_slug_and_map_index(index: int | None, name: str) -> None:
    found = records.task_run(task_run(map_index=index))
    assert (found.id, found.name, found.task_key, found.flow_run_id) == (TASK_RUN_ID, name, "load-1", RUN_ID)


def test_a_task_run_has_its_result_as_its_states_data() -> None:
    result = {"type": "PrefectResult", "location": "3"}
    found = records.task_run(task_run(serialized_state={"type": "Success", "_result": result}))
    assert (found.state.type, found.state.data) == ("COMPLETED", result)


@pytest.mark.parametrize("serialized", [None, {}, {"type": "Success"}])
def test_a_task_run_may_have_no_result(serialized: Any) -> None:
    assert records.task_run(task_run(serialized_state=serialized)).state.data is None


def test_a_task_run_without_its_task_is_named_by_its_id() -> None:
    assert records.task_run(task_run(task=None)).name == TASK_RUN_ID


# Log lines and times


@pytest.mark.parametrize(
    ("level", "number"),
    [("DEBUG", 10), ("INFO", 20), ("WARNING", 30), ("ERROR", 40), ("CRITICAL", 50), ("error", 40), ("LOUD", 20)],
)
def test_a_line_has_the_number_of_its_level(level: str, number: int) -> None:
    assert records.log_record(line(level=level)).level == number


def test_a_line_has_all_that_is_shown_of_it() -> None:
    found = records.log_record(line(7, task_run_id=TASK_RUN_ID, flow_run_id=RUN_ID))
    assert (found.id, found.message, found.name) == ("line-7", "line 7", "prefect.CloudFlowRunner")
    assert (found.task_run_id, found.flow_run_id) == (TASK_RUN_ID, RUN_ID)
    assert found.timestamp == datetime(2026, 1, 2, 12, 0, 2, 250_000, tzinfo=UTC)


def test_a_line_without_level_message_and_name_is_an_empty_one() -> None:
    found = records.log_record(line(level=None, message=None, name=None))
    assert (found.level, found.message, found.name) == (logging.INFO, "", "")


@pytest.mark.parametrize("time", ["2026-01-02T12:00:00", "2026-01-02T13:00:00+01:00"])
def test_a_time_without_a_zone_is_in_utc(time: str) -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert records.flow_run(flow_run(start_time=time)).start_time == noon
    assert records.log_record(line(timestamp=time)).timestamp == noon
    assert records.flow_run(flow_run(start_time=None)).start_time is None
