"""A proxy on the loopback interface that counts what passes: requests, bytes, and whose flow run was looked at.

It hands on bytes as they come and reads no more of them than it has to, so that it costs far less than the server
behind it. And it pulls the plug of the event feed, or refuses it, as a server does that has none.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tools.processes import StackError

_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EVENTS = b"/events/out"
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Counted:
    """What has passed so far. ``asked`` and ``answered`` are bytes."""

    requests: int = 0
    asked: int = 0
    answered: int = 0
    connections: int = 0
    feeds: int = 0
    kills: int = 0

    def since(self, before: Counted) -> Counted:
        """What has passed since then."""
        return Counted(*(now - then for now, then in zip(_numbers(self), _numbers(before), strict=True)))


def _numbers(counted: Counted) -> tuple[int, ...]:
    return (
        *(counted.requests, counted.asked, counted.answered),
        *(counted.connections, counted.feeds, counted.kills),
    )


class CountingProxy:
    """Hands on to ``port``, in a thread of its own. Used as a context manager, which opens its own port.

    :param refuse_events: answer the event feed's request with 403.
    """

    def __init__(self, port: int, *, refuse_events: bool = False) -> None:
        self.target = port
        self.refuse_events = refuse_events
        self.counted = Counted()
        self.feeds: set[_FromClient] = set()
        self.looked: dict[bytes, float] | None = None
        """When the server first answered a request about a flow run; ``None`` while nobody wants to know."""
        self.batches_only = False
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._connections: set[_FromClient] = set()
        self._server = await self._loop.create_server(lambda: _FromClient(self), "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0.05)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def note_looks(self, *, batches_only: bool = False) -> None:
        """Note from now on whose flow run the server has answered a request about.

        :param batches_only: only if its id was in the request's body, which it is for the watcher of many alone.
        """
        self.batches_only = batches_only
        self.looked = {}

    def wait_for_looks(self, ids: Iterable[str], timeout: float) -> tuple[float, float]:
        """When the first and the last of these was looked at; then no more is noted.

        :raises StackError: it has not happened in time.
        """
        wanted = [one.encode() for one in ids]
        looked = self.looked
        assert looked is not None
        deadline = time.monotonic() + timeout
        while left := sum(one not in looked for one in wanted):
            if time.monotonic() > deadline:
                raise StackError(f"{left} of {len(wanted)} flow runs were not looked at within {timeout:.0f} s.")
            time.sleep(0.02)
        self.looked = None
        times = [looked[one] for one in wanted]
        return min(times), max(times)

    def kill_feeds(self) -> None:
        """Cut every websocket of the event feed."""
        self._loop.call_soon_threadsafe(self._kill_feeds)

    def _kill_feeds(self) -> None:
        for feed in list(self.feeds):
            self.count(kills=1)
            feed.abort()

    def count(self, **more: int) -> None:
        self.counted = replace(
            self.counted, **{name: getattr(self.counted, name) + number for name, number in more.items()}
        )

    def note(self, ids: Iterable[bytes]) -> None:
        if self.looked is not None:
            now = time.time()
            for one in ids:
                self.looked.setdefault(one, now)


class _FromClient(asyncio.Protocol):
    """The client's half of a connection. Reads heads and lengths, so that it knows where each request begins."""

    def __init__(self, proxy: CountingProxy) -> None:
        self.proxy = proxy
        self.to_server: _ToServer | None = None
        self.about: set[bytes] = set()
        self._head = b""
        self._body = 0
        self._tail = b""
        self._raw = False
        self._waiting: list[bytes] = []
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.proxy._connections.add(self)
        self.proxy.count(connections=1)
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        try:
            _, self.to_server = await self.proxy._loop.create_connection(
                lambda: _ToServer(self), "127.0.0.1", self.proxy.target
            )
        except OSError:
            self.transport.abort()
            return
        if self.transport.is_closing():
            self.to_server.transport.abort()
            return
        for data in self._waiting:
            self.to_server.transport.write(data)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        self.proxy.count(asked=len(data))
        if not self._raw:
            self._read(data)
        if self._refused:
            return
        if self.to_server is None:
            self._waiting.append(data)
        else:
            self.to_server.transport.write(data)

    def _read(self, data: bytes) -> None:
        while data:
            if self._body:
                part, data = data[: self._body], data[self._body :]
                self._body -= len(part)
                self._about(part)
                continue
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            self._tail = b""
            self.proxy.count(requests=1)
            line = head.partition(b"\r\n")[0]
            if not self.proxy.batches_only:
                self._about(line)
            if _EVENTS in line:
                self._raw = True
                if self.proxy.refuse_events:
                    self._refused = True
                    self.transport.write(_REFUSAL)
                    self.transport.close()
                    return
                self.proxy.feeds.add(self)
                self.proxy.count(feeds=1)
                return
            length = _LENGTH.search(head)
            self._body = int(length[1]) if length else 0

    def _about(self, part: bytes) -> None:
        if self.proxy.looked is not None:
            text = self._tail + part
            self.about.update(_UUID.findall(text))
            self._tail = text[-35:]

    def connection_lost(self, error: Exception | None) -> None:
        self.proxy._connections.discard(self)
        self.proxy.feeds.discard(self)
        if self.to_server is not None:
            self.to_server.transport.abort()

    def abort(self) -> None:
        self.transport.abort()

    def pause_writing(self) -> None:
        if self.to_server is not None:
            self.to_server.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.to_server is not None:
            self.to_server.transport.resume_reading()


class _ToServer(asyncio.Protocol):
    """The server's half: its answers go back as they come."""

    def __init__(self, client: _FromClient) -> None:
        self.client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        client = self.client
        client.proxy.count(answered=len(data))
        if client.about:
            client.proxy.note(client.about)
            client.about = set()
        client.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.client.transport.close()

    def pause_writing(self) -> None:
        self.client.transport.pause_reading()

    def resume_writing(self) -> None:
        self.client.transport.resume_reading()
