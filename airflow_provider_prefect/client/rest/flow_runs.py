"""Flow runs in the REST API of Prefect 2 and 3: create, read, find, rename, cancel and restart them.

Facts are from prefect 2.20.26 and 3.8.8. Routes are exact about a trailing slash.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from airflow_provider_prefect.client import fields, printable
from airflow_provider_prefect.client.errors import (
    ApiError,
    ConfigurationError,
    FlowRunNotFound,
    FlowRunNotPaused,
    InvalidRequest,
    MalformedAnswer,
    NotFound,
)
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.model import (
    FINAL,
    LIVE,
    STATE_TYPES,
    Created,
    FlowRun,
    NewFlowRun,
    RunInput,
    Source,
    State,
    is_uuid,
)
from airflow_provider_prefect.client.rest.base import RestEndpoints
from airflow_provider_prefect.client.transport import Request, Response

_FILTER = "/flow_runs/filter"

_BULK = 50
"""The most flow runs that a server sets to another state with one request."""

_WORTH_BULK = 3
"""Flow runs from which on one such request, and another to see what came of it, are fewer than one each."""

_NO_SUCH_ROUTE = (404, 405)


@dataclass(frozen=True)
class _StateResponse:
    """Hold the response to a request for another state. Only ``state`` says what came of it; ``status`` explains."""

    status: str
    state: State | None
    reason: str | None = None

    @classmethod
    def from_json(cls, record: Any) -> _StateResponse:
        parts = Fields(record)
        reason = Fields(parts.mapping("details")).optional_text("reason")
        return cls(parts.text("status"), parts.optional_part("state", State.from_json), reason)


class FlowRunEndpoints(RestEndpoints):
    """Create, read, find, rename, cancel and restart flow runs."""

    def default_run_name(self, source: Source, task_name: str, dag_run_id: str) -> str:
        """Return ``<dag>.<task> <Dag run>``."""
        return f"{task_name} {dag_run_id}"

    async def create_flow_run(self, source: Source, new: NewFlowRun) -> Created:
        """Create a flow run, or find the one that was created with this idempotency key (201 or 200).

        :raises InvalidRequest: Prefect refuses the parameters or another field.
        """
        body = _create_body(new)
        try:
            response = await self._create(source.id, body)
        except InvalidRequest as error:
            # Prefect 2 has no labels and refuses a request with any.
            if "labels" not in error.fields or body.pop("labels", None) is None:
                raise
            response = await self._create(source.id, body)
        return Created(response.read(FlowRun.from_json), is_new=response.status == 201, resent=response.resent)

    async def _create(self, deployment_id: str, body: dict[str, Any]) -> Response:
        path = f"/deployments/{deployment_id}/create_flow_run"
        return await self.transport.send(Request("POST", path, dict(body), repeatable="idempotency_key" in body))

    async def read_flow_run(self, flow_run_id: str) -> FlowRun:
        """Return the flow run.

        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        return (await self._send_for(flow_run_id, "GET")).read(FlowRun.from_json)

    async def read_flow_runs(self, flow_run_ids: Sequence[str]) -> list[FlowRun]:
        """Return those of the flow runs that Prefect still has."""
        return await self.find_flow_runs({"flow_runs": {"id": {"any_": list(flow_run_ids)}}})

    async def find_by_keys(self, idempotency_keys: Sequence[str]) -> list[FlowRun]:
        """Return the flow runs that were created with one of these keys, whatever the deployment."""
        return await self.find_flow_runs({"flow_runs": {"idempotency_key": {"any_": list(idempotency_keys)}}})

    async def find_flow_runs(
        self, criteria: Mapping[str, Any], *, sort: str = "ID_DESC", limit: int | None = None
    ) -> list[FlowRun]:
        """Return the first ``limit`` flow runs that meet ``criteria``, the body of ``/flow_runs/filter``."""
        return await self.paginate(_FILTER, {**criteria, "sort": sort}, limit, FlowRun.from_json)

    async def find_live_flow_runs(self, deployment_id: str, tags: Sequence[str]) -> list[FlowRun]:
        """Return the runs of a deployment that have all of ``tags`` and neither have ended nor are being cancelled.

        Runs that Prefect's own schedule has made and that have not started are left out: their key stays taken, so a
        cancelled one would be missing when its time comes.
        """
        flow_runs: dict[str, Any] = {
            "deployment_id": {"any_": [deployment_id]},
            "state": {"type": {"any_": list(LIVE)}},
        }
        if tags:
            flow_runs["tags"] = {"all_": list(tags)}
        runs = await self.find_flow_runs({"flow_runs": flow_runs})
        return [run for run in runs if not run.is_planned]

    async def find_newest(
        self, deployment_id: str, tags: Sequence[str], since: datetime, until: datetime
    ) -> FlowRun | None:
        """Return the newest run of a deployment that has all of ``tags`` and was to start between the two times."""
        flow_runs: dict[str, Any] = {
            "deployment_id": {"any_": [deployment_id]},
            "expected_start_time": {"after_": since.isoformat(), "before_": until.isoformat()},
        }
        if tags:
            flow_runs["tags"] = {"all_": list(tags)}
        criteria = {"flow_runs": flow_runs, "limit": 1}
        found = await self.find_flow_runs(criteria, sort="EXPECTED_START_TIME_DESC", limit=1)
        return found[0] if found else None

    async def find_reached(
        self, state_types: Sequence[str], deployment: str | None, tags: Sequence[str], since: datetime | None
    ) -> list[FlowRun]:
        """Return the flow runs in one of ``state_types``, of a deployment (if given) and with all of ``tags``.

        :param deployment: ``flow/deployment``, or the id (UUID) of a deployment.
        :param since: of those in a final state, only what has ended later; ``None`` for the last one that has ended.
        """
        criteria: dict[str, Any] = {}
        flow_runs: dict[str, Any] = {"tags": {"all_": list(tags)}} if tags else {}
        if deployment and is_uuid(deployment):
            flow_runs["deployment_id"] = {"any_": [deployment]}
        elif deployment:
            flow_name, _, name = deployment.partition("/")
            criteria = {"flows": {"name": {"any_": [flow_name]}}, "deployments": {"name": {"any_": [name]}}}
        found: list[FlowRun] = []
        for is_final in (True, False):
            types = [type_ for type_ in state_types if (type_ in FINAL) == is_final]
            if not types:
                continue
            wanted = {**flow_runs, "state": {"type": {"any_": types}}}
            if is_final and since is not None:
                wanted["end_time"] = {"after_": since.isoformat()}
            limit = 1 if is_final and since is None else None
            found += await self.find_flow_runs({**criteria, "flow_runs": wanted}, sort="END_TIME_DESC", limit=limit)
        return found

    async def read_changed(self, ids: Sequence[str], *, known_type: str | None, limit: int) -> list[FlowRun]:
        """Return one page of those of ``ids`` whose state is of another type than ``known_type``.

        The response has two bytes if there are none. Parameters and context are left out.
        """
        criteria: dict[str, Any] = {"id": {"any_": list(ids)}}
        if known_type is not None:
            # Prefect 2 has no not_any_ for states, and 3.8.8 drops the criterion if it is there beside any_.
            criteria["state"] = {"type": {"any_": [type_ for type_ in STATE_TYPES if type_ != known_type]}}
        return await self.post_for_rows(_FILTER, {"flow_runs": criteria, "limit": limit}, _without_large_fields)

    async def count_existing(self, ids: Sequence[str]) -> int:
        """Return how many of ``ids`` Prefect still has."""
        return await self.count_flow_runs({"flow_runs": {"id": {"any_": list(ids)}}})

    async def count_flow_runs(self, criteria: Mapping[str, Any]) -> int:
        """Return how many flow runs meet ``criteria``."""
        return await self.post("/flow_runs/count", criteria, fields.number)

    async def rename_flow_run(self, flow_run_id: str, name: str) -> None:
        """Give the flow run another name, in whatever state it is.

        :raises ConfigurationError: the name is empty; the server would make one up.
        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        if not name.strip():
            raise ConfigurationError("name is empty: a flow run's new name needs at least one character.")
        await self._send_for(flow_run_id, "PATCH", body={"name": name})

    async def cancel_flow_run(self, flow_run_id: str) -> State:
        """Ask the flow run to stop, and return the state that it is in then.

        CANCELLING is asked for, never CANCELLED, which would leave the flow's process running. A run without
        infrastructure is CANCELLED at once, a finished one stays as it is.

        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        response = await self._set_state(flow_run_id, {"type": "CANCELLING"}, repeatable=True)
        if response.state is not None and response.status != "ABORT":
            return response.state
        return (await self.read_flow_run(flow_run_id)).state

    async def cancel_flow_runs(self, flow_run_ids: Sequence[str]) -> dict[str, State]:
        """Ask flow runs to stop, many with each request where the server can (3.6.16), and return their states then.

        One that Prefect no longer has is not among them.
        """
        states: dict[str, State] = {}
        for begin in range(0, len(flow_run_ids), _BULK):
            some = flow_run_ids[begin : begin + _BULK]
            for flow_run_id in await self._cancel_at_once(some):
                try:
                    states[flow_run_id] = await self.cancel_flow_run(flow_run_id)
                except FlowRunNotFound:
                    continue
            states.update((run.id, run.state) for run in await self.read_flow_runs(some) if run.id not in states)
        return states

    async def _cancel_at_once(self, flow_run_ids: Sequence[str]) -> Sequence[str]:
        """Ask up to 50 flow runs to stop with one request; return those that have to be asked one by one."""
        if len(flow_run_ids) < _WORTH_BULK:
            return flow_run_ids
        body = {"flow_runs": {"id": {"any_": list(flow_run_ids)}}, "state": {"type": "CANCELLING"}, "limit": _BULK}
        try:
            await self.transport.send(Request("POST", "/flow_runs/bulk_set_state", body))
        except ApiError as error:
            if error.status not in _NO_SUCH_ROUTE:
                raise
            return flow_run_ids
        return ()

    async def pause_flow_run(self, flow_run_id: str, seconds: float) -> State:
        """Suspend a running flow run: its process ends at its next task, and it starts again when it is resumed.

        :param seconds: after how many Prefect fails it, if it has not been resumed.
        :raises FlowRunNotFound: Prefect has no such flow run.
        :raises FlowRunNotPaused: it is not running, so that there is nothing to suspend.
        """
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        details = {"pause_timeout": until.isoformat(), "pause_key": uuid.uuid4().hex, "pause_reschedule": True}
        state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
        response = await self._set_state(flow_run_id, state, repeatable=True)
        now = response.state if response.status == "ACCEPT" else (await self.read_flow_run(flow_run_id)).state
        if now is None or now.type != "PAUSED":
            raise FlowRunNotPaused(f"Flow run {flow_run_id} cannot be suspended: it is in state {now}.")
        return now

    async def resume_flow_run(self, flow_run_id: str, run_input: Mapping[str, Any] | None) -> State:
        """Let a paused or suspended flow run go on, and return the state that it is in then.

        :raises FlowRunNotFound: Prefect has no such flow run.
        :raises FlowRunNotPaused: it does not wait to be resumed.
        :raises InvalidRequest: Prefect refuses the input.
        """
        body = {} if run_input is None else {"run_input": dict(run_input)}
        sent = await self._send_for(flow_run_id, "POST", "/resume", body)
        response = sent.read(_StateResponse.from_json)
        if response.status == "ACCEPT" and response.state is not None:
            return response.state
        if response.status == "REJECT":
            reason = printable.shortened(response.reason or "it does not say why")
            raise InvalidRequest(f"Prefect refuses run_input for flow run {flow_run_id}: {reason}", sent.status)
        now = (await self.read_flow_run(flow_run_id)).state
        if sent.resent and now.type != "PAUSED":
            return now  # the first request has resumed it, and its response was lost
        raise FlowRunNotPaused(f"Flow run {flow_run_id} is not paused: it is in state {now}.")

    async def read_run_input(self, flow_run_id: str) -> RunInput | None:
        """Return what a paused flow run wants to be told; ``None`` if that is nothing.

        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        keys = (await self._send_for(flow_run_id, "GET")).read(_run_input_keys)
        if "schema" not in keys:
            return None
        path = f"/flow_runs/{quote(flow_run_id, safe='')}/input/"
        try:
            schema = await self.get(path + quote(keys["schema"], safe=""), fields.mapping)
        except NotFound:
            return None
        try:
            description = await self.get(path + quote(keys["description"], safe=""), fields.text)
        except (KeyError, NotFound, MalformedAnswer):
            description = ""
        return RunInput(schema, printable.shortened(description))

    async def restart_flow_run(self, flow_run_id: str) -> bool:
        """Put a flow run that has ended back to scheduled, as the UI's Retry does; return whether Prefect did it.

        Prefect 2 does not for a cancelled one. Sent twice it could restart a run that has started again already.

        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Airflow retries the task that waits for it."}
        return (await self._set_state(flow_run_id, state, repeatable=False)).status == "ACCEPT"

    async def _set_state(self, flow_run_id: str, state: Mapping[str, Any], *, repeatable: bool) -> _StateResponse:
        """Ask for another state, without force. A successful response does not mean that the server agrees."""
        body = {"state": state, "force": False}
        response = await self._send_for(flow_run_id, "POST", "/set_state", body, repeatable=repeatable)
        return response.read(_StateResponse.from_json)

    async def _send_for(
        self, flow_run_id: str, method: str, action: str = "", body: Any = None, *, repeatable: bool = True
    ) -> Response:
        try:
            path = f"/flow_runs/{quote(flow_run_id, safe='')}{action}"
            return await self.transport.send(Request(method, path, body, repeatable))
        except NotFound as error:
            if "flow run" not in error.detail.lower():
                raise
            raise FlowRunNotFound(
                f"Prefect has no flow run {flow_run_id}: it was deleted, or belongs to another server or workspace.",
                detail=error.detail,
            ) from None


def _run_input_keys(record: Any) -> dict[str, str]:
    """Return where a flow run keeps what it wants to be told: the keys of its inputs by what they hold."""
    state = Fields(Fields(record).mapping("state"))
    keys = Fields(state.mapping("state_details")).mapping("run_input_keyset")
    return {name: key for name, key in keys.items() if isinstance(key, str)}


def _without_large_fields(record: Any) -> FlowRun:
    """Return a flow run without what may be large and no wait needs: it would be kept for each of thousands."""
    if isinstance(record, Mapping):
        record = {**record, "parameters": None, "context": None}
    return FlowRun.from_json(record)


def _create_body(new: NewFlowRun) -> dict[str, Any]:
    start = new.scheduled_start_time
    given = {
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
    # With an empty idempotency key every second create would be a conflict; an empty name is replaced by the server.
    return {name: value for name, value in given.items() if value not in (None, "", [])}
