"""What a flow run leaves behind, in the GraphQL API of Prefect 1: logs, task runs, results. Pure."""

from __future__ import annotations

import json
import logging
import os.path
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_prefect.client import graphql_model
from airflow_provider_prefect.client.call import Call
from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.graphql_query import ask
from airflow_provider_prefect.client.model import ALL, LogRecord, Selected, State, TaskRun
from airflow_provider_prefect.client.results import Literal, Record

_PAGE = 200

_LOGS = """
query logs($where: log_bool_exp!, $order: order_by!, $limit: Int, $offset: Int) {
  log(where: $where, order_by: [{timestamp: $order}, {id: $order}], limit: $limit, offset: $offset) {
    id timestamp level message name task_run_id
  }
}
"""
_COUNT = "query count($where: log_bool_exp!) { log_aggregate(where: $where) { aggregate { count } } }"
_TASK_RUNS = """
query task_runs($where: task_run_bool_exp!, $limit: Int) {
  task_run(where: $where, order_by: [{map_index: asc}, {start_time: asc_nulls_last}, {id: asc}], limit: $limit) {
    id flow_run_id map_index version state state_message state_timestamp task { slug }
  }
}
"""
_RESULTS = """
query results($where: task_run_bool_exp!) {
  task_run(where: $where, order_by: {map_index: asc}) {
    id flow_run_id map_index version state state_message state_timestamp serialized_state task { slug }
  }
}
"""

_STORED = {"S3Result": ("s3", "bucket"), "GCSResult": ("gs", "bucket"), "AzureResult": ("abfs", "container")}
_WAY_OUT = (
    "Let the task say where its result goes: @task(result=LocalResult(dir='…')), S3Result or the like, best with "
    "serializer=JSONSerializer()"
)


def read_logs(flow_run_id: str, *, level: int = 0, most: int | None = None) -> Call[list[LogRecord]]:
    """The log lines of the flow run and its task runs, the oldest first."""
    where: dict[str, Any] = {"flow_run_id": {"_eq": flow_run_id}}
    if level > 0:
        names = [name for name, number in logging.getLevelNamesMapping().items() if number >= level]
        where["level"] = {"_in": names}
    lines: list[LogRecord] = []
    while most is None or len(lines) < most:
        page = yield from _lines(where, "asc", _PAGE, len(lines))
        lines += page
        if len(page) < _PAGE:
            break
    return lines[:most]


def read_log_page(flow_run_id: str, *, after: datetime | None, offset: int) -> Call[list[LogRecord]]:
    """One page of the log lines after a time, the oldest first."""
    where: dict[str, Any] = {"flow_run_id": {"_eq": flow_run_id}}
    if after is not None:
        where["timestamp"] = {"_gt": after.isoformat()}
    return _lines(where, "asc", _PAGE, offset)


def read_last_logs(flow_run_id: str, number: int) -> Call[list[LogRecord]]:
    """The last log lines of the flow run and its task runs, the oldest of them first."""
    lines = yield from _lines({"flow_run_id": {"_eq": flow_run_id}}, "desc", number, 0)
    return lines[::-1]


def _lines(where: Mapping[str, Any], order: str, limit: int, offset: int) -> Call[list[LogRecord]]:
    data = yield from ask(_LOGS, where=where, order=order, limit=limit, offset=offset)
    return [graphql_model.log_record(record) for record in data["log"]]


def count_logs(flow_run_id: str) -> Call[int]:
    """How many log lines there are."""
    data = yield from ask(_COUNT, where={"flow_run_id": {"_eq": flow_run_id}})
    return int(data["log_aggregate"]["aggregate"]["count"])


def read_task_runs(
    flow_run_id: str, *, ids: Sequence[str] = (), state_types: Sequence[str] = (), most: int | None = None
) -> Call[list[TaskRun]]:
    """The task runs of the flow run; those of ``ids`` or in ``state_types`` only, if given."""
    where: dict[str, Any] = {"flow_run_id": {"_eq": flow_run_id}}
    if ids:
        where["id"] = {"_in": list(ids)}
    if state_types:
        where["state"] = {"_in": list(graphql_model.names(state_types))}
    data = yield from ask(_TASK_RUNS, where=where, limit=most)
    return [graphql_model.task_run(record) for record in data["task_run"]]


def select_task_runs(flow_run_id: str, task_name: str, map_index: int) -> Call[Selected]:
    """The task run of this slug and map index; of a mapped task all children, in the order of the mapping.

    :raises ResultError: there is none; the message lists the slugs that there are.
    """
    of_task = {"task": {"slug": {"_eq": task_name}}, "flow_run_id": {"_eq": flow_run_id}}
    found = yield from _results({**of_task, "map_index": {"_eq": map_index}})
    if not found:
        there = yield from read_task_runs(flow_run_id)
        names = ", ".join(sorted({repr(task_run.name) for task_run in there})[:10]) or "none at all"
        child = f"[{map_index}]" if map_index != ALL else ""
        raise ResultError(f"Flow run {flow_run_id} has no task run {task_name + child!r}. It has: {names}.")
    if map_index != ALL or found[0].state.name != "Mapped":
        return Selected((found[0],), many=False)
    children = yield from _results({**of_task, "map_index": {"_neq": ALL}})
    if not children:
        raise ResultError(
            f"Task {task_name!r} was mapped, but flow run {flow_run_id} has no task runs of its children."
        )
    return Selected(tuple(children), many=True)


def _results(where: Mapping[str, Any]) -> Call[list[TaskRun]]:
    data = yield from ask(_RESULTS, where=where)
    return [graphql_model.task_run(record) for record in data["task_run"]]


def located(state: State, whose: str) -> Literal | Record:
    """Where the result is that a run has ended with; which serializer wrote it, Prefect 1 does not tell.

    :raises ResultError: none was kept, or in a way that is not read.
    """
    result = state.data if isinstance(state.data, Mapping) else {}
    kind, location = result.get("type"), result.get("location")
    if not location:
        raise ResultError(
            f"{whose} has left no result: it either returned None or has no Result to keep it in, which Prefect does "
            f"not tell apart. {_WAY_OUT}."
        )
    if kind == "PrefectResult":
        try:
            return Literal(json.loads(str(location)))
        except ValueError:
            raise ResultError(f"{whose} has a PrefectResult that holds no JSON. {_WAY_OUT}.") from None
    if kind == "LocalResult":
        path = os.path.join(str(result.get("dir") or ""), str(location))  # noqa: PTH118 - of another machine, perhaps
        return Record(path, None, {"type": "prefect-1"})
    if kind in _STORED and result.get(_STORED[kind][1]):
        scheme, bucket = _STORED[kind]
        return Record(f"{scheme}://{result[bucket]}/{str(location).lstrip('/')}", None, {"type": "prefect-1"})
    raise ResultError(f"{whose} has its result in a {kind or 'Result'}, which is not read. {_WAY_OUT}.")
