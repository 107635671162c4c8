"""The REST API of Prefect 2 and 3: every endpoint that is used, once. Pure: calls, see :mod:`.call`.

Facts are from prefect 2.20.26 and 3.8.8. Routes are exact about a trailing slash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airflow_provider_prefect.client.call import Call, Request
from airflow_provider_prefect.client.errors import (
    ConfigurationError,
    FlowRunNotFound,
    InvalidRequest,
    NotFound,
)
from airflow_provider_prefect.client.model import LIVE, FlowRun, State
from airflow_provider_prefect.client.new_flow_run import Created, NewFlowRun, Source
from airflow_provider_prefect.client.pages import pages
from airflow_provider_prefect.client.rest_batches import count_existing, has_event_feed, read_changed, read_logs_of
from airflow_provider_prefect.client.rest_deployments import find_deployment, find_deployment_of_flow, find_source
from airflow_provider_prefect.client.rest_outputs import (
    count_logs,
    read_last_logs,
    read_log_page,
    read_logs,
    read_task_runs,
)
from airflow_provider_prefect.client.results import located
from airflow_provider_prefect.client.selecting import select_task_runs

__all__ = [
    "LACKS",
    "LOGS_LATE",
    "NAME",
    "StateAnswer",
    "cancel_flow_run",
    "count_existing",
    "count_flow_runs",
    "count_logs",
    "create_flow_run",
    "default_run_name",
    "filter_flow_runs",
    "find_by_keys",
    "find_deployment",
    "find_deployment_of_flow",
    "find_live_flow_runs",
    "find_source",
    "has_event_feed",
    "is_graphql",
    "located",
    "read_changed",
    "read_flow_run",
    "read_flow_runs",
    "read_last_logs",
    "read_log_page",
    "read_logs",
    "read_logs_of",
    "read_task_runs",
    "read_version",
    "reasons_not_started",
    "rename_flow_run",
    "restart_flow_run",
    "select_task_runs",
    "set_flow_run_state",
]

NAME = "Prefect 2 and 3"

LOGS_LATE = 2
"""They were seen to come up to 1.2 s late (prefect 3.8.8)."""

LACKS = {
    "flow_id": "a flow is started through a deployment, deployment='flow/deployment' or its id.",
    "project_name": "there are no projects, deployment='flow/deployment' is enough.",
    "labels": "give work_queue_name, if the deployment's is not the right one; what only marks a run are tags.",
    "run_config": "give job_variables, for the job template of the work pool.",
    "context": "it would not reach the flow. Give parameters, or job_variables={'env': {…}}.",
}


@dataclass(frozen=True)
class StateAnswer:
    """The answer to a request for another state. Only ``state`` says what came of it; ``status`` explains."""

    status: str
    reason: str
    state: State | None


# Flow runs


def default_run_name(source: Source, task_name: str, dag_run_id: str) -> str:
    """``<dag>.<task> <Dag run>``."""
    return f"{task_name} {dag_run_id}"


def create_flow_run(source: Source, new: NewFlowRun) -> Call[Created]:
    """Create a flow run, or find the one that was created with this idempotency key (201 or 200)."""
    body = _body(new)
    try:
        response = yield from _create(source.id, body)
    except InvalidRequest as error:
        # Prefect 2 has no labels and refuses a request with any.
        if "labels" not in error.fields or body.pop("labels", None) is None:
            raise
        response = yield from _create(source.id, body)
    return Created(FlowRun.from_json(response.json()), is_new=response.status == 201, resent=response.resent)


def _body(new: NewFlowRun) -> dict[str, Any]:
    start = new.scheduled_start_time
    fields = {
        "parameters": new.parameters,
        "name": new.name,
        "tags": list(new.tags),
        "labels": new.labels,
        "context": new.context,
        "idempotency_key": new.idempotency_key,
        "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": start.isoformat()}} if start else None,
        "job_variables": new.job_variables,
        "work_queue_name": new.work_queue_name,
        "enforce_parameter_schema": new.enforce_parameter_schema,
    }
    # An empty idempotency key would make every second create a conflict, an empty name is a name of the server's.
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def _create(deployment_id: str, body: dict[str, Any]) -> Request:
    path = f"/deployments/{deployment_id}/create_flow_run"
    return Request("POST", path, dict(body), repeatable="idempotency_key" in body)


def read_flow_run(flow_run_id: str) -> Call[FlowRun]:
    """The flow run of this id."""
    try:
        response = yield from Request("GET", f"/flow_runs/{flow_run_id}")
    except NotFound as error:
        raise _no_such_run(flow_run_id, error) from None
    return FlowRun.from_json(response.json())


def read_flow_runs(flow_run_ids: Sequence[str]) -> Call[list[FlowRun]]:
    """The flow runs of these ids that there are."""
    return filter_flow_runs({"flow_runs": {"id": {"any_": list(flow_run_ids)}}})


def find_by_keys(idempotency_keys: Sequence[str]) -> Call[list[FlowRun]]:
    """The flow runs that were created with one of these keys, whatever the deployment."""
    return filter_flow_runs({"flow_runs": {"idempotency_key": {"any_": list(idempotency_keys)}}})


def filter_flow_runs(
    criteria: Mapping[str, Any], *, sort: str = "ID_DESC", most: int | None = None
) -> Call[list[FlowRun]]:
    """The flow runs that meet ``criteria`` (the body of ``/flow_runs/filter``), page by page, ``most`` at the most."""
    records = yield from pages("/flow_runs/filter", {**criteria, "sort": sort}, most)
    return [FlowRun.from_json(record) for record in records]


def find_live_flow_runs(deployment_id: str, tags: Sequence[str]) -> Call[list[FlowRun]]:
    """The runs of a deployment that have all of ``tags``, and neither have ended nor are being cancelled.

    Runs that Prefect's own schedule has made and not started are left out: their key stays taken, so a cancelled one
    would be missing when its time comes.
    """
    flow_runs: dict[str, Any] = {"deployment_id": {"any_": [deployment_id]}, "state": {"type": {"any_": list(LIVE)}}}
    if tags:
        flow_runs["tags"] = {"all_": list(tags)}
    runs = yield from filter_flow_runs({"flow_runs": flow_runs})
    return [run for run in runs if not (run.auto_scheduled and run.state.type == "SCHEDULED")]


def reasons_not_started(run: FlowRun) -> Call[list[str]]:
    """What Prefect shows that may keep a scheduled flow run from starting."""
    reasons = []
    if run.state.name not in ("Scheduled", "Late", "Pending"):
        reasons.append(f"its state is {run.state}")
    if run.deployment_id:
        deployment = yield from find_deployment(run.deployment_id)
        if deployment.status == "NOT_READY":
            reasons.append("nothing has asked for runs of its deployment lately: no worker polls, no process serves it")
    if run.work_pool_name:
        pool = (yield from Request("GET", f"/work_pools/{quote(run.work_pool_name, safe='')}")).json()
        if pool.get("is_paused") or pool.get("status") == "PAUSED":
            reasons.append(f"its work pool {run.work_pool_name!r} is paused")
        elif pool.get("status") == "NOT_READY":
            reasons.append(f"no worker of its work pool {run.work_pool_name!r} is online")
        if run.work_queue_name:
            path = f"/work_pools/{quote(run.work_pool_name, safe='')}/queues/{quote(run.work_queue_name, safe='')}"
            if (yield from Request("GET", path)).json().get("is_paused"):
                reasons.append(f"its work queue {run.work_queue_name!r} is paused")
    return reasons


def rename_flow_run(flow_run_id: str, name: str) -> Call[None]:
    """Give the flow run another name, in whatever state it is. An empty name would be made up by the server."""
    if not name.strip():
        raise ConfigurationError("name is empty: a flow run's new name needs at least one character.")
    try:
        yield from Request("PATCH", f"/flow_runs/{flow_run_id}", {"name": name})
    except NotFound as error:
        raise _no_such_run(flow_run_id, error) from None


def set_flow_run_state(flow_run_id: str, state: Mapping[str, Any], *, repeatable: bool) -> Call[StateAnswer]:
    """Ask for another state, without force. That the server answers does not mean that it agrees."""
    body = {"state": state, "force": False}
    request = Request("POST", f"/flow_runs/{flow_run_id}/set_state", body, repeatable=repeatable)
    try:
        response = yield from request
    except NotFound as error:
        raise _no_such_run(flow_run_id, error) from None
    answer = response.json()
    return StateAnswer(
        status=answer["status"],
        reason=(answer.get("details") or {}).get("reason") or "",
        state=State.from_json(answer["state"]) if answer.get("state") else None,
    )


def cancel_flow_run(flow_run_id: str) -> Call[State]:
    """Ask the flow run to stop, and return the state that it is in then.

    CANCELLING is asked for, never CANCELLED, which would leave the flow's process running. A run without
    infrastructure is CANCELLED at once, a finished one stays as it is.
    """
    answer = yield from set_flow_run_state(flow_run_id, {"type": "CANCELLING"}, repeatable=True)
    if answer.state is not None and answer.status != "ABORT":
        return answer.state
    run = yield from read_flow_run(flow_run_id)
    return run.state


def restart_flow_run(flow_run_id: str) -> Call[bool]:
    """Put a flow run that has ended back to scheduled, as the UI's Retry does; says whether Prefect did it.

    Prefect 2 does not for a cancelled one. Sent twice it could start a run anew that has started already.
    """
    state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Airflow retries the task that waits for it."}
    answer = yield from set_flow_run_state(flow_run_id, state, repeatable=False)
    return answer.status == "ACCEPT"


# The server


def read_version() -> Call[str]:
    """The version of the server, such as ``3.8.8``. Prefect Cloud has no such endpoint."""
    response = yield from Request("GET", "/admin/version")
    return str(response.json())


def count_flow_runs() -> Call[int]:
    """How many flow runs there are: a small request that every workspace answers to whoever may read it."""
    response = yield from Request("POST", "/flow_runs/count", {})
    return int(response.json())


def is_graphql() -> Call[bool]:
    """Whether a GraphQL server answers here: Prefect 1."""
    response = yield from Request("POST", "", {"query": "query { __typename }"})
    body = response.json()
    return isinstance(body, dict) and isinstance(body.get("data"), dict) and "__typename" in body["data"]


def _no_such_run(flow_run_id: str, error: NotFound) -> NotFound:
    if "flow run" not in error.detail.lower():
        return error
    message = f"Prefect has no flow run {flow_run_id}: it was deleted, or belongs to another server or workspace."
    return FlowRunNotFound(message, detail=error.detail)
