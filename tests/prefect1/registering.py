"""How tenants, projects, flows and agents come to be on a Prefect 1 server."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.prefect1.errors import ServerError
from tests.prefect1.tables import Row, Tables, moment, new_id


def create_tenant(tables: Tables, *, name: str, slug: str) -> Mapping[str, Any]:
    return {"id": tables.insert("tenant", name=name, slug=slug, settings={}, info={})["id"]}


def create_project(tables: Tables, *, tenant_id: str, name: str, description: str | None = None) -> Mapping[str, Any]:
    if tables.get("tenant", tenant_id) is None:
        raise ServerError("Invalid tenant ID")
    if any(each["name"] == name and each["tenant_id"] == tenant_id for each in tables.all("project")):
        raise ServerError(f"Uniqueness violation: the project {name} exists already.")
    return {"id": tables.insert("project", tenant_id=tenant_id, name=name, description=description)["id"]}


def create_flow(
    tables: Tables,
    *,
    serialized_flow: dict[str, Any],
    project_id: str,
    version_group_id: str | None = None,
    set_schedule_active: bool | None = None,
    description: str | None = None,
    idempotency_key: str | None = None,
) -> Mapping[str, Any]:
    """A new version of a flow in the group that has its name in this project; older versions are archived."""
    project = tables.get("project", project_id)
    if project is None:
        raise ServerError("Invalid project.")
    name = serialized_flow["name"]
    older = [
        flow
        for flow in tables.referring("flow", "project_id", project_id)
        if (flow["version_group_id"] == version_group_id if version_group_id else flow["name"] == name)
    ]
    for flow in older:
        tables.update("flow", flow["id"], archived=True)
    group_id = older[-1]["flow_group_id"] if older else _new_group(tables, project, name)
    flow = tables.insert(
        "flow",
        tenant_id=project["tenant_id"],
        name=name,
        version=max((flow["version"] for flow in older), default=0) + 1,
        project_id=project_id,
        flow_group_id=group_id,
        version_group_id=version_group_id or (older[-1]["version_group_id"] if older else new_id()),
        archived=False,
        is_schedule_active=bool(set_schedule_active) and serialized_flow.get("schedule") is not None,
        core_version=serialized_flow.get("__version__"),
        serialized_flow=serialized_flow,
        settings={"heartbeat_enabled": True, "lazarus_enabled": True},
        description=description,
        **{each: serialized_flow.get(each) for each in ("environment", "run_config", "schedule", "storage")},
        parameters=serialized_flow.get("parameters") or [],
    )
    _add_tasks(tables, flow, serialized_flow.get("tasks") or ())
    _add_edges(tables, flow, serialized_flow.get("edges") or ())
    return {"id": flow["id"]}


def _new_group(tables: Tables, project: Row, name: str) -> str:
    settings = {"heartbeat_enabled": True, "lazarus_enabled": True, "version_locking_enabled": False}
    group = tables.insert(
        "flow_group", tenant_id=project["tenant_id"], name=name, settings=settings, default_parameters={}
    )
    return str(group["id"])


def _add_tasks(tables: Tables, flow: Row, serialized_tasks: Sequence[Mapping[str, Any]]) -> None:
    for task in serialized_tasks:
        tables.insert(
            "task",
            tenant_id=flow["tenant_id"],
            flow_id=flow["id"],
            name=task["name"],
            slug=task["slug"],
            type=task.get("type"),
            max_retries=task.get("max_retries"),
            tags=task.get("tags") or [],
            cache_key=task.get("cache_key"),
            auto_generated=bool(task.get("auto_generated")),
            mapped=False,
            is_root_task=True,
            is_terminal_task=True,
            is_reference_task=False,
        )


def _add_edges(tables: Tables, flow: Row, serialized_edges: Sequence[Mapping[str, Any]]) -> None:
    ids = {task["slug"]: task["id"] for task in tables.referring("task", "flow_id", flow["id"])}
    for edge in serialized_edges:
        above, below = ids[edge["upstream_task"]["slug"]], ids[edge["downstream_task"]["slug"]]
        mapped = bool(edge.get("mapped"))
        tables.insert(
            "edge",
            tenant_id=flow["tenant_id"],
            flow_id=flow["id"],
            upstream_task_id=above,
            downstream_task_id=below,
            key=edge.get("key"),
            mapped=mapped,
        )
        tables.update("task", above, is_terminal_task=False)
        tables.update("task", below, is_root_task=False, **({"mapped": True} if mapped else {}))


def create_flow_from_compressed_string(tables: Tables, *, serialized_flow: str, **given: Any) -> Mapping[str, Any]:
    content = json.loads(gzip.decompress(base64.b64decode(serialized_flow)))
    return create_flow(tables, serialized_flow=content, **given)


def register_tasks(tables: Tables, *, flow_id: str, serialized_tasks: list[dict[str, Any]]) -> Mapping[str, Any]:
    _add_tasks(tables, _flow(tables, flow_id), serialized_tasks)
    return {"success": True}


def register_edges(tables: Tables, *, flow_id: str, serialized_edges: list[dict[str, Any]]) -> Mapping[str, Any]:
    _add_edges(tables, _flow(tables, flow_id), serialized_edges)
    return {"success": True}


def _flow(tables: Tables, flow_id: str) -> Row:
    flow = tables.get("flow", flow_id)
    if flow is None:
        raise ServerError("Invalid flow ID")
    return flow


def set_heartbeat(enabled: bool) -> Callable[..., Mapping[str, Any]]:
    def update(tables: Tables, *, flow_id: str) -> Mapping[str, Any]:
        settings = {**_flow(tables, flow_id)["settings"], "heartbeat_enabled": enabled}
        tables.update("flow", flow_id, settings=settings)
        return {"success": True}

    return update


def archive_flow(tables: Tables, *, flow_id: str) -> Mapping[str, Any]:
    found = tables.get("flow", flow_id) is not None
    if found:
        tables.update("flow", flow_id, archived=True, is_schedule_active=False)
    return {"success": found}


def set_on_group(column: str, argument: str) -> Callable[..., Mapping[str, Any]]:
    def update(tables: Tables, *, flow_group_id: str, **given: Any) -> Mapping[str, Any]:
        found = tables.get("flow_group", flow_group_id) is not None
        if found:
            tables.update("flow_group", flow_group_id, **{column: given.get(argument)})
        return {"success": found}

    return update


def set_schedule(active: bool) -> Callable[..., Mapping[str, Any]]:
    def update(tables: Tables, *, flow_id: str) -> Mapping[str, Any]:
        found = tables.get("flow", flow_id) is not None
        if found:
            tables.update("flow", flow_id, is_schedule_active=active)
        return {"success": found}

    return update


def register_agent(
    tables: Tables,
    *,
    type: str,
    tenant_id: str | None = None,
    name: str | None = None,
    labels: list[str] | None = None,
    agent_config_id: str | None = None,
) -> Mapping[str, Any]:
    tenants = tables.all("tenant")
    agent = tables.insert(
        "agent",
        tenant_id=tenant_id or (tenants[0]["id"] if tenants else None),
        agent_config_id=agent_config_id,
        type=type,
        name=name,
        labels=labels or [],
        last_queried=moment(),
    )
    return {"id": agent["id"]}


MUTATIONS: dict[str, Callable[..., Mapping[str, Any]]] = {
    "archive_flow": archive_flow,
    "create_flow": create_flow,
    "create_flow_from_compressed_string": create_flow_from_compressed_string,
    "create_project": create_project,
    "create_tenant": create_tenant,
    "register_agent": register_agent,
    "disable_flow_heartbeat": set_heartbeat(False),
    "enable_flow_heartbeat": set_heartbeat(True),
    "register_edges": register_edges,
    "register_tasks": register_tasks,
    "set_flow_group_default_parameters": set_on_group("default_parameters", "parameters"),
    "set_flow_group_labels": set_on_group("labels", "labels"),
    "set_flow_group_run_config": set_on_group("run_config", "run_config"),
    "set_schedule_active": set_schedule(True),
    "set_schedule_inactive": set_schedule(False),
}
