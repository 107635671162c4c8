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
    │   │       └── FlowRunDeleted  deleted while it was waited for; nothing says how it ended
    │   ├── InvalidRequest          400, 409 or 422: what was sent is refused, and will be refused again
    │   └── MalformedAnswer         the response is not one of Prefect
    ├── Unreachable                 Prefect is not answering
    ├── FlowRunTimeout              the wait ended before the flow run
    │   ├── WaitTimeout             not finished in time
    │   └── StartTimeout            not started in time
    ├── FlowRunUnsuccessful         the flow run did not complete
    │   ├── FlowRunFailed
    │   ├── FlowRunCrashed
    │   └── FlowRunCancelled
    │       └── FlowRunCancelledByPrefect   by a concurrency limit or an automation, not by a person
    └── ResultError                 a result cannot be read
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_prefect.client.model import FlowRun


class PrefectError(Exception):
    """Raised when anything goes wrong between Airflow and Prefect.

    It can be copied and pickled together with its attributes, whatever arguments its class takes: executors, retry
    policies and error trackers do that.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[PrefectError], args: tuple[Any, ...], attributes: dict[str, Any]) -> PrefectError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class ConfigurationError(PrefectError, ValueError):
    """Raised when an argument or a field of the connection is wrong; the message names it and the way out."""


class UnsupportedByApi(ConfigurationError):
    """Raised when the connection's API has no use for an argument; the message says what takes its place."""

    @classmethod
    def naming(cls, argument: str, value: Any, api_name: str, instead: str) -> UnsupportedByApi:
        """Return the error for ``argument``, whose value is shown if it is text."""
        shown = f"{argument}={value!r}" if isinstance(value, str) else argument
        return cls(f"{shown} is not supported by {api_name}: {instead}")


class ApiError(PrefectError):
    """Raised when Prefect answered, but not with success. ``status`` is the HTTP status."""

    retry_after: float = 0.0
    """Seconds that Prefect asked to wait before the next request (``Retry-After``)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AuthenticationError(ApiError):
    """Raised when the credentials are missing, wrong or not allowed to do this (401, 403)."""


class NotFound(ApiError):
    """Raised when something does not exist. ``detail`` is Prefect's own word, empty if something else answered."""

    def __init__(self, message: str, status: int = 404, detail: str = "") -> None:
        super().__init__(message, status)
        self.detail = detail


class DeploymentNotFound(NotFound):
    """Raised when there is no such deployment, or no deployment of such a flow."""


class FlowRunNotFound(NotFound):
    """Raised when there is no such flow run: it was deleted, or belongs to another server or workspace."""


class FlowRunNotPaused(PrefectError):
    """Raised when a flow run that is to be resumed is not paused, or one that is to be suspended is not running."""


class FlowRunDeleted(FlowRunNotFound):
    """Raised when a flow run was deleted while it was waited for, and nothing says how it ended."""


class InvalidRequest(ApiError):
    """Raised when Prefect refuses what was sent (400, 409, 422) and would refuse it again, with its reason.

    ``fields`` names what it complains about, where it says so.
    """

    def __init__(self, message: str, status: int, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message, status)
        self.fields = fields


class MalformedAnswer(ApiError):
    """Raised when the response is not one of Prefect: a proxy's page, a UI's page, half a response, or one of another
    shape. The message names the request, and the field that is wrong.

    ``is_page`` says that it is a web page.
    """

    def __init__(self, message: str, status: int, is_page: bool = False) -> None:
        super().__init__(message, status)
        self.is_page = is_page


class Unreachable(PrefectError):
    """Raised when Prefect is not answering: the network, TLS, a proxy, or a server that is down for too long."""


class FlowRunTimeout(PrefectError):
    """Raised when the wait ended before the flow run did."""

    def __init__(self, message: str, flow_run_id: str) -> None:
        super().__init__(message)
        self.flow_run_id = flow_run_id


class WaitTimeout(FlowRunTimeout):
    """Raised when the flow run had not finished in time."""


class StartTimeout(FlowRunTimeout):
    """Raised when the flow run had not started in time."""


class FlowRunUnsuccessful(PrefectError):
    """Raised when the flow run did not complete. ``run`` is the flow run as it ended."""

    def __init__(self, message: str, run: FlowRun) -> None:
        super().__init__(message)
        self.run = run


class FlowRunFailed(FlowRunUnsuccessful):
    """Raised when the flow run ended in a state of type FAILED."""


class FlowRunCrashed(FlowRunUnsuccessful):
    """Raised when the flow run ended in a state of type CRASHED: its infrastructure failed, not its code."""


class FlowRunCancelled(FlowRunUnsuccessful):
    """Raised when the flow run ended in a state of type CANCELLED."""


class FlowRunCancelledByPrefect(FlowRunCancelled):
    """Raised when a concurrency limit or an automation of Prefect has cancelled the flow run, and not a person."""


class ResultError(PrefectError):
    """Raised when a result cannot be read; the message says why, and how the flow can make it readable."""
