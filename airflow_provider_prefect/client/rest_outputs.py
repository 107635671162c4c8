"""What a flow run leaves behind, in the REST API of Prefect 2 and 3: logs, artifacts, task runs, results. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_prefect.client.call import Call, Request
from airflow_provider_prefect.client.errors import ApiError
from airflow_provider_prefect.client.model import FINAL, Artifact, LogRecord, TaskRun
from airflow_provider_prefect.client.pages import pages


@dataclass(frozen=True)
class Traces:
    """What a flow run has left in the events of Prefect 3, which are kept for some days.

    :param ended: whether there is an event of its end, so that those from before it can be expected to be there too.
    :param task_runs: how many task runs there are events of.
    """

    ended: bool
    task_runs: int


def read_logs(flow_run_id: str, *, level: int = 0, most: int | None = None) -> Call[list[LogRecord]]:
    """The log lines of the flow run and its task runs, the oldest first. They reach the server up to a second late."""
    criteria = {"flow_run_id": {"any_": [flow_run_id]}, "level": {"ge_": level}}
    records = yield from pages("/logs/filter", {"logs": criteria, "sort": "TIMESTAMP_ASC"}, most)
    return [LogRecord.from_json(record) for record in records]


def read_log_page(flow_run_id: str, *, after: datetime | None, offset: int) -> Call[list[LogRecord]]:
    """One page of the log lines after a time, the oldest first; as long as the server makes them, 200 as a rule."""
    criteria: dict[str, Any] = {"flow_run_id": {"any_": [flow_run_id]}}
    if after is not None:
        criteria["timestamp"] = {"after_": after.isoformat()}
    body = {"logs": criteria, "sort": "TIMESTAMP_ASC", "offset": offset}
    response = yield from Request("POST", "/logs/filter", body)
    return [LogRecord.from_json(record) for record in response.json()]


def read_last_logs(flow_run_id: str, number: int) -> Call[list[LogRecord]]:
    """The last log lines of the flow run and its task runs, the oldest of them first."""
    body = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "TIMESTAMP_DESC", "limit": number}
    response = yield from Request("POST", "/logs/filter", body)
    return [LogRecord.from_json(record) for record in reversed(response.json())]


def count_logs(flow_run_id: str) -> Call[int]:
    """How many log lines there are. Prefect does not count them, so the last one is searched for by halving."""
    low, high = 0, 1
    while (yield from _has_log(flow_run_id, high)):
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if (yield from _has_log(flow_run_id, middle)):
            low = middle + 1
        else:
            high = middle
    return low


def _has_log(flow_run_id: str, offset: int) -> Call[bool]:
    body = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "TIMESTAMP_ASC", "offset": offset, "limit": 1}
    response = yield from Request("POST", "/logs/filter", body)
    return bool(response.json())


def read_artifacts(flow_run_id: str, key: str) -> Call[list[Artifact]]:
    """The artifacts of this key that the flow run has left, the newest first."""
    criteria = {"flow_run_id": {"any_": [flow_run_id]}, "key": {"any_": [key]}}
    records = yield from pages("/artifacts/filter", {"artifacts": criteria, "sort": "UPDATED_DESC"}, None)
    return [Artifact.from_json(record) for record in records]


def read_task_runs(
    flow_run_id: str, *, ids: Sequence[str] = (), state_types: Sequence[str] = (), most: int | None = None
) -> Call[list[TaskRun]]:
    """The task runs of the flow run, by expected start time; those of ``ids`` or in ``state_types`` only, if given.

    On Prefect 3 they reach the server late: a few up to a second, of 200 at once the last ones after 8 s (3.8.8).
    """
    criteria = _task_runs(flow_run_id, ids, state_types)
    records = yield from pages("/task_runs/filter", {**criteria, "sort": "EXPECTED_START_TIME_ASC"}, most)
    return [TaskRun.from_json(record) for record in records]


def count_task_runs(flow_run_id: str, *, state_types: Sequence[str] = ()) -> Call[int]:
    """How many task runs the server knows of the flow run by now, or of those in ``state_types``."""
    response = yield from Request("POST", "/task_runs/count", _task_runs(flow_run_id, (), state_types))
    return int(response.json())


def read_traces(flow_run_id: str) -> Call[Traces | None]:
    """What the server's events tell of a flow run; ``None`` where it keeps none (Prefect 2) or does not show them."""
    run = f"prefect.flow-run.{flow_run_id}"
    labels = {"prefect.resource.id": run, "prefect.state-type": list(FINAL)}
    try:
        ends = yield from _count_events({"resource": {"labels": labels}})
        task_runs = yield from _count_events({"event": {"prefix": ["prefect.task-run."]}, "related": {"id": [run]}})
    except (ApiError, KeyError, TypeError):
        return None
    return Traces(ended=bool(ends), task_runs=len(task_runs))


def _count_events(criteria: Mapping[str, Any]) -> Call[set[str]]:
    """The resources that such events are about."""
    response = yield from Request("POST", "/events/count-by/resource", {"filter": criteria})
    return {record["value"] for record in response.json()}


def _task_runs(flow_run_id: str, ids: Sequence[str], state_types: Sequence[str]) -> dict[str, Any]:
    task_runs: dict[str, Any] = {}
    if ids:
        task_runs["id"] = {"any_": list(ids)}
    if state_types:
        task_runs["state"] = {"type": {"any_": list(state_types)}}
    return {"flow_runs": {"id": {"any_": [flow_run_id]}}, "task_runs": task_runs}


def read_storage_block(block_id: str) -> Call[str | None]:
    """Where the block keeps what is stored in it, as a path or an object storage URL; ``None`` if that is not known.

    Its credentials are neither asked for nor used: Airflow's own connections have those.
    """
    response = yield from Request("GET", f"/block_documents/{block_id}")
    data = response.json().get("data") or {}
    if data.get("basepath"):  # local and remote file systems
        return str(data["basepath"])
    for scheme, bucket, folder in (
        ("s3", "bucket_name", "bucket_folder"),
        ("gs", "bucket", "bucket_folder"),
        ("abfs", "container_name", "base_folder"),
    ):
        if data.get(bucket):
            return f"{scheme}://{data[bucket]}/{(data.get(folder) or '').strip('/')}".rstrip("/")
    return None
