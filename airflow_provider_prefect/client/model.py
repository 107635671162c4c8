"""What Prefect knows, as frozen values. Unused fields are ignored, so that a newer server breaks nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.fields import Fields, WrongShape

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
"""The state types in which a flow run has ended. Names explain; only the type decides."""

LIVE = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED")
"""The state types of a flow run that neither has ended nor is being cancelled."""

STATE_TYPES = (*LIVE, "CANCELLING", *FINAL)
"""All state types of Prefect 2 and 3."""

NOT_STARTED = ("SCHEDULED", "PENDING")
"""The state types of a flow run whose code has not begun to run."""


RESOURCE_PREFIX = "prefect.flow-run."
"""What the id of a flow run begins with in Prefect's events."""

MATERIALIZED = "prefect.asset.materialization.succeeded"
"""The event of an asset that a flow has materialized, in Prefect 3.4 and newer."""

_ASSET_PROPERTIES = {
    "name": "prefect.resource.name",
    "description": "prefect.asset.description",
    "url": "prefect.asset.url",
    "owners": "prefect.asset.owners",
}

ALL = -1
"""The map index that means all runs of a mapped task, as in Prefect 1."""


@dataclass(frozen=True)
class State:
    """Describe a state of a flow run or a task run."""

    id: str
    type: str
    name: str
    message: str | None = None
    timestamp: datetime | None = None
    data: Any = None

    @classmethod
    def from_json(cls, record: Any) -> State:
        """Return the state that a parsed response describes.

        :raises WrongShape: its type is none that is known, or another field has a wrong type.
        """
        fields = Fields(record)
        type_ = _state_type(fields, "type")
        return cls(
            id=fields.optional_text("id") or "",
            type=type_,
            name=printable.line(fields.optional_text("name") or type_.capitalize()),
            message=fields.optional_text("message"),
            timestamp=fields.optional_time("timestamp"),
            data=fields.value("data"),
        )

    def __str__(self) -> str:
        """Return ``Completed``, or ``AllGood (COMPLETED)`` where the name does not show the type; with its message.

        It is fit to be shown, whatever the flow has written into the message.
        """
        name = printable.line(self.name)
        named = name if name.upper() == self.type else f"{name} ({self.type})"
        return f"{named}: {printable.block(self.message)}" if self.message else named


def _state_type(fields: Fields, name: str) -> str:
    """Return a state type, which has to be one that is known: nothing is assumed of whether another one is final."""
    found = fields.text(name)
    if found not in STATE_TYPES:
        raise WrongShape(name, f"is {printable.line(found, 40)!r} and not one of {', '.join(STATE_TYPES)}")
    return found


_UNKNOWN = State(id="", type="PENDING", name="Unknown")


@dataclass(frozen=True)
class FlowRun:
    """Describe a flow run as Prefect last showed it."""

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
    next_scheduled_start_time: datetime | None = None
    """When it is to run again, after it was put back to scheduled."""
    start_time: datetime | None = None
    end_time: datetime | None = None
    auto_scheduled: bool = False
    work_pool_name: str | None = None
    work_queue_name: str | None = None

    @classmethod
    def from_json(cls, record: Any) -> FlowRun:
        """Return the flow run that a parsed response describes.

        :raises WrongShape: a field is missing or of a wrong type. Prefect 2 and 3 show no flow run without a state.
        """
        fields = Fields(record)
        return cls(
            id=fields.identifier("id"),
            name=fields.name("name"),
            state=fields.part("state", State.from_json),
            flow_id=fields.optional_identifier("flow_id"),
            deployment_id=fields.optional_identifier("deployment_id"),
            parameters=fields.mapping("parameters"),
            tags=fields.texts("tags"),
            labels=fields.optional_mapping("labels"),
            context=fields.mapping("context"),
            idempotency_key=fields.optional_text("idempotency_key"),
            expected_start_time=fields.optional_time("expected_start_time"),
            next_scheduled_start_time=fields.optional_time("next_scheduled_start_time"),
            start_time=fields.optional_time("start_time"),
            end_time=fields.optional_time("end_time"),
            auto_scheduled=fields.flag("auto_scheduled"),
            work_pool_name=fields.optional_text("work_pool_name"),
            work_queue_name=fields.optional_text("work_queue_name"),
        )

    @classmethod
    def from_event(cls, resource: Mapping[str, Any], occurred: datetime | None) -> FlowRun:
        """Return the flow run that an event of Prefect is about, in the state that the event names.

        :raises WrongShape: a field is missing or of a wrong type.
        """
        fields = Fields(resource)
        type_ = _state_type(fields, "prefect.state-type")
        return cls(
            id=fields.identifier("prefect.resource.id").removeprefix(RESOURCE_PREFIX),
            name=printable.line(fields.optional_text("prefect.resource.name") or ""),
            state=State(
                id="",
                type=type_,
                name=printable.line(fields.optional_text("prefect.state-name") or type_.capitalize()),
                message=fields.optional_text("prefect.state-message") or None,
                timestamp=fields.optional_time("prefect.state-timestamp") or occurred,
            ),
            end_time=occurred if type_ in FINAL else None,
        )

    @property
    def is_final(self) -> bool:
        return self.state.type in FINAL

    @property
    def is_planned(self) -> bool:
        """Whether Prefect's own schedule has made the flow run, and it has not started."""
        return self.auto_scheduled and self.state.type == "SCHEDULED"


