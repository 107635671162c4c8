"""Find the newest run of a deployment, for a wait for a run that somebody else starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from airflow_provider_prefect.client.api import make_api
from airflow_provider_prefect.client.errors import ApiError, Unreachable, WaitTimeout
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.transport import ReloadableTransport
from airflow_provider_prefect.client.wait.trouble import Trouble, TroubleObserver, tolerate


class NewestRunObserver(TroubleObserver, Protocol):
    """Show to the user what happens while a run of a deployment is looked for."""

    def on_none_yet(self) -> None:
        """Say once that there is no run yet."""


@dataclass(frozen=True)
class NewestRun:
    """Name the newest run of a deployment that was to start at ``since`` or later, and has all of ``tags``.

    Runs that Prefect's scheduler has made for the future do not count.
    """

    deployment_id: str
    since: datetime
    tags: tuple[str, ...] = ()

    def as_kwarg(self) -> dict[str, Any]:
        """Return it as an argument of a trigger, which is stored as JSON."""
        return {"deployment_id": self.deployment_id, "since": self.since.isoformat(), "tags": list(self.tags)}

    @classmethod
    def from_kwarg(cls, kwarg: Mapping[str, Any]) -> NewestRun:
        """Restore it from an argument of a trigger."""
        return cls(kwarg["deployment_id"], datetime.fromisoformat(kwarg["since"]), tuple(kwarg["tags"]))

    def __str__(self) -> str:
        tagged = f" with the tags {', '.join(self.tags)}" if self.tags else ""
        return f"run of deployment {self.deployment_id}{tagged} since {self.since.isoformat()}"


async def find_newest(transport: ReloadableTransport, newest: NewestRun, patience: Patience) -> FlowRun | None:
    """Return the newest run that there is now, if there is one."""
    until = datetime.fromtimestamp(patience.clock(), UTC)
    api = make_api(transport, patience)
    return await api.find_newest(newest.deployment_id, newest.tags, newest.since, until)


async def wait_for_newest(
    transport: ReloadableTransport,
    newest: NewestRun,
    *,
    interval: float,
    until: float,
    patience: float,
    observer: NewestRunObserver,
    clock: Callable[[], float] = time.time,
) -> FlowRun:
    """Return the newest run as soon as there is one.

    :param interval: seconds between two polls.
    :param until: epoch second at which the wait ends.
    :param patience: seconds for which failed polls are tolerated.
    :raises WaitTimeout: there was none in time.
    :raises Unreachable: Prefect has not answered for too long.
    """
    trouble = Trouble(patience)
    none_yet = False
    while True:
        pause = interval
        try:
            run = await find_newest(transport, newest, Patience(0, clock))
        except (ApiError, Unreachable) as failure:
            pause = await tolerate(failure, trouble, transport, observer, clock())
        else:
            trouble.answered(observer)
            if run is not None:
                return run
            if not none_yet:
                none_yet = True
                observer.on_none_yet()
        if clock() >= until:
            raise WaitTimeout(f"There was no {newest} in time.", "")
        await transport.sleep(max(0.0, min(pause, until - clock())))
