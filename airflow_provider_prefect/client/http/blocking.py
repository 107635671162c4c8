"""The transport of workers: requests, one connection, one request after the other."""

from __future__ import annotations

import io
import logging
import math
import socket
import time
from collections.abc import Callable
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from airflow_provider_prefect.client.errors import Unreachable
from airflow_provider_prefect.client.http import common
from airflow_provider_prefect.client.http.body import MAX_SIZE, TOTAL_TIMES, Body
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response

log = logging.getLogger(__name__)

_PIECE_SIZE = 64 * 1024
"""Bytes that are read at once."""


class BlockingTransport:
    """Send requests and sleep by blocking: its coroutines never suspend. Used as a context manager.

    :param read_settings: reads the connection; called first, and again when its credentials are refused.
    """

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        self._read_settings = read_settings
        self._csrf = common.CsrfProtection()
        self._open(read_settings())

    def __enter__(self) -> BlockingTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    @property
    def settings(self) -> Settings:
        return self._settings

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - there is no event loop

    async def reload_settings(self) -> None:
        try:
            settings = self._read_settings()
        except Exception as error:
            log.warning("The connection could not be read again (%s).", type(error).__name__)
            return
        if settings != self._settings:
            self.close()
            self._open(settings)

    async def send(self, request: Request) -> Response:
        """Send ``request`` and return the response.

        :raises Unreachable: there was no response, or not the whole of it in time.
        :raises MalformedAnswer: its body is too large, or cannot be decompressed.
        """
        return await self._csrf.send(request, self._send)

    def _open(self, settings: Settings) -> None:
        self._settings = settings
        self._session = _Session()
        self._session.trust_env = False
        # No retries of urllib3: which requests are sent again is decided in retry.py.
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_connections=1, pool_maxsize=1, max_retries=0))
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # As UTF-8, like aiohttp. Text would be sent as Latin-1, and the error about a key with another character in it
        # would hold the key.
        self._session.headers.update({name: value.encode() for name, value in common.headers(settings).items()})
        if settings.ca_file or settings.client_certificate:
            common.tls(settings)  # explains what is wrong with such a file; requests only reports a lost connection
        self._session.verify = common.authorities(settings) if settings.verify else False
        if settings.client_certificate and settings.api_url.startswith("https:"):
            key = settings.client_key
            self._session.cert = (settings.client_certificate, key) if key else settings.client_certificate
        proxy = common.proxy(settings)
        self._session.proxies = {"all": proxy} if proxy else {}

    async def _send(self, request: Request) -> Response:
        body, began = common.body(request), time.monotonic()
        try:
            with self._session.request(
                request.method,
                self._settings.api_url + request.path,
                data=body,
                headers=common.content_type(request) | self._csrf.headers(request),
                timeout=(self._settings.timeout, self._settings.timeout),
                # A redirect would take the credentials along.
                allow_redirects=False,
                stream=True,
            ) as response:
                received = Body(request, response.status_code, {k.lower(): v for k, v in response.headers.items()})
                for piece in response.raw.stream(_PIECE_SIZE, decode_content=False):
                    received.add(piece)
                response.raw.release_conn()  # one without a body would be closed otherwise
                return received.response()
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise common.unreachable(error, self._settings, time.monotonic() - began) from None


class _Session(requests.Session):
    """See no redirects: requests reads the whole body of one, also where it does not follow it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _BoundedReader(io.RawIOBase):
    """Read a response from its connection, but no longer than so many times the connection's timeout, and no more than
    a body may have.

    The timeout of a socket is for each piece, of which a server may send any number: of a header or of the length of a
    chunk, too.
    """

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw = raw
        self._connection = connection
        self._timeout = connection.gettimeout()
        self._until = math.inf if self._timeout is None else time.monotonic() + TOTAL_TIMES * self._timeout
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._timeout is not None:
            self._connection.settimeout(min(left, self._timeout))
        number: int | None = self._raw.readinto(buffer)
        self._size += number or 0
        if self._size > 2 * MAX_SIZE:
            raise Unreachable(f"a response has more than {2 * MAX_SIZE // 2**20} MiB with its headers")
        return number

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(HTTPResponse):
    """Read a response, or a proxy's, through a :class:`_BoundedReader`."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock))


class _HttpConnection(HTTPConnection):
    response_class = _BoundedResponse


class _HttpsConnection(HTTPSConnection):
    response_class = _BoundedResponse


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(HTTPAdapter):
    """Open connections whose responses are bounded, also through a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": _HttpPool, "https": _HttpsPool}
