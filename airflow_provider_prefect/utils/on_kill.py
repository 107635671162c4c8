"""Cancel a flow run when the user stops its task, and only then.

Theory of operation
-------------------

Airflow calls ``on_kill`` too when a pod is evicted, a worker is drained, or its heartbeats fail. Then the task is tried
again and reattaches to the flow run, which therefore has to live on. So the first question is always what state Airflow
shows for the task instance: one that a user has set (success, failed, cleared …) means that the flow run is to be
cancelled; in any other state somebody continues with it, unless no try is left.

``on_kill`` runs in a signal handler, in the midst of whatever the process was doing, and Airflow 3 kills the process
5 s later. So everything is done in another thread, with connections of its own, and what does not answer in time is
given up. A process of Airflow 3 has one channel to its supervisor and may have been interrupted in the midst of a
request on it, which then blocks the channel until the handler returns. If Airflow does not answer the first time, the
handler returns, lets the process go on for a moment, and sends it the signal again.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_prefect.client.api import Api, make_api
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.client.urls import flow_run_url
from airflow_provider_prefect.utils.recovery import TaskTry

T = TypeVar("T")

_SET_BY_USER = frozenset(("success", "failed", "skipped", "upstream_failed", "removed", "restarting"))
"""States of a task instance that still runs or waits which somebody has set: it does not reach them by itself."""

_STILL_THIS_TRY = (None, "running")
"""What Airflow shows for a task whose worker is being stopped. In any other state somebody continues with it: a
trigger, or a try that is due already."""

_AIRFLOW_TIMEOUT = 1.0
_PREFECT_TIMEOUT = 2.0
_TOTAL_TIMEOUT = 4.0
"""Seconds; Airflow 3 kills the process 5 s after ``on_kill`` was called."""

_PAUSE_BEFORE_SECOND_SIGNAL = 0.2
"""Seconds for which the process goes on between two calls of ``on_kill``."""

_MAX_LOOKUPS = 3
_LOOKUP_INTERVAL = 0.5
"""How often, and how many seconds apart, a flow run is looked up whose creation may just be under way."""


class TaskStopped(AirflowException):
    """Raised out of the wait when Airflow stops the task, so that the process does not go on until it is killed."""


class FlowRunStopper:
    """Cancel the flow run of a task that is stopped; created before the flow run is.

    :param ti: the task instance.
    :param settings: read beforehand, since reading a connection in a signal handler may block for ever.
    """

    def __init__(self, ti: Any, this_try: TaskTry, settings: Settings, log: Any) -> None:
        self._ti = ti
        self._this_try = this_try
        self._settings = settings
        self._log = log
        self._until: float | None = None
        self.run: FlowRun | None = None

    def stop(self) -> bool:
        """Cancel the flow run if the user has stopped the task. It takes seconds at the most, and never raises.

        :return: whether that was all; if not, the handler is to return, and is called again.
        """
        again = self._until is None
        if self._until is None:
            self._until = time.monotonic() + _TOTAL_TIMEOUT
        state = _within(_AIRFLOW_TIMEOUT, self._state_of_task)
        if state is None and again and self._is_airflow_3:
            threading.Timer(_PAUSE_BEFORE_SECOND_SIGNAL, _signal_again).start()
            return False
        no_try_left = self._this_try.try_number > self._this_try.max_tries
        if state in _SET_BY_USER or (state in _STILL_THIS_TRY and no_try_left):
            _within(self._until - time.monotonic(), self.cancel)
        else:
            self._log.info(
                "The task is stopped while it is %s, and not by a user: its flow run continues, and the next try "
                "reattaches to it.",
                state or "in an unknown state",
            )
        return True

    def cancel(self) -> None:
        """Ask the flow run to stop, if there is one by now. Never raises."""
        flow_run = self.run
        try:
            flow_run = flow_run or self._find()
            if flow_run:
                flow_run_id = flow_run.id
                state = self._call(lambda api: api.cancel_flow_run(flow_run_id))
                self._log.info("Flow run %s was asked to stop, and is in state %s", flow_run.id, state)
        except Exception as error:
            where = flow_run_url(self._settings.ui_url, flow_run) if flow_run else "with this task's key"
            self._log.warning("The flow run %s could not be asked to stop: %s", where, error)

    def _find(self) -> FlowRun | None:
        """Return the flow run of this very try, if the process was stopped between its creation and the response."""
        key = self._this_try.idempotency_key
        for lookup in range(_MAX_LOOKUPS):
            if lookup:
                time.sleep(_LOOKUP_INTERVAL)
            if found := self._call(lambda api: api.find_by_keys([key])):
                return found[0]
        return None

    def _call(self, call: Callable[[Api], Coroutine[Any, Any, T]]) -> T:
        from airflow_provider_prefect.client.http.blocking import BlockingTransport

        settings = replace(self._settings, timeout=_PREFECT_TIMEOUT)
        with BlockingTransport(lambda: settings) as transport:
            return run(call(make_api(transport, Patience(0))))

    @property
    def _is_airflow_3(self) -> bool:
        return hasattr(self._ti, "get_task_states")

    def _state_of_task(self) -> str | None:
        if self._this_try.loop:
            return None  # Airflow shows one state for all iterations
        ti = self._ti
        if not self._is_airflow_3:  # Airflow 2, whose tasks may ask the database
            state: str | None = ti.current_state()
            return state
        states = ti.get_task_states(
            dag_id=ti.dag_id, map_index=ti.map_index, task_ids=[ti.task_id], run_ids=[ti.run_id]
        )
        return state_of_task_instance(states, ti)


def state_of_task_instance(states: Any, ti: Any) -> str | None:
    """Return the state of a task instance from Airflow 3's response, which names mapped ones by task id and index."""
    name = ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
    found = (states.get(ti.run_id) or {}).get(name)
    return None if found is None else str(getattr(found, "value", found))


def _signal_again() -> None:
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)


def _within(seconds: float, act: Callable[[], T]) -> T | None:
    """Return what ``act`` returns, or ``None`` if it fails or takes longer than ``seconds``."""
    result: list[T] = []

    def collect() -> None:
        with suppress(Exception):
            result.append(act())

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    return result[0] if result else None
