"""What both HTTP drivers share: headers, certificates, the proxy, and why a server cannot be reached, in our words.

Nothing ambient counts but the environment's proxy and CA variables: no ``.netrc``, which would override our
Authorization header. Errors of the libraries are put into words without being chained, since what they hold (a request
with its headers) must not reach a log.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import aiohttp
import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from yarl import URL

from airflow_provider_prefect.client.errors import ConfigurationError, Unreachable
from airflow_provider_prefect.client.settings import Settings


def headers(settings: Settings) -> dict[str, str]:
    """The headers of every request."""
    try:
        ours = version("airflow-provider-prefect")
    except PackageNotFoundError:  # run from a source tree that is not installed
        ours = "unknown"
    return {"User-Agent": f"airflow-provider-prefect/{ours}", **settings.request_headers()}


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
    trusted = authorities(settings)
    folder = Path(trusted).is_dir()
    context = ssl.create_default_context(capath=trusted if folder else None, cafile=None if folder else trusted)
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
    """The URL of the proxy to go through, if any."""
    if settings.proxy:
        return settings.proxy
    found: str | None = select_proxy(settings.api_url, get_environ_proxies(settings.api_url, no_proxy=None))
    return found


def split_proxy(proxy: str | None) -> tuple[URL | None, aiohttp.BasicAuth | None]:
    """A proxy's URL without its user, who aiohttp wants apart."""
    if proxy is None:
        return None, None
    url = URL(proxy)
    auth = aiohttp.BasicAuth(url.user, url.password or "") if url.user else None
    return url.with_user(None), auth


def unreachable(error: BaseException, settings: Settings) -> Unreachable:
    """The error of either library as ours; without its cause."""
    return Unreachable(f"{settings.api_url} cannot be reached: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """Why, from the chain of errors below a library's own, in the operating system's or OpenSSL's words."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
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
            return cause.strerror
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
