"""A proxy on the loopback interface that spoils what passes through it, as it is told. Also tells what has passed."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, web

_OF_THE_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Passing:
    """A request on its way. ``port`` is the local port of the process that has sent it."""

    method: str
    path: str
    body: Any
    port: int


@dataclass
class Passed:
    """What has become of a request, and when (as :func:`time.monotonic` tells it).

    ``status`` is the server's, 0 as long as it has not answered.
    """

    passing: Passing
    fault: str
    at: float
    status: int = 0


@dataclass(frozen=True)
class Fault:
    """What becomes of a request instead of passing through.

    :param forward: whether the server gets it.
    :param answer: what the sender gets: ``whole``, ``none`` (the connection is reset), ``cut`` (half of what was
        announced, then a reset), ``half`` (half of the body as if it were all), or a status instead of the server's.
    :param wait: seconds before it goes on.
    :param first: done before the server gets it.
    :param then: done when the server has answered, before the sender gets anything.
    """

    name: str
    forward: bool = True
    answer: str | int = "whole"
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0
    first: Callable[[Passing], object] | None = None
    then: Callable[[Passing], object] | None = None


Rule = Callable[[Passing], Fault | None]


class Proxy:
    """Passes requests on to ``target`` (scheme, host and port). Used as a context manager, which opens its port.

    ``rules`` are asked one after the other for each request; the first fault is what becomes of it.
    """

    def __init__(self, target: str, port: int) -> None:
        self.target = target
        self.port = port
        self.rules: list[Rule] = []
        self.passed: list[Passed] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._session = ClientSession(
            auto_decompress=False, cookie_jar=DummyCookieJar(), timeout=ClientTimeout(total=None, sock_read=120)
        )
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        sent = await request.read()
        try:
            body = json.loads(sent) if sent else None
        except ValueError:
            body = None
        passing = Passing(request.method, request.path, body, request.transport.get_extra_info("peername")[1])
        fault = next((found for rule in self.rules if (found := rule(passing))), None) or Fault("")
        passed = Passed(passing, fault.name, time.monotonic())
        self.passed.append(passed)
        # What a fault stands for happens on the way: the sender's end does not stop it.
        return await asyncio.shield(asyncio.ensure_future(self._through(request, sent, passed, fault)))

    async def _through(self, request: web.Request, sent: bytes, passed: Passed, fault: Fault) -> web.StreamResponse:
        await asyncio.sleep(fault.wait)
        await self._do(fault.first, passed.passing)
        status, text = 503, b""
        headers: dict[str, str] = {}
        if fault.forward:
            try:
                status, headers, text = await self._forward(request, sent)
                passed.status = status
            except (ClientError, OSError):
                status, text = 502, b"The server does not answer the proxy."
        await self._do(fault.then, passed.passing)
        if isinstance(fault.answer, int):
            return web.Response(status=fault.answer, headers=fault.headers, text="The proxy says no.")
        if fault.answer == "none":
            return _reset(request)
        if fault.answer == "half":
            text = text[: len(text) // 2]
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(text)
        try:
            await response.prepare(request)
            await response.write(text[: len(text) // 2] if fault.answer == "cut" else text)
            if fault.answer == "cut":
                return _reset(request)
            await response.write_eof()
        except (ClientError, OSError):  # the sender is gone
            pass
        return response

    async def _do(self, act: Callable[[Passing], object] | None, passing: Passing) -> None:
        if act is not None:
            await asyncio.to_thread(act, passing)

    async def _forward(self, request: web.Request, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        async with self._session.request(
            request.method, self.target + request.raw_path, data=sent, headers=headers, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_THE_CONNECTION}
            return answer.status, kept, await answer.read()


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
