"""Trigger events: how a wait for a flow run ended, as it travels from a trigger to its task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.errors import (
    AuthenticationError,
    ConfigurationError,
    DeploymentNotFound,
    FlowRunCancelled,
    FlowRunDeleted,
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

_FATAL = (
    AuthenticationError,
    DeploymentNotFound,
    FlowRunDeleted,
    InvalidRequest,
    ResultError,
)


def view(run: FlowRun, url: str) -> dict[str, Any]:
    """Return a finished flow run as plain JSON, without its parameters, which may hold secrets."""
    return {
        "id": run.id,
        "name": run.name,
        "state_type": run.state.type,
        "state_name": run.state.name,
        "state_message": run.state.message and printable.shortened(run.state.message),
        "start_time": run.start_time.isoformat() if run.start_time else None,
        "end_time": run.end_time.isoformat() if run.end_time else None,
        "url": url,
    }


def ended_event(run: FlowRun, url: str) -> dict[str, Any]:
    """Return the event of a flow run that has ended, in whatever state."""
    return {
        "flow_run_id": run.id,
        "flow_run": view(run, url),
        "error": None,
        "flow_id": run.flow_id,
        "deployment_id": run.deployment_id,
    }


def error_event(flow_run_id: str, error: Exception) -> dict[str, Any]:
    """Return the event of a wait that has ended before the flow run."""
    return {
        "flow_run_id": flow_run_id,
        "flow_run": None,
        "error": {"kind": type(error).__name__, "message": str(error)},
    }


def parse_event(event: Any) -> tuple[FlowRun, str]:
    """Return the flow run and its URL from an event. An event that cannot be understood is an error, never a success.

    :raises PrefectError: the error that ended the wait, of the class that it had in the trigger.
    """
    if not isinstance(event, Mapping) or not isinstance(event.get("flow_run_id"), str):
        raise PrefectError(
            f"The trigger's event cannot be understood: {type(event).__name__}. The flow run may still be running."
        )
    error = event.get("error")
    if error:
        raise _error_from(event["flow_run_id"], error)
    try:
        seen = event["flow_run"]
        state = State(id="", type=seen["state_type"], name=seen["state_name"], message=seen["state_message"])
        if state.type not in FINAL:
            raise ValueError(state.type)
        run = FlowRun(
            id=seen["id"],
            name=seen["name"],
            state=state,
            # Triggers of version 0.1 do not send these two.
            flow_id=event.get("flow_id"),
            deployment_id=event.get("deployment_id"),
            start_time=datetime.fromisoformat(seen["start_time"]) if seen["start_time"] else None,
            end_time=datetime.fromisoformat(seen["end_time"]) if seen["end_time"] else None,
        )
        return run, str(seen["url"])
    except (KeyError, TypeError, ValueError) as fault:
        raise PrefectError(
            f"The trigger's event does not say how flow run {event['flow_run_id']} ended ({fault!r})."
        ) from None


def _error_from(flow_run_id: str, error: Any) -> PrefectError:
    kind, message = (error.get("kind"), str(error.get("message"))) if isinstance(error, Mapping) else (None, str(error))
    timeouts = {kind.__name__: kind for kind in (WaitTimeout, StartTimeout)}
    if kind in timeouts:
        return timeouts[kind](message, flow_run_id)
    missing = {kind.__name__: kind for kind in (FlowRunNotFound, FlowRunDeleted)}
    if kind in missing:
        return missing[kind](message)
    plain = {kind.__name__: kind for kind in (ConfigurationError, Unreachable)}
    return plain.get(str(kind), PrefectError)(message)


class ConfigurationErrorForGood(ConfigurationError, AirflowFailException):
    """Raised when an argument or the connection is wrong: another try would only fail again, so Airflow makes none."""


class FlowRunCancelledForGood(FlowRunCancelled, AirflowFailException):
    """Raised when the flow run was cancelled in Prefect: somebody wanted it to stop, so Airflow starts no other one."""


@contextmanager
def failing_without_retry() -> Iterator[None]:
    """Turn an error that another try would only meet again into one that Airflow does not retry."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationErrorForGood(str(error)) from None
    except _FATAL as error:
        raise AirflowFailException(str(error)) from None
    except NotFound as error:
        if isinstance(error, FlowRunNotFound):
            raise
        raise AirflowFailException(str(error)) from None
