"""Records as Prefect sends them: of a 3.8.8 and of a 2.20.26 server, shortened nowhere but in their values."""

from __future__ import annotations

from typing import Any

from airflow_provider_prefect.client.model import FlowRun

RUN_ID = "6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11"
DEPLOYMENT_ID = "b2c7d0c8-52f4-4c1e-9e43-7f7b7a3a7e21"
FLOW_ID = "0f5a1a52-5a34-4f0e-8f29-7c5f2a1f6d31"


def state_json(type_: str = "RUNNING", name: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"state-{type_}-{name or ''}",
        "type": type_,
        "name": name or type_.capitalize(),
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "message": None,
        "data": None,
        "state_details": {
            "flow_run_id": RUN_ID,
            "task_run_id": None,
            "child_flow_run_id": None,
            "scheduled_time": None,
            "cache_key": None,
            "pause_timeout": None,
            "deferred": False,
            "transition_id": None,
            "traceparent": None,
            "deployment_concurrency_lease_id": None,
        },
        **changes,
    }


def run_json(state: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A flow run of Prefect 3."""
    state = state or state_json()
    return {
        "id": RUN_ID,
        "created": "2026-01-02T03:04:00.000001Z",
        "updated": "2026-01-02T03:04:05.700000Z",
        "name": "calm-otter",
        "flow_id": FLOW_ID,
        "state_id": state["id"],
        "deployment_id": DEPLOYMENT_ID,
        "deployment_version": None,
        "work_queue_id": None,
        "work_queue_name": None,
        "flow_version": "abc",
        "parameters": {"n": 3},
        "idempotency_key": "key-1",
        "context": {"airflow": {"try_number": 1}},
        "empirical_policy": {"max_retries": 0, "retries": 0},
        "tags": ["b", "a"],
        "labels": {"prefect.flow.id": FLOW_ID},
        "parent_task_run_id": None,
        "state_type": state["type"],
        "state_name": state["name"],
        "run_count": 1,
        "expected_start_time": "2026-01-02T03:04:00Z",
        "next_scheduled_start_time": None,
        "start_time": "2026-01-02T03:04:04.5Z",
        "end_time": None,
        "total_run_time": 0.0,
        "estimated_run_time": 1.0,
        "estimated_start_time_delta": 4.5,
        "auto_scheduled": False,
        "infrastructure_document_id": None,
        "infrastructure_pid": None,
        "created_by": None,
        "work_pool_id": None,
        "work_pool_name": None,
        "state": state,
        "job_variables": {},
        **changes,
    }


def run_json_2(state: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A flow run of Prefect 2: other time stamps, no labels, and null where Prefect 3 has an empty object."""
    state = state or state_json(timestamp="2026-01-02T03:04:05.678901+00:00")
    record = run_json(state, expected_start_time="2026-01-02T03:04:00+00:00", job_variables=None, **changes)
    del record["labels"]
    return record


def deployment_json(name: str = "nightly", **changes: Any) -> dict[str, Any]:
    return {
        "id": DEPLOYMENT_ID,
        "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z",
        "name": name,
        "flow_id": FLOW_ID,
        "paused": False,
        "status": "READY",
        "parameters": {},
        "parameter_openapi_schema": {"type": "object", "properties": {}},
        "enforce_parameter_schema": True,
        "tags": [],
        "labels": {},
        "concurrency_limit": None,
        "global_concurrency_limit": None,
        "work_pool_name": "pool",
        "work_queue_name": "default",
        "last_polled": None,
        "job_variables": {},
        **changes,
    }


def seen(type_: str, name: str | None = None, **changes: Any) -> FlowRun:
    """The flow run in a state of this type, and of this name if given."""
    return FlowRun.from_json(run_json(state_json(type_, name, **changes)))
