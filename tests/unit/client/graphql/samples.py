"""Records and answers as a Prefect 1 server sends them, with the fields that are asked for."""

from __future__ import annotations

from typing import Any

from airflow_provider_prefect.client.transport import Response
from tests.unit.client.driving import answer
from tests.unit.client.samples import FLOW_ID, RUN_ID

GROUP_ID = "c1f1c1a0-9a5b-4c6f-8a55-3f0f0c9d1b77"
TASK_RUN_ID = "d7b9e0d2-6f3c-4b9e-a2c4-6a1d2b3c4d5e"
NOON = "2026-01-02T12:00:00+00:00"


def data(**fields: Any) -> Response:
    """An answer with these fields as its data."""
    return answer({"data": fields})


def errors(*found: Any, status: int = 200, **fields: Any) -> Response:
    """An answer that tells of errors; ``fields`` are what there is of its data."""
    told = [{"message": error, "extensions": {"code": "x"}} if isinstance(error, str) else error for error in found]
    return answer({"errors": told, "data": fields or None}, status)


def flow_run(state: str | None = "Running", **changes: Any) -> dict[str, Any]:
    return {
        "id": RUN_ID,
        "name": "calm-otter",
        "version": 3,
        "state": state,
        "state_message": "Running flow.",
        "state_timestamp": "2026-01-02T12:00:01.5+00:00",
        "start_time": NOON,
        "end_time": None,
        "scheduled_start_time": NOON,
        "auto_scheduled": False,
        "flow_id": FLOW_ID,
        "parameters": {"n": 3},
        "context": {"airflow": {"try_number": 1}},
        "idempotency_key": "key-1",
        "flow": {"flow_group_id": GROUP_ID},
        "tenant": {"slug": "warehouse"},
        **changes,
    }


def flow(name: str = "etl", **changes: Any) -> dict[str, Any]:
    return {
        "id": FLOW_ID,
        "name": name,
        "version": 2,
        "archived": False,
        "flow_group_id": GROUP_ID,
        "run_config": {"type": "LocalRun", "labels": ["of-flow"]},
        "environment": None,
        "project": {"name": "main"},
        "flow_group": {"labels": None, "run_config": None},
        **changes,
    }


def task_run(state: str | None = "Success", **changes: Any) -> dict[str, Any]:
    return {
        "id": TASK_RUN_ID,
        "flow_run_id": RUN_ID,
        "map_index": -1,
        "version": 2,
        "state": state,
        "state_message": "Task run succeeded.",
        "state_timestamp": NOON,
        "task": {"slug": "load-1"},
        **changes,
    }


def line(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"line-{number}",
        "timestamp": "2026-01-02T12:00:02.25+00:00",
        "level": "INFO",
        "message": f"line {number}",
        "name": "prefect.CloudFlowRunner",
        "task_run_id": None,
        **changes,
    }
