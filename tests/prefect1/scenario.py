"""What happens on a Prefect 1 server, told in short: flows are registered, runs move on, logs are written.

Every function takes the ``Prefect1Server`` first, and works at once, without HTTP.

    flow_id = register_flow(server, "etl", tasks=["extract", "load"])
    run_id = start_run(server, flow_id, "Submitted", "Running")
    finish_task(server, run_id, "load-1", result=prefect_result(42))
    move(server, run_id, "Success", message="All reference tasks succeeded.")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.prefect1 import mutations, registering
from tests.prefect1.server import RUN_QUERIES, Prefect1Server
from tests.prefect1.states import VERSION, serialized, write_state
from tests.prefect1.tables import Row, moment

PROJECT = "main"
LOCAL_STORAGE: dict[str, Any] = {
    "type": "Local",
    "directory": "/tmp",
    "flows": {},
    "path": None,
    "secrets": [],
    "stored_as_script": False,
    "__version__": VERSION,
}
MESSAGES = {
    "Scheduled": "Flow run scheduled.",
    "Submitted": "Submitted for execution",
    "Running": "Running flow.",
    "Success": "All reference tasks succeeded.",
    "Failed": "Some reference tasks failed.",
    "Cancelling": "Flow run is cancelling",
    "Cancelled": "Flow run is cancelled",
}


def add_tenant(server: Prefect1Server, slug: str, name: str | None = None) -> str:
    """Make a tenant; its id. The server already has "default"."""
    return str(registering.create_tenant(server.tables, name=name or slug, slug=slug)["id"])


def project_id(server: Prefect1Server, name: str = PROJECT, tenant_id: str | None = None) -> str:
    """The id of the project with this name, which is made if it is not there."""
    tenant = tenant_id or server.tenant_id
    for project in server.tables.all("project"):
        if project["name"] == name and project["tenant_id"] == tenant:
            return str(project["id"])
    return str(registering.create_project(server.tables, tenant_id=tenant, name=name)["id"])


def local_run(labels: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """A run config as Prefect 1.4.1 writes it down."""
    fields = {"env": None, "labels": sorted(labels), "working_dir": None}
    return {**fields, "type": "LocalRun", "__version__": VERSION, **more}


def parameter(name: str, default: Any = None, *, required: bool = False) -> dict[str, Any]:
    """A parameter of a flow."""
    kind = "prefect.core.parameter.Parameter"
    more = {"tags": [], "outputs": "typing.Any", "__version__": VERSION}
    return {"type": kind, "name": name, "slug": name, "default": default, "required": required, **more}


def register_flow(
    server: Prefect1Server,
    name: str,
    *,
    project: str = PROJECT,
    tasks: Sequence[str] = ("work",),
    mapped: Sequence[str] = (),
    parameters: Sequence[Mapping[str, Any]] = (),
    run_config: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    group_labels: Sequence[str] | None = None,
    group_run_config: Mapping[str, Any] | None = None,
    default_parameters: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    storage: Mapping[str, Any] | None = None,
    archived: bool = False,
    keep_older: bool = False,
    tenant_id: str | None = None,
) -> str:
    """Register a version of a flow; its id. The versions before it are archived, unless ``keep_older``.

    ``tasks`` and ``mapped`` are names, so the slug of "load" is "load-1"; ``parameters`` come from ``parameter`` and
    are tasks too, whose slugs are their names. ``labels`` are short for a ``local_run`` with them; ``group_labels``,
    ``group_run_config`` and ``default_parameters`` are those that somebody set in the UI, on the flow group.
    """
    tables, seen = server.tables, dict[str, int]()
    described: list[dict[str, Any]] = [{**each} for each in parameters]
    edges: list[dict[str, Any]] = []
    for task in (*tasks, *mapped):
        seen[task] = seen.get(task, 0) + 1
        slug = f"{task}-{seen[task]}"
        kind = "prefect.tasks.core.function.FunctionTask"
        described.append({"type": kind, "name": task, "slug": slug, "tags": [], "max_retries": 0})
        if task in mapped and described[0]["slug"] != slug:
            above, below = {"slug": described[0]["slug"]}, {"slug": slug}
            edges.append({"upstream_task": above, "downstream_task": below, "key": "x", "mapped": True})
    if run_config is None and environment is None:
        run_config = local_run(labels or ())
    content = {
        "name": name,
        "type": "prefect.core.flow.Flow",
        "schedule": None,
        "parameters": [{**each} for each in parameters],
        "tasks": described,
        "edges": edges,
        "reference_tasks": [],
        "run_config": run_config,
        "environment": environment,
        "storage": dict(storage or LOCAL_STORAGE),
        "__version__": VERSION,
    }
    with tables.lock:
        in_project = project_id(server, project, tenant_id)
        older = [each["id"] for each in tables.referring("flow", "project_id", in_project) if not each["archived"]]
        flow_id = str(registering.create_flow(tables, serialized_flow=content, project_id=in_project)["id"])
        if keep_older:
            for each in older:
                tables.update("flow", each, archived=False)
        flow = tables.update("flow", flow_id, archived=archived)
        set_ = {"labels": group_labels, "run_config": group_run_config, "default_parameters": default_parameters}
        given = {column: value for column, value in set_.items() if value is not None}
        tables.update("flow_group", flow["flow_group_id"], **given)
    return flow_id


def archive(server: Prefect1Server, flow_id: str) -> None:
    """Archive a version of a flow."""
    registering.archive_flow(server.tables, flow_id=flow_id)


def group_id(server: Prefect1Server, flow_id: str) -> str:
    """The id of the flow group that a flow belongs to."""
    return str(row(server, "flow", flow_id)["flow_group_id"])


def add_agent(
    server: Prefect1Server, labels: Sequence[str] = (), *, seen: timedelta | None = timedelta(0), name: str = "agent"
) -> str:
    """An agent that asked for work ``seen`` ago (None: never); its id."""
    agent_id = str(registering.register_agent(server.tables, type="LocalAgent", name=name, labels=list(labels))["id"])
    asked = None if seen is None else moment(datetime.now(UTC) - seen)
    server.tables.update("agent", agent_id, last_queried=asked)
    return agent_id


def row(server: Prefect1Server, table: str, row_id: str) -> Row:
    """A row, as it is now."""
    found = server.tables.get(table, row_id)
    assert found is not None, f"there is no {table} {row_id}"
    return dict(found)


def start_run(server: Prefect1Server, flow_id: str, *states: str, **given: Any) -> str:
    """Create a flow run as the mutation does, with its arguments, and move it through more states; its id."""
    run_id = str(mutations.create_flow_run(server.tables, flow_id=flow_id, **given)["id"])
    for state in states:
        move(server, run_id, state)
    return run_id


def move(
    server: Prefect1Server,
    run_id: str,
    state: str,
    message: str | None = None,
    *,
    at: datetime | None = None,
    **more: Any,
) -> Row:
    """Put a flow run into a state ("Running", "Success", "TimedOut"…), which is added to its states."""
    inner = row(server, "flow_run", run_id)["serialized_state"] if state in ("Submitted", "Queued") else None
    text = MESSAGES.get(state, f"Flow run is {state}.") if message is None else message
    return write_state(server.tables, "flow_run", run_id, serialized(state, text, inner=inner, **more), at)


def moving_on(
    server: Prefect1Server, run_id: str, *states: str, skip: int = 0, on: str | Sequence[str] = RUN_QUERIES
) -> None:
    """Let the run move one state on just before each answer about it; the first ``skip`` find it as it is."""
    for number, state in enumerate(states):
        server.meanwhile(_mover(server, run_id, state), on=on, about=run_id, skip=skip + number)


def _mover(server: Prefect1Server, run_id: str, state: str) -> Callable[[], Row]:
    return lambda: move(server, run_id, state)


def task_run_id(server: Prefect1Server, run_id: str, slug: str, map_index: int = -1) -> str:
    """The id of a task run, which is made if it is not there (as a mapped task's children are)."""
    flow_id = row(server, "flow_run", run_id)["flow_id"]
    tasks = [task["id"] for task in server.tables.referring("task", "flow_id", flow_id) if task["slug"] == slug]
    assert tasks, f"the flow has no task {slug}"
    info = mutations.get_or_create_task_run_info(
        server.tables, flow_run_id=run_id, task_id=tasks[0], map_index=map_index
    )
    return str(info["id"])


def finish_task(
    server: Prefect1Server,
    run_id: str,
    slug: str,
    state: str = "Success",
    *,
    result: dict[str, Any] | None = None,
    message: str = "Task run succeeded.",
    map_index: int = -1,
    **more: Any,
) -> str:
    """Put a task run into a state, with what ``prefect_result``, ``local_result`` and the like make; its id."""
    found = task_run_id(server, run_id, slug, map_index)
    write_state(server.tables, "task_run", found, serialized(state, message, result=result, **more))
    return found


def finish_mapped(server: Prefect1Server, run_id: str, slug: str, results: Sequence[dict[str, Any]]) -> str:
    """A mapped task with a successful child for each result; the id of the parent's run."""
    for index, result in enumerate(results):
        finish_task(server, run_id, slug, result=result, map_index=index)
    text = "Ready to proceed with mapping."
    return finish_task(server, run_id, slug, "Mapped", message=text, n_map_states=len(results))


def prefect_result(value: Any) -> dict[str, Any]:
    """A result that carries its value itself."""
    return {"type": "PrefectResult", "location": json.dumps(value), "__version__": VERSION}


def local_result(location: str | None, directory: str = "/tmp") -> dict[str, Any]:
    """A result in a file of the machine that ran the flow."""
    return {"type": "LocalResult", "dir": directory, "location": location, "__version__": VERSION}


def no_location(kind: str = "Result") -> dict[str, Any]:
    """What a task without a place for its result leaves behind: a failed one, or one that returned None."""
    return {"type": kind, "location": None, "__version__": VERSION}


def write_log(
    server: Prefect1Server,
    run_id: str,
    message: str,
    level: str = "INFO",
    *,
    at: datetime | None = None,
    name: str = "prefect.CloudFlowRunner",
    task_run: str | None = None,
) -> None:
    """A line that the flow run logged, ``at`` a time that is not now if one is given."""
    entry = {"flow_run_id": run_id, "task_run_id": task_run, "message": message, "level": level, "name": name}
    mutations.write_run_logs(server.tables, logs=[{**entry, "timestamp": moment(at)}])
