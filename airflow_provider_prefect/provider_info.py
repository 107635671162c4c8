"""The provider's description for Airflow, and the one table of the connection's fields.

Airflow 3.2 and newer read the form from here (``conn-fields``); older ones ask the hook, which builds its widgets
from the same table. Names of fields that hold secrets contain a word that Airflow's masker knows.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_prefect import __version__

_APIS = {"rest": "Prefect 3 / 2 (REST)", "graphql": "Prefect 1 (GraphQL)"}

CONN_FIELDS: dict[str, dict[str, Any]] = {
    "api": {
        "label": "API",
        "description": "Which API the server has: rest for Prefect 3 and 2, graphql for Prefect 1.",
        "schema": {"type": ["string", "null"], "enum": [*_APIS, None], "values_display": _APIS, "default": "rest"},
    },
    "ui_url": {
        "label": "UI URL",
        "description": "Where Prefect's UI is, if the links should not go to the address derived from the API URL.",
        "schema": {"type": ["string", "null"]},
    },
    "exact_api_url": {
        "label": "API URL is exact",
        "description": "Use the API URL as it stands, without adding /api (PREFECT_SERVER_API_BASE_PATH).",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "secret_headers": {
        "label": "Extra headers",
        "description": 'Sent with every request, as JSON: {"CF-Access-Client-Id": "…"}. They win over our own.',
        "schema": {"type": ["object", "null"]},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "Whether the server's certificate is checked.",
        "schema": {"type": ["boolean", "null"], "default": True},
    },
    "ca_file": {
        "label": "CA file",
        "description": "Path of the certificate authorities to trust, on every machine that runs tasks or triggers.",
        "schema": {"type": ["string", "null"]},
    },
    "client_certificate": {
        "label": "Client certificate",
        "description": "Path of a PEM file to show to the server.",
        "schema": {"type": ["string", "null"]},
    },
    "client_key": {
        "label": "Client certificate's key",
        "description": "Path of its key, if that is not in the same file.",
        "schema": {"type": ["string", "null"]},
    },
    "proxy": {
        "label": "Proxy",
        "description": "URL of an HTTP proxy. Left empty, HTTPS_PROXY, HTTP_PROXY and NO_PROXY count.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "timeout": {
        "label": "Timeout",
        "description": "Seconds to connect, and seconds to wait for an answer.",
        "schema": {"type": ["number", "null"], "default": 30, "exclusiveMinimum": 0},
    },
    "tenant_id": {
        "label": "Tenant id (Prefect 1)",
        "description": "The tenant to work in, on a Prefect 1 server that asks for an API key.",
        "schema": {"type": ["string", "null"]},
    },
    "result_roots": {
        "label": "Result roots",
        "description": (
            "Folders or object storage URLs under which persisted results may be read, one a line "
            "(/mnt/prefect, s3://aws_default@bucket/prefix). Without any, no file is read."
        ),
        "schema": {"type": ["string", "null"], "format": "multiline"},
    },
}

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "port"],
    "relabeling": {"host": "API URL", "login": "User (self-hosted)", "password": "API key or password"},
    "placeholders": {
        "host": "http://host:4200/api or https://api.prefect.cloud/api/accounts/…/workspaces/…",
        "login": "only for a self-hosted server with Basic auth",
        "password": "Prefect Cloud's API key (pnu_…), or the user's password",
    },
}

_PACKAGE = "airflow_provider_prefect"


def provider_info() -> dict[str, Any]:
    """Return the provider's description, as ``provider_info.schema.json`` of Airflow 2.11 to 3.3 demands it."""
    return {
        "package-name": "airflow-provider-prefect",
        "name": "Prefect",
        "description": "Start, watch, rename and cancel `Prefect <https://www.prefect.io/>`__ flow runs from Airflow.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": "Prefect", "external-doc-url": "https://docs.prefect.io/", "tags": ["service"]}
        ],
        "hooks": [{"integration-name": "Prefect", "python-modules": [f"{_PACKAGE}.hooks.prefect"]}],
        "operators": [
            {
                "integration-name": "Prefect",
                "python-modules": [f"{_PACKAGE}.operators.{name}" for name in ("bulk", "flow_run", "result", "resume")],
            }
        ],
        "sensors": [{"integration-name": "Prefect", "python-modules": [f"{_PACKAGE}.sensors.flow_run"]}],
        "triggers": [
            {
                "integration-name": "Prefect",
                "python-modules": [f"{_PACKAGE}.triggers.event", f"{_PACKAGE}.triggers.flow_run"],
            }
        ],
        "connection-types": [
            {
                "connection-type": "prefect",
                "hook-class-name": f"{_PACKAGE}.hooks.prefect.PrefectHook",
                "hook-name": "Prefect",
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
        "extra-links": [f"{_PACKAGE}.links.PrefectFlowRunLink"],
    }
