"""Following what a flow run logs, each line once. Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.call import Call, Sleep
from airflow_provider_prefect.client.errors import PrefectError
from airflow_provider_prefect.client.model import LogRecord
from airflow_provider_prefect.client.retry import Patience, retried

log = logging.getLogger(__name__)

MOST_LINES = 10_000
"""How many lines of one flow run are shown; the rest is counted."""

_OVERLAP = timedelta(seconds=10)
"""Flows and tasks send their lines in batches, so that a line may arrive after younger ones."""

_LATE = 1.0
"""Seconds between two looks for late lines after the end."""

_LAST_LOOKS = 6
"""How often late lines are looked for, for as long as some come."""

_PATIENCE = Patience(10)
"""Lines are not worth more waiting: whoever follows them waits for the flow run, not for its log."""

_TROUBLE = (PrefectError, AttributeError, KeyError, TypeError, ValueError)
"""What reading lines may meet; the last ones where something else than Prefect has answered with JSON."""

Show = Callable[[LogRecord, str | None], None]
"""Shows a line; the second argument is the name of the task run that logged it."""


class LogFollower:
    """Reads the new lines of a flow run's log whenever it is asked to.

    :param api: the API to ask.
    :param show: called with each line, once and in the order of their times as far as they have arrived.
    :param most: how many lines are shown.
    """

    def __init__(self, api: Api, flow_run_id: str, show: Show, most: int = MOST_LINES) -> None:
        self._api = api
        self.flow_run_id = flow_run_id
        self._show = show
        self._most = most
        self._shown = 0
        self._longest_page = 1
        self._last: datetime | None = None
        self._seen: dict[str, datetime] = {}
        self._task_names: dict[str, str] = {}
        self._in_trouble = False

    def read_new(self) -> Call[int]:
        """Show the lines that have arrived since; returns how many. Trouble is told once, and left to the next time."""
        before = self._shown
        try:
            yield from retried(self._read(), _PATIENCE)
            self._in_trouble = False
        except _TROUBLE as error:
            if not self._in_trouble:
                log.warning("The log lines of flow run %s cannot be read at present: %s", self.flow_run_id, error)
            self._in_trouble = True
        return self._shown - before

    def read_last(self) -> Call[int | None]:
        """Show the late lines of a run that has ended.

        :return: how many lines more than shown there are; ``None`` if there are more, but nobody knows how many.
        """
        yield from self.read_new()
        for look in range(max(_LAST_LOOKS, self._api.LOGS_LATE)):
            yield from Sleep(_LATE)
            if not (yield from self.read_new()) and look + 1 >= self._api.LOGS_LATE:
                break
        if self._shown < self._most:
            return 0
        try:
            return (yield from retried(self._api.count_logs(self.flow_run_id), _PATIENCE)) - self._shown
        except _TROUBLE:
            return None

    def _read(self) -> Call[None]:
        after = self._last - _OVERLAP if self._last else None
        offset = 0
        while self._shown < self._most:
            page = yield from self._api.read_log_page(self.flow_run_id, after=after, offset=offset)
            yield from self._name_tasks(page)
            for record in page:
                if record.id not in self._seen and self._shown < self._most:
                    self._show_one(record)
            offset += len(page)
            # Shorter than others have been: the last one. The server's limit is its own affair.
            if len(page) < self._longest_page:
                break
            self._longest_page = len(page)
        if self._last:
            oldest = self._last - 2 * _OVERLAP
            self._seen = {key: when for key, when in self._seen.items() if when >= oldest}

    def _name_tasks(self, page: list[LogRecord]) -> Call[None]:
        ids = {
            record.task_run_id
            for record in page
            if record.task_run_id and record.task_run_id not in self._task_names and record.id not in self._seen
        }
        if ids:
            task_runs = yield from self._api.read_task_runs(self.flow_run_id, ids=sorted(ids))
            self._task_names |= {task_run.id: task_run.name for task_run in task_runs}

    def _show_one(self, record: LogRecord) -> None:
        self._seen[record.id] = record.timestamp
        self._last = max(self._last or record.timestamp, record.timestamp)
        self._shown += 1
        name = None
        if record.task_run_id:
            # On Prefect 3 a task run is known later than its first lines.
            name = self._task_names.get(record.task_run_id) or f"task run {record.task_run_id}"
        self._show(record, name)
