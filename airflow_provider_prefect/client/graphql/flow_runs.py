"""Flows and flow runs in the GraphQL API of Prefect 1. Each document is written once.

Facts are from a server of Prefect 1 and from prefect 1.4.1. Only fields that are used are asked for: the server's own
client fails where a flow has a storage or run config that it does not know.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_prefect.client.errors import ConfigurationError, DeploymentNotFound, FlowRunNotFound
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.graphql import records
from airflow_provider_prefect.client.graphql.query import GraphqlQueries, count
from airflow_provider_prefect.client.model import Created, FlowRun, NewFlowRun, Source, State, is_uuid

_FLOW_RUN = """
fragment run on flow_run {
  id name version state state_message state_timestamp start_time end_time scheduled_start_time auto_scheduled
  flow_id parameters context idempotency_key flow { flow_group_id } tenant { slug }
}
"""
_FLOWS = """
query flows($where: flow_bool_exp!, $order: [flow_order_by!]) {
  flow(where: $where, order_by: $order) {
    id name version archived flow_group_id run_config environment project { name } flow_group { labels run_config }
  }
}
"""
_FLOW_RUNS = _FLOW_RUN + "query flow_runs($where: flow_run_bool_exp!) { flow_run(where: $where) { ...run } }"
_CHANGED = """
query changed($where: flow_run_bool_exp!, $limit: Int) {
  flow_run(where: $where, limit: $limit) {
    id name version state state_message state_timestamp start_time end_time scheduled_start_time tenant { slug }
  }
}
"""
_COUNT = "query existing($where: flow_run_bool_exp!) { flow_run_aggregate(where: $where) { aggregate { count } } }"
_LABELS = (
    "query labels($where: flow_run_bool_exp!) { flow_run(where: $where) { labels } agent { labels last_queried } }"
)
_CREATE = "mutation create($input: create_flow_run_input!) { create_flow_run(input: $input) { id } }"
_RENAME = "mutation rename($input: set_flow_run_name_input!) { set_flow_run_name(input: $input) { success } }"
_CANCEL = "mutation cancel($input: cancel_flow_run_input!) { cancel_flow_run(input: $input) { state } }"

_AGENT_HEALTHY_FOR = timedelta(minutes=1)
"""How long an agent counts as healthy after it has last asked for work."""


class FlowRunQueries(GraphqlQueries):
    """Find flows; create, read, find, rename and cancel flow runs."""

    # Flows

    async def find_source(
        self, *, deployment: str | None, flow_id: str | None, flow_name: str | None, project_name: str | None
    ) -> Source:
        """Return the flow version to start: the one of this id, else the newest of this flow group, or of this name.

        :raises DeploymentNotFound: there is no such flow.
        :raises ConfigurationError: it is archived, or several projects have a flow of this name.
        """
        assert not deployment, "refused as unsupported"
        found = await (self._flow_of_id(flow_id) if flow_id else self._flow_of_name(flow_name or "", project_name))
        return Source(found.id, found.name, lineage=found.flow_group_id, agent_labels=found.agent_labels)

    async def _flow_of_id(self, flow_id: str) -> _Flow:
        if not is_uuid(flow_id):
            raise ConfigurationError(f"flow_id={flow_id!r} is not the id (UUID) of a flow or of a flow group.")
        if flows := await self._flows({"id": {"_eq": flow_id}}, [{"created": "desc"}]):
            if flows[0].archived:
                raise ConfigurationError(
                    f"flow_id={flow_id!r} is an archived version of flow {flows[0].name!r}, which cannot be started. "
                    f"Give its flow group, flow_id={flows[0].flow_group_id!r}, or flow_name."
                )
            return flows[0]
        if flows := await self._flows({"flow_group_id": {"_eq": flow_id}}, [{"created": "desc"}]):
            if flows[0].archived:
                raise ConfigurationError(_archived_flow_group(flow_id, flows))
            return flows[0]
        raise _flow_not_found(f"flow_id={flow_id!r}: Prefect has no flow and no flow group of this id.")

    async def _flow_of_name(self, flow_name: str, project_name: str | None) -> _Flow:
        where: dict[str, Any] = {"name": {"_eq": flow_name}, "archived": {"_eq": False}}
        if project_name:
            where["project"] = {"name": {"_eq": project_name}}
        flows = await self._flows(where, [{"version": "desc"}, {"created": "desc"}])
        in_project = f" in project {project_name!r}" if project_name else ""
        if not flows:
            raise _flow_not_found(f"Prefect has no flow {flow_name!r}{in_project} that is not archived.")
        if len({flow.flow_group_id for flow in flows}) > 1:
            projects = ", ".join(sorted({f"project_name={flow.project_name!r}" for flow in flows}))
            raise ConfigurationError(
                f"flow_name={flow_name!r} is the name of several flows{in_project}. Say which: {projects}; or give "
                "flow_id."
            )
        return flows[0]

    async def _flows(self, where: Mapping[str, Any], order: Sequence[Mapping[str, str]]) -> list[_Flow]:
        return await self.query(_FLOWS, lambda data: data.rows("flow", _Flow.from_json), where=where, order=order)

    # Flow runs

    def default_run_name(self, source: Source, task_name: str, dag_run_id: str) -> str:
        """Return ``<Dag run>-<flow>``, as Prefect 1 names a child after the flow run that starts it."""
        return f"{dag_run_id}-{source.name}"

    async def create_flow_run(self, source: Source, new: NewFlowRun) -> Created:
        """Create a flow run, or find the one of this flow version that was created with this idempotency key.

        The server answers alike in both cases, so a new run is recognised by a mark in its context.

        :raises ConfigurationError: the run config does not name its type, which the server would notice too late.
        :raises InvalidRequest: Prefect refuses the parameters or another field.
        """
        if new.run_config is not None and not new.run_config.get("type"):
            raise ConfigurationError(
                "run_config has no type. It is a mapping such as {'type': 'KubernetesRun', 'image': …}."
            )
        mark = uuid.uuid4().hex
        context = dict(new.context or {})
        context["airflow"] = {**context.get("airflow", {}), "request": mark}
        start = new.scheduled_start_time
        labels = new.agent_labels
        if labels is None and new.run_config is not None and new.run_config.get("labels") is None:
            # The server would take a run config without labels for one that wants none, whatever the flow's are.
            labels = source.agent_labels
        fields = {
            "flow_id": source.id,
            "flow_run_name": new.name or None,
            "parameters": new.parameters,
            "context": context,
            "labels": None if labels is None else list(labels),
            "run_config": new.run_config,
            "scheduled_start_time": start.isoformat() if start else None,
            "idempotency_key": new.idempotency_key or None,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        created_id = await self.query(_CREATE, _created_id, repeatable="idempotency_key" in given, input=given)
        run = await self.read_flow_run(created_id)
        found = run.context.get("airflow")
        return Created(run, is_new=isinstance(found, Mapping) and found.get("request") == mark)

    async def read_flow_run(self, flow_run_id: str) -> FlowRun:
        """Return the flow run.

        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        found = await self.read_flow_runs([flow_run_id])
        if not found:
            raise _flow_run_not_found(flow_run_id)
        return found[0]

    async def read_flow_runs(self, flow_run_ids: Sequence[str]) -> list[FlowRun]:
        """Return those of the flow runs that Prefect still has."""
        return await self._flow_runs({"id": {"_in": list(flow_run_ids)}})

    async def find_by_keys(self, idempotency_keys: Sequence[str]) -> list[FlowRun]:
        """Return the flow runs that were created with one of these keys, whatever the flow."""
        return await self._flow_runs({"idempotency_key": {"_in": list(idempotency_keys)}})

    async def _flow_runs(self, where: Mapping[str, Any]) -> list[FlowRun]:
        return await self.query(_FLOW_RUNS, _runs, where=where)

    async def read_changed(self, ids: Sequence[str], *, known_type: str | None, limit: int) -> list[FlowRun]:
        """Return one page of those of these flow runs whose state is not of the type ``known_type``."""
        where: dict[str, Any] = {"id": {"_in": list(ids)}}
        if known_type is not None:
            others: dict[str, Any] = {"state": {"_nin": records.names([known_type])}}
            # No state at all counts as Pending; to a database it is neither in a list nor not.
            where["_or"] = [others] if known_type == "PENDING" else [others, {"state": {"_is_null": True}}]
        return await self.query(_CHANGED, _runs, where=where, limit=limit)

    async def count_existing(self, ids: Sequence[str]) -> int:
        """Return how many of these flow runs Prefect still has."""
        where = {"id": {"_in": list(ids)}}
        return await self.query(_COUNT, lambda data: count(data, "flow_run_aggregate"), where=where)

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        """Return whether an agent that may run the flow run is at work.

        An agent may if it has all labels of the flow run; a flow run without labels needs an agent without labels.
        """
        runs, agents = await self.query(_LABELS, _labels_and_agents, where={"id": {"_eq": run.id}})
        wanted = set(runs[0]) if runs else set()
        since = datetime.now(UTC) - _AGENT_HEALTHY_FOR
        matching = [asked for labels, asked in agents if _may_run(set(labels), wanted)]
        if any(when is not None and when > since for when in matching):
            return []
        labels = f"the labels {', '.join(map(repr, sorted(wanted)))}" if wanted else "no labels"
        if matching:
            return [f"agents with {labels} are registered, but none has asked for work within the last minute"]
        return [f"there is no agent with {labels}, which the flow run asks for"]

    async def rename_flow_run(self, flow_run_id: str, name: str) -> None:
        """Give the flow run another name, in whatever state it is.

        :raises ConfigurationError: the name is empty.
        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        if not name.strip():
            raise ConfigurationError("name is empty: a flow run's new name needs at least one character.")
        if not await self.query(_RENAME, _has_renamed, input={"flow_run_id": flow_run_id, "name": name}):
            raise _flow_run_not_found(flow_run_id)

    async def cancel_flow_run(self, flow_run_id: str) -> State:
        """Ask the flow run to stop, and return the state that it is in then.

        It is read first: the server writes another Cancelling over the first, and answers an unknown run with an error.

        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        run = await self.read_flow_run(flow_run_id)
        if run.is_final or run.state.type == "CANCELLING":
            return run.state
        await self.query(_CANCEL, lambda data: None, input={"flow_run_id": flow_run_id})
        return (await self.read_flow_run(flow_run_id)).state


