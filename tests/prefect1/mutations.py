"""What the mutations of a Prefect 1 server do, under the rules that were measured on a real one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from tests.prefect1 import registering
from tests.prefect1.errors import ServerError
from tests.prefect1.states import FINISHED, RUNNING, serialized, write_state
from tests.prefect1.tables import Row, Tables, moment

Mutation = Callable[..., Mapping[str, Any]]


def create_flow_run(
    tables: Tables,
    *,
    flow_id: str | None = None,
    version_group_id: str | None = None,
    parameters: dict[str, Any] | None = None,
    labels: list[str] | None = None,
    run_config: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    scheduled_start_time: str | None = None,
    idempotency_key: str | None = None,
    flow_run_name: str | None = None,
) -> Mapping[str, Any]:
    """Rows C07, C15, C16, C21, C22, C24, C26 to C33, C35 and C38."""
    flow = _flow_to_run(tables, flow_id, version_group_id)
    group = tables.get("flow_group", flow["flow_group_id"])
    assert group is not None
    given = _with_defaults(flow, group, parameters or {})
    if idempotency_key is not None:
        for run in tables.referring("flow_run", "flow_id", flow["id"]):
            if run["idempotency_key"] == idempotency_key:
                return {"id": run["id"]}
    start = moment(scheduled_start_time)
    run = tables.insert(
        "flow_run",
        tenant_id=flow["tenant_id"],
        flow_id=flow["id"],
        name=flow_run_name or _slug(),
        parameters=given,
        labels=sorted(_labels(flow, group, labels, run_config)),
        run_config=run_config or group["run_config"] or flow["run_config"],
        context={} if context is None else context,
        scheduled_start_time=start,
        auto_scheduled=False,
        idempotency_key=idempotency_key,
        times_resurrected=0,
        version=0,
    )
    write_state(tables, "flow_run", run["id"], serialized("Scheduled", "Flow run scheduled.", start_time=start))
    for task in tables.referring("task", "flow_id", flow["id"]):
        _new_task_run(tables, run, task["id"], -1, task["cache_key"])
    return {"id": run["id"]}


def _flow_to_run(tables: Tables, flow_id: str | None, version_group_id: str | None) -> Row:
    if flow_id is None and version_group_id is None:
        raise ServerError("One of flow_id or version_group_id must be provided.")
    flow = tables.get("flow", flow_id)
    if flow_id is None:
        found = [
            each for each in tables.all("flow") if each["version_group_id"] == version_group_id and not each["archived"]
        ]
        flow = max(found, key=lambda each: each["version"], default=None)
        if flow is None:
            raise ServerError(f"Version group {version_group_id} has no unarchived flows.")
    if flow is None:
        raise ServerError(f"Flow {flow_id} not found.")
    if flow["archived"]:
        raise ServerError(f"Flow {flow['id']} is archived.")
    return flow


def _with_defaults(flow: Row, group: Row, given: dict[str, Any]) -> dict[str, Any]:
    defined = flow["parameters"] or []
    defaults = {each["name"]: each["default"] for each in defined if each.get("default")}
    merged = {**defaults, **group["default_parameters"], **given}
    if missing := {each["name"] for each in defined if each.get("required")} - merged.keys():
        raise ServerError(f"Required parameters were not supplied: {missing}")
    return merged


def _labels(flow: Row, group: Row, given: list[str] | None, run_config: dict[str, Any] | None) -> list[str]:
    if given is not None:
        return given
    if run_config is not None:
        return run_config.get("labels") or []
    if group["labels"] is not None:
        return list(group["labels"])
    for described in (group["run_config"], flow["run_config"], flow["environment"]):
        if described is not None:
            return described.get("labels") or []
    return []


def _slug() -> str:
    first = random.choice(("amber", "brisk", "calm", "eager", "frosty", "mellow", "quiet", "sunny"))
    return f"{first}-{random.choice(('badger', 'crane', 'falcon', 'heron', 'lynx', 'otter', 'wombat', 'yak'))}"


def _new_task_run(tables: Tables, run: Row, task_id: str, map_index: int, cache_key: str | None = None) -> Row:
    row = tables.insert(
        "task_run",
        tenant_id=run["tenant_id"],
        flow_run_id=run["id"],
        task_id=task_id,
        map_index=map_index,
        cache_key=cache_key,
        version=0,
    )
    return write_state(tables, "task_run", row["id"], serialized("Pending", "Task run created"))


def set_flow_run_name(tables: Tables, *, flow_run_id: str, name: str) -> Mapping[str, Any]:
    """Rows R03 to R05."""
    if not name:
        raise ServerError("Invalid name")
    return _changed(tables, "flow_run", flow_run_id, name=name)


def set_task_run_name(tables: Tables, *, task_run_id: str, name: str) -> Mapping[str, Any]:
    if not name:
        raise ServerError("Invalid name")
    return _changed(tables, "task_run", task_run_id, name=name)


def set_flow_run_labels(tables: Tables, *, flow_run_id: str, labels: list[str]) -> Mapping[str, Any]:
    return _changed(tables, "flow_run", flow_run_id, labels=sorted(labels))


def delete_flow_run(tables: Tables, *, flow_run_id: str) -> Mapping[str, Any]:
    if found := tables.get("flow_run", flow_run_id):
        tables.delete("flow_run", flow_run_id)
    return {"success": found is not None}


def cancel_flow_run(tables: Tables, *, flow_run_id: str) -> Mapping[str, Any]:
    """Rows X02 to X06."""
    run = tables.get("flow_run", flow_run_id)
    if run is None:
        raise ServerError(f"Invalid flow run ID: {flow_run_id}.")
    if run["state"] in FINISHED:
        return {"state": run["state"]}
    if run["state"] in RUNNING:
        write_state(tables, "flow_run", flow_run_id, serialized("Cancelling", "Flow run is cancelling"))
        return {"state": "Cancelling"}
    for task_run in tables.referring("task_run", "flow_run_id", flow_run_id):
        if task_run["state"] not in FINISHED:
            write_state(tables, "task_run", task_run["id"], serialized("Cancelled", "Flow run is cancelled"))
    write_state(tables, "flow_run", flow_run_id, serialized("Cancelled", "Flow run is cancelled"))
    return {"state": "Cancelled"}


def set_flow_run_states(tables: Tables, *, states: list[dict[str, Any]]) -> Mapping[str, Any]:
    return {"states": [_set_state(tables, "flow_run", each) for each in states]}


def set_task_run_states(tables: Tables, *, states: list[dict[str, Any]]) -> Mapping[str, Any]:
    return {"states": [_set_state(tables, "task_run", each) for each in states]}


def _set_state(tables: Tables, table: str, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    run_id = wanted[f"{table}_id"]
    run = tables.get(table, run_id)
    if run is None:
        raise ServerError(f"State update failed: {table.replace('_', ' ')} ID {run_id} not found.")
    flow_run = run if table == "flow_run" else tables.get("flow_run", run["flow_run_id"])
    flow = tables.get("flow", flow_run["flow_id"] if flow_run else None)
    group = tables.get("flow_group", flow["flow_group_id"] if flow else None)
    locked = bool(group and group["settings"].get("version_locking_enabled"))
    if locked and wanted.get("version") not in (None, run["version"]):
        raise ServerError("State update failed: the version is not the newest.", "VERSION_LOCKING_ERROR")
    write_state(tables, table, run_id, wanted["state"])
    return {"id": run_id, "status": "SUCCESS", "message": None}


def get_or_create_task_run_info(
    tables: Tables, *, flow_run_id: str, task_id: str, map_index: int | None = None
) -> Mapping[str, Any]:
    index = -1 if map_index is None else map_index
    run = tables.get("flow_run", flow_run_id)
    if run is None or tables.get("task", task_id) is None:
        raise ServerError("Flow run or task not found.")
    for found in tables.referring("task_run", "flow_run_id", flow_run_id):
        if found["task_id"] == task_id and found["map_index"] == index:
            return found
    return _new_task_run(tables, run, task_id, index)


def update_heartbeat(table: str) -> Mutation:
    def update(tables: Tables, **given: str) -> Mapping[str, Any]:
        return _changed(tables, table, given[f"{table}_id"], heartbeat=moment())

    return update


def write_run_logs(tables: Tables, *, logs: list[dict[str, Any]]) -> Mapping[str, Any]:
    for log in logs:
        run = tables.get("flow_run", log["flow_run_id"])
        tables.insert("log", **{"timestamp": moment(), "level": "INFO"} | log, tenant_id=run and run["tenant_id"])
    return {"success": True}


def create_task_run_artifact(
    tables: Tables, *, task_run_id: str, kind: str, data: Any, tenant_id: str | None = None
) -> Mapping[str, Any]:
    """Row S12: what is said about an unknown task run makes the real client try again."""
    run = tables.get("task_run", task_run_id)
    if run is None:
        raise ServerError(f"Task run {task_run_id} not found")
    row = tables.insert(
        "task_run_artifact", tenant_id=tenant_id or run["tenant_id"], task_run_id=task_run_id, kind=kind, data=data
    )
    return {"id": row["id"]}


def get_runs_in_queue(
    tables: Tables, *, tenant_id: str, before: str | None = None, labels: list[str] | None = None
) -> Mapping[str, Any]:
    due, offered = moment(before), set(labels or ())
    waiting = [
        run
        for run in tables.all("flow_run")
        if run["state"] == "Scheduled"
        and run["tenant_id"] == tenant_id
        and run["state_start_time"] <= due
        # A run without labels goes to agents without labels, and to no other.
        and (set(run["labels"]) <= offered if run["labels"] else not offered)
    ]
    return {"flow_run_ids": [run["id"] for run in sorted(waiting, key=lambda run: run["state_start_time"])]}


def _changed(tables: Tables, table: str, row_id: str, **values: Any) -> Mapping[str, Any]:
    found = tables.get(table, row_id) is not None
    if found:
        tables.update(table, row_id, **values)
    return {"success": found}


MUTATIONS: dict[str, Mutation] = {
    "cancel_flow_run": cancel_flow_run,
    "create_flow_run": create_flow_run,
    "create_task_run_artifact": create_task_run_artifact,
    "delete_flow_run": delete_flow_run,
    "get_or_create_task_run": get_or_create_task_run_info,
    "get_or_create_task_run_info": get_or_create_task_run_info,
    "get_runs_in_queue": get_runs_in_queue,
    "set_flow_run_labels": set_flow_run_labels,
    "set_flow_run_name": set_flow_run_name,
    "set_flow_run_states": set_flow_run_states,
    "set_task_run_name": set_task_run_name,
    "set_task_run_states": set_task_run_states,
    "update_flow_run_heartbeat": update_heartbeat("flow_run"),
    "update_task_run_heartbeat": update_heartbeat("task_run"),
    "write_run_logs": write_run_logs,
    **registering.MUTATIONS,
}
