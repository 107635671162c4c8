"""What both HTTP drivers share: headers, certificates, the proxy, and why a server cannot be reached, in our words.

Nothing ambient counts but the environment's proxy and CA variables: no ``.netrc``, which would override our
Authorization header. Errors of the libraries are put into words without being chained, since what they hold (a request
with its headers) must not reach a log.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from yarl import URL

from airflow_provider_prefect.client.call import Request
from airflow_provider_prefect.client.errors import ConfigurationError, Unreachable
from airflow_provider_prefect.client.settings import Settings


def headers(settings: Settings) -> dict[str, str]:
    """The headers of every request.

    :raises ConfigurationError: one of them cannot be sent; the libraries' own errors may hold its value.
    """
    try:
        ours = version("airflow-provider-prefect")
    except PackageNotFoundError:  # run from a source tree that is not installed
        ours = "unknown"
    sent = {"User-Agent": f"airflow-provider-prefect/{ours}", **settings.request_headers()}
    for name, value in sent.items():
        if not value.isprintable():
            raise ConfigurationError(
                f"What the connection gives for the header {name} holds a line break or another invisible character. "
                "Was one pasted along with it?"
            )
    return sent


def body(request: Request) -> bytes | None:
    """The body of ``request`` as JSON, in which there is no NaN."""
    if request.body is None:
        return None
    try:
        return json.dumps(request.body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"What is to be sent to Prefect cannot be written as JSON: {error}.") from None


def content_type(request: Request) -> dict[str, str]:
    """The header that tells of :func:`body`."""
    return {} if request.body is None else {"Content-Type": "application/json"}


def authorities(settings: Settings) -> str:
    """The file or folder of the certificate authorities to trust."""
    for where, path in (
        ("The connection's CA file", settings.ca_file),
        ("REQUESTS_CA_BUNDLE", os.environ.get("REQUESTS_CA_BUNDLE")),
        ("CURL_CA_BUNDLE", os.environ.get("CURL_CA_BUNDLE")),
    ):
        if path:
            if not Path(path).exists():
                raise ConfigurationError(f"{where} names {path!r}, which does not exist on this machine.")
            return path
    return str(DEFAULT_CA_BUNDLE_PATH)


def tls(settings: Settings) -> ssl.SSLContext | bool:
    """How aiohttp checks certificates; reads files, so not on the event loop."""
    if not settings.api_url.startswith("https:"):
        return True
    trusted = authorities(settings) if settings.verify else str(DEFAULT_CA_BUNDLE_PATH)
    folder = Path(trusted).is_dir()
    try:
        context = ssl.create_default_context(capath=trusted if folder else None, cafile=None if folder else trusted)
    except OSError as error:
        raise ConfigurationError(f"The certificates in {trusted!r} cannot be read: {_reason(error)}.") from None
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_certificate:
        try:
            context.load_cert_chain(settings.client_certificate, settings.client_key)
        except OSError as error:
            raise ConfigurationError(f"The connection's client certificate cannot be read: {_reason(error)}.") from None
    return context


def proxy(settings: Settings) -> str | None:
    """The URL of the proxy to go through, if any: the connection's, else the environment's."""
    found: str | None = settings.proxy or select_proxy(
        settings.api_url, get_environ_proxies(settings.api_url, no_proxy=None)
    )
    if not found:
        return None
    url = found if "://" in found else f"http://{found}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            "The proxy of the connection (or of the environment) is not an http or https URL, such as http://proxy:3128."
        )
    return url


def split_proxy(proxy: str | None) -> tuple[URL | None, dict[str, str]]:
    """A proxy's URL without its user, and the header that names the user, since aiohttp wants them apart."""
    if proxy is None:
        return None, {}
    url = URL(proxy)
    if not url.user:
        return url, {}
    pair = base64.b64encode(f"{url.user}:{url.password or ''}".encode("latin-1")).decode()
    return url.with_user(None), {"Proxy-Authorization": f"Basic {pair}"}


def unreachable(error: BaseException, settings: Settings) -> Unreachable:
    """The error of either library as ours; without its cause."""
    return Unreachable(f"{settings.api_url} cannot be reached: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """Why, from the chain of errors below a library's own, in the operating system's or OpenSSL's words."""
    chain = list(_causes(error))
    for cause in chain:
        # aiohttp's own is one of these too, but without the words.
        if isinstance(cause, ssl.SSLCertVerificationError) and not isinstance(cause, aiohttp.ClientError):
            return f"its certificate is not trusted ({cause.verify_message or cause.reason})"
    for cause in chain:
        if isinstance(cause, (TimeoutError, requests.Timeout)):
            return "no answer in time"
    for cause in reversed(chain):
        if (
            isinstance(cause, OSError)
            and cause.strerror
            and not isinstance(cause, (aiohttp.ClientError, requests.RequestException))
        ):
            # What asyncio says of a refused connection is its own, address included.
            return os.strerror(cause.errno) if isinstance(cause, ConnectionError) and cause.errno else cause.strerror
    return f"{type(chain[-1]).__name__}"


def _causes(error: Any) -> Iterator[BaseException]:
    seen: list[Any] = []
    queue = [error]
    while queue:
        cause = queue.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            queue += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
