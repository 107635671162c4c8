"""Follow what a flow run logs, each line once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.errors import PrefectError
from airflow_provider_prefect.client.model import LogRecord
from airflow_provider_prefect.client.paging import Pages

log = logging.getLogger(__name__)

MAX_LINES = 10_000
"""How many lines of one flow run are shown; the rest is counted."""

OVERLAP = timedelta(seconds=10)
"""Flows and tasks send their lines in batches, so a line may arrive up to so much later than newer ones."""

_LATE_INTERVAL = 1.0
"""Seconds between two reads of late lines after the end."""

_MAX_LATE_READS = 6
"""How often late lines are read, for as long as some arrive."""

ShowLine = Callable[[LogRecord, str | None], None]
"""Shows a line; the second argument is the name of the task run that logged it."""


class LogSource(Protocol):
    """Give a follower the log lines of its flow run."""

    flow_run_id: str

    @property
    def api(self) -> Api:
        """Return the API, for everything but new lines."""

    async def read_log_page(self, after: datetime | None, offset: int) -> list[LogRecord]:
        """Return one page of the log lines after a time, the oldest first."""

    async def sleep(self, seconds: float) -> None:
        """Pause."""


class LogFollower:
    """Read the new lines of a flow run's log whenever it is asked to.

    :param source: where the lines come from.
    :param show: called with each line, once and in the order of their times as far as they have arrived.
    :param limit: how many lines are shown.
    """

    def __init__(self, source: LogSource, show: ShowLine, limit: int = MAX_LINES) -> None:
        self._source = source
        self._show = show
        self._limit = limit
        self._shown = 0
        self._longest_page = 1
        self._last: datetime | None = None
        self._seen: dict[str, datetime] = {}
        self._task_names: dict[str, str] = {}
        self._in_trouble = False

    async def read_new(self) -> int:
        """Show the lines that have arrived since; return how many. A failure is logged once; the next call retries."""
        before = self._shown
        try:
            await self._read()
            self._in_trouble = False
        except PrefectError as error:
            if not self._in_trouble:
                log.warning(
                    "The flow run's log lines cannot be read at present (%s). Its id is %s.",
                    error,
                    self._source.flow_run_id,
                )
            self._in_trouble = True
        return self._shown - before

    async def read_last(self) -> int | None:
        """Show the late lines of a run that has ended.

        :return: how many more lines than shown there are; ``None`` if there are more, but it is not known how many.
        """
        api = self._source.api
        await self.read_new()
        for read in range(max(_MAX_LATE_READS, api.late_log_seconds)):
            await self._source.sleep(_LATE_INTERVAL)
            if not await self.read_new() and read + 1 >= api.late_log_seconds:
                break
        if self._shown < self._limit:
            return 0
        try:
            return await api.count_logs(self._source.flow_run_id) - self._shown
        except PrefectError:
            return None

    async def _read(self) -> None:
        after = self._last - OVERLAP if self._last else None
        pages = Pages("The log of the flow run")
        while self._shown < self._limit:
            page = await self._source.read_log_page(after, pages.rows)
            pages.add(page)
            await self._name_tasks(page)
            for record in page:
                if record.id not in self._seen and self._shown < self._limit:
                    self._show_one(record)
            # Shorter than an earlier page: the last one. How long a page may be is up to the server.
            if len(page) < self._longest_page:
                break
            self._longest_page = len(page)
        if self._last:
            oldest = self._last - 2 * OVERLAP
            self._seen = {key: when for key, when in self._seen.items() if when >= oldest}

    async def _name_tasks(self, page: list[LogRecord]) -> None:
        ids = {
            record.task_run_id
            for record in page
            if record.task_run_id and record.task_run_id not in self._task_names and record.id not in self._seen
        }
        if ids:
            task_runs = await self._source.api.read_task_runs(self._source.flow_run_id, ids=sorted(ids))
            self._task_names |= {task_run.id: task_run.name for task_run in task_runs}

    def _show_one(self, record: LogRecord) -> None:
        self._seen[record.id] = record.timestamp
        self._last = max(self._last or record.timestamp, record.timestamp)
        self._shown += 1
        name = None
        if record.task_run_id:
            # On Prefect 3 a task run becomes known later than its first lines.
            name = self._task_names.get(record.task_run_id) or f"task run {record.task_run_id}"
        self._show(record, name)
