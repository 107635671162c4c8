"""Which flow run belongs to a task instance: the keys it may have been created with, and what to do with those found.

Pure. A retry leaves ``max_tries`` of the task instance as it is, a clear raises it; so the runs that tell the same
``max_tries`` as now are of this *generation*, and may be gone on with. Older ones are what the user has cleared away.
(``task.retries`` is never read: it is today's value, not the one that the task instance started with.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from airflow_provider_prefect.client.model import LIVE, FlowRun


@dataclass(frozen=True)
class TryOfTask:
    """One try of one task instance.

    :param dag_run_start: when the Dag run started, ISO 8601. It keeps two Airflow deployments on one Prefect server
        apart, and a recreated Dag run from its predecessor of the same name.
    :param max_tries: as the task instance records it; a retry leaves it as it is, a clear raises it.
    :param url: the task instance's page in Airflow.
    """

    dag_id: str
    run_id: str
    dag_run_start: str
    task_id: str
    map_index: int
    try_number: int
    max_tries: int
    url: str = ""

    @property
    def idempotency_key(self) -> str:
        """The key of this very try. The deployment is no part of it: Prefect tells keys apart by flow."""
        return self._key(self.try_number)

    @property
    def earlier_keys(self) -> list[str]:
        """The keys of all earlier tries, the latest first."""
        return [self._key(number) for number in range(self.try_number - 1, 0, -1)]

    def _key(self, try_number: int) -> str:
        parts = [self.dag_id, self.run_id, self.dag_run_start, self.task_id, self.map_index, try_number]
        return f"airflow-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"

    @property
    def task_name(self) -> str:
        """Dag, task and, if it is mapped, index."""
        task = self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"
        return f"{self.dag_id}.{task}"

    @property
    def context(self) -> dict[str, Any]:
        """What the flow run's context tells under ``airflow``."""
        return {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
            "try_number": self.try_number,
            "max_tries": self.max_tries,
            "url": self.url,
        }

    @property
    def labels(self) -> dict[str, str]:
        """The same for the labels of Prefect 3, without what is no use for finding a run."""
        found_by = ("dag_id", "run_id", "task_id", "map_index", "try_number")
        return {f"airflow.{name}": str(self.context[name]) for name in found_by}


class Action(Enum):
    """What a try does about its flow run."""

    CREATE = "created"
    REATTACH = "reattached to"
    ADOPT = "adopted"
    RESTART = "restarted"


@dataclass(frozen=True)
class Decision:
    """What a try does: ``run`` is the flow run to go on with, ``stop`` are those to ask to cancel first."""

    action: Action
    run: FlowRun | None = None
    stop: tuple[FlowRun, ...] = ()


def decide(this_try: TryOfTask, found: Sequence[FlowRun], lineage: str, on_retry: str) -> Decision:
    """What this try does, given the flow runs that Prefect has for the keys of the earlier ones.

    :param found: in any order; a try that has created none is simply absent.
    :param lineage: of what the task starts now. A run of another deployment (flow group) is treated as an older one.
    :param on_retry: what follows a run of this generation that has ended unsuccessful: ``new`` or ``restart``.
    """
    order = {key: position for position, key in enumerate(this_try.earlier_keys)}
    ours = [run for run in found if run.idempotency_key in order]
    ours.sort(key=lambda run: order[run.idempotency_key or ""])
    current = [run for run in ours if _generation(run) == this_try.max_tries and run.deployment_id == lineage]
    stop = tuple(run for run in ours if run not in current and run.state.type in LIVE)
    newest = current[0] if current else None
    if newest is None or newest.state.type == "CANCELLING":
        return Decision(Action.CREATE, stop=stop)
    if newest.state.type == "COMPLETED":
        return Decision(Action.ADOPT, newest, stop)
    if not newest.is_final:
        return Decision(Action.REATTACH, newest, stop)
    if on_retry == "restart":
        return Decision(Action.RESTART, newest, stop)
    return Decision(Action.CREATE, stop=stop)


def _generation(run: FlowRun) -> int | None:
    """The ``max_tries`` that the run was started with, if it says so."""
    told = run.context.get("airflow")
    value = told.get("max_tries") if isinstance(told, Mapping) else None
    return value if isinstance(value, int) else None


def try_of_task(context: Mapping[str, Any]) -> TryOfTask:
    """Which try of which task instance runs now, from Airflow's context."""
    ti, dag_run = context["ti"], context["dag_run"]
    started = getattr(dag_run, "start_date", None)
    return TryOfTask(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        dag_run_start=started.isoformat() if started else "",
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        max_tries=ti.max_tries,
        url=getattr(ti, "log_url", None) or "",
    )
