"""The trigger: waits for a flow run in the triggerer, without a worker slot."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_prefect import outcome
from airflow_provider_prefect.client.address import flow_run_url
from airflow_provider_prefect.client.call import arun, handled
from airflow_provider_prefect.client.errors import PrefectError
from airflow_provider_prefect.client.newest import NewestRun
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.waiting import Deadlines, Looking, wait
from airflow_provider_prefect.hooks.prefect import MAX_UNREACHABLE, PrefectHook
from airflow_provider_prefect.streaming import TaskLog

_RESTARTED = 60.0
"""Seconds after the task has deferred, from which on a trigger that starts is taken for one that starts again."""


class PrefectFlowRunTrigger(BaseTrigger):
    """Waits until a flow run has ended, in whatever state, and shows what happens to it in the task's log.

    All arguments are kept in Airflow's database in clear, so they are ids and numbers only. Starting it again, in
    this triggerer or another, goes on with the same wait: its times are wall-clock times.

    :param flow_run_id: the flow run to wait for; ``None`` if it is still to be found.
    :param prefect_conn_id: the connection, of type ``prefect``.
    :param poll_interval: seconds between two looks at the flow run.
    :param deadline: epoch second at which the wait ends; ``None`` for never.
    :param start_deadline: epoch second at which it ends if the flow run has not started; ``None`` for never.
    :param max_unreachable: seconds for which an API that does not answer usefully is put up with.
    :param not_before: epoch second before which no event is sent. A task that deferred only seconds ago may be failed
        by Airflow 3 when it resumes (apache/airflow#71580, seen in 3.3.2). Ignored in ``dag.test()``.
    :param stream_states: show the flow run's state changes in the task's log.
    :param stream_logs: show the flow run's log lines there too.
    :param newest_of: what to find it by: ``deployment_id``, ``since`` (ISO 8601) and ``tags``.
    """

    def __init__(
        self,
        flow_run_id: str | None,
        prefect_conn_id: str,
        poll_interval: float = 10,
        deadline: float | None = None,
        start_deadline: float | None = None,
        max_unreachable: float = MAX_UNREACHABLE,
        not_before: float = 0,
        stream_states: bool = True,
        stream_logs: bool = False,
        newest_of: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flow_run_id = flow_run_id
        self.prefect_conn_id = prefect_conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.start_deadline = start_deadline
        self.max_unreachable = max_unreachable
        self.not_before = not_before
        self.stream_states = stream_states
        self.stream_logs = stream_logs
        self.newest_of = newest_of

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "flow_run_id": self.flow_run_id,
            "prefect_conn_id": self.prefect_conn_id,
            "poll_interval": self.poll_interval,
            "deadline": self.deadline,
            "start_deadline": self.start_deadline,
            "max_unreachable": self.max_unreachable,
            "not_before": self.not_before,
            "stream_states": self.stream_states,
            "stream_logs": self.stream_logs,
            "newest_of": self.newest_of,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send one event, which tells how the flow run or the wait for it ended; see :mod:`..outcome`."""
        try:
            event = await self._wait()
        except PrefectError as error:
            event = outcome.gave_up(self.flow_run_id or "", error)
        except Exception as error:
            self.log.exception("Waiting for flow run %s failed.", self.flow_run_id)
            event = outcome.gave_up(self.flow_run_id or "", error)
        if getattr(self, "task_instance", None) is not None:
            await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> dict[str, Any]:
        from airflow_provider_prefect.client.http import RenewableHttp
        from airflow_provider_prefect.hooks.settings import aread_settings

        deadlines = Deadlines(
            finished=math.inf if self.deadline is None else self.deadline,
            started=math.inf if self.start_deadline is None else self.start_deadline,
        )
        log = TaskLog(self.log, states=self.stream_states, logs=self.stream_logs)
        if self.stream_logs and self.not_before and time.time() > self.not_before + _RESTARTED:
            self.log.info("This triggerer has taken over the wait: log lines that another has shown are shown again.")
        patience = Patience(self.max_unreachable, waiting=True)
        looking = Looking(self.poll_interval, patience)
        async with RenewableHttp(lambda: aread_settings(self.prefect_conn_id, PrefectHook)) as http:
            if self.flow_run_id is None:
                newest = NewestRun.from_kwarg(self.newest_of or {})
                call = newest.wait(self.poll_interval, deadlines.finished, patience, log.on_none_yet)
                self.flow_run_id = (await arun(call, http.perform)).id
            run = await arun(handled(wait(self.flow_run_id, deadlines, log), looking), http.perform)
            return outcome.ended(run, flow_run_url(http.settings.ui_url, run))
