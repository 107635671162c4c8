"""An Airflow connection of type ``prefect``: its form, reading it, and the client's settings that it stands for.

A connection comes from the UI's form, which posts every field and ``null`` for an empty one, from JSON, or from a URI,
where everything is text and the API URL is spread over host, port and schema.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret
from asgiref.sync import sync_to_async

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.model import is_uuid
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.urls import api_url, graphql_ui_url, graphql_url, ui_url
from airflow_provider_prefect.provider_info import CONN_FIELDS

_LONG_NAME = "extra__prefect__"
"""What the Test button of Airflow 2 sends each field of the form with, and once more without (2.11.2)."""

_KEEP_FOR = 300.0
"""Seconds for which a connection is not read again: a triggerer reads them one after the other, 50 in a second."""

_KEEP_REFUSED_FOR = 10.0
"""Seconds for which it is not read again after it was read because its credentials were refused."""


# Reading


def read_settings(prefect_conn_id: str, hook: type[BaseHook]) -> Settings:
    """Read the connection through ``hook``, and tell the log's masker its secrets.

    :raises ConfigurationError: it does not exist, or a field is wrong.
    """
    with _explaining_missing(
        prefect_conn_id,
        f"prefect_conn_id={prefect_conn_id!r} does not exist in this Airflow. Create a connection of type 'prefect'",
    ):
        connection = hook.get_connection(prefect_conn_id)
    settings = settings_from(connection, connection.extra_dejson)
    for secret in settings.secrets():
        mask_secret(secret)
    return settings


async def aread_settings(prefect_conn_id: str, hook: type[BaseHook]) -> Settings:
    """Read the connection in the triggerer, without blocking the event loop; see :func:`read_settings`."""
    with _explaining_missing(
        prefect_conn_id,
        f"The triggerer has no connection prefect_conn_id={prefect_conn_id!r}, although the worker that deferred the "
        "task has one. Define it where the triggerer finds it too:",
    ):
        connection = await get_async_connection(prefect_conn_id, hook)
    settings = settings_from(connection, await get_async_extra_dejson(connection))
    for secret in settings.secrets():
        await sync_to_async(mask_secret)(secret)
    return settings


class _KeptSettings:
    """Keep what a connection said when it was last read."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.until = 0.0
        self.next_reload = 0.0
        self.reading = asyncio.Lock()


_Key = tuple[str, type[BaseHook], str | None]
"""Two teams may have different connections of the same id."""

_kept: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _KeptSettings]] = WeakKeyDictionary()


async def kept_settings(
    prefect_conn_id: str, hook: type[BaseHook], refused: Settings | None = None, team_name: str | None = None
) -> Settings:
    """Read the connection for many who ask at the same time, every few minutes only.

    :param refused: settings whose credentials were refused. If these are the kept ones, the connection is read again.
    :param team_name: the team of the Dag, where Airflow serves several.
    :raises ConfigurationError: the triggerer has no such connection, or a field is wrong.
    """
    of_loop = _kept.setdefault(asyncio.get_running_loop(), {})
    kept = of_loop.setdefault((prefect_conn_id, hook, team_name), _KeptSettings())
    async with kept.reading:
        now = time.monotonic()
        if kept.settings is not None and kept.settings == refused and now >= kept.next_reload:
            kept.until, kept.next_reload = now, now + _KEEP_REFUSED_FOR
        if kept.settings is None or now >= kept.until:
            kept.settings = await aread_settings(prefect_conn_id, hook)
            kept.until = now + _KEEP_FOR
        return kept.settings


@contextmanager
def _explaining_missing(prefect_conn_id: str, problem: str) -> Iterator[None]:
    """Name a connection that does not exist, and say what to do about it."""
    try:
        yield
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"{problem} under Admin > Connections, as the environment variable AIRFLOW_CONN_{prefect_conn_id.upper()}, "
            "or in a secrets backend."
        ) from None


# From the fields to settings


class ConnectionFields(Protocol):
    """Describe the plain fields of an Airflow connection."""

    conn_type: str | None
    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None


