"""Which failures are sent again, and when. Pure: the pauses are :class:`Sleep` effects.

The pauses between tries are drawn by tenacity's full-jitter strategy; a server's ``Retry-After`` is never undercut.
Which failures pass and which stay is from Prefect's own client (prefect 3.8.8, ``client/base.py``) and from the
answers of a busy SQLite server, which says 503 and closes the connection.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial

from tenacity import RetryCallState, Retrying, wait_random_exponential

from airflow_provider_prefect.client import answers
from airflow_provider_prefect.client.call import (
    Call,
    Effect,
    FetchCsrfToken,
    Renew,
    Request,
    Response,
    Sleep,
    T,
    handled,
)
from airflow_provider_prefect.client.errors import AuthenticationError, MalformedAnswer, NotFound, Unreachable

log = logging.getLogger(__name__)

_PASSING = (408, 429, 502, 503, 504)
_AMBIGUOUS = 500
_CONFLICTS = 3
_LONGEST = 30.0


@dataclass(frozen=True)
class Patience:
    """For how long trouble is waited out.

    :param seconds: how long after the first failure of a request it is still sent again.
    :param waiting: a flow run is being waited for. Then every answer that is not Prefect's own word on the flow run
        is trouble that may pass, a proxy's 401, 403 or 404 too; a 401 or 403 has the connection read again.
    """

    seconds: float
    waiting: bool = False
    clock: Callable[[], float] = time.time


def retried(call: Call[T], patience: Patience) -> Call[T]:
    """``call``, each of its requests sent until it is answered usefully or ``patience`` ends.

    :raises Unreachable: the patience ended.
    :raises ApiError: Prefect answered, and sending the request again would change nothing.
    """
    return handled(call, partial(_answer, patience=patience))


def _answer(effect: Effect, *, patience: Patience) -> Call[object]:
    if isinstance(effect, Request):
        return (yield from send(effect, patience))
    return (yield effect)


def send(request: Request, patience: Patience) -> Call[Response]:
    """The useful answer to ``request``; see :func:`retried`."""
    tries = tokens = conflicts = 0
    end: float | None = None
    ambiguous = False
    while True:
        tries += 1
        at_least = 0.0
        try:
            response = yield from request
            if answers.asks_for_csrf_token(response) and tokens < _CONFLICTS:
                tokens += 1
                response = yield from FetchCsrfToken()
                if response.ok:
                    continue
            if response.ok:
                _check_json(response)
                return replace(response, resent=ambiguous)
            trouble: Exception = answers.failure(response)
            ambiguous |= response.status >= _AMBIGUOUS or response.status == 408
            at_least = retry_after(response, patience.clock())
            if answers.is_integrity_conflict(response):
                conflicts += 1
                passes = conflicts < _CONFLICTS
            else:
                passes = _passes(response, request, trouble, patience)
        except (Unreachable, MalformedAnswer) as error:
            # A web page stays one, unless it is a proxy's in front of a server that has answered before.
            page = isinstance(error, MalformedAnswer) and error.is_page and not patience.waiting
            trouble, passes = error, request.repeatable and not page
            ambiguous = True
        if not passes:
            raise trouble
        now = patience.clock()
        if end is None:
            end = now + patience.seconds
        if now >= end:
            raise trouble if not (patience.seconds or patience.waiting) else given_up(trouble, tries, patience.seconds)
        if isinstance(trouble, AuthenticationError):
            yield from Renew()
        pause = min(at_least + backoff(tries), end - now)
        log.warning("Prefect did not answer usefully (%s). Asking again in %.1f s.", trouble, pause)
        yield from Sleep(pause)


def retry_after(response: Response, now: float) -> float:
    """The seconds that ``Retry-After`` (a number or a date) asks to wait; 0 without one."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)


def _passes(response: Response, request: Request, trouble: Exception, patience: Patience) -> bool:
    """Whether sending ``request`` again may get another answer than this failure."""
    if response.status in _PASSING:
        return True
    if response.status == _AMBIGUOUS:
        return request.repeatable
    if patience.waiting:
        return not (isinstance(trouble, NotFound) and "flow run" in trouble.detail.lower())
    return False


def _check_json(response: Response) -> None:
    """An answer cut off on its way is a failure like any other, and asked for again."""
    if response.status != 204:
        try:
            json.loads(response.text)
        except ValueError:
            raise MalformedAnswer(response.status, response.text) from None


def backoff(tries: int, longest: float = _LONGEST) -> float:
    """The pause after so many tries that have failed, in seconds; at most ``longest``."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = tries
    return wait_random_exponential(multiplier=0.5, max=longest)(state)


def given_up(trouble: Exception, tries: int, seconds: float) -> Unreachable:
    """The error for trouble that has lasted too long."""
    return Unreachable(f"{trouble} (asked {tries} times in {seconds:.0f} s)" if tries > 1 else str(trouble))
