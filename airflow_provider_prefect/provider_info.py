"""The provider's description for Airflow, and the one table of the connection's fields.

Airflow 3.2 and newer read the form from here (``conn-fields``); older ones ask the hook, which builds its widgets
from the same table. Names of fields that hold secrets contain a word that Airflow's masker knows.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_prefect import __version__

_APIS = {"rest": "Prefect 3 / 2 (REST)", "graphql": "Prefect 1 (GraphQL)"}

CONN_FIELDS: dict[str, dict[str, Any]] = {
    "result_roots": {
        "label": "Result roots",
        "description": (
            "Folders and object storage URLs, one per line, under which files with results may be read, such as "
            "/mnt/prefect or s3://aws_default@bucket/prefix; if empty, no file is read."
        ),
        "schema": {"type": ["string", "null"], "format": "multiline"},
    },
    "ui_url": {
        "label": "UI URL",
        "description": "URL of Prefect's UI, such as https://prefect.example.com, if it is not where the API URL is.",
        "schema": {"type": ["string", "null"]},
    },
    "secret_headers": {
        "label": "Extra headers",
        "description": (
            'Headers to send with every request, as a JSON object, such as {"CF-Access-Client-Id": "…"}; they override '
            "the provider's own."
        ),
        "schema": {"type": ["object", "null"]},
    },
    "proxy": {
        "label": "Proxy",
        "description": (
            "URL of an HTTP proxy, such as http://user:password@proxy:3128; if empty, HTTPS_PROXY, HTTP_PROXY and "
            "NO_PROXY apply."
        ),
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "Whether to verify the server's TLS certificate; for a private authority set CA file instead.",
        "schema": {"type": ["boolean", "null"], "default": True},
    },
    "ca_file": {
        "label": "CA file",
        "description": (
            "Path of a file with the certificate authorities to trust, such as /etc/ssl/company.pem, on every machine "
            "that runs tasks or triggers."
        ),
        "schema": {"type": ["string", "null"]},
    },
    "client_certificate": {
        "label": "Client certificate",
        "description": "Path of a PEM file to show to the server, such as /etc/ssl/airflow.pem, if it requires one.",
        "schema": {"type": ["string", "null"]},
    },
    "client_key": {
        "label": "Client certificate's key",
        "description": "Path of the certificate's private key, such as /etc/ssl/airflow.key, if it is in another file.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Timeout",
        "description": "Seconds to wait for a connection, and then for a response, such as 30.",
        "schema": {"type": ["number", "null"], "default": 30, "exclusiveMinimum": 0},
    },
    "exact_api_url": {
        "label": "API URL is exact",
        "description": (
            "Use the API URL unchanged, without adding /api, for a server with PREFECT_SERVER_API_BASE_PATH; not for "
            "Prefect Cloud or Prefect 1."
        ),
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "api": {
        "label": "API",
        "description": "rest for Prefect 3, Prefect 2 and Prefect Cloud; graphql for Prefect 1 only.",
        "schema": {"type": ["string", "null"], "enum": [*_APIS, None], "values_display": _APIS, "default": "rest"},
    },
    "tenant_id": {
        "label": "Tenant id (Prefect 1)",
        "description": (
            "UUID of the tenant, such as 11111111-2222-3333-4444-555555555555, on a Prefect 1 server that requires an "
            "API key; not for Prefect 2 and 3."
        ),
        "schema": {"type": ["string", "null"]},
    },
}
"""The fields that hold secrets are named so that Airflow masks them. What few need, and Prefect 1 alone, is last."""

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema"],
    "relabeling": {"host": "API URL", "login": "User (self-hosted)", "password": "API key or password"},
    "placeholders": {
        "host": "http://host:4200/api or https://api.prefect.cloud/api/accounts/…/workspaces/…",
        "login": "empty for Prefect Cloud; the user of a self-hosted server with Basic authentication",
        "password": "Prefect Cloud's API key (pnu_…), or the user's password",
        # Airflow 3.3.2 asks to test port 0 where none is stored, and refuses that as another destination.
        "port": "0 if the API URL has it; without any, Airflow 3.3.2 tests no connection",
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
