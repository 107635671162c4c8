"""Stopping a flow run when the user stops its task, and only then.

Airflow calls ``on_kill`` too when a pod is evicted, a worker is drained, or its heartbeats fail. Then the task is tried
again, and reattaches to the flow run, which therefore has to live on.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_prefect.client.address import flow_run_url
from airflow_provider_prefect.client.api import api_of
from airflow_provider_prefect.client.call import Call, T, run
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience, retried
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.recovery import TryOfTask

_STOPPED = frozenset(("success", "failed", "skipped", "upstream_failed", "removed", "restarting"))
"""States that a task instance has not come into by itself while it still runs or waits: somebody has set them."""

_STILL_THIS_TRY = (None, "running")
"""As what Airflow shows a task whose worker is being stopped. In any other state somebody goes on with it: a trigger,
or a try that is due already."""

_ASK_AIRFLOW = 1.0
_ASK_PREFECT = 2.0
_ALTOGETHER = 4.0
"""Seconds; Airflow 3 kills the process 5 s after ``on_kill`` was called."""

_LET_GO_ON = 0.2
"""Seconds between two calls of ``on_kill``, see :meth:`Stopper.stop`."""

_LOOKS = 3
_BETWEEN_LOOKS = 0.5
"""How often, and how many seconds apart, a flow run is looked for whose creation may just be under way."""


class TaskStopped(AirflowException):
    """Raised out of the wait when Airflow stops the task, so that the process does not go on until it is killed."""


class Stopper:
    """Knows what to stop, from before the flow run is created on, and stops it.

    :param ti: the task instance.
    :param settings: read before anything was created: reading a connection in a signal handler may block for ever.
    """

    def __init__(self, ti: Any, this_try: TryOfTask, settings: Settings, log: Any) -> None:
        self._ti = ti
        self._this_try = this_try
        self._settings = settings
        self._api = api_of(settings)
        self._log = log
        self._until: float | None = None
        self.run: FlowRun | None = None

    def stop(self) -> bool:
        """Cancel the flow run if the user has stopped the task. Takes seconds at the most, and never raises.

        Called in a signal handler, in the midst of whatever the process was doing: so everything is done in another
        thread, with connections of its own, and what does not answer is not waited for.

        A process of Airflow 3 has one line to its supervisor, and may have been stopped in the midst of a request on
        it, which then keeps the line busy until the handler returns. If Airflow does not answer the first time, the
        process goes on for a moment, and is then sent the signal again.

        :return: whether that was all; if not, the handler is to return, and is called again.
        """
        again = self._until is None
        if self._until is None:
            self._until = time.monotonic() + _ALTOGETHER
        state = _within(_ASK_AIRFLOW, self._state_of_task)
        if state is None and again and self._is_airflow_3:
            threading.Timer(_LET_GO_ON, _signal_again).start()
            return False
        no_try_left = self._this_try.try_number > self._this_try.max_tries
        if state in _STOPPED or (state in _STILL_THIS_TRY and no_try_left):
            _within(self._until - time.monotonic(), self.cancel)
        else:
            self._log.info(
                "The task is stopped while it is %s, and not by a user: its flow run goes on, and the next try "
                "reattaches to it.",
                state or "in a state that Airflow does not tell",
            )
        return True

    def cancel(self) -> None:
        """Ask the flow run to stop, if there is one by now. Never raises."""
        flow_run = self.run
        try:
            flow_run = flow_run or self._find()
            if flow_run:
                state = self._ask(self._api.cancel_flow_run(flow_run.id))
                self._log.info("Flow run %s was asked to stop, and is in state %s", flow_run.id, state)
        except Exception as error:
            where = flow_run_url(self._settings.ui_url, flow_run) if flow_run else "with this task's key"
            self._log.warning("The flow run %s could not be asked to stop: %s", where, error)

    def _find(self) -> FlowRun | None:
        """The flow run of this very try, if the process is stopped between its creation and the answer."""
        key = self._this_try.idempotency_key
        for look in range(_LOOKS):
            if look:
                time.sleep(_BETWEEN_LOOKS)
            if found := self._ask(self._api.find_by_keys([key])):
                return found[0]
        return None

    def _ask(self, call: Call[T]) -> T:
        from airflow_provider_prefect.client.http import SyncHttp

        quick = replace(self._settings, timeout=_ASK_PREFECT)
        with SyncHttp(lambda: quick) as http:
            return run(retried(call, Patience(0)), http.perform)

    @property
    def _is_airflow_3(self) -> bool:
        return hasattr(self._ti, "get_task_states")

    def _state_of_task(self) -> str | None:
        ti = self._ti
        if not self._is_airflow_3:  # Airflow 2, whose tasks may ask the database
            state: str | None = ti.current_state()
            return state
        states = ti.get_task_states(
            dag_id=ti.dag_id, map_index=ti.map_index, task_ids=[ti.task_id], run_ids=[ti.run_id]
        )
        return state_in(states, ti)


def state_in(states: Any, ti: Any) -> str | None:
    """The state of a task instance in Airflow 3's answer, which names mapped ones by task id and index."""
    name = ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
    found = (states.get(ti.run_id) or {}).get(name)
    return None if found is None else str(getattr(found, "value", found))


def _signal_again() -> None:
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)


def _within(seconds: float, act: Callable[[], T]) -> T | None:
    """What ``act`` returns, or ``None`` if it fails or takes longer than this."""
    result: list[T] = []

    def collect() -> None:
        with suppress(Exception):
            result.append(act())

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    return result[0] if result else None
