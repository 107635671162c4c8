"""What a flow run leaves behind, in the REST API of Prefect 2 and 3: logs, artifacts, task runs and stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from airflow_provider_prefect.client import fields
from airflow_provider_prefect.client.errors import ApiError, NotFound
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.model import (
    FINAL,
    MATERIALIZED,
    RESOURCE_PREFIX,
    Artifact,
    FlowRun,
    LogRecord,
    Materialization,
    State,
    TaskRun,
)
from airflow_provider_prefect.client.paging import Pages
from airflow_provider_prefect.client.rest.base import RestEndpoints
from airflow_provider_prefect.client.results import formats
from airflow_provider_prefect.client.results.blocks import StorageBlock

_LOGS_FILTER = "/logs/filter"
_OLDEST_FIRST = "TIMESTAMP_ASC"
_EVENTS_PAGE = 50
"""The most events that a server returns at once."""

_FAR_AHEAD = datetime(9999, 1, 1, tzinfo=UTC)
"""Where events are asked for until now, those from clocks that are ahead of the server's would be left out."""


@dataclass(frozen=True)
class TaskRunEvents:
    """Count what a flow run has left in the events of Prefect 3, which keeps them for some days.

    :param ended: whether there is an event of its end, so that all earlier ones can be expected to be there too.
    :param task_runs: how many task runs there are events of.
    """

    ended: bool
    task_runs: int


