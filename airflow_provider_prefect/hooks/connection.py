"""An Airflow connection of type ``prefect`` as settings for the client. Pure.

A connection comes from the UI's form, which posts every field and ``null`` for an empty one, from JSON, or from a
URI, where everything is text and the API URL is spread over host, port and schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from airflow_provider_prefect.client.address import api_url, graphql_ui_url, graphql_url, ui_url
from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.identifiers import is_uuid
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.provider_info import CONN_FIELDS


class ConnectionFields(Protocol):
    """The plain fields of an Airflow connection."""

    conn_type: str | None
    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None


def settings_from(connection: ConnectionFields, extra: Mapping[str, Any]) -> Settings:
    """The settings that ``connection`` and its parsed ``extra`` give.

    :raises ConfigurationError: a field is wrong; the message names it, and never shows a secret.
    """
    if connection.conn_type != "prefect":
        raise ConfigurationError(
            f"The connection is of type {connection.conn_type!r}; it is one of type 'prefect' that is needed."
        )
    if not isinstance(extra, Mapping):  # Airflow takes any JSON
        raise ConfigurationError(f"The connection's extra is a JSON {type(extra).__name__}, not an object.")
    unknown = sorted(set(extra) - set(CONN_FIELDS))
    if unknown:
        raise ConfigurationError(
            f"The connection's extra has unknown fields: {', '.join(unknown)}. Known are {', '.join(CONN_FIELDS)}."
        )
    given = {name: value for name, value in extra.items() if value not in (None, "")}
    api = _api(given.get("api", "rest"))
    url = api_url(_address(connection)) if api == "rest" else graphql_url(_address(connection))
    login, password = connection.login or None, connection.password or None
    if login and not password:
        raise ConfigurationError(
            "The connection has a login but no password. An API key goes into the password, without a login."
        )
    return Settings(
        api_url=url,
        ui_url=(ui_url if api == "rest" else graphql_ui_url)(url, _text("ui_url", given)),
        api=api,
        tenant_id=_tenant_id(api, _text("tenant_id", given)),
        api_key=None if login else password,
        user=login,
        password=password if login else None,
        headers=_headers(given.get("secret_headers", {})),
        verify=_boolean("verify", given.get("verify", True)),
        ca_file=_text("ca_file", given),
        client_certificate=_text("client_certificate", given),
        client_key=_text("client_key", given),
        proxy=_text("proxy", given),
        timeout=_seconds("timeout", given.get("timeout", 30)),
        result_roots=_roots(given.get("result_roots", ())),
    )


def _api(value: Any) -> str:
    if value not in ("rest", "graphql"):
        raise ConfigurationError(
            f"The connection's extra field api is {value!r}; it is 'rest' for Prefect 2 and 3, 'graphql' for Prefect 1."
        )
    return str(value)


def _tenant_id(api: str, value: str | None) -> str | None:
    if value is not None and api != "graphql":
        raise ConfigurationError(
            "The connection's extra field tenant_id is for Prefect 1 (api: graphql). On Prefect Cloud the workspace is "
            "part of the API URL."
        )
    if value is not None and not is_uuid(value):
        raise ConfigurationError(f"The connection's extra field tenant_id is {value!r}, which is no UUID.")
    return value


def _address(connection: ConnectionFields) -> str:
    """The API URL as one text; a URI gives ``host``, ``port`` and, as ``schema``, the path or the scheme."""
    host = (connection.host or "").strip()
    if not host:
        return ""
    schema = (connection.schema or "").strip("/")
    if "://" not in host:
        if "[" not in host and host.count(":") > 1:  # an IPv6 address, which Airflow takes the brackets off
            host = f"[{host}]"
        # What is reached over the internet is not asked without TLS only because nobody typed https.
        secure = (
            schema == "https"
            or host.partition("/")[0].endswith((".prefect.cloud", ".prefect.io"))
            or connection.port == 443
        )
        host = f"{'https' if secure else 'http'}://{host}"
    scheme, _, rest = host.partition("://")
    netloc, slash, path = rest.partition("/")
    if connection.port and not re.search(r":\d+$", netloc):
        netloc = f"{netloc}:{connection.port}"
    if schema and schema not in ("http", "https"):
        path, slash = f"{path.rstrip('/')}/{schema}".lstrip("/"), "/"
    return f"{scheme}://{netloc}{slash}{path}"


def _text(name: str, given: Mapping[str, Any]) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"The connection's extra field {name} is no text.")
    return value


def _headers(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise ConfigurationError(
            'The connection\'s extra field secret_headers is not a JSON object of texts: {"Name": "value"}.'
        )
    return dict(value)


def _boolean(name: str, value: Any) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise ConfigurationError(f"The connection's extra field {name} is {value!r}; it is true or false.")
    return found


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(
            f"The connection's extra field {name} is {value!r}; it is a number of seconds above 0."
        )
    return seconds


def _roots(value: Any) -> tuple[str, ...]:
    roots = re.split(r"[,\n]", value) if isinstance(value, str) else value
    if not isinstance(roots, list | tuple) or not all(isinstance(root, str) for root in roots):
        raise ConfigurationError("The connection's extra field result_roots is neither a text nor a list of texts.")
    return tuple(root.strip() for root in roots if root.strip())
