from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.model import FINAL
from airflow_provider_prefect.client.transport import Response, run
from tests.unit.client.driving import Script, answer
from tests.unit.client.rest.asking import answered, rest
from tests.unit.client.samples import RUN_ID, state_json


def log_json(number: int, timestamp: str = "2026-01-02T03:04:05Z") -> dict[str, Any]:
    return {"id": f"l{number}", "level": 20, "message": f"line {number}", "timestamp": timestamp, "name": "flow"}


def test_log_lines_are_read_page_by_page_the_oldest_first() -> None:
    script = Script([answer([log_json(0), log_json(1)]), answer([log_json(2)]), answer([])])
    lines = run(rest(script).read_logs(RUN_ID, level=30))
    assert [line.id for line in lines] == ["l0", "l1", "l2"]
    body = script.requests[0].body
    assert script.sent[0] == "POST /logs/filter"
    assert body["logs"] == {"flow_run_id": {"any_": [RUN_ID]}, "level": {"ge_": 30}}
    assert (body["sort"], "limit" in body) == ("TIMESTAMP_ASC", False)


def test_log_lines_of_prefect_2_are_read() -> None:
    (line,) = answered(
        lambda api: api.read_logs(RUN_ID), answer([log_json(0, "2026-01-02T03:04:05.5+00:00")]), answer([])
    )
    assert line.timestamp == datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)


def test_lines_of_several_runs_come_in_the_order_of_their_times() -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    line = {"id": "l", "level": 20, "message": "m", "timestamp": when.isoformat(), "flow_run_id": "a"}
    script = Script([answer([line])])
    lines = run(rest(script).read_logs_of(["a", "b"], after=when, limit=200))
    assert [one.flow_run_id for one in lines] == ["a"]
    assert script.requests[0].body == {
        "logs": {"flow_run_id": {"any_": ["a", "b"]}, "timestamp": {"after_": "2026-01-02T00:00:00+00:00"}},
        "sort": "TIMESTAMP_ASC",
        "limit": 200,
    }


def test_artifacts_of_a_key_are_those_of_the_run_and_the_newest_comes_first() -> None:
    record = {"id": "a", "key": "table", "type": "table", "data": "[]", "flow_run_id": RUN_ID}
    script = Script([answer([record]), answer([])])
    (artifact,) = run(rest(script).read_artifacts(RUN_ID, "table"))
    assert artifact.key == "table"
    body = script.requests[0].body
    assert body["artifacts"] == {"flow_run_id": {"any_": [RUN_ID]}, "key": {"any_": ["table"]}}
    assert body["sort"] == "UPDATED_DESC"


def test_how_a_deleted_run_has_ended_is_in_the_last_event_of_its_end() -> None:
    resource = {"prefect.resource.id": f"prefect.flow-run.{RUN_ID}", "prefect.state-type": "COMPLETED"}
    script = Script([answer({"events": [{"occurred": "2026-01-02T03:04:05Z", "resource": resource}]})])
    ended = run(rest(script).read_end_from_events(RUN_ID))
    assert ended is not None
    assert (ended.id, ended.state.type) == (RUN_ID, "COMPLETED")
    assert ended.end_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert script.sent == ["POST /events/filter"]
    body = script.requests[0].body
    assert body["filter"]["resource"]["labels"]["prefect.resource.id"] == f"prefect.flow-run.{RUN_ID}"
    assert set(body["filter"]["resource"]["labels"]["prefect.state-type"]) == set(FINAL)
    assert (body["filter"]["order"], body["limit"]) == ("DESC", 1)


@pytest.mark.parametrize("reply", [answer({"events": []}), answer({"detail": "Not Found"}, 404)])
def test_without_such_an_event_or_without_events_it_is_not_known(reply: Response) -> None:
    assert answered(lambda api: api.read_end_from_events(RUN_ID), reply) is None


def test_task_runs_are_those_of_the_run_by_expected_start_time() -> None:
    record = {"id": "t", "name": "padd-0", "flow_run_id": RUN_ID, "state": state_json("COMPLETED")}
    script = Script([answer([record]), answer([])])
    (task_run,) = run(rest(script).read_task_runs(RUN_ID))
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
    ],
)
def test_a_storage_block_tells_where_and_is_not_asked_for_its_secrets(data: Any, base: str) -> None:
    script = Script([answer({"id": "b", "data": data})])
    block = run(rest(script).read_storage_block("b"))
    assert block is not None
    assert block.path_of("a/key") == f"{base}/a/key"
    assert script.sent == ["GET /block_documents/b"]
    assert not {"AKIA", "s3cret"} & set(repr(block).split("'"))


@pytest.mark.parametrize("data", [{"value": "x"}, None])
def test_a_storage_block_of_another_kind_tells_nothing(data: Any) -> None:
    assert answered(lambda api: api.read_storage_block("b"), answer({"id": "b", "data": data})) is None
