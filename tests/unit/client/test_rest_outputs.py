from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client import rest_outputs
from tests.unit.client.driving import Script, answer, answered
from tests.unit.client.samples import RUN_ID, state_json


def log_json(number: int, timestamp: str = "2026-01-02T03:04:05Z") -> dict[str, Any]:
    return {"id": f"l{number}", "level": 20, "message": f"line {number}", "timestamp": timestamp, "name": "flow"}


def test_log_lines_are_read_page_by_page_the_oldest_first() -> None:
    script = Script([answer([log_json(0), log_json(1)]), answer([log_json(2)]), answer([])])
    lines = script.run(rest_outputs.read_logs(RUN_ID, level=30))
    assert [line.id for line in lines] == ["l0", "l1", "l2"]
    body = script.requests[0].body
    assert script.sent[0] == "POST /logs/filter"
    assert body["logs"] == {"flow_run_id": {"any_": [RUN_ID]}, "level": {"ge_": 30}}
    assert (body["sort"], "limit" in body) == ("TIMESTAMP_ASC", False)


def test_log_lines_of_prefect_2_are_read() -> None:
    (line,) = answered(rest_outputs.read_logs(RUN_ID), answer([log_json(0, "2026-01-02T03:04:05.5+00:00")]), answer([]))
    assert line.timestamp == datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)


def test_artifacts_of_a_key_are_those_of_the_run_and_the_newest_comes_first() -> None:
    record = {"id": "a", "key": "table", "type": "table", "data": "[]", "flow_run_id": RUN_ID}
    script = Script([answer([record]), answer([])])
    (artifact,) = script.run(rest_outputs.read_artifacts(RUN_ID, "table"))
    assert artifact.key == "table"
    body = script.requests[0].body
    assert body["artifacts"] == {"flow_run_id": {"any_": [RUN_ID]}, "key": {"any_": ["table"]}}
    assert body["sort"] == "UPDATED_DESC"


def test_task_runs_are_those_of_the_run_by_expected_start_time() -> None:
    record = {"id": "t", "name": "padd-0", "flow_run_id": RUN_ID, "state": state_json("COMPLETED")}
    script = Script([answer([record]), answer([])])
    (task_run,) = script.run(rest_outputs.read_task_runs(RUN_ID))
    assert (task_run.name, task_run.state.type) == ("padd-0", "COMPLETED")
    body = script.requests[0].body
    assert body["flow_runs"] == {"id": {"any_": [RUN_ID]}}
    assert body["sort"] == "EXPECTED_START_TIME_ASC"


@pytest.mark.parametrize(
    ("data", "base"),
    [
        ({"basepath": "/results"}, "/results"),
        ({"basepath": "s3://b/p", "settings": {"key": "AKIA", "secret": "s3cret"}}, "s3://b/p"),
        ({"bucket_name": "b", "bucket_folder": "results/", "credentials": {}}, "s3://b/results"),
        ({"bucket_name": "b", "bucket_folder": None}, "s3://b"),
        ({"value": "x"}, None),
        (None, None),
    ],
)
def test_a_storage_block_tells_where_and_is_not_asked_for_its_secrets(data: Any, base: str | None) -> None:
    script = Script([answer({"id": "b", "data": data})])
    assert script.run(rest_outputs.read_storage_block("b")) == base
    assert script.sent == ["GET /block_documents/b"]
