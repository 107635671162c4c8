"""The GraphQL API of Prefect 1: every document that is used for flow runs, once. Pure: calls, see :mod:`.call`.

Facts are from a server of Prefect 1 and from prefect 1.4.1. Only fields that are used are asked for: the server's own
client fails where a flow has a storage or run config that it does not know.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_prefect.client import graphql_model
from airflow_provider_prefect.client.call import Call
from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    DeploymentNotFound,
    FlowRunNotFound,
    InvalidRequest,
)
from airflow_provider_prefect.client.graphql_batches import count_existing, has_event_feed, read_changed, read_logs_of
from airflow_provider_prefect.client.graphql_outputs import (
    count_logs,
    located,
    read_last_logs,
    read_log_page,
    read_logs,
    read_task_runs,
    select_task_runs,
)
from airflow_provider_prefect.client.graphql_query import ask
from airflow_provider_prefect.client.identifiers import is_uuid
from airflow_provider_prefect.client.model import FlowRun, State
from airflow_provider_prefect.client.new_flow_run import Created, NewFlowRun, Source

__all__ = [
    "LACKS",
    "LOGS_LATE",
    "NAME",
    "cancel_flow_run",
    "count_existing",
    "count_logs",
    "create_flow_run",
    "default_run_name",
    "find_by_keys",
    "find_source",
    "has_event_feed",
    "located",
    "read_changed",
    "read_flow_run",
    "read_flow_runs",
    "read_last_logs",
    "read_log_page",
    "read_logs",
    "read_logs_of",
    "read_server",
    "read_task_runs",
    "read_tenant_of_key",
    "reasons_not_started",
    "rename_flow_run",
    "select_task_runs",
]

NAME = "Prefect 1"

LOGS_LATE = 6
"""Its processes send their lines every five seconds (prefect 1.4.1)."""

_NO_DEPLOYMENTS = "there are no deployments."
LACKS = {
    "deployment": f"{_NO_DEPLOYMENTS} Name the flow: flow_name (with project_name), or flow_id; or a flow_run_id.",
    "tags": "there are no tags. What chooses an agent is labels.",
    "job_variables": "give run_config, a mapping with its type: {'type': 'KubernetesRun', …}.",
    "work_queue_name": "there are no work queues. What chooses an agent is labels.",
    "enforce_parameter_schema": "a flow says itself which of its parameters are required.",
    "on_retry": "a run that has ended is not put back to scheduled. Leave it at on_retry='new'.",
    "fetch_result": "a flow's own result is not kept. PrefectGetTaskRunResultOperator fetches a task's, by its slug.",
    "artifact_key": "artifacts have no keys. Name the task whose result is meant: task_name='<slug>'.",
    "task_name=None": "a flow's own result is not kept. Name a task by its slug, such as 'load-1'.",
    "since": f"{_NO_DEPLOYMENTS} Give flow_run_id.",
    "criteria": "they are the body of a request that it does not have. read_flow_runs and find_by_keys find runs.",
}

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
_LABELS = (
    "query labels($where: flow_run_bool_exp!) { flow_run(where: $where) { labels } agent { labels last_queried } }"
)
_CREATE = "mutation create($input: create_flow_run_input!) { create_flow_run(input: $input) { id } }"
_RENAME = "mutation rename($input: set_flow_run_name_input!) { set_flow_run_name(input: $input) { success } }"
_CANCEL = "mutation cancel($input: cancel_flow_run_input!) { cancel_flow_run(input: $input) { state } }"
_SERVER = "query server { api { core_version } tenant { slug } }"
_TENANT_OF_KEY = "query key { auth_info { tenant_id } }"

_HEALTHY = timedelta(minutes=1)
"""An agent that has asked for work within this time is at work."""


# Flows


def find_source(
    *, deployment: str | None, flow_id: str | None, flow_name: str | None, project_name: str | None
) -> Call[Source]:
    """The version of a flow to start: the one of this id, else the newest one of this flow group; or that of a name.

    :raises DeploymentNotFound: there is no such flow.
    :raises ConfigurationError: it is archived, or several projects have a flow of this name.
    """
    assert not deployment, "refused as not supported"
    found = yield from (_flow_of_id(flow_id) if flow_id else _flow_of_name(flow_name or "", project_name))
    return Source(found["id"], found["name"], lineage=found["flow_group_id"], agent_labels=_labels(found))


def _flow_of_id(flow_id: str) -> Call[dict[str, Any]]:
    if not is_uuid(flow_id):
        raise ConfigurationError(f"flow_id={flow_id!r} is not the id (UUID) of a flow or of a flow group.")
    for column in ("id", "flow_group_id"):
        data = yield from ask(_FLOWS, where={column: {"_eq": flow_id}}, order=[{"created": "desc"}])
        if data["flow"]:
            flow: dict[str, Any] = data["flow"][0]
            if flow["archived"]:
                raise ConfigurationError(
                    f"flow_id={flow_id!r} is an archived version of flow {flow['name']!r}, which cannot be started. "
                    f"Give its flow group, flow_id={flow['flow_group_id']!r}, or flow_name."
                )
            return flow
    raise _no_such_flow(f"flow_id={flow_id!r}: Prefect has no flow and no flow group of this id.")


def _flow_of_name(flow_name: str, project_name: str | None) -> Call[dict[str, Any]]:
    where: dict[str, Any] = {"name": {"_eq": flow_name}, "archived": {"_eq": False}}
    if project_name:
        where["project"] = {"name": {"_eq": project_name}}
    data = yield from ask(_FLOWS, where=where, order=[{"version": "desc"}, {"created": "desc"}])
    flows: list[dict[str, Any]] = data["flow"]
    in_project = f" in project {project_name!r}" if project_name else ""
    if not flows:
        raise _no_such_flow(f"Prefect has no flow {flow_name!r}{in_project} that is not archived.")
    if len({flow["flow_group_id"] for flow in flows}) > 1:
        there = ", ".join(sorted({f"project_name={flow['project']['name']!r}" for flow in flows}))
        raise ConfigurationError(
            f"flow_name={flow_name!r} is the name of several flows{in_project}. Say which: {there}; or give flow_id."
        )
    return flows[0]


def _labels(flow: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels that the server gives to a flow's runs, in its own order of preference."""
    group = flow.get("flow_group") or {}
    if group.get("labels") is not None:
        return tuple(group["labels"])
    for described in (group.get("run_config"), flow.get("run_config"), flow.get("environment")):
        if described is not None:  # and it counts even if it has none
            return tuple(described.get("labels") or ())
    return ()


