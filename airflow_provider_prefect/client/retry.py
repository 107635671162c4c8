"""Which failures are sent again, and for how long: a transport around a transport.

The pauses between tries are drawn by tenacity's full-jitter strategy and are never shorter than the server's
``Retry-After``. Which failures are transient is taken from Prefect's own client (prefect 3.8.8, ``client/base.py``) and
from the responses of a busy SQLite server, which answers 503 and closes the connection.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tenacity import RetryCallState, Retrying, wait_random_exponential

from airflow_provider_prefect.client import responses
from airflow_provider_prefect.client.errors import ApiError, MalformedAnswer, Unreachable
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response, Transport

log = logging.getLogger(__name__)

_TRANSIENT_STATUSES = (408, 429, 502, 503, 504)

_NO_CONTENT = 204

_REQUEST_TIMEOUT = 408

_SERVER_ERROR = 500
"""The server may have acted on the request before it failed, so only a repeatable request is sent again."""

_MAX_INTEGRITY_CONFLICTS = 3

_MAX_BACKOFF = 30.0
"""Seconds."""


@dataclass(frozen=True)
class Patience:
    """Say for how long a request is sent again.

    :param seconds: how long after its first failure; 0 sends every request once.
    :param clock: returns the time in seconds.
    """

    seconds: float
    clock: Callable[[], float] = time.time


class RetryingTransport:
    """Send each request until it succeeds or the patience is over, and raise an error instead of a failed response.

    :param transport: what requests are sent through.
    """

    def __init__(self, transport: Transport, patience: Patience) -> None:
        self._transport = transport
        self._patience = patience

    @property
    def settings(self) -> Settings:
        return self._transport.settings

    async def sleep(self, seconds: float) -> None:
        await self._transport.sleep(seconds)

    async def send(self, request: Request) -> Response:
        """Return the successful response to ``request``.

        :raises Unreachable: the patience is over.
        :raises ApiError: Prefect answered, and sending the request again would change nothing.
        """
        patience = self._patience
        tries = conflicts = 0
        end: float | None = None
        ambiguous = False
        while True:
            tries += 1
            at_least = 0.0
            failure: ApiError | Unreachable
            try:
                response = replace(await self._transport.send(request), resent=ambiguous, request=str(request))
                if response.ok and (response.status == _NO_CONTENT or response.is_json):
                    return response
                response = self._without_secrets(response)
                if response.ok:
                    raise response.not_json()  # what was cut off on its way is asked for again
                failure = responses.error_from(response)
                ambiguous |= response.status >= _SERVER_ERROR or response.status == _REQUEST_TIMEOUT
                at_least = failure.retry_after
                if responses.is_integrity_conflict(response):
                    conflicts += 1
                    is_transient = conflicts < _MAX_INTEGRITY_CONFLICTS
                else:
                    is_transient = _is_transient(response, request)
            except (Unreachable, MalformedAnswer) as error:
                is_page = isinstance(error, MalformedAnswer) and error.is_page
                failure, is_transient = error, request.repeatable and not is_page
                ambiguous = True
            if not is_transient:
                raise failure
            now = patience.clock()
            if end is None:
                end = now + patience.seconds
            if now >= end:
                raise out_of_patience(failure, tries, patience.seconds) if patience.seconds else failure
            pause = min(at_least + backoff(tries), end - now)
            log.warning("Prefect is not answering (%s). Retrying in %.1f s.", failure, pause)
            await self._transport.sleep(pause)

    def _without_secrets(self, response: Response) -> Response:
        hide = self.settings.hide_secrets
        headers = {name: hide(value) for name, value in response.headers.items()}
        return replace(response, text=hide(response.text), headers=headers)


def _is_transient(response: Response, request: Request) -> bool:
    """Return whether sending ``request`` again may end in another response than this failure."""
    return response.status in _TRANSIENT_STATUSES or (response.status == _SERVER_ERROR and request.repeatable)


def backoff(tries: int, longest: float = _MAX_BACKOFF) -> float:
    """Return the pause after ``tries`` failures in a row, in seconds; at most ``longest``."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = tries
    return wait_random_exponential(multiplier=0.5, max=longest)(state)


def out_of_patience(failure: Exception, tries: int, seconds: float) -> Unreachable:
    """Return the error for a failure that has lasted too long."""
    return Unreachable(f"{failure} (tried {tries} times in {seconds:.0f} s)" if tries > 1 else str(failure))
