"""One task's wait for a flow run, as the watcher of many sees it. Pure: no loop, no clock, no request.

Times are the event loop's seconds, except for the deadline of a look and ``wall``, which are epoch seconds.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass

from airflow_provider_prefect.client.errors import AuthenticationError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import given_up
from airflow_provider_prefect.client.turns import settle


@dataclass(frozen=True)
class Told:
    """A line for the log of whoever waits, in place of an answer: only in their own context it gets there."""

    level: int
    text: str


@dataclass(eq=False, slots=True)
class Watched:
    """A flow run that one task waits for, and what is known of it.

    ``every`` and ``patience`` are the task's own, in seconds.
    """

    flow_run_id: str
    every: float
    patience: float
    answer: asyncio.Future[FlowRun | Told | None] | None = None
    """Where its present look is answered, if there is one."""
    known: str | None = None
    """The id of the state that the task knows of, and in ``known_type`` that state's type."""
    known_type: str | None = None
    until: float = math.inf
    looked: float = -math.inf
    soon: tuple[float, ...] = ()
    """When to look besides the regular looks."""
    announced: bool = False
    """The event feed has said that it has ended."""
    busy: bool = False
    tries: int = 0
    not_before: float = -math.inf
    trouble_since: float | None = None
    told_of_trouble: bool = False
    doubted: bool = False
    """It was not among the others: whether it is there at all is asked for by itself."""
    missing: bool = False
    """Prefect has said once that there is no such flow run."""

    @property
    def pending(self) -> bool:
        return self.answer is not None and not self.answer.done()

    def reply(self, answer: FlowRun | Told | None) -> None:
        """Answer its present look, if it still waits for one."""
        if self.answer is not None:
            settle(self.answer, answer)

    def fail(self, error: Exception) -> None:
        """End its present look with ``error``, if it still waits for one."""
        if self.answer is not None:
            settle(self.answer, error)

    def time_is_up(self, until: float) -> None:
        """Answer a look whose time is up, with a request under way when that is answered: it may tell something."""
        if self.busy:
            self.until = until
        else:
            self.reply(None)

    def due(self, now: float, wall: float, slowest: float) -> float:
        """When it is to be looked at; its own interval counts, but for ``slowest``, if that is longer."""
        due = self.looked + (self.every if self.doubted else max(self.every, slowest))
        if self.soon and self.soon[0] < due:
            due = self.soon[0]
        if self.trouble_since is not None:
            due = min(max(due, self.not_before), self.trouble_since + self.patience)
        elif due < self.not_before:
            due = self.not_before
        last = now + self.until - wall
        return last if last < due else due

    def looked_at(self, when: float, wall: float) -> None:
        """A look that began at ``when`` has been answered usefully. Whoever is still not answered has nothing new."""
        self.looked = when
        self.soon = tuple(one for one in self.soon if one > when)
        self.tries, self.not_before, self.trouble_since = 0, -math.inf, None
        if wall >= self.until:
            self.reply(None)
        elif self.told_of_trouble and self.pending:
            self.told_of_trouble = False
            self.reply(Told(logging.INFO, "Prefect answers again."))

    def put_up_with(self, failure: Exception, now: float, wall: float, pause: float) -> None:
        """A look was not answered usefully: it is taken again after ``pause``, unless that is enough now."""
        self.tries += 1
        self.not_before = max(self.not_before, now + pause)
        since = self.trouble_since = now if self.trouble_since is None else self.trouble_since
        if not self.pending:
            return
        if now >= since + self.patience:
            self.fail(given_up(failure, self.tries, self.patience))
            self.tries, self.trouble_since = 0, None
        elif wall >= self.until:
            self.reply(None)
        elif isinstance(failure, AuthenticationError):
            self.fail(failure)
        elif not self.told_of_trouble:
            self.told_of_trouble = True
            self.reply(trouble(failure))


def trouble(failure: Exception) -> Told:
    """The line about a failure that is put up with."""
    return Told(logging.WARNING, f"Prefect did not answer usefully ({failure}). It is asked again until it does.")
