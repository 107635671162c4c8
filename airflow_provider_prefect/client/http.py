"""The two drivers that perform calls: ``requests`` for workers, ``aiohttp`` for the triggerer.

The only file that opens a socket for HTTP. Both drivers behave alike, in what :mod:`.transport` decides and in that
they follow no redirect, which would take the credentials along.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol
from weakref import WeakKeyDictionary

import aiohttp
import requests
from requests.adapters import HTTPAdapter
from yarl import URL

from airflow_provider_prefect.client import transport
from airflow_provider_prefect.client.call import Effect, FetchCsrfToken, Renew, Request, Response, Sleep
from airflow_provider_prefect.client.errors import Unreachable
from airflow_provider_prefect.client.settings import Settings

log = logging.getLogger(__name__)

_CONNECTIONS = 16

_PING = 20.0
"""Seconds after which a silent websocket is asked whether it is still there."""


class _Csrf:
    """The CSRF token of one session (``PREFECT_SERVER_CSRF_PROTECTION_ENABLED``, Prefect 2.20 and 3)."""

    def __init__(self) -> None:
        self._client = uuid.uuid4().hex
        self._token: str | None = None

    def request(self) -> Request:
        return Request("GET", f"/csrf-token?client={self._client}")

    def take(self, response: Response) -> Response:
        """Keep the token of ``response``. Where several calls ask at once the last answer counts, for all of them."""
        if response.ok:
            self._token = response.json()["token"]
        return response

    def headers(self, request: Request) -> dict[str, str]:
        if self._token is None or request.method == "GET":
            return {}
        return {"Prefect-Csrf-Token": self._token, "Prefect-Csrf-Client": self._client}


class SyncHttp:
    """Performs effects one after the other, each by blocking. Used as a context manager.

    :param settings: reads the connection; called first, and again when its credentials are refused.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._read_settings = settings
        self._csrf = _Csrf()
        self._open(settings())

    def _open(self, settings: Settings) -> None:
        self.settings = settings
        self._session = requests.Session()
        self._session.trust_env = False
        # One connection, no retries of urllib3's: what is retried, and when, is decided in retry.py.
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0))
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # As UTF-8, like aiohttp. Text would be sent as Latin-1, and the error about a key with another character in it
        # would hold the key.
        self._session.headers.update({name: value.encode() for name, value in transport.headers(settings).items()})
        if settings.ca_file or settings.client_certificate:
            transport.tls(settings)  # says what is wrong with such a file; to requests it is a lost connection
        self._session.verify = transport.authorities(settings) if settings.verify else False
        if settings.client_certificate:
            key = settings.client_key
            self._session.cert = (settings.client_certificate, key) if key else settings.client_certificate
        proxy = transport.proxy(settings)
        self._session.proxies = {"all": proxy} if proxy else {}

    def __enter__(self) -> SyncHttp:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def perform(self, effect: Effect) -> object:
        if isinstance(effect, Request):
            return self._send(effect)
        if isinstance(effect, Sleep):
            time.sleep(effect.seconds)
            return None
        if isinstance(effect, FetchCsrfToken):
            return self._csrf.take(self._send(self._csrf.request()))
        if isinstance(effect, Renew):
            self._renew()
            return None
        raise TypeError(f"{type(effect).__name__} is not performed over HTTP")

    def _renew(self) -> None:
        try:
            settings = self._read_settings()
        except Exception as error:
            log.warning("The connection could not be read again (%s).", type(error).__name__)
            return
        if settings != self.settings:
            self._session.close()
            self._open(settings)

    def _send(self, request: Request) -> Response:
        body = transport.body(request)
        try:
            response = self._session.request(
                request.method,
                self.settings.api_url + request.path,
                data=body,
                headers=transport.content_type(request) | self._csrf.headers(request),
                timeout=(self.settings.timeout, self.settings.timeout),
                allow_redirects=False,
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise transport.unreachable(error, self.settings) from None
        text = response.content.decode("utf-8", "replace")
        return Response(response.status_code, text, {k.lower(): v for k, v in response.headers.items()})


def _no_redirects() -> aiohttp.TraceConfig:
    """Has a session refuse what only a websocket's request cannot be told: to follow no redirect."""

    async def refuse(*_: object) -> None:
        raise Unreachable("The API URL redirects the websocket, which would take the credentials along.")

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


class Closable(Protocol):
    async def close(self) -> None: ...


class AsyncHttp:
    """Performs effects without blocking the event loop; any number of calls may share one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.attached: Closable | None = None
        """What is shared along with this driver, and closed before it."""
        self.users = 0
        self._csrf = _Csrf()
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        # Not the connector's own limit: a websocket, which stays, would take one of these places.
        self._places = asyncio.Semaphore(_CONNECTIONS)

    async def _opened(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                # Reading the authorities' certificates takes 25 to 40 ms, in which nothing else would run.
                context = await asyncio.to_thread(transport.tls, self.settings)
                # Not as the session's headers, which aiohttp sends to a proxy as well, our Authorization among them.
                self._headers = transport.headers(self.settings)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, ssl=context),
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=self.settings.timeout, sock_read=self.settings.timeout
                    ),
                    trust_env=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trace_configs=[_no_redirects()],
                )
        return self._session

    async def close(self) -> None:
        if self.attached is not None:
            await self.attached.close()
        if self._session is not None:
            await self._session.close()

    async def perform(self, effect: Effect) -> object:
        if isinstance(effect, Request):
            return await self._send(effect)
        if isinstance(effect, Sleep):
            await asyncio.sleep(effect.seconds)
            return None
        if isinstance(effect, FetchCsrfToken):
            return self._csrf.take(await self._send(self._csrf.request()))
        raise TypeError(f"{type(effect).__name__} is not performed over HTTP")

    async def connect(self, path: str, protocol: str) -> aiohttp.ClientWebSocketResponse:
        """An open websocket, which the caller closes. Its messages may be of any length.

        :raises Unreachable: there is none; the message says why.
        """
        session, proxy = await self._opened(), transport.proxy(self.settings)
        try:
            address, for_proxy, headers = self._through(proxy, self._headers)
            return await session.ws_connect(
                URL(self.settings.api_url + path, encoded=True),
                protocols=(protocol,),
                headers=headers,
                proxy=address,
                proxy_headers=for_proxy,
                max_msg_size=0,
                heartbeat=_PING,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        except aiohttp.WSServerHandshakeError as error:
            # Its own text and repr hold the request, Authorization header included.
            raise Unreachable(f"{self.settings.api_url}{path} is no websocket (HTTP {error.status})") from None
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise transport.unreachable(error, self.settings) from None

    async def _send(self, request: Request) -> Response:
        session = await self._opened()
        proxy, body = transport.proxy(self.settings), transport.body(request)
        headers = self._headers | transport.content_type(request) | self._csrf.headers(request)
        try:
            address, for_proxy, headers = self._through(proxy, headers)
            async with (
                self._places,
                session.request(
                    request.method,
                    URL(self.settings.api_url + request.path, encoded=True),
                    data=body,
                    headers=headers,
                    proxy=address,
                    proxy_headers=for_proxy,
                    allow_redirects=False,
                ) as response,
            ):
                text = (await response.read()).decode("utf-8", "replace")
                return Response(response.status, text, {k.lower(): v for k, v in response.headers.items()})
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise transport.unreachable(error, self.settings) from None

    def _through(self, proxy: str | None, headers: dict[str, str]) -> tuple[URL | None, dict[str, str], dict[str, str]]:
        """The proxy's address and the headers for it, and ``headers`` as they are to be sent then."""
        address, for_proxy = transport.split_proxy(proxy)
        if not self.settings.api_url.startswith("https:"):
            headers = headers | for_proxy  # it reads the request itself, and not one for a tunnel
        return address, for_proxy, headers


_closing: set[asyncio.Task[None]] = set()
"""What is being closed; the event loop alone would not keep it."""

_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, AsyncHttp]] = WeakKeyDictionary()


