"""Which of many waited-for flow runs are looked at together, and when. Pure: no loop, no clock, no request.

Times are the event loop's seconds, except for the deadline of a look, which is wall-clock time.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.call import Call, Sleep
from airflow_provider_prefect.client.errors import ApiError, InvalidRequest, NotFound, PrefectError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.turns import AT_ONCE
from airflow_provider_prefect.client.watched import Watched

T = TypeVar("T")

_PASSING = (401, 403, 408, 429, 502, 503, 504)
"""Answers that say nothing about what was asked."""

SIZE = 1000
"""Flow runs in one request. Prefect was seen to take 5,000, SQLite to take its time over them."""

CONFIRM = (0.0, 0.25, 1.0)
"""Seconds after an event at which its flow run is looked at: it may be published before the state is committed."""


@dataclass(frozen=True)
class Batch:
    """What one look is at: flow runs that are known to be in states of one type (``None``: not known yet)."""

    watched: Sequence[Watched]
    known_type: str | None

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(one.flow_run_id for one in self.watched))

    def halved(self) -> tuple[Batch, Batch]:
        """Two halves, each time others: what spoils an answer is found by itself in the end."""
        shuffled = random.sample(self.watched, len(self.watched))
        middle = len(shuffled) // 2
        return Batch(shuffled[:middle], self.known_type), Batch(shuffled[middle:], self.known_type)


@dataclass(frozen=True)
class Plan:
    """What to look at now, and when to plan again (event loop's seconds)."""

    batches: Sequence[Batch]
    again: float


def plan(watched: Iterable[Watched], now: float, wall: float, slowest: float = 0.0, size: int = SIZE) -> Plan:
    """The batches that are due.

    A batch is filled up with flow runs whose turn comes later, so that they have it together from then on. Where one
    batch is not enough they are spread over the interval, and some are looked at a little earlier than they have to.
    """
    groups: dict[str | None, list[tuple[float, Watched]]] = defaultdict(list)
    hurried: dict[str | None, list[Watched]] = defaultdict(list)
    batches: list[Batch] = []
    again = math.inf
    for one in watched:
        if not one.pending or one.busy:
            continue
        due = one.due(now, wall, slowest)
        if one.doubted and due <= now:
            batches.append(Batch([one], None))
        elif due <= now and (one.not_before > now or one.looked + max(one.every, slowest) > now):
            hurried[one.known_type].append(one)
        elif one.doubted or one.not_before > now:
            again = min(again, due)
        else:
            groups[one.known_type].append((due, one))
    for known_type, early in hurried.items():
        batches += [Batch(early[start : start + size], known_type) for start in range(0, len(early), size)]
    for known_type, group in groups.items():
        group.sort(key=lambda pair: pair[0])
        gap = min(max(one.every, slowest) for _, one in group) / math.ceil(len(group) / size)
        while group and (turn := _turn([due for due, _ in group[::size]], gap)) <= now:
            batches.append(Batch([one for _, one in group[:size]], known_type))
            group = group[size:]
        if group:
            again = min(again, turn)
    return Plan(batches, again)


def _turn(dues: Sequence[float], gap: float) -> float:
    """When the first batch has to be looked at, so that each comes in time and ``gap`` after the one before."""
    return min(due - place * gap for place, due in enumerate(dues))


class Pages:
    """Reads what may be more than a page, and remembers how long this server lets a page be."""

    def __init__(self) -> None:
        self.limit = 200

    def read(self, page: Callable[..., Call[list[T]]]) -> Call[tuple[list[T], bool]]:
        """The rows of one page, and whether there may be more. ``page`` takes the limit as a keyword."""
        while True:
            try:
                rows = yield from page(limit=self.limit)
                return rows, len(rows) >= self.limit
            except InvalidRequest as error:
                if "limit" not in str(error).lower() or self.limit == 1:
                    raise
                self.limit //= 2

    def read_changed(
        self, api: Api, ids: Sequence[str], known_type: str | None, show: Callable[[list[FlowRun]], None]
    ) -> Call[set[str]]:
        """Show, page by page, those of ``ids`` whose state is of another type; returns which those are."""
        seen: set[str] = set()
        more = True
        while more:
            rest = [one for one in ids if one not in seen]
            if not rest:
                break
            runs, more = yield from self.read(partial(api.read_changed, rest, known=known_type))
            seen |= {run.id for run in runs}
            for start in range(0, len(runs), AT_ONCE):
                show(runs[start : start + AT_ONCE])
                yield from Sleep(0)
        return seen


def may_be_of_one(failure: Exception) -> bool:
    """Whether one flow run may have spoilt the answer: an id that is none, a row that the server cannot show."""
    if isinstance(failure, ApiError):
        return failure.status not in _PASSING and not isinstance(failure, NotFound)
    return not isinstance(failure, PrefectError)
