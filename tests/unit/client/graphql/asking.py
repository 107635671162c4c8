"""Ask Prefect 1's API by hand."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from airflow_provider_prefect.client.graphql import GraphqlApi
from airflow_provider_prefect.client.graphql.query import GraphqlTransport
from airflow_provider_prefect.client.retry import Patience, RetryingTransport
from airflow_provider_prefect.client.transport import run
from tests.unit.client.driving import GRAPHQL, Script

T = TypeVar("T")


def graphql(script: Script) -> GraphqlApi:
    """The API over ``script``. Failures are told apart, as they always are, and none is sent again."""
    script.settings = GRAPHQL
    return GraphqlApi(RetryingTransport(GraphqlTransport(script), Patience(0, script.clock)))


def answered(call: Callable[[GraphqlApi], Coroutine[Any, Any, T]], *answers: Any) -> T:
    """What ``call`` returns when it is given exactly these answers."""
    return asked(call, *answers)[0]


def asked(call: Callable[[GraphqlApi], Coroutine[Any, Any, T]], *answers: Any) -> tuple[T, list[dict[str, Any]]]:
    """What ``call`` returns with exactly these answers, and the variables that it sends."""
    script = Script(answers)
    found = run(call(graphql(script)))
    assert script.all_used(), "not all of the answers were asked for"
    return found, variables(script)


def variables(script: Script) -> list[Any]:
    """The variables of each document that was sent."""
    return [request.body["variables"] for request in script.requests]
