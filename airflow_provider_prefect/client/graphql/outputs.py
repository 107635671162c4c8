"""What a flow run leaves behind, in the GraphQL API of Prefect 1: logs, task runs and stored results."""

from __future__ import annotations

import json
import logging
import os.path
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.graphql import records
from airflow_provider_prefect.client.graphql.query import GraphqlQueries, count
from airflow_provider_prefect.client.model import ALL, LogRecord, Selected, State, TaskRun
from airflow_provider_prefect.client.paging import Pages
from airflow_provider_prefect.client.results.formats import Literal, Record

_PAGE_SIZE = 200
"""Rows."""

_LOGS = """
query logs($where: log_bool_exp!, $order: order_by!, $limit: Int, $offset: Int) {
  log(where: $where, order_by: [{timestamp: $order}, {id: $order}], limit: $limit, offset: $offset) {
    id timestamp level message name task_run_id
  }
}
"""
_LOGS_OF_MANY = """
query logs_of($where: log_bool_exp!, $limit: Int) {
  log(where: $where, order_by: [{timestamp: asc}, {id: asc}], limit: $limit) {
    id flow_run_id timestamp level message name task_run_id
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


class OutputQueries(GraphqlQueries):
    """Read logs, task runs and where their results are stored."""

    late_log_seconds = 6
    """Prefect 1's processes send their log lines every five seconds (prefect 1.4.1)."""

    async def read_logs(self, flow_run_id: str, *, level: int = 0, limit: int | None = None) -> list[LogRecord]:
        """Return the log lines of the flow run and its task runs of this level and above, the oldest first."""
        where: dict[str, Any] = {"flow_run_id": {"_eq": flow_run_id}}
        if level > 0:
            names = [name for name, number in logging.getLevelNamesMapping().items() if number >= level]
            where["level"] = {"_in": names}
        lines: list[LogRecord] = []
        pages = Pages("GraphQL query logs")
        while limit is None or len(lines) < limit:
            page = await self._logs(where, "asc", _PAGE_SIZE, pages.rows)
            pages.add(page)
            lines += page
            if len(page) < _PAGE_SIZE:
                break
        return lines[:limit]

    async def read_log_page(self, flow_run_id: str, *, after: datetime | None, offset: int) -> list[LogRecord]:
        """Return one page of the log lines after a time, the oldest first."""
        where: dict[str, Any] = {"flow_run_id": {"_eq": flow_run_id}}
        if after is not None:
            where["timestamp"] = {"_gt": after.isoformat()}
        return await self._logs(where, "asc", _PAGE_SIZE, offset)

    async def read_logs_of(self, ids: Sequence[str], *, after: datetime, limit: int) -> list[LogRecord]:
        """Return one page of the log lines of these flow runs from a time on, the oldest first."""
        where = {"flow_run_id": {"_in": list(ids)}, "timestamp": {"_gte": after.isoformat()}}
        return await self.query(_LOGS_OF_MANY, _lines, where=where, limit=limit)

    async def read_last_logs(self, flow_run_id: str, number: int) -> list[LogRecord]:
        """Return the last log lines of the flow run and its task runs, the oldest of them first."""
        return (await self._logs({"flow_run_id": {"_eq": flow_run_id}}, "desc", number, 0))[::-1]

    async def _logs(self, where: Mapping[str, Any], order: str, limit: int, offset: int) -> list[LogRecord]:
        return await self.query(_LOGS, _lines, where=where, order=order, limit=limit, offset=offset)

    async def count_logs(self, flow_run_id: str) -> int:
        """Return how many log lines there are."""
        where = {"flow_run_id": {"_eq": flow_run_id}}
        return await self.query(_COUNT, lambda data: count(data, "log_aggregate"), where=where)

    async def read_task_runs(
        self, flow_run_id: str, *, ids: Sequence[str] = (), state_types: Sequence[str] = (), limit: int | None = None
    ) -> list[TaskRun]:
        """Return the task runs of the flow run; only those of ``ids`` or in ``state_types``, if given."""
        where: dict[str, Any] = {"flow_run_id": {"_eq": flow_run_id}}
        if ids:
            where["id"] = {"_in": list(ids)}
        if state_types:
            where["state"] = {"_in": records.names(state_types)}
        return await self.query(_TASK_RUNS, _task_runs, where=where, limit=limit)

    async def select_task_runs(self, flow_run_id: str, task_name: str, map_index: int) -> Selected:
        """Return the task run of this slug and map index; of a mapped task all children, in the order of the mapping.

        :raises ResultError: there is none; the message lists the slugs that there are.
        """
        of_task = {"task": {"slug": {"_eq": task_name}}, "flow_run_id": {"_eq": flow_run_id}}
        found = await self._task_run_results({**of_task, "map_index": {"_eq": map_index}})
        if not found:
            task_runs = await self.read_task_runs(flow_run_id)
            names = ", ".join(sorted({repr(task_run.name) for task_run in task_runs})[:10]) or "none at all"
            child = f"[{map_index}]" if map_index != ALL else ""
            raise ResultError(f"Flow run {flow_run_id} has no task run {task_name + child!r}. It has: {names}.")
        if map_index != ALL or found[0].state.name != "Mapped":
            return Selected((found[0],), many=False)
        children = await self._task_run_results({**of_task, "map_index": {"_neq": ALL}})
        if not children:
            raise ResultError(
                f"Task {task_name!r} was mapped, but flow run {flow_run_id} has no task runs of its children."
            )
        return Selected(tuple(children), many=True)

    async def _task_run_results(self, where: Mapping[str, Any]) -> list[TaskRun]:
        return await self.query(_RESULTS, _task_runs, where=where)

    def find_result(self, state: State, described_as: str) -> Literal | Record:
        """Return where the result is that a run has ended with; Prefect 1 does not say which serializer wrote it.

        :raises ResultError: none was kept, or in a way that is not supported.
        """
        result = state.data if isinstance(state.data, Mapping) else {}
        texts = {name: value for name, value in result.items() if isinstance(value, str)}
        kind, location = texts.get("type", ""), texts.get("location")
        if not location:
            raise ResultError(
                f"{described_as} has left no result: it either returned None or has no Result to keep it in, which "
                f"Prefect does not tell apart. {_WAY_OUT}."
            )
        if kind == "PrefectResult":
            try:
                return Literal(json.loads(location))
            except (ValueError, RecursionError):
                raise ResultError(f"{described_as} has a PrefectResult that is not JSON. {_WAY_OUT}.") from None
        if kind == "LocalResult":
            path = os.path.join(texts.get("dir", ""), location)  # noqa: PTH118 - of another machine
            return Record(path, None, {"type": "prefect-1"})
        scheme, bucket = _STORED.get(kind, ("", ""))
        if texts.get(bucket):
            # The location is the object's key as it stands: one that begins with a slash is another object's.
            return Record(f"{scheme}://{texts[bucket]}/{location}", None, {"type": "prefect-1"})
        shown = printable.line(kind or "Result")
        raise ResultError(f"{described_as} has its result in a {shown}, which is not supported. {_WAY_OUT}.")


def _lines(data: Fields) -> list[LogRecord]:
    return data.rows("log", records.log_record)


def _task_runs(data: Fields) -> list[TaskRun]:
    return data.rows("task_run", records.task_run)
