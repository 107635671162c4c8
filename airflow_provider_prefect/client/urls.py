"""Find the API that a pasted address means, and the pages of its UI. Text only, no network."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.model import FlowRun

CLOUD_FORM = "https://api.prefect.cloud/api/accounts/<account id>/workspaces/<workspace id>"
SERVER_FORM = "http://host:4200/api"
GRAPHQL_FORM = "http://host:4200"

_CLOUD_HOST = re.compile(r"(?:api|app)\.(?P<domain>(?:private\.)?prefect\.cloud)")
"""The hosts of Prefect Cloud's API and UI, over the internet and over PrivateLink."""

_CLOUD_PATH = re.compile(
    r"/(?:api/)?accounts?/(?P<account>[0-9a-fA-F-]{36})/workspaces?/(?P<workspace>[0-9a-fA-F-]{36})(?:/|$)"
)
# The first segment of every page of a self-hosted UI (Prefect 2.20 and 3.8), so that an address copied from the
# browser's bar is understood.
_UI_PAGES = frozenset(
    (
        *("dashboard", "runs", "flow-runs", "task-runs", "flows", "flow", "deployments", "work-pools", "work-queues"),
        *("blocks", "variables", "automations", "event-feed", "events", "concurrency-limits", "notifications"),
        *("artifacts", "settings", "login"),
    )
)

_V2_UI = "v2"
"""The path below which a self-hosted server of Prefect 3.8 and newer serves its new UI."""

_API = re.compile(r"(?<![a-z0-9])api(?![a-z0-9])", re.IGNORECASE)


def api_url(address: str, *, exact: bool = False) -> str:
    """Return the API URL that ``address`` means, without a trailing slash.

    :param address: an API URL, with or without ``/api`` and a trailing slash, under any prefix; or the address of
        a page of Prefect's UI (old or new, self-hosted or Cloud).
    :param exact: take a self-hosted server's URL as it stands, without adding ``/api``: the API may be served below
        any path (``PREFECT_SERVER_API_BASE_PATH``).
    :raises ConfigurationError: the address is none of these; the message shows the right form.
    """
    text = address.strip()
    if not text:
        raise ConfigurationError(f"The connection's API URL is empty. It is {CLOUD_FORM} or {SERVER_FORM}.")
    parts = _parts(text, f"It is {CLOUD_FORM} or {SERVER_FORM}.")
    host, port = (parts.hostname or "").lower(), parts.port
    if cloud := _CLOUD_HOST.fullmatch(host):
        found = _CLOUD_PATH.match(parts.path)
        if not found:
            raise ConfigurationError(
                f"{_shown(text)!r} names no workspace. For Prefect Cloud the API URL is {CLOUD_FORM}."
            )
        return f"https://api.{cloud['domain']}/api/accounts/{found['account']}/workspaces/{found['workspace']}"
    if host.endswith("prefect.io"):
        raise ConfigurationError(
            f"{host} is not an API of Prefect 2 or 3. The API URL is {CLOUD_FORM} or {SERVER_FORM}. For Prefect 1 "
            "choose its API on the connection (api: graphql)."
        )
    path = parts.path.rstrip("/") if exact else _api_path(parts.path)
    return urlunsplit((parts.scheme, _netloc(host, port), path, "", ""))


def graphql_url(address: str) -> str:
    """Return the URL of a Prefect 1 server's GraphQL API: as it stands, since servers answer at any configured path.

    :raises ConfigurationError: it is no http or https URL, or holds credentials.
    """
    text = address.strip()
    if not text:
        raise ConfigurationError(f"The connection's API URL is empty. It is {GRAPHQL_FORM} or the like.")
    parts = _parts(text, f"It is {GRAPHQL_FORM} or the like.")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def graphql_ui_url(api: str, given: str | None = None) -> str:
    """Return where the UI of the Prefect 1 API at ``api`` is; ``given`` (a connection's field) wins.

    A server's own is at port 8080 of the same machine, as its installation has it (prefect 1.4.1).
    """
    if given:
        return given.strip().rstrip("/")
    parts = urlsplit(api)
    host = (parts.hostname or "").lower()
    if host.endswith(".prefect.io"):
        return f"https://{host.replace('api-', '') if 'api-' in host else host.replace('api', 'cloud')}"
    return f"{parts.scheme}://{_netloc(host, 8080)}"


def ui_url(api: str, given: str | None = None, *, exact: bool = False) -> str:
    """Return where the UI of the API at ``api`` is, without a trailing slash; ``given`` (a connection's field) wins.

    :param exact: the API may be served below any path; the UI is expected above it.
    """
    if given:
        return given.strip().rstrip("/")
    parts = urlsplit(api)
    cloud, found = _CLOUD_HOST.fullmatch(parts.hostname or ""), _CLOUD_PATH.match(parts.path)
    if cloud and found:
        return f"https://app.{cloud['domain']}/account/{found['account']}/workspace/{found['workspace']}"
    if exact:
        return api.rpartition("/")[0] if parts.path else api
    return api.removesuffix("/api")


def flow_run_url(ui: str, run: FlowRun) -> str:
    """Return the page of a flow run.

    Prefect 2, which has no labels, has it elsewhere than Prefect 3. Prefect 3.0 has no labels either, and redirects.
    """
    if run.tenant is not None:
        return f"{ui}/{run.tenant}/flow-run/{run.id}"
    page = "flow-runs/flow-run" if run.labels is None else "runs/flow-run"
    return f"{ui}/{page}/{run.id}"


def _parts(text: str, right_form: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # which is read only when it is asked for
    except ValueError:
        raise ConfigurationError(f"The API URL {_shown(text)!r} is not a URL. {right_form}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"The API URL {_shown(text)!r} is not an http or https URL. {right_form}")
    if parts.username or parts.password:
        raise ConfigurationError(
            "The API URL holds a user name or password, which would appear wherever the URL does. Put them into the "
            "connection's login and password fields."
        )
    return parts


def _api_path(path: str) -> str:
    """Return the API's path for the path of an address: a page's part is cut off, ``/api`` is added where missing."""
    segments = [segment for segment in path.split("/") if segment]
    if segments[-1:] != ["api"]:
        page = next((n for n, segment in enumerate(segments) if segment in _UI_PAGES), None)
        segments = segments[:page]
        if segments[-1:] == [_V2_UI]:
            segments.pop()
    # An API that is served below another name with api in it (PREFECT_SERVER_API_BASE_PATH) is in the path already.
    if not any(_API.search(unquote(segment)) for segment in segments):
        segments.append("api")
    return "/" + "/".join(segments)


def _netloc(host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def _shown(address: str) -> str:
    """Return ``address`` without what may be a secret in it."""
    return re.sub(r"^(\w+://)?.*@", r"\1***@", address)