@dataclass(frozen=True)
class Deployment:
    """Describe a deployment: a flow that can be started from outside."""

    id: str
    name: str
    flow_id: str
    status: str | None = None

    @classmethod
    def from_json(cls, record: Any) -> Deployment:
        """Return the deployment that a parsed response describes.

        :raises WrongShape: a field is missing or of a wrong type.
        """
        fields = Fields(record)
        return cls(
            id=fields.identifier("id"),
            name=fields.name("name"),
            flow_id=fields.identifier("flow_id"),
            status=fields.optional_text("status"),
        )


@dataclass(frozen=True)
class TaskRun:
    """Describe a task run: one call of a task within a flow run."""

    id: str
    name: str
    flow_run_id: str | None
    state: State = _UNKNOWN
    task_key: str | None = None
    dynamic_key: str | None = None
    flow_run_run_count: int = 0
    """Which run of the flow run it belongs to: 2 after the flow's first retry, 0 if it never began."""

    @classmethod
    def from_json(cls, record: Any) -> TaskRun:
        """Return the task run that a parsed response describes.

        :raises WrongShape: a field is missing or of a wrong type. A task run that has not begun may have no state.
        """
        fields = Fields(record)
        return cls(
            id=fields.identifier("id"),
            name=fields.name("name"),
            flow_run_id=fields.optional_identifier("flow_run_id"),
            state=fields.optional_part("state", State.from_json) or _UNKNOWN,
            task_key=fields.optional_text("task_key"),
            dynamic_key=fields.optional_text("dynamic_key"),
            flow_run_run_count=fields.optional_number("flow_run_run_count") or 0,
        )


@dataclass(frozen=True)
class Selected:
    """Name the task runs whose results are meant; ``many`` says that they are a list, however few they are."""

    task_runs: tuple[TaskRun, ...]
    many: bool


@dataclass(frozen=True)
class LogRecord:
    """Hold one line that a flow run or one of its task runs has logged. ``level`` is Python's number."""

    id: str
    level: int
    message: str
    timestamp: datetime
    name: str = ""
    flow_run_id: str | None = None
    task_run_id: str | None = None

    @classmethod
    def from_json(cls, record: Any) -> LogRecord:
        """Return the log line that a parsed response describes.

        :raises WrongShape: a field is missing or of a wrong type.
        """
        fields = Fields(record)
        return cls(
            id=fields.identifier("id"),
            level=fields.number("level"),
            message=fields.text("message"),
            timestamp=fields.time("timestamp"),
            name=fields.optional_text("name") or "",
            flow_run_id=fields.optional_identifier("flow_run_id"),
            task_run_id=fields.optional_identifier("task_run_id"),
        )


@dataclass(frozen=True)
class Artifact:
    """Hold something that a flow run has left in Prefect for people or programs to read."""

    id: str
    key: str | None
    type: str | None
    data: Any
    flow_run_id: str | None = None

    @classmethod
    def from_json(cls, record: Any) -> Artifact:
        """Return the artifact that a parsed response describes.

        :raises WrongShape: a field is missing or of a wrong type.
        """
        fields = Fields(record)
        return cls(
            id=fields.identifier("id"),
            key=fields.optional_text("key"),
            type=fields.optional_text("type"),
            data=fields.value("data"),
            flow_run_id=fields.optional_identifier("flow_run_id"),
        )


