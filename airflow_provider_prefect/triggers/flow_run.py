"""The trigger: waits for a flow run in the triggerer, without a worker slot."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_prefect.client.api import make_api
from airflow_provider_prefect.client.errors import PrefectError, Unreachable, WaitTimeout
from airflow_provider_prefect.client.retry import Patience, backoff
from airflow_provider_prefect.client.urls import flow_run_url
from airflow_provider_prefect.client.wait.flow_run import Deadlines, wait_for_flow_run
from airflow_provider_prefect.client.wait.newest import NewestRun, wait_for_newest
from airflow_provider_prefect.hooks.connection import kept_settings
from airflow_provider_prefect.hooks.prefect import MAX_UNREACHABLE, PrefectHook
from airflow_provider_prefect.utils import events
from airflow_provider_prefect.utils.on_kill import state_of_task_instance
from airflow_provider_prefect.utils.task_log import TaskLog, ThreadedLogger

if TYPE_CHECKING:
    from airflow_provider_prefect.client.settings import Settings
    from airflow_provider_prefect.client.watcher.connection import SharedConnection

_RESTART_AFTER = 60.0
"""Seconds after the task has deferred, from which on a trigger that starts is taken for one that was moved here."""

_CANCEL_PATIENCE = 60.0
"""Seconds for which a request to cancel is sent again while Prefect is not answering."""

_MAX_ENDED_AT_ONCE = 10
"""Tasks that triggers end at the same time; workers end the others.

