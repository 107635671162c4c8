"""How a wait for a flow run ended, as it travels from a trigger to its task, and what the task makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_prefect.client.errors import (
    AuthenticationError,
    ConfigurationError,
    DeploymentNotFound,
    FlowRunCancelled,
    FlowRunNotFound,
    InvalidRequest,
    NotFound,
    PrefectError,
    ResultError,
    StartTimeout,
    Unreachable,
    WaitTimeout,
)
from airflow_provider_prefect.client.model import FINAL, FlowRun, State

_FOR_GOOD = (AuthenticationError, ConfigurationError, DeploymentNotFound, InvalidRequest, ResultError)


def view(run: FlowRun, url: str) -> dict[str, Any]:
    """A finished flow run as plain JSON, without its parameters, which may hold secrets."""
    return {
        "id": run.id,
        "name": run.name,
        "state_type": run.state.type,
        "state_name": run.state.name,
        "state_message": run.state.message,
        "start_time": run.start_time.isoformat() if run.start_time else None,
        "end_time": run.end_time.isoformat() if run.end_time else None,
        "url": url,
    }


def ended(run: FlowRun, url: str) -> dict[str, Any]:
    """The event of a flow run that has ended."""
    return {"flow_run_id": run.id, "flow_run": view(run, url), "error": None}


def gave_up(flow_run_id: str, error: Exception) -> dict[str, Any]:
    """The event of a wait that has ended before the flow run."""
    return {
        "flow_run_id": flow_run_id,
        "flow_run": None,
        "error": {"kind": type(error).__name__, "message": str(error)},
    }


def read_event(event: Any) -> tuple[FlowRun, str]:
    """The flow run and its URL that an event tells of. Whatever is not understood fails: it is no success.

    :raises PrefectError: the error that ended the wait, of the class that it had in the trigger.
    """
    if not isinstance(event, Mapping) or not isinstance(event.get("flow_run_id"), str):
        raise PrefectError(
            f"The trigger's event is not understood: {type(event).__name__}. The flow run may still be running."
        )
    error = event.get("error")
    if error:
        raise _raised(event["flow_run_id"], error)
    try:
        seen = event["flow_run"]
        state = State(id="", type=seen["state_type"], name=seen["state_name"], message=seen["state_message"])
        if state.type not in FINAL:
            raise ValueError(state.type)
        run = FlowRun(
            id=seen["id"],
            name=seen["name"],
            state=state,
            start_time=datetime.fromisoformat(seen["start_time"]) if seen["start_time"] else None,
            end_time=datetime.fromisoformat(seen["end_time"]) if seen["end_time"] else None,
        )
        return run, str(seen["url"])
    except (KeyError, TypeError, ValueError) as fault:
        raise PrefectError(
            f"The trigger's event does not tell how flow run {event['flow_run_id']} ended ({fault!r})."
        ) from None


def _raised(flow_run_id: str, error: Any) -> PrefectError:
    kind, message = (error.get("kind"), str(error.get("message"))) if isinstance(error, Mapping) else (None, str(error))
    timeouts = {kind.__name__: kind for kind in (WaitTimeout, StartTimeout)}
    if kind in timeouts:
        return timeouts[kind](message, flow_run_id)
    if kind == FlowRunNotFound.__name__:
        return FlowRunNotFound(message)
    plain = {kind.__name__: kind for kind in (ConfigurationError, Unreachable)}
    return plain.get(str(kind), PrefectError)(message)


class FlowRunCancelledForGood(FlowRunCancelled, AirflowFailException):
    """The flow run was cancelled in Prefect. Somebody wanted it to stop, so Airflow does not start another."""


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Turn an error that another try would only meet again into one that Airflow does not retry."""
    try:
        yield
    except _FOR_GOOD as error:
        raise AirflowFailException(str(error)) from None
    except NotFound as error:
        if isinstance(error, FlowRunNotFound):
            raise
        raise AirflowFailException(str(error)) from None