@dataclass(frozen=True)
class RunInput:
    """Describe what a paused or suspended flow run wants to be told before it goes on (``wait_for_input``)."""

    schema: Mapping[str, Any]
    """The JSON schema of the input."""
    description: str = ""
    """What the flow's author says about it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the input's fields; those that have no default first."""
        required = [name for name in self._required if name in self._properties]
        return (*required, *(name for name in self._properties if name not in required))

    def __str__(self) -> str:
        """Return the fields as a person would write them: ``approved (boolean), note (string, optional)``."""
        shown = []
        for name in self.names:
            kind = self._properties[name].get("type") if isinstance(self._properties[name], Mapping) else None
            optional = "" if name in self._required else "optional"
            told = ", ".join(part for part in (str(kind or ""), optional) if part)
            shown.append(f"{printable.line(str(name), 60)} ({printable.line(told, 60)})" if told else str(name))
        return ", ".join(shown)

    @property
    def _properties(self) -> Mapping[str, Any]:
        found = self.schema.get("properties")
        return found if isinstance(found, Mapping) else {}

    @property
    def _required(self) -> Sequence[str]:
        found = self.schema.get("required")
        return found if isinstance(found, list) else ()


@dataclass(frozen=True)
class Materialization:
    """Say that a flow run has materialized an asset of Prefect (3.4 and newer), or has failed to."""

    id: str
    """The id of its event."""
    asset_key: str
    succeeded: bool
    occurred: datetime
    flow_run_id: str | None = None
    deployment_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    """The asset's ``name``, ``description``, ``url`` and ``owners``, as far as it has them."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the flow has added with ``add_asset_metadata``."""

    @classmethod
    def from_json(cls, record: Any) -> Materialization:
        """Return the materialization that an event of Prefect is about.

        :raises WrongShape: a field is missing or of a wrong type.
        """
        fields = Fields(record)
        resource = Fields(fields.mapping("resource"))
        related = fields.rows("related", _role_and_id)
        properties = {name: resource.optional_text(label) for name, label in _ASSET_PROPERTIES.items()}
        return cls(
            id=fields.identifier("id"),
            asset_key=resource.text("prefect.resource.id"),
            succeeded=fields.text("event") == MATERIALIZED,
            occurred=fields.time("occurred"),
            flow_run_id=next((id_ for role, id_ in related if role == "flow-run"), None),
            deployment_id=next((id_ for role, id_ in related if role == "deployment"), None),
            properties={name: value for name, value in properties.items() if value},
            metadata=fields.mapping("payload"),
        )


def _role_and_id(record: Any) -> tuple[str, str]:
    fields = Fields(record)
    role = fields.optional_text("prefect.resource.role") or ""
    return role, fields.text("prefect.resource.id").removeprefix(f"prefect.{role}.")


@dataclass(frozen=True)
class Source:
    """Name what can be started: a deployment on Prefect 2 and 3, a version of a flow on Prefect 1.

    :param id: what a flow run is created with.
    :param name: the deployment's, or the flow's.
    :param lineage: the :attr:`FlowRun.deployment_id` of its runs.
    :param agent_labels: the labels of its runs on Prefect 1, if none are given.
    """

    id: str
    name: str
    lineage: str
    agent_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewFlowRun:
    """Say what a flow run is created with; ``None`` leaves it to the deployment or the flow.

    :param labels: kept with the run on Prefect 3.
    :param agent_labels: which agents may run it on Prefect 1; an empty tuple is none at all.
    """

    parameters: Mapping[str, Any] | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    agent_labels: tuple[str, ...] | None = None
    context: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    scheduled_start_time: datetime | None = None
    job_variables: Mapping[str, Any] | None = None
    run_config: Mapping[str, Any] | None = None
    work_queue_name: str | None = None
    enforce_parameter_schema: bool | None = None


@dataclass(frozen=True)
class Created:
    """Hold the outcome of a create: the flow run, and whether it is new or was found by its idempotency key.

    ``resent`` says that the request was sent more than once, so that a run that is found may be its own.
    """

    run: FlowRun
    is_new: bool
    resent: bool = False


def is_uuid(text: str) -> bool:
    """Return whether ``text`` is a UUID, as all ids of Prefect are."""
    try:
        uuid.UUID(text)
    except (ValueError, AttributeError, TypeError):
        return False
    return True
