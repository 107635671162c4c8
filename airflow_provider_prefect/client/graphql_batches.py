"""What a watcher asks of Prefect 1 about many flow runs at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from airflow_provider_prefect.client import graphql_model
from airflow_provider_prefect.client.call import Call
from airflow_provider_prefect.client.graphql_query import ask
from airflow_provider_prefect.client.model import FlowRun, LogRecord

_CHANGED = """
query changed($where: flow_run_bool_exp!, $limit: Int) {
  flow_run(where: $where, limit: $limit) {
    id name version state state_message state_timestamp start_time end_time scheduled_start_time tenant { slug }
  }
}
"""
_COUNT = "query existing($where: flow_run_bool_exp!) { flow_run_aggregate(where: $where) { aggregate { count } } }"
_LOGS = """
query logs_of($where: log_bool_exp!, $limit: Int) {
  log(where: $where, order_by: [{timestamp: asc}, {id: asc}], limit: $limit) {
    id flow_run_id timestamp level message name task_run_id
  }
}
"""


def read_changed(ids: Sequence[str], *, known: str | None, limit: int) -> Call[list[FlowRun]]:
    """One page of those of these flow runs whose state is not of the type ``known``."""
    where: dict[str, Any] = {"id": {"_in": list(ids)}}
    if known is not None:
        others: dict[str, Any] = {"state": {"_nin": graphql_model.names([known])}}
        # No state at all counts as Pending; to a database it is neither in a list nor not.
        where["_or"] = [others] if known == "PENDING" else [others, {"state": {"_is_null": True}}]
    data = yield from ask(_CHANGED, where=where, limit=limit)
    return [graphql_model.flow_run(record) for record in data["flow_run"]]


def count_existing(ids: Sequence[str]) -> Call[int]:
    """How many of these flow runs there are."""
    data = yield from ask(_COUNT, where={"id": {"_in": list(ids)}})
    return int(data["flow_run_aggregate"]["aggregate"]["count"])


def read_logs_of(ids: Sequence[str], *, after: datetime, limit: int) -> Call[list[LogRecord]]:
    """One page of the log lines of these flow runs from a time on, the oldest first."""
    where = {"flow_run_id": {"_in": list(ids)}, "timestamp": {"_gte": after.isoformat()}}
    data = yield from ask(_LOGS, where=where, limit=limit)
    return [graphql_model.log_record(record) for record in data["log"]]


def has_event_feed() -> Call[bool]:
    """Whether the server tells of events: Prefect 1 does not."""
    yield from ()
    return False
