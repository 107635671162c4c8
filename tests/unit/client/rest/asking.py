"""Ask the REST API by hand."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from airflow_provider_prefect.client.rest import RestApi
from airflow_provider_prefect.client.retry import Patience, RetryingTransport
from airflow_provider_prefect.client.transport import run
from tests.unit.client.driving import Script

T = TypeVar("T")


def rest(script: Script) -> RestApi:
    """The API over ``script``. Failures are told apart, as they always are, and none is sent again."""
    return RestApi(RetryingTransport(script, Patience(0, script.clock)))


def answered(call: Callable[[RestApi], Coroutine[Any, Any, T]], *answers: Any) -> T:
    """What ``call`` returns when it is given exactly these answers."""
    script = Script(answers)
    result = run(call(rest(script)))
    assert script.all_used(), "not all of the answers were asked for"
    return result
