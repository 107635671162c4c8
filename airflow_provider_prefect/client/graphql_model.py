"""What Prefect 1 knows, as the values of :mod:`.model`: its states as the types that Prefect 2 and 3 have. Pure.

The correspondence is that of Prefect's own guide for coming from 1 to 3; names stay those of Prefect 1.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_prefect.client.model import FlowRun, LogRecord, State, TaskRun

_TYPES = {
    "Pending": "PENDING",
    "Submitted": "PENDING",
    "ClientFailed": "PENDING",
    "Scheduled": "SCHEDULED",
    "Queued": "SCHEDULED",
    "Resume": "SCHEDULED",
    "Retrying": "SCHEDULED",
    "Paused": "PAUSED",
    "Running": "RUNNING",
    "Cancelling": "CANCELLING",
    "Success": "COMPLETED",
    "Cached": "COMPLETED",
    "Mapped": "COMPLETED",
    "Skipped": "COMPLETED",
    "Cancelled": "CANCELLED",
}
_FAILED = ("Failed", "TriggerFailed", "ValidationFailed", "TimedOut", "Looped", "Finished")
_TYPES |= dict.fromkeys(_FAILED, "FAILED")

_NO_STATE = State(id="", type="PENDING", name="Pending", message="Its state is not yet available.")


def names(state_types: Collection[str]) -> list[str]:
    """Prefect 1's names of the states of these types."""
    return [name for name, state_type in _TYPES.items() if state_type in state_types]


def state(record: Mapping[str, Any], data: Any = None) -> State:
    """The state of a flow run or task run, from the columns that hold it."""
    name = record.get("state")
    if not name:
        return _NO_STATE
    changed = record.get("state_timestamp")
    return State(
        # Prefect 1 counts a run's states, and gives them no other name that a run tells.
        id=f"{record.get('version')} {name} {changed}",
        # One of a flow's own: only whether it is the last one is known.
        type=_TYPES.get(name, "FAILED" if record.get("end_time") else "RUNNING"),
        name=name,
        message=record.get("state_message"),
        timestamp=time(changed),
        data=data,
    )


def flow_run(record: Mapping[str, Any]) -> FlowRun:
    return FlowRun(
        id=record["id"],
        name=record.get("name") or "",
        state=state(record),
        flow_id=record.get("flow_id"),
        deployment_id=(record.get("flow") or {}).get("flow_group_id"),
        tenant=(record.get("tenant") or {}).get("slug") or "default",
        parameters=record.get("parameters") or {},
        context=record.get("context") or {},
        idempotency_key=record.get("idempotency_key"),
        expected_start_time=time(record.get("scheduled_start_time")),
        start_time=time(record.get("start_time")),
        end_time=time(record.get("end_time")),
        auto_scheduled=bool(record.get("auto_scheduled")),
    )


def task_run(record: Mapping[str, Any]) -> TaskRun:
    slug = (record.get("task") or {}).get("slug") or record["id"]
    index = record.get("map_index", -1)
    result = record.get("serialized_state") or {}
    return TaskRun(
        id=record["id"],
        name=slug if index is None or index < 0 else f"{slug}[{index}]",
        flow_run_id=record.get("flow_run_id"),
        state=state(record, data=result.get("_result")),
        task_key=slug,
        dynamic_key=str(index),
    )


def log_record(record: Mapping[str, Any]) -> LogRecord:
    level = logging.getLevelNamesMapping().get(str(record.get("level") or "INFO").upper(), logging.INFO)
    return LogRecord(
        id=record["id"],
        level=level,
        message=record.get("message") or "",
        timestamp=time(record["timestamp"]) or datetime.now(UTC),
        name=record.get("name") or "",
        flow_run_id=record.get("flow_run_id"),
        task_run_id=record.get("task_run_id"),
    )


def time(value: str | None) -> datetime | None:
    """A time that Prefect 1 tells; one without a zone is in UTC."""
    if not value:
        return None
    found = datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
