"""Which task instance a flow run belongs to: its idempotency key, and what it carries to say who started it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
        parts = [self.dag_id, self.run_id, self.dag_run_start, self.task_id, self.map_index, self.try_number]
        return f"airflow-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"

    @property
    def run_name(self) -> str:
        """The flow run's name, unless another is given."""
        task = self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"
        return f"{self.dag_id}.{task} {self.run_id}"

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