def settings_from(connection: ConnectionFields, extra: Mapping[str, Any]) -> Settings:
    """Return the settings that ``connection`` and its parsed ``extra`` stand for.

    :raises ConfigurationError: a field is wrong; the message names it, and never shows a secret.
    """
    if connection.conn_type != "prefect":
        raise ConfigurationError(f"The connection is of type {connection.conn_type!r}; it has to be of type 'prefect'.")
    if not isinstance(extra, Mapping):  # Airflow takes any JSON
        raise ConfigurationError(f"The connection's extra is a JSON {type(extra).__name__}, not an object.")
    extra = {name.removeprefix(_LONG_NAME): value for name, value in extra.items()}
    unknown = sorted(set(extra) - set(CONN_FIELDS))
    if unknown:
        raise ConfigurationError(
            f"The connection's extra has unknown fields: {', '.join(unknown)}. Known are {', '.join(CONN_FIELDS)}."
        )
    given = {name: value for name, value in extra.items() if value not in (None, "")}
    api = _api(given.get("api", "rest"))
    address = _address(connection)
    exact = _exact(api, given.get("exact_api_url", False))
    url = api_url(address, exact=exact) if api == "rest" else graphql_url(address)
    given_ui = _ui_url(_text("ui_url", given))
    login, password = connection.login or None, connection.password or None
    if login and not password:
        raise ConfigurationError(
            "The connection has a login but no password. An API key goes into the password, without a login."
        )
    client_certificate, client_key = _text("client_certificate", given), _text("client_key", given)
    if client_key and not client_certificate:
        raise ConfigurationError(
            "The connection has the extra field client_key but no client_certificate, which the key belongs to."
        )
    return Settings(
        api_url=url,
        ui_url=ui_url(url, given_ui, exact=exact) if api == "rest" else graphql_ui_url(url, given_ui),
        api=api,
        tenant_id=_tenant_id(api, _text("tenant_id", given)),
        api_key=None if login else password,
        user=login,
        password=password if login else None,
        headers=_headers(given.get("secret_headers", {})),
        verify=_boolean("verify", given.get("verify", True)),
        ca_file=_text("ca_file", given),
        client_certificate=client_certificate,
        client_key=client_key,
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


def _exact(api: str, value: Any) -> bool:
    exact = _boolean("exact_api_url", value)
    if exact and api != "rest":
        raise ConfigurationError(
            "The connection's extra field exact_api_url is for Prefect 2 and 3 (api: rest). The URL of a Prefect 1 "
            "server is always used as it is."
        )
    return exact


def _tenant_id(api: str, value: str | None) -> str | None:
    if value is not None and api != "graphql":
        raise ConfigurationError(
            "The connection's extra field tenant_id is for Prefect 1 (api: graphql). On Prefect Cloud the workspace is "
            "part of the API URL."
        )
    if value is not None and not is_uuid(value):
        raise ConfigurationError(f"The connection's extra field tenant_id is {value!r}, which is not a UUID.")
    return value


def _ui_url(value: str | None) -> str | None:
    if value is not None and not re.match(r"https?://[^/]", value.strip()):
        raise ConfigurationError(
            f"The connection's extra field ui_url is {value!r}; it is an http or https URL, such as "
            "https://prefect.example.com."
        )
    return value


def _address(connection: ConnectionFields) -> str:
    """Return the API URL as one string; a URI gives ``host``, ``port`` and, as ``schema``, the path or the scheme."""
    host = (connection.host or "").strip()
    if not host:
        return ""
    schema = (connection.schema or "").strip("/")
    if "://" not in host:
        if "[" not in host and host.count(":") > 1:  # an IPv6 address, which Airflow takes the brackets off
            host = f"[{host}]"
        # Servers on the internet are not contacted without TLS only because nobody typed https.
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
        raise ConfigurationError(f"The connection's extra field {name} is not text.")
    return value


def _headers(value: Any) -> dict[str, str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise ConfigurationError(
            'The connection\'s extra field secret_headers is not a JSON object of strings: {"Name": "value"}.'
        )
    return dict(value)


def _boolean(name: str, value: Any) -> bool:
    known = {"true": True, "1": True, "yes": True, "y": True, "false": False, "0": False, "no": False}
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
        raise ConfigurationError("The connection's extra field result_roots is neither a string nor a list of strings.")
    found = tuple(root.strip() for root in roots if root.strip())
    for root in found:
        if not root.startswith("/") and "://" not in root:
            raise ConfigurationError(
                f"The connection's extra field result_roots has {root!r}, which is neither an absolute path, such as "
                "/mnt/prefect, nor a URL, such as s3://aws_default@bucket/prefix."
            )
    return found


# The form of Airflow before 3.2


def form_widgets(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a wtforms field for each of ``fields``, which are described like ``conn-fields`` of a provider's info.

    Airflow 3.2 and newer read ``conn-fields`` themselves.

    A number becomes a text field: if a hook has any other than a boolean, text, password or integer field, Airflow 2
    shows none of its fields.
    """
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextAreaFieldWidget, BS3TextFieldWidget
    from wtforms import BooleanField, PasswordField, StringField

    def field(spec: Mapping[str, Any]) -> Any:
        schema = spec["schema"]
        common = {"label": spec["label"], "description": spec["description"], "default": schema.get("default")}
        if "boolean" in schema["type"]:
            return BooleanField(**common)
        if schema.get("format") == "password" or "object" in schema["type"]:  # it has secrets, which Airflow 2 shows
            return PasswordField(widget=BS3PasswordFieldWidget(), **common)
        if schema.get("format") == "multiline":
            return StringField(widget=BS3TextAreaFieldWidget(), **common)
        return StringField(widget=BS3TextFieldWidget(), **common)

    return {name: field(spec) for name, spec in fields.items()}
