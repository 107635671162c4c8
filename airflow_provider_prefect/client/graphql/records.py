"""Translate the records of Prefect 1 into the values of :mod:`..model`, its states to the types of Prefect 2 and 3.

The correspondence is that of Prefect's own guide for migrating from 1 to 3; names stay those of Prefect 1.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.model import ALL, FlowRun, LogRecord, State, TaskRun

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
    """Return Prefect 1's names of the states of these types."""
    return [name for name, state_type in _TYPES.items() if state_type in state_types]


def state(record: Any, data: Any = None) -> State:
    """Return the state of a flow run or task run, from the columns that hold it.

    :raises WrongShape: a field is of a wrong type.
    """
    fields = Fields(record)
    name = fields.optional_text("state")
    if not name:
        return _NO_STATE
    changed = fields.optional_time("state_timestamp")
    return State(
        # Prefect 1 numbers the states of a run; a run does not show their ids.
        id=f"{fields.optional_number('version')} {name} {fields.value('state_timestamp')}",
        # A state class of the flow's own: only whether it is the last one is known.
        type=_TYPES.get(name, "FAILED" if fields.optional_time("end_time") else "RUNNING"),
        name=printable.line(name),
        message=fields.optional_text("state_message"),
        timestamp=changed,
        data=data,
    )


def flow_run(record: Any) -> FlowRun:
    """Return the flow run that ``record`` describes.

    :raises WrongShape: a field is missing or of a wrong type.
    """
    fields = Fields(record)
    return FlowRun(
        id=fields.identifier("id"),
        name=printable.line(fields.optional_text("name") or ""),
        state=state(record),
        flow_id=fields.optional_identifier("flow_id"),
        deployment_id=fields.optional_part("flow", lambda flow: Fields(flow).optional_identifier("flow_group_id")),
        tenant=fields.optional_part("tenant", lambda tenant: Fields(tenant).optional_identifier("slug")) or "default",
        parameters=fields.mapping("parameters"),
        context=fields.mapping("context"),
        idempotency_key=fields.optional_text("idempotency_key"),
        expected_start_time=fields.optional_time("scheduled_start_time"),
        start_time=fields.optional_time("start_time"),
        end_time=fields.optional_time("end_time"),
        auto_scheduled=fields.flag("auto_scheduled"),
    )


def task_run(record: Any) -> TaskRun:
    """Return the task run that ``record`` describes.

    :raises WrongShape: a field is missing or of a wrong type.
    """
    fields = Fields(record)
    run_id = fields.identifier("id")
    slug = fields.optional_part("task", lambda task: Fields(task).optional_text("slug")) or run_id
    index = fields.optional_number("map_index")
    index = ALL if index is None else index
    result = fields.mapping("serialized_state")
    return TaskRun(
        id=run_id,
        name=printable.line(slug if index < 0 else f"{slug}[{index}]"),
        flow_run_id=fields.optional_identifier("flow_run_id"),
        state=state(record, data=result.get("_result")),
        task_key=slug,
        dynamic_key=str(index),
    )


def log_record(record: Any) -> LogRecord:
    """Return the log line that ``record`` describes.

    :raises WrongShape: a field is missing or of a wrong type.
    """
    fields = Fields(record)
    level = (fields.optional_text("level") or "INFO").upper()
    return LogRecord(
        id=fields.identifier("id"),
        level=logging.getLevelNamesMapping().get(level, logging.INFO),
        message=fields.optional_text("message") or "",
        timestamp=fields.time("timestamp"),
        name=fields.optional_text("name") or "",
        flow_run_id=fields.optional_identifier("flow_run_id"),
        task_run_id=fields.optional_identifier("task_run_id"),
    )
