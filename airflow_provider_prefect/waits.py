"""How a task waits for a flow run: in its own process or deferred, with the same end."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.waiting import Deadlines

MIN_POLL_INTERVAL = 3.0
"""Seconds; the least that Prefect 1's ``wait_for_flow_run`` accepted too."""

_BEFORE_ALARM = 5.0
"""Seconds before Airflow's own alarm for ``execution_timeout`` at which the wait ends by itself."""


def checked_poll_interval(name: str, seconds: float) -> float:
    """``seconds``, unless it is too short for a server that others use too."""
    if not seconds >= MIN_POLL_INTERVAL:
        raise ConfigurationError(f"{name}={seconds!r} is too short: it is at least {MIN_POLL_INTERVAL:.0f} seconds.")
    return seconds


def checked_seconds(name: str, value: float | timedelta | None) -> float | None:
    """``value`` as seconds, unless it is no length of time."""
    return None if value is None else checked_length(name, value)


def checked_length(name: str, value: float | timedelta, *, zero: bool = False) -> float:
    """``value`` as seconds, unless it is no length of time; ``zero`` may be one."""
    seconds: Any = value.total_seconds() if isinstance(value, timedelta) else value
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds < math.inf or (seconds == 0 and not zero):
        least = "0 or above" if zero else "above 0"
        raise ConfigurationError(
            f"{name}={value!r} is no length of time: it is a number of seconds {least}, or a timedelta."
        )
    return float(seconds)


def deadlines_from_now(
    timeout: float | None,
    start_timeout: float | None,
    execution_timeout: timedelta | None,
    start: float | None = None,
    began: float | None = None,
) -> Deadlines:
    """When a wait that begins now ends without the flow run.

    :param execution_timeout: the task's; Airflow 3 does not enforce it while a task is deferred, so the wait does.
    :param start: the epoch second from which ``start_timeout`` counts, if that is later than now.
    :param began: the epoch second at which the task began, from which ``execution_timeout`` counts; now without.
    """
    now = time.time()
    ends = [now + timeout] if timeout is not None else []
    if execution_timeout is not None:
        seconds = execution_timeout.total_seconds()
        ends.append((began or now) + seconds - min(_BEFORE_ALARM, seconds / 4))
    started = math.inf if start_timeout is None else max(now, start or now) + start_timeout
    return Deadlines(finished=min(ends, default=math.inf), started=started)


def as_kwarg(epoch: float) -> float | None:
    """An epoch second as a trigger's argument, which is kept as JSON."""
    return None if math.isinf(epoch) else epoch


def hold_back() -> float:
    """The epoch second before which a trigger that is deferred to now should send no event.

    A worker of Airflow 3 reports the end of the deferring process up to ``[workers] min_heartbeat_interval`` late,
    and a task that has been resumed by then is failed by that report (apache/airflow#71580, seen in 3.3.2).
    """
    lag: float = conf.getfloat("workers", "min_heartbeat_interval", fallback=0)
    return time.time() + lag + 1
