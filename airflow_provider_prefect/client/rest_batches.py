"""What the watcher of many flow runs asks the REST API of Prefect 2 and 3, about many at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from airflow_provider_prefect.client.call import Call, Request
from airflow_provider_prefect.client.errors import NotFound
from airflow_provider_prefect.client.model import FINAL, LIVE, FlowRun, LogRecord


def read_changed(ids: Sequence[str], *, known: str | None, limit: int) -> Call[list[FlowRun]]:
    """One page of those of ``ids`` whose state is of another type than ``known``; two bytes if there is none."""
    criteria: dict[str, Any] = {"id": {"any_": list(ids)}}
    if known is not None:
        # Prefect 2 has no not_any_ for states, and 3.8.8 drops the criterion if it is there beside any_.
        criteria["state"] = {"type": {"any_": [one for one in (*LIVE, "CANCELLING", *FINAL) if one != known]}}
    response = yield from Request("POST", "/flow_runs/filter", {"flow_runs": criteria, "limit": limit})
    # What may be large and no wait needs is not kept for each of thousands.
    return [FlowRun.from_json({**record, "parameters": None, "context": None}) for record in response.json()]


def count_existing(ids: Sequence[str]) -> Call[int]:
    """How many of ``ids`` there are."""
    response = yield from Request("POST", "/flow_runs/count", {"flow_runs": {"id": {"any_": list(ids)}}})
    return int(response.json())


def read_logs_of(ids: Sequence[str], *, after: datetime, limit: int) -> Call[list[LogRecord]]:
    """One page of the lines that the flow runs of ``ids`` have logged after a time, the oldest first."""
    criteria = {"flow_run_id": {"any_": list(ids)}, "timestamp": {"after_": after.isoformat()}}
    body = {"logs": criteria, "sort": "TIMESTAMP_ASC", "limit": limit}
    response = yield from Request("POST", "/logs/filter", body)
    return [LogRecord.from_json(record) for record in response.json()]


def has_event_feed() -> Call[bool]:
    """Whether the server may be asked for its events: Prefect 2's does not notice who has gone away."""
    try:
        version = yield from Request("GET", "/admin/version")
    except NotFound:  # Prefect Cloud, or a server that will be asked and says no
        return True
    return not str(version.json()).startswith(("0.", "1.", "2."))
