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
request on it, which then blocks the channel until the handler returns. While Airflow has not answered, the handler
returns, lets the process go on for a moment, and sends it the signal again.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
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

_TOTAL_TIMEOUT = 4.5
"""Seconds; Airflow 3 kills the process 5 s after ``on_kill`` was called."""

_AIRFLOW_TIMEOUT = 3.0
_PREFECT_TIMEOUT = 2.0
"""Seconds of them that Airflow has for its answer, and that Prefect has for each of its own."""

_AT_ONCE = 0.5
_PAUSE = 0.3
"""Seconds for which a process of Airflow 3 waits for the answer, and goes on, before ``on_kill`` is called again."""

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
        self._until = math.inf
        self._answer: Future[str | None] | None = None
        self.run: FlowRun | None = None

    def stop(self) -> bool:
        """Cancel the flow run if the user has stopped the task. It takes seconds at the most, and never raises.

        :return: whether that was all; if not, the handler is to return, and is called again.
        """
        if self._answer is None:
            self._until = time.monotonic() + _TOTAL_TIMEOUT
            self._answer = _in_thread(self._state_of_task)
        state = _result(self._answer, _AT_ONCE if self._is_airflow_3 else _AIRFLOW_TIMEOUT)
        asked_for = time.monotonic() - (self._until - _TOTAL_TIMEOUT)
        if not self._answer.done() and self._is_airflow_3 and asked_for < _AIRFLOW_TIMEOUT:
            threading.Timer(_PAUSE, _signal_again).start()
            return False
        no_try_left = self._this_try.try_number > self._this_try.max_tries
        if state in _SET_BY_USER or (state in _STILL_THIS_TRY and no_try_left):
            _result(_in_thread(self.cancel), self._until - time.monotonic())
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
                url = flow_run_url(self._settings.ui_url, flow_run)
                self._log.info("Flow run was asked to stop, and is in state %s. See %s", state, url)
        except Exception as error:
            where = f"See {flow_run_url(self._settings.ui_url, flow_run)}" if flow_run else "It was not found."
            self._log.warning("Flow run could not be asked to stop (%s). %s", error, where)

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


def _in_thread(act: Callable[[], T]) -> Future[T]:
    """Begin ``act`` in a thread that the process does not wait for at its end."""
    outcome: Future[T] = Future()

    def carry_out() -> None:
        try:
            outcome.set_result(act())
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=carry_out, daemon=True).start()
    return outcome


def _result(outcome: Future[T], seconds: float) -> T | None:
    """Return the result, or ``None`` if it is an error or not there within ``seconds``."""
    with suppress(Exception):
        return outcome.result(max(0.0, seconds))
    return None
