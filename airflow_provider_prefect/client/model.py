"""What Prefect knows, as frozen values. Fields we do not use are ignored, so a newer server breaks nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
"""The state types in which a flow run has ended. Names explain; only the type decides."""

LIVE = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED")
"""The state types of a flow run that neither has ended nor is being cancelled."""

NOT_STARTED = ("SCHEDULED", "PENDING")
"""The state types of a flow run whose code has not begun to run."""


ALL = -1
"""The map index that means all runs of a mapped task, as in Prefect 1."""


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


@dataclass(frozen=True)
class State:
    """A state of a flow run or a task run."""

    id: str
    type: str
    name: str
    message: str | None = None
    timestamp: datetime | None = None
    data: Any = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> State:
        return cls(
            id=record.get("id") or "",
            type=record["type"],
            name=record.get("name") or record["type"].capitalize(),
            message=record.get("message"),
            timestamp=_time(record.get("timestamp")),
            data=record.get("data"),
        )

    def __str__(self) -> str:
        """``Completed``, or ``AllGood (COMPLETED)`` where the name does not give the type away."""
        named = self.name if self.name.upper() == self.type else f"{self.name} ({self.type})"
        return f"{named}: {self.message}" if self.message else named


_UNKNOWN = State(id="", type="PENDING", name="Unknown")


@dataclass(frozen=True)
class FlowRun:
    """A flow run as Prefect last showed it."""

    id: str
    name: str
    state: State = _UNKNOWN
    flow_id: str | None = None
    deployment_id: str | None = None
    """On Prefect 1, which has none, the flow group: what the versions of a flow have in common."""
    tenant: str | None = None
    """The slug of its tenant on Prefect 1; ``None`` on Prefect 2 and 3."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    labels: Mapping[str, Any] | None = None
    """``None`` where the server has no labels: Prefect 2."""
    context: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    expected_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    auto_scheduled: bool = False
    work_pool_name: str | None = None
    work_queue_name: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> FlowRun:
        return cls(
            id=record["id"],
            name=record["name"],
            state=State.from_json(record["state"]) if record.get("state") else _UNKNOWN,
            flow_id=record.get("flow_id"),
            deployment_id=record.get("deployment_id"),
            parameters=record.get("parameters") or {},
            tags=tuple(record.get("tags") or ()),
            labels=record.get("labels"),
            context=record.get("context") or {},
            idempotency_key=record.get("idempotency_key"),
            expected_start_time=_time(record.get("expected_start_time")),
            start_time=_time(record.get("start_time")),
            end_time=_time(record.get("end_time")),
            auto_scheduled=bool(record.get("auto_scheduled")),
            work_pool_name=record.get("work_pool_name"),
            work_queue_name=record.get("work_queue_name"),
        )

    @property
    def is_final(self) -> bool:
        return self.state.type in FINAL


@dataclass(frozen=True)
class Deployment:
    """A deployment: a flow that can be started from outside."""

    id: str
    name: str
    flow_id: str
    paused: bool = False
    status: str | None = None
    work_pool_name: str | None = None
    work_queue_name: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Deployment:
        return cls(
            id=record["id"],
            name=record["name"],
            flow_id=record["flow_id"],
            paused=bool(record.get("paused")),
            status=record.get("status"),
            work_pool_name=record.get("work_pool_name"),
            work_queue_name=record.get("work_queue_name"),
        )


@dataclass(frozen=True)
class TaskRun:
    """A task run: one call of a task within a flow run."""

    id: str
    name: str
    flow_run_id: str | None
    state: State = _UNKNOWN
    task_key: str | None = None
    dynamic_key: str | None = None
    flow_run_run_count: int = 0
    """Which run of the flow run it belongs to: 2 after the flow's first retry, 0 if it never began."""
    expected_start_time: datetime | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TaskRun:
        return cls(
            id=record["id"],
            name=record["name"],
            flow_run_id=record.get("flow_run_id"),
            state=State.from_json(record["state"]) if record.get("state") else _UNKNOWN,
            task_key=record.get("task_key"),
            dynamic_key=record.get("dynamic_key"),
            flow_run_run_count=record.get("flow_run_run_count") or 0,
            expected_start_time=_time(record.get("expected_start_time")),
        )


@dataclass(frozen=True)
class Selected:
    """The task runs whose results are meant; ``many`` says that they are to be a list, however few they are."""

    task_runs: tuple[TaskRun, ...]
    many: bool


@dataclass(frozen=True)
class LogRecord:
    """One line that a flow run or one of its task runs has logged. ``level`` is Python's number."""

    id: str
    level: int
    message: str
    timestamp: datetime
    name: str = ""
    flow_run_id: str | None = None
    task_run_id: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LogRecord:
        return cls(
            id=record["id"],
            level=record["level"],
            message=record["message"],
            timestamp=datetime.fromisoformat(record["timestamp"]),
            name=record.get("name") or "",
            flow_run_id=record.get("flow_run_id"),
            task_run_id=record.get("task_run_id"),
        )


@dataclass(frozen=True)
class Artifact:
    """Something a flow run has left in Prefect for people or programs to read."""

    id: str
    key: str | None
    type: str | None
    data: Any
    flow_run_id: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Artifact:
        return cls(
            id=record["id"],
            key=record.get("key"),
            type=record.get("type"),
            data=record.get("data"),
            flow_run_id=record.get("flow_run_id"),
        )
