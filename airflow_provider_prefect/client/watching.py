"""What a trigger waits through: its part in the watcher that it shares with the others of its process."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Any, cast

from airflow_provider_prefect.client.api import Api, api_of
from airflow_provider_prefect.client.call import Call, Effect, LogPage, Look, Renew, Request
from airflow_provider_prefect.client.errors import AuthenticationError
from airflow_provider_prefect.client.http import RenewableHttp
from airflow_provider_prefect.client.log_batches import FollowedLog
from airflow_provider_prefect.client.model import FlowRun, LogRecord
from airflow_provider_prefect.client.watched import Watched
from airflow_provider_prefect.client.watcher import Watcher, watcher_of


class Watching:
    """Performs the effects of one wait for a flow run. Used as a context manager, within that of ``http``.

    :param http: performs what is neither a look nor a matter of log lines.
    :param every: seconds between two looks.
    :param patience: seconds for which trouble with the API is waited out.
    """

    def __init__(self, http: RenewableHttp, flow_run_id: str, every: float, patience: float) -> None:
        self._http = http
        self._watched = Watched(flow_run_id, every, patience)
        self._log = FollowedLog(flow_run_id)
        self._watcher: Watcher | None = None
        self.api = cast("Api", _LogsFromWatcher(api_of(http.settings)))

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watcher is not None:
            self._watcher.leave(self._watched)
            self._watcher = None

    def perform(self, effect: Effect) -> Awaitable[object]:
        # No coroutine of its own: as many would be kept as there are waits.
        if isinstance(effect, Look):
            return self._look(effect)
        if isinstance(effect, LogPage):
            return self._joined().logs.page(self._log, effect)
        if isinstance(effect, Request) and effect.method == "GET":
            return self._joined().reads.get(effect)
        return self._http.perform(effect)

    async def _look(self, look: Look) -> FlowRun | None:
        while True:
            try:
                return await self._joined().look(self._watched, look)
            except AuthenticationError:
                await self._http.perform(Renew())

    def _joined(self) -> Watcher:
        """The watcher of the driver that there is at present; new settings have another."""
        watcher = watcher_of(self._http.driver)
        if watcher is not self._watcher:
            self.__exit__()
            watcher.join(self._watched)
            self._watcher = watcher
        return watcher


class _LogsFromWatcher:
    """An API whose pages of log lines come from whoever reads them for many."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def read_log_page(self, flow_run_id: str, *, after: datetime | None, offset: int) -> Call[list[LogRecord]]:
        return (yield from LogPage(flow_run_id, after, offset))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)
