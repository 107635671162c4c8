"""The trigger: waits for a flow run in the triggerer, without a worker slot."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_prefect import outcome
from airflow_provider_prefect.client.address import flow_run_url
from airflow_provider_prefect.client.api import api_of
from airflow_provider_prefect.client.call import arun
from airflow_provider_prefect.client.errors import PrefectError
from airflow_provider_prefect.client.newest import NewestRun
from airflow_provider_prefect.client.retry import Patience, retried
from airflow_provider_prefect.client.waiting import Deadlines, wait
from airflow_provider_prefect.hooks.prefect import MAX_UNREACHABLE, PrefectHook
from airflow_provider_prefect.off_loop import OffLoop
from airflow_provider_prefect.stopping import state_in
from airflow_provider_prefect.streaming import TaskLog

if TYPE_CHECKING:
    from airflow_provider_prefect.client.http import RenewableHttp

_RESTARTED = 60.0
"""Seconds after the task has deferred, from which on a trigger that starts is taken for one that starts again."""

_STOP_PATIENCE = 60.0
"""Seconds for which a flow run is asked to stop when the API does not answer usefully."""

_stopping: set[asyncio.Task[None]] = set()
"""What is still at work after its trigger has gone; the event loop alone would not keep it."""


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
    :param cancel_on_kill: ask the flow run to stop when a user stops the task while it is deferred (Airflow 3.3).
    :param wait_id: comes back in the event, so that the task can tell it from that of another wait.
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
        cancel_on_kill: bool = False,
        wait_id: str = "",
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
        self.cancel_on_kill = cancel_on_kill
        self.wait_id = wait_id

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
            "cancel_on_kill": self.cancel_on_kill,
            "wait_id": self.wait_id,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send one event, which tells how the flow run or the wait for it ended; see :mod:`..outcome`."""
        lines = OffLoop(self.log)
        if self.stream_logs and self.not_before and time.time() > self.not_before + _RESTARTED:
            lines.info("This triggerer has taken over the wait: log lines that another has shown are shown again.")
        try:
            event = await self._wait(TaskLog(lines, states=self.stream_states, logs=self.stream_logs))
        except PrefectError as error:
            event = outcome.gave_up(self.flow_run_id or "", error)
        except Exception as error:
            await lines.written()
            self.log.exception("Waiting for flow run %s failed.", self.flow_run_id)
            # An event is kept in clear, and what the text of an unforeseen error holds nobody knows.
            unforeseen = PrefectError(f"The trigger failed with {type(error).__name__}; its log says where.")
            event = outcome.gave_up(self.flow_run_id or "", unforeseen)
        await lines.written()
        if getattr(self, "task_instance", None) is not None:
            await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent({**event, "wait_id": self.wait_id})  # type: ignore[no-untyped-call]

    async def _wait(self, log: TaskLog) -> dict[str, Any]:
        await asyncio.to_thread(_import_http)
        from airflow_provider_prefect.client.watching import Watching

        deadlines = Deadlines(
            finished=math.inf if self.deadline is None else self.deadline,
            started=math.inf if self.start_deadline is None else self.start_deadline,
        )
        async with self._http() as http:
            if self.flow_run_id is None:
                newest = NewestRun.from_kwarg(self.newest_of or {})
                patience = Patience(self.max_unreachable, waiting=True)
                call = newest.wait(self.poll_interval, deadlines.finished, patience, log.on_none_yet)
                self.flow_run_id = (await arun(call, http.perform)).id
            with Watching(http, self.flow_run_id, self.poll_interval, self.max_unreachable) as watching:
                run = await arun(wait(watching.api, self.flow_run_id, deadlines, log), watching.perform)
            return outcome.ended(run, flow_run_url(http.settings.ui_url, run))

    def _http(self) -> RenewableHttp:
        from airflow_provider_prefect.client.http import RenewableHttp
        from airflow_provider_prefect.hooks.settings import kept_settings

        return RenewableHttp(lambda refused: kept_settings(self.prefect_conn_id, PrefectHook, refused))

    async def on_kill(self) -> None:
        """Ask the flow run to stop, if a user has stopped the task. Airflow 3.3 calls this, older ones do not.

        Airflow 3.3.2 cancels it after a second, so it goes on in a task of its own; and it calls it, too, when the
        trigger has only moved to another triggerer (apache/airflow#73454), so it asks first.
        """
        if self.cancel_on_kill and self.flow_run_id is not None:
            stopping = asyncio.create_task(self._stop(self.flow_run_id))
            _stopping.add(stopping)
            stopping.add_done_callback(_stopping.discard)
            await asyncio.shield(stopping)

    async def _stop(self, flow_run_id: str) -> None:
        try:
            if await still_waits(self.task_instance, flow_run_id):
                self.log.info("Flow run %s is waited for elsewhere now, and goes on.", flow_run_id)
                return
            async with self._http() as http:
                call = retried(api_of(http.settings).cancel_flow_run(flow_run_id), Patience(_STOP_PATIENCE))
                state = await arun(call, http.perform)
            self.log.info("Flow run %s was asked to stop, and is in state %s", flow_run_id, state)
        except Exception as error:
            self.log.warning("Flow run %s could not be asked to stop: %s", flow_run_id, error)


def _import_http() -> None:
    """Import what speaks HTTP. The first time it takes a fifth of a second, in which the event loop would stand."""
    import airflow_provider_prefect.client.watching
    import airflow_provider_prefect.hooks.settings  # noqa: F401


async def still_waits(ti: Any, flow_run_id: str) -> bool:
    """Whether the task instance is deferred, and waits for this very flow run.

    After a clear it may be deferred again already, on another flow run.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetTaskStates, GetXCom

    supervisor: Any = task_runner.SUPERVISOR_COMMS
    of_ti = {"dag_id": ti.dag_id, "map_index": ti.map_index}
    answer = await supervisor.asend(GetTaskStates(**of_ti, task_ids=[ti.task_id], run_ids=[ti.run_id]))
    if state_in(answer.task_states, ti) != "deferred":
        return False
    xcom = await supervisor.asend(GetXCom(**of_ti, key="flow_run_id", run_id=ti.run_id, task_id=ti.task_id))
    return bool(xcom.value == flow_run_id)
