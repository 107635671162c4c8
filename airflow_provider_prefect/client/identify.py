"""Which server answers at an API URL, and, where none of ours does, what is there instead. Pure."""

from __future__ import annotations

from airflow_provider_prefect.client import graphql, rest
from airflow_provider_prefect.client.call import Call, T
from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    MalformedAnswer,
    NotFound,
    Unreachable,
)
from airflow_provider_prefect.client.settings import Settings


def server(settings: Settings) -> Call[str]:
    """The kind and version of the server: ``Prefect 3 server 3.8.8``, ``Prefect Cloud``.

    Of Prefect 1 the tenant as well, as far as the server tells it.

    :raises ConfigurationError: something else answers; the message says what, as far as it can be told.
    """
    if settings.api == "graphql":
        return (yield from _graphql_server(settings))
    try:
        if settings.is_cloud:
            yield from rest.count_flow_runs()
            return "Prefect Cloud"
        version = yield from rest.read_version()
    except (AuthenticationError, Unreachable):
        raise
    except ApiError as error:
        raise (yield from _what_is_there(settings, error)) from None
    return f"Prefect {version.partition('.')[0]} server {version}"


def _graphql_server(settings: Settings) -> Call[str]:
    try:
        version, tenants = yield from graphql.read_server()
        tenant_id = settings.tenant_id
        if settings.api_key and not tenant_id:
            tenant_id = yield from graphql.read_tenant_of_key()
        if tenant_id:
            tenant = f"tenant {tenant_id}"
        else:
            tenant = f"tenant {', '.join(map(repr, tenants))}" if tenants else "no tenant yet"
    except (AuthenticationError, Unreachable):
        raise
    except ApiError as error:
        raise ConfigurationError(
            f"At {settings.api_url} is no GraphQL API of Prefect 1: {error}. For a server of Prefect 2 or 3 the "
            "connection's API is the other one."
        ) from None
    return f"Prefect 1 server {version} ({tenant})"


def explained(call: Call[T], settings: Settings) -> Call[T]:
    """``call``, whose failure is traced back to a wrong API URL if that is the reason for it."""
    try:
        return (yield from call)
    except ApiError as error:
        by_prefect = isinstance(error, NotFound) and error.detail not in ("", "Not Found")
        elsewhere = isinstance(error, (NotFound, MalformedAnswer)) or error.status in (400, 405)
        if by_prefect or not elsewhere or error.status >= 500:
            raise
        yield from server(settings)
        raise


def _what_is_there(settings: Settings, error: ApiError) -> Call[Exception]:
    url = settings.api_url
    try:
        if (yield from rest.is_graphql()):
            return ConfigurationError(
                f"At {url} is a Prefect 1 server (GraphQL), and not the REST API of Prefect 2 or 3. Choose Prefect 1 "
                "(GraphQL) as the connection's API."
            )
    except (ApiError, Unreachable):
        pass
    if isinstance(error, MalformedAnswer) and error.is_page:
        return ConfigurationError(
            f"At {url} is a web page: Prefect's UI, or a proxy's log-in. The API URL of a server of your own is "
            "that of its UI with /api behind it."
        )
    return ConfigurationError(f"At {url} is no Prefect API: {error}. Its API URL ends in /api.")
