"""Stopping a flow run when the user stops its task, and only then.

Airflow calls ``on_kill`` too when a pod is evicted, a worker is drained, or its heartbeats fail. Then the task is tried
again, and reattaches to the flow run, which therefore has to live on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from airflow_provider_prefect.client import rest
from airflow_provider_prefect.client.call import Call, T, run
from airflow_provider_prefect.client.retry import Patience, retried
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.recovery import TryOfTask

_STOPPED = frozenset(("success", "failed", "skipped", "upstream_failed", "removed", "restarting"))
"""States that a task instance has not come into by itself while it still runs or waits: somebody has set them."""

_ASK_AIRFLOW = 1.0
_ASK_PREFECT = 2.0
_ALTOGETHER = 4.0
"""Seconds; Airflow 3 kills the process 5 s after ``on_kill`` was called."""


class TaskStopped(Exception):
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
        self._log = log
        self.flow_run_id: str | None = None

    def stop(self) -> None:
        """Cancel the flow run if the user has stopped the task. Takes seconds at the most, and never raises.

        Called in a signal handler, in the midst of whatever the process was doing: so everything is done in another
        thread, with connections of its own, and what does not answer is not waited for.
        """
        _within(_ALTOGETHER, self._stop)

    def _stop(self) -> None:
        state = _within(_ASK_AIRFLOW, self._state_of_task)
        no_try_left = self._this_try.try_number > self._this_try.max_tries
        if state not in _STOPPED and not no_try_left:
            self._log.info(
                "The task is stopped while it is %s, and not by a user: its flow run goes on, and the next try "
                "reattaches to it.",
                state or "in a state that Airflow does not tell",
            )
            return
        flow_run_id = self.flow_run_id
        try:
            flow_run_id = flow_run_id or self._find()
            if flow_run_id:
                state_now = self._ask(rest.cancel_flow_run(flow_run_id))
                self._log.info("Flow run %s was asked to stop, and is in state %s", flow_run_id, state_now)
        except Exception as error:
            where = f"{self._settings.ui_url}/runs/flow-run/{flow_run_id}" if flow_run_id else "with this task's key"
            self._log.warning("The flow run %s could not be asked to stop: %s", where, error)

    def _find(self) -> str | None:
        """The flow run of this very try, if the process is stopped between its creation and the answer."""
        key = {"flow_runs": {"idempotency_key": {"any_": [self._this_try.idempotency_key]}}}
        found = self._ask(rest.filter_flow_runs(key, most=1))
        return found[0].id if found else None

    def _ask(self, call: Call[T]) -> T:
        from airflow_provider_prefect.client.http import SyncHttp

        quick = replace(self._settings, timeout=_ASK_PREFECT)
        with SyncHttp(lambda: quick) as http:
            return run(retried(call, Patience(0)), http.perform)

    def _state_of_task(self) -> str | None:
        ti = self._ti
        if not hasattr(ti, "get_task_states"):  # Airflow 2, whose tasks may ask the database
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


def _within(seconds: float, act: Callable[[], T]) -> T | None:
    """What ``act`` returns, or ``None`` if it fails or takes longer than this."""
    result: list[T] = []

    def collect() -> None:
        with suppress(Exception):
            result.append(act())

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(seconds)
    return result[0] if result else None
