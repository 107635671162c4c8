"""Finding the newest run of a deployment, for who waits for a run that somebody else starts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_prefect.client import rest
from airflow_provider_prefect.client.call import Call, Sleep
from airflow_provider_prefect.client.errors import Unreachable, WaitTimeout
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience, retried


@dataclass(frozen=True)
class NewestRun:
    """The newest run of a deployment that was to start at ``since`` or later, and has all of ``tags``.

    Runs that Prefect's scheduler has made for the future do not count.
    """

    deployment_id: str
    since: datetime
    tags: tuple[str, ...] = ()

    def as_kwarg(self) -> dict[str, Any]:
        return {"deployment_id": self.deployment_id, "since": self.since.isoformat(), "tags": list(self.tags)}

    @classmethod
    def from_kwarg(cls, kwarg: Mapping[str, Any]) -> NewestRun:
        return cls(kwarg["deployment_id"], datetime.fromisoformat(kwarg["since"]), tuple(kwarg["tags"]))

    def find(self, now: float) -> Call[FlowRun | None]:
        """That run, if there is one at ``now`` (epoch seconds)."""
        until = datetime.fromtimestamp(now, UTC)
        flow_runs: dict[str, Any] = {
            "deployment_id": {"any_": [self.deployment_id]},
            "expected_start_time": {"after_": self.since.isoformat(), "before_": until.isoformat()},
        }
        if self.tags:
            flow_runs["tags"] = {"all_": list(self.tags)}
        criteria = {"flow_runs": flow_runs, "limit": 1}
        found = yield from rest.filter_flow_runs(criteria, sort="EXPECTED_START_TIME_DESC", most=1)
        return found[0] if found else None

    def wait(self, every: float, until: float, patience: Patience, told: Callable[[], None]) -> Call[FlowRun]:
        """That run as soon as there is one; ``told`` is called once if there is none yet.

        :raises WaitTimeout: there was none at ``until`` (epoch seconds).
        """
        clock = patience.clock
        waited = False
        while True:
            # Not beyond the deadline, whose message is the one that the user should see.
            until_then = replace(patience, seconds=max(0.0, min(patience.seconds, until - clock())))
            try:
                run = yield from retried(self.find(clock()), until_then)
            except Unreachable:
                if clock() < until:
                    raise
                run = None
            if run is not None:
                return run
            if clock() >= until:
                raise WaitTimeout(f"{_sentence(self.deployment_id, self.since, self.tags)} was there in time.", "")
            if not waited:
                told()
                waited = True
            yield from Sleep(max(0.0, min(every, until - clock())))


def _sentence(deployment_id: str, since: datetime, tags: Sequence[str]) -> str:
    tagged = f" with the tags {', '.join(tags)}" if tags else ""
    return f"No run of deployment {deployment_id}{tagged} since {since.isoformat()}"
