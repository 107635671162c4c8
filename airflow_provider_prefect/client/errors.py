"""The exceptions of the client.

::

    PrefectError
    ├── ConfigurationError          an argument or the connection is wrong; nothing was sent
    │   └── UnsupportedByApi        the argument belongs to another of Prefect's APIs
    ├── ApiError                    Prefect answered, but not with success
    │   ├── AuthenticationError     401 or 403
    │   ├── NotFound                404
    │   │   ├── DeploymentNotFound
    │   │   └── FlowRunNotFound
    │   ├── InvalidRequest          400, 409 or 422: what was sent is refused, and will be refused again
    │   └── MalformedAnswer         the answer is not what Prefect sends
    ├── Unreachable                 no usable answer although asked for long enough
    ├── FlowRunTimeout              waited long enough
    │   ├── WaitTimeout             not finished in time
    │   └── StartTimeout            not started in time
    ├── FlowRunUnsuccessful         the flow run ended, and not in COMPLETED
    │   ├── FlowRunFailed
    │   ├── FlowRunCrashed
    │   └── FlowRunCancelled
    └── ResultError                 what the flow run returned cannot be handed on
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_prefect.client.model import FlowRun

_EXCERPT = 300


class PrefectError(Exception):
    """Anything that goes wrong between Airflow and Prefect."""


class ConfigurationError(PrefectError, ValueError):
    """An argument or a field of the connection is wrong; the message names it and the way out."""


class UnsupportedByApi(ConfigurationError):
    """The connection's API has no use for this argument; the message says what takes its place."""


class ApiError(PrefectError):
    """Prefect answered, but not with success. ``status`` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AuthenticationError(ApiError):
    """The credentials are missing, wrong or not allowed to do this (401, 403)."""


class NotFound(ApiError):
    """What was asked for is not there. ``detail`` is Prefect's own word, empty if something else answered."""

    def __init__(self, message: str, status: int = 404, detail: str = "") -> None:
        super().__init__(message, status)
        self.detail = detail


class DeploymentNotFound(NotFound):
    """No such deployment, or no deployment of such a flow."""


class FlowRunNotFound(NotFound):
    """Prefect knows no flow run of this id: it was deleted, or belongs to another server or workspace."""


class InvalidRequest(ApiError):
    """Prefect refuses what was sent (400, 409, 422) and would refuse it again; its reason is in the message.

    ``fields`` names what it complains of, where it says so.
    """

    def __init__(self, message: str, status: int, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message, status)
        self.fields = fields


class MalformedAnswer(ApiError):
    """The answer is not what Prefect sends: a proxy's page, a UI's page, or half an answer.

    ``is_page`` says that it is a web page.
    """

    def __init__(self, status: int, text: str) -> None:
        excerpt = " ".join(text[:_EXCERPT].split()) or "an empty body"
        super().__init__(f"HTTP {status} with something that is not Prefect's JSON: {excerpt}", status)
        self.is_page = text.lstrip()[:100].lower().startswith(("<!doctype html", "<html"))


class Unreachable(PrefectError):
    """No usable answer: the network, TLS, a proxy, or a server that is down, although asked for long enough."""


class FlowRunTimeout(PrefectError):
    """The wait ended before the flow run did."""

    def __init__(self, message: str, flow_run_id: str) -> None:
        super().__init__(message)
        self.flow_run_id = flow_run_id


class WaitTimeout(FlowRunTimeout):
    """The flow run had not finished when the time was up."""


class StartTimeout(FlowRunTimeout):
    """The flow run had not started when the time to start was up."""


class FlowRunUnsuccessful(PrefectError):
    """The flow run ended, and not in COMPLETED. ``run`` is the flow run as it ended."""

    def __init__(self, message: str, run: FlowRun) -> None:
        super().__init__(message)
        self.run = run


class FlowRunFailed(FlowRunUnsuccessful):
    """The flow run ended in a state of type FAILED."""


class FlowRunCrashed(FlowRunUnsuccessful):
    """The flow run ended in a state of type CRASHED: its infrastructure failed, not its code."""


class FlowRunCancelled(FlowRunUnsuccessful):
    """The flow run ended in a state of type CANCELLED."""


class ResultError(PrefectError):
    """What the flow run returned cannot be handed on; the message says why and how the flow can hand it on."""
