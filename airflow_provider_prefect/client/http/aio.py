"""The transport of the triggerer: aiohttp, one pool of connections for any number of calls, and the websocket."""

from __future__ import annotations

import asyncio

import aiohttp
from yarl import URL

from airflow_provider_prefect.client.errors import Unreachable
from airflow_provider_prefect.client.http import common
from airflow_provider_prefect.client.http.body import Body
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response

_MAX_CONNECTIONS = 16

_MAX_MESSAGE_SIZE = 4 * 1024 * 1024
"""Bytes; an event has up to 1.5 MB (the default limit of prefect 3.8.8)."""

_WEBSOCKET_HEARTBEAT = 20.0
"""Seconds after which a silent websocket is pinged."""


class AioTransport:
    """Send requests without blocking the event loop; any number of calls may share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._csrf = common.CsrfProtection()
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        # Not the connector's own limit: a websocket would take up one of these places for as long as it is open.
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)

    @property
    def settings(self) -> Settings:
        return self._settings

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def send(self, request: Request) -> Response:
        """Send ``request`` and return the response.

        :raises Unreachable: there was no response, or not the whole of it in time.
        :raises MalformedAnswer: its body is too large, or cannot be decompressed.
        """
        return await self._csrf.send(request, self._send)

    async def connect(self, path: str, protocol: str) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket, which the caller closes. A message of more than 4 MiB ends it.

        :raises Unreachable: it cannot be opened; the message says why.
        """
        session, proxy = await self._opened(), common.proxy(self._settings)
        try:
            address, for_proxy, headers = self._through(proxy, self._headers)
            return await session.ws_connect(
                URL(self._settings.api_url + path, encoded=True),
                protocols=(protocol,),
                headers=headers,
                proxy=address,
                proxy_headers=for_proxy,
                max_msg_size=_MAX_MESSAGE_SIZE,
                heartbeat=_WEBSOCKET_HEARTBEAT,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        except aiohttp.WSServerHandshakeError as error:
            # Its own text and repr hold the request, Authorization header included.
            raise Unreachable(f"{self._settings.api_url}{path} is not a websocket (HTTP {error.status})") from None
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise common.unreachable(error, self._settings) from None

    async def _opened(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                # Reading the authorities' certificates takes 25 to 40 ms, which would block the event loop.
                context = await asyncio.to_thread(common.tls, self._settings)
                # Not as the session's headers, which aiohttp sends to a proxy too, our Authorization among them.
                self._headers = common.headers(self._settings)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, ssl=context),
                    timeout=self._timeout(None),
                    auto_decompress=False,
                    trust_env=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trace_configs=[_refuse_redirects()],
                )
        return self._session

    async def _send(self, request: Request) -> Response:
        session, loop = await self._opened(), asyncio.get_running_loop()
        proxy, body = common.proxy(self._settings), common.body(request)
        headers = self._headers | common.content_type(request) | self._csrf.headers(request)
        async with self._slots:
            began = loop.time()
            try:
                address, for_proxy, headers = self._through(proxy, headers)
                async with session.request(
                    request.method,
                    URL(self._settings.api_url + request.path, encoded=True),
                    data=body,
                    headers=headers,
                    proxy=address,
                    proxy_headers=for_proxy,
                    # A redirect would take the credentials along.
                    allow_redirects=False,
                    timeout=self._timeout(common.total_timeout(self._settings)),
                ) as response:
                    received = Body(request, response.status, {k.lower(): v for k, v in response.headers.items()})
                    async for piece in response.content.iter_any():
                        received.add(piece)
                    return received.response()
            except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
                raise common.unreachable(error, self._settings, loop.time() - began) from None

    def _timeout(self, total: float | None) -> aiohttp.ClientTimeout:
        """Return the connection's timeout in aiohttp's terms."""
        seconds = self._settings.timeout
        return aiohttp.ClientTimeout(total=total, sock_connect=seconds, sock_read=seconds)

    def _through(self, proxy: str | None, headers: dict[str, str]) -> tuple[URL | None, dict[str, str], dict[str, str]]:
        """Return the proxy's address, the headers for the proxy, and ``headers`` as they are to be sent through it."""
        address, for_proxy = common.split_proxy(proxy)
        if not self._settings.api_url.startswith("https:"):
            headers = headers | for_proxy  # without TLS there is no tunnel: the proxy reads the request itself
        return address, for_proxy, headers


def _refuse_redirects() -> aiohttp.TraceConfig:
    """Make a session refuse redirects also where aiohttp has no argument for it: when it opens a websocket."""

    async def refuse(*_: object) -> None:
        raise Unreachable("The API URL redirects the websocket, which would take the credentials along.")

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config