# Flow runs


def default_run_name(source: Source, task_name: str, dag_run_id: str) -> str:
    """``<Dag run>-<flow>``, as Prefect 1 names a child after the flow run that starts it."""
    return f"{dag_run_id}-{source.name}"


def create_flow_run(source: Source, new: NewFlowRun) -> Call[Created]:
    """Create a flow run, or find the one of this flow version that was created with this idempotency key.

    The server tells both in the same way, so that a run is told to be new by a mark in its context.

    :raises ConfigurationError: the run config does not say its type, which the server would find out too late.
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
    data = yield from ask(_CREATE, repeatable="idempotency_key" in given, input=given)
    run = yield from read_flow_run(data["create_flow_run"]["id"])
    return Created(run, is_new=(run.context.get("airflow") or {}).get("request") == mark)


def read_flow_run(flow_run_id: str) -> Call[FlowRun]:
    """The flow run of this id."""
    found = yield from read_flow_runs([flow_run_id])
    if not found:
        raise _no_such_run(flow_run_id)
    return found[0]


def read_flow_runs(flow_run_ids: Sequence[str]) -> Call[list[FlowRun]]:
    """The flow runs of these ids that there are."""
    return _flow_runs({"id": {"_in": list(flow_run_ids)}})


def find_by_keys(idempotency_keys: Sequence[str]) -> Call[list[FlowRun]]:
    """The flow runs that were created with one of these keys, whatever the flow."""
    return _flow_runs({"idempotency_key": {"_in": list(idempotency_keys)}})


def _flow_runs(where: Mapping[str, Any]) -> Call[list[FlowRun]]:
    data = yield from ask(_FLOW_RUNS, where=where)
    return [graphql_model.flow_run(record) for record in data["flow_run"]]


def reasons_not_started(run: FlowRun) -> Call[list[str]]:
    """Whether an agent that may run the flow run is at work: one that has all of its labels, or none if it has none."""
    data = yield from ask(_LABELS, where={"id": {"_eq": run.id}})
    wanted = set(data["flow_run"][0]["labels"] or ()) if data["flow_run"] else set()
    since = datetime.now(UTC) - _HEALTHY
    matching = [agent for agent in data["agent"] if _may_run(set(agent["labels"] or ()), wanted)]
    asked = [graphql_model.time(agent.get("last_queried")) for agent in matching]
    if any(when is not None and when > since for when in asked):
        return []
    labels = f"the labels {', '.join(map(repr, sorted(wanted)))}" if wanted else "no labels"
    if matching:
        return [f"agents with {labels} are registered, but none has asked for work within the last minute"]
    return [f"there is no agent with {labels}, which the flow run asks for"]


def _may_run(of_agent: set[str], wanted: set[str]) -> bool:
    return wanted <= of_agent if wanted else not of_agent


def rename_flow_run(flow_run_id: str, name: str) -> Call[None]:
    """Give the flow run another name, in whatever state it is."""
    if not name.strip():
        raise ConfigurationError("name is empty: a flow run's new name needs at least one character.")
    data = yield from ask(_RENAME, input={"flow_run_id": flow_run_id, "name": name})
    if not data["set_flow_run_name"]["success"]:
        raise _no_such_run(flow_run_id)


def cancel_flow_run(flow_run_id: str) -> Call[State]:
    """Ask the flow run to stop, and return the state that it is in then.

    It is looked at first: the server writes another Cancelling over the first, and takes an unknown run for an error.
    """
    run = yield from read_flow_run(flow_run_id)
    if run.is_final or run.state.type == "CANCELLING":
        return run.state
    yield from ask(_CANCEL, input={"flow_run_id": flow_run_id})
    return (yield from read_flow_run(flow_run_id)).state


# The server


def read_server() -> Call[tuple[str, list[str]]]:
    """The version of the server's Prefect, and the slugs of its tenants."""
    data = yield from ask(_SERVER)
    return str((data["api"] or {}).get("core_version") or ""), [tenant["slug"] for tenant in data["tenant"]]


def read_tenant_of_key() -> Call[str | None]:
    """The tenant of the API key; none on a server that knows no keys, and has a proxy in front that asks for one."""
    try:
        data = yield from ask(_TENANT_OF_KEY)
    except InvalidRequest:
        return None
    return (data["auth_info"] or {}).get("tenant_id")


def _no_such_flow(message: str) -> DeploymentNotFound:
    return DeploymentNotFound(message, detail="Flow not found")


def _no_such_run(flow_run_id: str) -> FlowRunNotFound:
    message = f"Prefect has no flow run {flow_run_id}: it was deleted, or belongs to another server or tenant."
    return FlowRunNotFound(message, detail="Flow run not found")