@dataclass(frozen=True)
class _Flow:
    """Describe one version of a flow.

    :param agent_labels: the labels that the server gives to its runs.
    """

    id: str
    name: str
    version: int | None
    archived: bool
    flow_group_id: str
    project_name: str
    agent_labels: tuple[str, ...]

    @classmethod
    def from_json(cls, record: Any) -> _Flow:
        """Return the version that ``record`` describes.

        :raises WrongShape: a field is missing or of a wrong type.
        """
        flow = Fields(record)
        return cls(
            id=flow.identifier("id"),
            name=flow.name("name"),
            version=flow.optional_number("version"),
            archived=flow.flag("archived"),
            flow_group_id=flow.identifier("flow_group_id"),
            project_name=flow.optional_part("project", lambda project: Fields(project).name("name")) or "",
            agent_labels=_labels(flow),
        )


def _labels(flow: Fields) -> tuple[str, ...]:
    """Return the labels that the server gives to a flow's runs, in its own order of preference."""
    group = Fields(flow.mapping("flow_group"))
    if group.value("labels") is not None:
        return group.texts("labels")
    for fields, name in ((group, "run_config"), (flow, "run_config"), (flow, "environment")):
        if fields.value(name) is not None:  # it takes precedence even if it has none
            return fields.part(name, lambda described: Fields(described).texts("labels"))
    return ()