class OutputEndpoints(RestEndpoints):
    """Read logs, artifacts and task runs."""

    late_log_seconds = 2
    """Log lines were seen to arrive up to 1.2 s after the end of their flow run (prefect 3.8.8)."""

    async def read_logs(self, flow_run_id: str, *, level: int = 0, limit: int | None = None) -> list[LogRecord]:
        """Return the log lines of the flow run and its task runs of this level and above, the oldest first."""
        criteria = {"flow_run_id": {"any_": [flow_run_id]}, "level": {"ge_": level}}
        body = {"logs": criteria, "sort": _OLDEST_FIRST}
        return await self.paginate(_LOGS_FILTER, body, limit, LogRecord.from_json)

    async def read_log_page(self, flow_run_id: str, *, after: datetime | None, offset: int) -> list[LogRecord]:
        """Return one page of the log lines after a time, the oldest first; the server limits it, mostly to 200."""
        criteria: dict[str, Any] = {"flow_run_id": {"any_": [flow_run_id]}}
        if after is not None:
            criteria["timestamp"] = {"after_": after.isoformat()}
        return await self._filter_logs(criteria, offset=offset)

    async def read_logs_of(self, ids: Sequence[str], *, after: datetime, limit: int) -> list[LogRecord]:
        """Return one page of the lines that these flow runs have logged after a time, the oldest first."""
        criteria = {"flow_run_id": {"any_": list(ids)}, "timestamp": {"after_": after.isoformat()}}
        return await self._filter_logs(criteria, limit=limit)

    async def read_last_logs(self, flow_run_id: str, number: int) -> list[LogRecord]:
        """Return the last log lines of the flow run and its task runs, the oldest of them first."""
        criteria = {"flow_run_id": {"any_": [flow_run_id]}}
        return (await self._filter_logs(criteria, sort="TIMESTAMP_DESC", limit=number))[::-1]

    async def count_logs(self, flow_run_id: str) -> int:
        """Return how many log lines there are. Prefect does not count them, so the last one is found by bisection.

        :raises MalformedAnswer: the list of lines does not end.
        """
        low, high = 0, 1
        pages = Pages(f"POST {_LOGS_FILTER}")
        while line := await self._log_at(flow_run_id, high):
            pages.add(line)
            low, high = high, high * 2
            pages.check(low)
        while low < high:
            middle = (low + high) // 2
            if await self._log_at(flow_run_id, middle):
                low = middle + 1
            else:
                high = middle
        return low

    async def _log_at(self, flow_run_id: str, offset: int) -> list[LogRecord]:
        return await self._filter_logs({"flow_run_id": {"any_": [flow_run_id]}}, offset=offset, limit=1)

    async def _filter_logs(
        self, criteria: Mapping[str, Any], *, sort: str = _OLDEST_FIRST, **paging: int
    ) -> list[LogRecord]:
        body = {"logs": criteria, "sort": sort, **paging}
        return await self.post_for_rows(_LOGS_FILTER, body, LogRecord.from_json)

    async def read_artifacts(self, flow_run_id: str, key: str) -> list[Artifact]:
        """Return the artifacts of this key that the flow run has left, the newest first."""
        criteria = {"flow_run_id": {"any_": [flow_run_id]}, "key": {"any_": [key]}}
        body = {"artifacts": criteria, "sort": "UPDATED_DESC"}
        return await self.paginate("/artifacts/filter", body, None, Artifact.from_json)

    async def read_task_runs(
        self, flow_run_id: str, *, ids: Sequence[str] = (), state_types: Sequence[str] = (), limit: int | None = None
    ) -> list[TaskRun]:
        """Return the task runs by expected start time; only those of ``ids`` or in ``state_types``, if given.

        On Prefect 3 they reach the server late: a few up to a second, of 200 at once the last ones after 8 s (3.8.8).
        """
        body = {**_task_runs(flow_run_id, ids, state_types), "sort": "EXPECTED_START_TIME_ASC"}
        return await self.paginate("/task_runs/filter", body, limit, TaskRun.from_json)

    async def count_task_runs(self, flow_run_id: str, *, state_types: Sequence[str] = ()) -> int:
        """Return how many task runs of the flow run the server knows by now, or of those in ``state_types``."""
        return await self.post("/task_runs/count", _task_runs(flow_run_id, (), state_types), fields.number)

    async def read_task_run_events(self, flow_run_id: str) -> TaskRunEvents | None:
        """Return what the server's events say; ``None`` where it keeps none (Prefect 2) or does not show them."""
        resource = f"prefect.flow-run.{flow_run_id}"
        labels = {"prefect.resource.id": resource, "prefect.state-type": list(FINAL)}
        task_runs = {"event": {"prefix": ["prefect.task-run."]}, "related": {"id": [resource]}}
        try:
            return TaskRunEvents(
                ended=bool(await self._resources_of_events({"resource": {"labels": labels}})),
                task_runs=len(await self._resources_of_events(task_runs)),
            )
        except ApiError:
            return None

    async def read_end_from_events(self, flow_run_id: str) -> FlowRun | None:
        """Return a flow run as its last event shows its end, also after the flow run was deleted.

        ``None`` if there is no such event, or no event log (Prefect 2). Events are stored up to 5 s late (3.8.8).
        """
        labels = {"prefect.resource.id": f"{RESOURCE_PREFIX}{flow_run_id}", "prefect.state-type": list(FINAL)}
        body = {"filter": {"resource": {"labels": labels}, "order": "DESC"}, "limit": 1}
        try:
            ends = await self.post("/events/filter", body, lambda parsed: Fields(parsed).rows("events", _ended_run))
        except NotFound:
            return None
        # Whatever the server makes of the filter, nothing else is an end of this flow run.
        return next((run for run in ends if run.id == flow_run_id and run.is_final), None)

    async def read_materializations(
        self, *, asset_key: str | None = None, flow_run_id: str | None = None, since: datetime | None = None
    ) -> list[Materialization]:
        """Return the successful materializations of an asset, or by a flow run, the oldest first.

        Events are stored up to 5 s late, and their times are of the clocks where flows run (3.8.8).

        :param since: only what has happened later; ``None`` for the last one.
        :raises NotFound: the server keeps no events (Prefect 2).
        """
        criteria: dict[str, Any] = {"event": {"name": [MATERIALIZED]}, "order": "DESC" if since is None else "ASC"}
        if asset_key is not None:
            criteria["resource"] = {"id": [asset_key]}
        if flow_run_id is not None:
            criteria["related"] = {"id": [f"{RESOURCE_PREFIX}{flow_run_id}"]}
        found: dict[str, Materialization] = {}
        while True:
            if since is not None:
                criteria["occurred"] = {"since": since.isoformat(), "until": _FAR_AHEAD.isoformat()}
            body = {"filter": criteria, "limit": _EVENTS_PAGE if since is not None else 1}
            page = await self.post(
                "/events/filter", body, lambda parsed: Fields(parsed).rows("events", Materialization.from_json)
            )
            new = [one for one in page if one.id not in found]
            found.update((one.id, one) for one in new)
            if since is None or len(page) < _EVENTS_PAGE or not new:
                return list(found.values())
            since = page[-1].occurred

    async def _resources_of_events(self, criteria: Mapping[str, Any]) -> set[str]:
        return set(await self.post_for_rows("/events/count-by/resource", {"filter": criteria}, _resource))

    def find_result(self, state: State, described_as: str) -> formats.Literal | formats.Record:
        """Return where the result is that a run has ended with.

        :raises ResultError: none was kept.
        """
        return formats.find_result(state, described_as)

    async def read_storage_block(self, block_id: str) -> StorageBlock | None:
        """Return where the block stores data; ``None`` if that is not known.

        Its credentials are neither asked for nor used: Airflow's own connections have those.
        """
        return await self.get(f"/block_documents/{quote(block_id, safe='')}", StorageBlock.from_json)


def _ended_run(record: Any) -> FlowRun:
    event = Fields(record)
    return FlowRun.from_event(event.mapping("resource"), event.optional_time("occurred"))


def _resource(record: Any) -> str:
    return Fields(record).text("value")


def _task_runs(flow_run_id: str, ids: Sequence[str], state_types: Sequence[str]) -> dict[str, Any]:
    task_runs: dict[str, Any] = {}
    if ids:
        task_runs["id"] = {"any_": list(ids)}
    if state_types:
        task_runs["state"] = {"type": {"any_": list(state_types)}}
    return {"flow_runs": {"id": {"any_": [flow_run_id]}}, "task_runs": task_runs}
