"""Small servers on 127.0.0.1 for the tests of the HTTP drivers: one that answers as told, and a forward proxy."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.watcher.connection import SharedConnection

PATIENCE = 30.0
"""For how long, in seconds, a test waits for what must happen before it fails."""


@asynccontextmanager
async def shared(settings: Settings) -> AsyncIterator[SharedConnection]:
    """A connection that all of this event loop share who wait with these settings."""

    async def read(refused: Settings | None) -> Settings:
        return settings

    async with SharedConnection(read) as connection:
        yield connection


@dataclass(frozen=True)
class Seen:
    """A request as it arrived. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer to send. Given ``sent``, only so many bytes of the body arrive before the connection ends."""

    status: int = 200
    body: bytes = b"true"
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    reset: bool = False


def reply(body: Any = True, status: int = 200, **headers: str) -> Reply:
    """The answer with ``body`` as JSON."""
    return Reply(status, json.dumps(body).encode(), {name.replace("_", "-"): value for name, value in headers.items()})


Answer = Callable[[Seen], Reply]


class Server:
    """What a test may know of a server: its port, what it was asked, and which connections it had."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[Seen] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self._change = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def opened(self) -> None:
        with self._change:
            self.connections += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            self._change.notify_all()

    def closed(self) -> None:
        with self._change:
            self.open -= 1
            self._change.notify_all()

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Whether ``condition`` on the connections came true."""
        with self._change:
            return self._change.wait_for(condition, PATIENCE)


@contextmanager
def serving(answer: Answer = lambda _: reply(), tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server that answers each request with ``answer(request)``."""
    server = Server()

    class Handler(_Handler):
        known_by = server

        def respond(self, seen: Seen) -> None:
            server.seen.append(seen)
            self.send(answer(seen))

    with _listening(server, Handler, tls):
        yield server


@contextmanager
def proxying(refuse: bool = False) -> Iterator[Server]:
    """A forward proxy that records what it is asked to forward, CONNECT included, and forwards it."""
    server = Server()

    class Proxy(_Handler):
        known_by = server

        def respond(self, seen: Seen) -> None:
            server.seen.append(seen)
            if refuse:
                self.send(Reply(407, b"<html>who are you?</html>"))
                return
            target = urlsplit(seen.path)
            with socket.create_connection((target.hostname, target.port)) as upstream:
                headers = {**seen.headers, "connection": "close"}
                lines = [f"{seen.method} {target.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
                upstream.sendall("\r\n".join(lines).encode() + seen.body)
                status, _, rest = upstream.recv(65536).partition(b"\r\n")
                self.connection.sendall(status + b"\r\nConnection: close\r\n" + rest)
                _pump(upstream, self.connection)
            self.close_connection = True

        def do_CONNECT(self) -> None:
            server.seen.append(_seen(self))
            if refuse:
                self.send(Reply(407, b"<html>who are you?</html>"))
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port))) as upstream:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pump, args=(upstream, self.connection))
                back.start()
                _pump(self.connection, upstream)
                back.join(PATIENCE)
            self.close_connection = True

    with _listening(server, Proxy, None):
        yield server


def refusing_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    known_by: Server

    def setup(self) -> None:
        super().setup()
        self.known_by.opened()

    def finish(self) -> None:
        self.known_by.closed()
        super().finish()

    def respond(self, seen: Seen) -> None:
        raise NotImplementedError

    def do(self) -> None:
        self.respond(_seen(self))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do  # noqa: N815

    def send(self, answer: Reply) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: answer.sent])
        if answer.sent is not None:
            self.close_connection = True
        if answer.reset:
            # Closing with unsent data thrown away is what a peer sees as a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, *_: object) -> None:
        pass


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.tls:
            # The handshake is made by the thread of this connection, with its first read.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)

    def handle_error(self, *_: object) -> None:
        """A client that goes away, or that does not like a certificate, is what the tests are about."""


@contextmanager
def _listening(server: Server, handler: type[_Handler], tls: ssl.SSLContext | None) -> Iterator[None]:
    with _Listener(("127.0.0.1", 0), handler) as listener:
        listener.daemon_threads = True
        listener.block_on_close = False
        listener.tls = tls
        server.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown()
            thread.join()


def _seen(handler: BaseHTTPRequestHandler) -> Seen:
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    headers = {name.lower(): value for name, value in handler.headers.items()}
    return Seen(handler.command, handler.path, headers, body)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