def _joined(settings: Settings) -> AsyncHttp:
    """The one driver of this event loop for these settings: all who wait on an API share its sockets and TLS."""
    of_loop = _shared.setdefault(asyncio.get_running_loop(), {})
    if settings not in of_loop:
        of_loop[settings] = AsyncHttp(settings)
    http = of_loop[settings]
    http.users += 1
    return http


async def _left(http: AsyncHttp) -> None:
    """Close the driver, if nobody uses it any more."""
    http.users -= 1
    if not http.users:
        del _shared[asyncio.get_running_loop()][http.settings]
        # In a task of its own: Airflow cancels a trigger again while it is still on its way out.
        closing = asyncio.create_task(http.close())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)
        await asyncio.shield(closing)


class RenewableHttp:
    """Performs effects through a driver that all of the event loop share who wait on the same API.

    It moves on to new settings when a call has the connection renewed.

    :param settings: reads the connection; given the settings that were refused, if it is read for that.
    """

    def __init__(self, settings: Callable[[Settings | None], Awaitable[Settings]]) -> None:
        self._read_settings = settings

    async def __aenter__(self) -> RenewableHttp:
        self._http = _joined(await self._read_settings(None))
        return self

    async def __aexit__(self, *_: object) -> None:
        await _left(self._http)

    @property
    def settings(self) -> Settings:
        return self._http.settings

    @property
    def driver(self) -> AsyncHttp:
        """The driver that is shared with others at present."""
        return self._http

    async def perform(self, effect: Effect) -> object:
        if not isinstance(effect, Renew):
            return await self._http.perform(effect)
        try:
            settings = await self._read_settings(self._http.settings)
        except Exception as error:
            log.warning("The connection could not be read again (%s).", type(error).__name__)
            return None
        if settings != self._http.settings:
            before, self._http = self._http, _joined(settings)
            await _left(before)
        return None