A triggerer of Airflow 3.3.2 takes requests of its triggers one by one, about ten ends in a second on two cores, and
sends no event meanwhile. So many at once delay other triggers by a second, and are still sooner done than by workers.
"""

_stopping: set[asyncio.Task[None]] = set()
"""Keeps a reference to what is still at work after its trigger has ended: the event loop alone would not."""

_ending: set[PrefectFlowRunTrigger] = set()
"""The triggers that are about to end their tasks."""


class PrefectFlowRunTrigger(BaseTrigger):
    """Wait until a flow run has ended, in whatever state, and show what happens to it in the task's log.

    All arguments are stored in Airflow's database in clear text, so they are ids and numbers only. Starting it again,
    in this triggerer or another, continues the same wait: its times are wall-clock times.

    :param flow_run_id: the flow run to wait for; ``None`` if it is still to be found.
    :param prefect_conn_id: the connection, of type ``prefect``.
    :param poll_interval: seconds between two polls of the flow run.
    :param deadline: epoch second at which the wait ends; ``None`` for never.
    :param start_deadline: epoch second at which it ends if the flow run has not started; ``None`` for never.
    :param max_unreachable: seconds for which the wait tolerates that Prefect is not answering.
    :param not_before: epoch second before which no event is sent. A task that deferred only seconds ago may be failed
        by Airflow 3 when it resumes (apache/airflow#71580, seen in 3.3.2). Ignored in ``dag.test()``.
    :param stream_states: show the flow run's state changes in the task's log.
    :param stream_logs: show the flow run's log lines there too.
    :param newest_of: what to find it by: ``deployment_id``, ``since`` (ISO 8601) and ``tags``.
    :param cancel_on_kill: ask the flow run to stop when a user stops the task while it is deferred (Airflow 3.3).
    :param wait_id: comes back in the event, so that the task can tell it from that of another wait.
    :param team_name: the team of the Dag, where Airflow serves several: each has connections of its own.
    :param in_loop: whether the task is in a loop (Airflow 3.4), of whose iterations Airflow shows one state for all.
    :param completes_with: where the event holds the return value, if the task can succeed here when the flow run has
        completed; empty if it has no return value, ``None`` if a worker has to end the task.
    :param unknown: arguments that another version of this provider has stored; they are ignored with a warning.
    """

    def __init__(
        self,
        flow_run_id: str | None = None,
        prefect_conn_id: str = PrefectHook.default_conn_name,
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
        team_name: str | None = None,
        in_loop: bool = False,
        completes_with: str | None = None,
        **unknown: Any,
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
        self.team_name = team_name
        self.in_loop = in_loop
        self.completes_with = completes_with
        self._unknown = sorted(unknown)

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
            "team_name": self.team_name,
            "in_loop": self.in_loop,
            "completes_with": self.completes_with,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send one event, which tells how the flow run or the wait for it ended; see :mod:`..utils.events`.

        A task that needs no worker for its end succeeds here, if the flow run has completed.
        """
        logger = ThreadedLogger(self.log)
        if self._unknown:
            logger.warning(
                "This version of airflow-provider-prefect does not have the trigger's arguments %s, which another "
                "version has stored. They are ignored.",
                ", ".join(self._unknown),
            )
        if self.stream_logs and self.not_before and time.time() > self.not_before + _RESTART_AFTER:
            logger.info(
                "This triggerer has taken over the wait: log lines that another triggerer has shown may be shown again."
            )
        try:
            event = await self._wait(TaskLog(logger, states=self.stream_states, logs=self.stream_logs))
        except PrefectError as error:
            event = events.error_event(self.flow_run_id or "", error)
        except Exception as error:
            await logger.written()
            self.log.exception("Waiting for flow run %s failed.", self.flow_run_id)
            # An event is stored in clear text, and the text of an unforeseen error may hold anything.
            unforeseen = PrefectError(f"The trigger failed with {type(error).__name__}; its log says where.")
            event = events.error_event(self.flow_run_id or "", unforeseen)
        await logger.written()
        if await self._has_pushed(event):
            from airflow.triggers.base import TaskSuccessEvent

            yield TaskSuccessEvent()
            return
        if getattr(self, "task_instance", None) is not None:
            await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent({**event, "wait_id": self.wait_id})  # type: ignore[no-untyped-call]

    async def _has_pushed(self, event: dict[str, Any]) -> bool:
        """Push the XComs of the task if it can succeed here, and return whether that is so.

        ``dag.test()`` runs triggers without a task instance, and does not let them end a task (Airflow 3.3.2).
        """
        ti: Any = getattr(self, "task_instance", None)
        flow_run = event["flow_run"]
        if self.completes_with is None or ti is None or not flow_run or flow_run["state_type"] != "COMPLETED":
            return False
        if len(_ending) >= _MAX_ENDED_AT_ONCE:
            return False
        _ending.add(self)
        try:
            # The event would reach whichever task has this trigger's number now; see WaitingTask.resumed.
            if not await still_waits(ti, event["flow_run_id"]):
                return False
            await self._push(ti, event)
        except Exception as error:
            self.log.warning("The task could not be ended here (%s). A worker ends it.", type(error).__name__)
            return False
        finally:
            _ending.discard(self)
        return True

    async def _push(self, ti: Any, event: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        xcoms = {"state": "COMPLETED"}
        if self.completes_with == "flow_run":
            xcoms["flow_run_name"] = event["flow_run"]["name"]  # it may have changed since the task has deferred
        if self.completes_with:
            xcoms["return_value"] = event[self.completes_with]
        of_ti = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        for key, value in xcoms.items():
            await XCom.aset(key=key, value=value, **of_ti)

    async def _wait(self, log: TaskLog) -> dict[str, Any]:
        await asyncio.to_thread(import_watcher)
        from airflow_provider_prefect.client.watcher.subscription import Subscription

        deadlines = Deadlines(
            finished=math.inf if self.deadline is None else self.deadline,
            started=math.inf if self.start_deadline is None else self.start_deadline,
        )
        await self._read_connection(log, deadlines.finished)
        async with self._connect() as connection:
            if self.flow_run_id is None:
                found = await wait_for_newest(
                    connection,
                    NewestRun.from_kwarg(self.newest_of or {}),
                    interval=self.poll_interval,
                    until=deadlines.finished,
                    patience=self.max_unreachable,
                    observer=log,
                )
                self.flow_run_id = found.id
                log.show_flow_run(found, flow_run_url(connection.settings.ui_url, found))
            with Subscription(
                connection, self.flow_run_id, self.poll_interval, self.max_unreachable, log
            ) as subscription:
                run = await wait_for_flow_run(subscription, deadlines, log)
            return events.ended_event(run, flow_run_url(connection.settings.ui_url, run))

    async def _read_connection(self, log: TaskLog, until: float) -> None:
        """Read the connection; a secrets backend that fails is tolerated like a Prefect that is not answering.

        :raises Unreachable: it has failed for ``max_unreachable``.
        :raises WaitTimeout: it still failed when the wait had to end.
        """
        patient_until = time.time() + self.max_unreachable
        tries = 0
        while True:
            try:
                await self._settings(None)
            except PrefectError:
                raise
            except Exception as error:
                # The text of an error of a secrets backend may hold anything.
                failure = (
                    f"The triggerer cannot read the connection {self.prefect_conn_id!r}: its secrets backend fails "
                    f"with {type(error).__name__}."
                )
            else:
                return
            tries += 1
            if tries == 1:
                log.on_unreadable_connection(failure)
            now = time.time()
            if now >= until:
                raise WaitTimeout(f"The wait ran out of time. {failure}", self.flow_run_id or "")
            if now >= patient_until:
                raise Unreachable(failure)
            await asyncio.sleep(min(backoff(tries), min(until, patient_until) - now))

    async def _settings(self, refused: Settings | None) -> Settings:
        return await kept_settings(self.prefect_conn_id, PrefectHook, refused, self.team_name)

    def _connect(self) -> SharedConnection:
        from airflow_provider_prefect.client.watcher.connection import SharedConnection
        from airflow_provider_prefect.utils.metrics import AirflowMetrics

        return SharedConnection(self._settings, AirflowMetrics)

    async def on_kill(self) -> None:
        """Ask the flow run to stop, if a user has stopped the task. Airflow 3.3 calls this, older ones do not.

        Airflow 3.3.2 cancels it after a second, so the work goes on in a task of its own. And Airflow calls it also
        when the trigger has only moved to another triggerer (apache/airflow#73454), so it first asks whether it has.
        """
        if self.cancel_on_kill and self.flow_run_id is not None:
            stopping = asyncio.create_task(self._stop(self.flow_run_id))
            _stopping.add(stopping)
            stopping.add_done_callback(_stopping.discard)
            await asyncio.shield(stopping)

    async def _stop(self, flow_run_id: str) -> None:
        try:
            if self.in_loop:
                self.log.warning(
                    "The task is in a loop: Airflow does not say whether this iteration was stopped or only moved to "
                    "another triggerer. Flow run %s continues; cancel it in Prefect if that is not wanted.",
                    flow_run_id,
                )
                return
            if await still_waits(self.task_instance, flow_run_id):
                self.log.info("Another triggerer waits for flow run %s now, and the flow run continues.", flow_run_id)
                return
            async with self._connect() as connection:
                state = await make_api(connection, Patience(_CANCEL_PATIENCE)).cancel_flow_run(flow_run_id)
            self.log.info("Flow run was asked to stop, and is in state %s. Its id is %s.", state, flow_run_id)
        except Exception as error:
            self.log.warning("Flow run could not be asked to stop (%s). Its id is %s.", error, flow_run_id)


def import_watcher() -> None:
    """Import what speaks HTTP. The first time it takes a fifth of a second, which would block the event loop."""
    import airflow_provider_prefect.client.watcher.connection  # noqa: F401


async def still_waits(ti: Any, flow_run_id: str) -> bool:
    """Return whether the task instance is deferred, and waits for this very flow run.

    After a clear it may be deferred again already, on another flow run.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetTaskStates, GetXCom

    supervisor: Any = task_runner.SUPERVISOR_COMMS
    of_ti = {"dag_id": ti.dag_id, "map_index": ti.map_index}
    answer = await supervisor.asend(GetTaskStates(**of_ti, task_ids=[ti.task_id], run_ids=[ti.run_id]))
    if state_of_task_instance(answer.task_states, ti) != "deferred":
        return False
    xcom = await supervisor.asend(GetXCom(**of_ti, key="flow_run_id", run_id=ti.run_id, task_id=ti.task_id))
    return bool(xcom.value == flow_run_id)
