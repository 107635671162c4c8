"""Decide which of many waited-for flow runs are polled together, and when. No I/O and no clock: times are arguments.

Times are the event loop's seconds, except for ``wall``, which is epoch seconds.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_provider_prefect.client.errors import ApiError, NotFound, PrefectError
from airflow_provider_prefect.client.watcher.subscription import Subscription

MAX_BATCH_SIZE = 1000
"""Flow runs in one request. Prefect accepts 5,000, but SQLite takes long over them."""

_STATUSES_OF_THE_SERVER = (401, 403, 408, 429, 502, 503, 504)
"""HTTP statuses that say nothing about what was asked for."""


@dataclass(frozen=True)
class Batch:
    """Name the flow runs of one poll: they are known to be in states of one type (``None``: not known yet)."""

    subscriptions: Sequence[Subscription]
    known_type: str | None

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(subscription.flow_run_id for subscription in self.subscriptions))

    def halved(self) -> tuple[Batch, Batch]:
        """Return two halves, other ones each time: a flow run that spoils the response is alone in the end."""
        shuffled = random.sample(self.subscriptions, len(self.subscriptions))
        middle = len(shuffled) // 2
        return Batch(shuffled[:middle], self.known_type), Batch(shuffled[middle:], self.known_type)


@dataclass(frozen=True)
class Plan:
    """Say what to poll now, and when to plan again (event loop's seconds)."""

    batches: Sequence[Batch]
    again: float


def plan(
    subscriptions: Iterable[Subscription],
    now: float,
    wall: float,
    min_interval: float = 0.0,
    size: int = MAX_BATCH_SIZE,
) -> Plan:
    """Return the batches that are due.

    A batch is filled up with flow runs that are due later, so that they are polled together from then on. Where one
    batch is not enough, the batches are spread over the interval, and some flow runs are polled a little early.

    :param min_interval: seconds between two regular polls, where that is longer than a subscription's own interval.
    """
    groups: dict[str | None, list[tuple[float, Subscription]]] = defaultdict(list)
    urgent: dict[str | None, list[Subscription]] = defaultdict(list)
    batches: list[Batch] = []
    again = math.inf
    for subscription in subscriptions:
        if not subscription.is_pending or subscription.is_busy:
            continue
        due = subscription.poll_due(now, wall, min_interval)
        regular = subscription.polled_at + max(subscription.interval, min_interval)
        if subscription.polls_alone and due <= now:
            batches.append(Batch([subscription], None))
        elif due <= now and (subscription.not_before > now or regular > now):
            urgent[subscription.known_state_type].append(subscription)
        elif subscription.polls_alone or subscription.not_before > now:
            again = min(again, due)
        else:
            groups[subscription.known_state_type].append((due, subscription))
    for known_type, early in urgent.items():
        batches += [Batch(early[start : start + size], known_type) for start in range(0, len(early), size)]
    for known_type, group in groups.items():
        group.sort(key=lambda pair: pair[0])
        interval = min(max(subscription.interval, min_interval) for _, subscription in group)
        gap = interval / math.ceil(len(group) / size)
        while group and (first := _first_poll([due for due, _ in group[::size]], gap)) <= now:
            batches.append(Batch([subscription for _, subscription in group[:size]], known_type))
            group = group[size:]
        if group:
            again = min(again, first)
    return Plan(batches, again)


def _first_poll(dues: Sequence[float], gap: float) -> float:
    """Return when the first batch has to be polled, so that each is in time and ``gap`` after the one before."""
    return min(due - place * gap for place, due in enumerate(dues))


def may_be_caused_by_one(failure: Exception) -> bool:
    """Return whether one flow run may have spoilt the response: an id that is none, a row that cannot be shown."""
    if isinstance(failure, ApiError):
        return failure.status not in _STATUSES_OF_THE_SERVER and not isinstance(failure, NotFound)
    return not isinstance(failure, PrefectError)