def _archived_flow_group(flow_group_id: str, flows: Sequence[_Flow]) -> str:
    """Return the message for a flow group whose newest version is archived, with the version that can be started."""
    name = flows[0].name
    for flow in flows:
        if not flow.archived:
            return (
                f"The newest version of flow group flow_id={flow_group_id!r} (flow {name!r}, version "
                f"{flows[0].version}) is archived and cannot be started. The newest version that is not archived is "
                f"{flow.version}: give flow_id={flow.id!r}, or flow_name={name!r}."
            )
    return (
        f"All versions of flow group flow_id={flow_group_id!r} (flow {name!r}) are archived and cannot be started. "
        f"flow_name={name!r} starts a flow of this name that was registered again as another flow group."
    )


def _runs(data: Fields) -> list[FlowRun]:
    return data.rows("flow_run", records.flow_run)


def _created_id(data: Fields) -> str:
    return data.part("create_flow_run", lambda created: Fields(created).identifier("id"))


def _has_renamed(data: Fields) -> bool:
    return data.part("set_flow_run_name", lambda renamed: Fields(renamed).flag("success"))


def _labels_and_agents(data: Fields) -> tuple[list[tuple[str, ...]], list[tuple[tuple[str, ...], datetime | None]]]:
    """Return the labels of flow runs; and of each agent its labels, and when it has last asked for work."""
    runs = data.rows("flow_run", lambda run: Fields(run).texts("labels"))
    return runs, data.rows("agent", _labels_and_last_query)


def _labels_and_last_query(record: Any) -> tuple[tuple[str, ...], datetime | None]:
    agent = Fields(record)
    return agent.texts("labels"), agent.optional_time("last_queried")


def _may_run(agent_labels: set[str], wanted: set[str]) -> bool:
    return wanted <= agent_labels if wanted else not agent_labels


def _flow_not_found(message: str) -> DeploymentNotFound:
    return DeploymentNotFound(message, detail="Flow not found")


def _flow_run_not_found(flow_run_id: str) -> FlowRunNotFound:
    message = f"Prefect has no flow run {flow_run_id}: it was deleted, or belongs to another server or tenant."
    return FlowRunNotFound(message, detail="Flow run not found")
