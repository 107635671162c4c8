"""Share between both HTTP transports: headers, certificates, the proxy, CSRF tokens and connection errors.

Of the environment only the proxy and CA variables are used: no ``.netrc``, which would override our Authorization
header. Errors of the libraries are translated without being chained, since what they hold (a request with its headers)
must not reach a log.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from yarl import URL

from airflow_provider_prefect.client.errors import ConfigurationError, Unreachable
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.http.body import ACCEPTED, TOTAL_TIMES
from airflow_provider_prefect.client.responses import asks_for_csrf_token
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response

_MAX_CSRF_TOKENS = 3
"""How many tokens are fetched for one request."""


def headers(settings: Settings) -> dict[str, str]:
    """Return the headers of every request.

    :raises ConfigurationError: one of them cannot be sent; the libraries' own errors may hold its value.
    """
    try:
        ours = version("airflow-provider-prefect")
    except PackageNotFoundError:  # run from a source tree that is not installed
        ours = "unknown"
    ours_alone = {"User-Agent": f"airflow-provider-prefect/{ours}", "Accept-Encoding": ACCEPTED}
    sent = ours_alone | settings.request_headers()
    for name, value in sent.items():
        if not value.isprintable():
            raise ConfigurationError(
                f"The connection's value for the header {name} contains a line break or another invisible character. "
                "Was one pasted along with it?"
            )
    return sent


def body(request: Request) -> bytes | None:
    """Return the body of ``request`` as JSON, which has no NaN.

    :raises ConfigurationError: the body cannot be written as JSON.
    """
    if request.body is None:
        return None
    try:
        return json.dumps(request.body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The request to Prefect cannot be written as JSON: {error}.") from None


def content_type(request: Request) -> dict[str, str]:
    """Return the header that describes :func:`body`."""
    return {} if request.body is None else {"Content-Type": "application/json"}


def authorities(settings: Settings) -> str:
    """Return the file or folder of the certificate authorities to trust.

    :raises ConfigurationError: it does not exist.
    """
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
    """Return how aiohttp checks certificates. It reads files, so it must not run on the event loop.

    :raises ConfigurationError: a certificate file cannot be read.
    """
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
    """Return the URL of the proxy to use, if any: the connection's, else the environment's.

    :raises ConfigurationError: it is not an http or https URL.
    """
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
    """Split a proxy's URL into one without a user and the header that names the user, as aiohttp wants them."""
    if proxy is None:
        return None, {}
    url = URL(proxy)
    if not url.user:
        return url, {}
    pair = base64.b64encode(f"{url.user}:{url.password or ''}".encode("latin-1")).decode()
    return url.with_user(None), {"Proxy-Authorization": f"Basic {pair}"}


def total_timeout(settings: Settings) -> float:
    """Return how many seconds a response may take in all, however slowly it arrives."""
    return TOTAL_TIMES * settings.timeout


def unreachable(error: BaseException, settings: Settings, seconds: float = 0.0) -> Unreachable:
    """Translate an error of either library, without its cause.

    :param seconds: how long the request has taken.
    """
    if seconds >= total_timeout(settings):
        return Unreachable(f"{settings.api_url} has not sent its whole response within {seconds:.0f} s")
    return Unreachable(f"{settings.api_url} cannot be reached: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """Return the reason in the words of the operating system or of OpenSSL, from the errors below a library's own."""
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


class CsrfProtection:
    """Keep the CSRF token of one session (``PREFECT_SERVER_CSRF_PROTECTION_ENABLED``, Prefect 2.20 and 3)."""

    def __init__(self) -> None:
        self._client = uuid.uuid4().hex
        self._token: str | None = None

    def headers(self, request: Request) -> dict[str, str]:
        """Return the headers that ``request`` needs."""
        if self._token is None or request.method == "GET":
            return {}
        return {"Prefect-Csrf-Token": self._token, "Prefect-Csrf-Client": self._client}

    async def send(self, request: Request, send: Callable[[Request], Awaitable[Response]]) -> Response:
        """Send ``request``, and again with a new token each time the server asks for one.

        :param send: sends one request with :meth:`headers`.
        :return: the response, or the failed response to the request for a token.
        """
        tokens = 0
        while True:
            response = await send(request)
            if not asks_for_csrf_token(response) or tokens == _MAX_CSRF_TOKENS:
                return response
            tokens += 1
            token_request = Request("GET", f"/csrf-token?client={self._client}")
            response = replace(await send(token_request), request=str(token_request))
            if not response.ok:
                return response
            # Where several requests fetch one at the same time the last one counts, for all of them.
            self._token = response.read(_csrf_token)


def _csrf_token(record: Any) -> str:
    """Return the token of a response, which becomes a header."""
    return Fields(record).identifier("token")
