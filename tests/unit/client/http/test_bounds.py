"""No response is endless: its size and its time are bounded, with both transports alike."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import pytest

from airflow_provider_prefect.client.errors import MalformedAnswer, PrefectError, Unreachable
from airflow_provider_prefect.client.http import blocking, common
from airflow_provider_prefect.client.http import body as bounds
from airflow_provider_prefect.client.http.aio import AioTransport
from airflow_provider_prefect.client.http.blocking import BlockingTransport
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Request, Response, run

MIB = 1024 * 1024
DRIP = 0.02
"""Seconds between two pieces of a response that drips; the timeout for one piece is many times as long."""

END = b"end of the connection"

Pieces = Iterable[bytes]
Send = Callable[..., Response]


class Peer:
    """A server that sends to each connection, request by request, what ``answer`` yields."""

    def __init__(self, answer: Callable[[], Pieces]) -> None:
        self._answer = answer
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.requests: list[bytes] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while head := self._request(connection):
                self.requests.append(head)
                for piece in self._answer():
                    if piece is END:
                        return
                    if piece:
                        connection.sendall(piece)
                    elif self._stopped.wait(DRIP):
                        return

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        seen = b""
        while b"\r\n\r\n" not in seen:
            piece = connection.recv(65536)
            if not piece:
                return b""
            seen += piece
        return seen


@contextmanager
def peer(answer: Callable[[], Pieces]) -> Iterator[Peer]:
    server = Peer(answer)
    try:
        yield server
    finally:
        server.stop()


def settings(server: Peer, timeout: float = 30.0) -> Settings:
    url = f"http://127.0.0.1:{server.port}"
    return Settings(url, url, timeout=timeout)


def in_a_worker(used: Settings, *requests: Request) -> list[Response]:
    with BlockingTransport(lambda: used) as transport:
        return [run(transport.send(request)) for request in requests]


def in_the_triggerer(used: Settings, *requests: Request) -> list[Response]:
    async def send() -> list[Response]:
        transport = AioTransport(used)
        try:
            return [await transport.send(request) for request in requests]
        finally:
            await transport.close()

    return asyncio.run(send())


both = pytest.mark.parametrize("send", [in_a_worker, in_the_triggerer])
GET = Request("GET", "/flow_runs/x")


def head(status: int = 200, **headers: Any) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(body: bytes, status: int = 200, **headers: Any) -> Pieces:
    return [head(status, Content_Length=len(body), **headers), body]


def chunks(pieces: Pieces) -> Iterator[bytes]:
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


def zeros(size: int, wbits: int = 31) -> bytes:
    """So many zeros, compressed."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join(squeeze.compress(bytes(MIB)) for _ in range(size // MIB)) + squeeze.flush()


@pytest.fixture
def at_most_1_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_SIZE", MIB)


def refusal(kind: type[PrefectError], send: Send, *args: Any) -> str:
    with pytest.raises(kind) as refused:
        send(*args)
    assert refused.value.__cause__ is None
    return str(refused.value)


# What is allowed


@both
@pytest.mark.parametrize("encoding", [None, "identity", "gzip", "x-gzip", "GZIP", "deflate"])
def test_a_body_is_read_however_it_is_compressed(send: Send, encoding: str | None) -> None:
    plain = json.dumps({"text": "ä" * 100_000}).encode()
    packed = {None: plain, "identity": plain, "deflate": zlib.compress(plain)}.get(encoding, gzip.compress(plain))
    headers = {"Content_Encoding": encoding} if encoding else {}
    with peer(lambda: whole(packed, **headers)) as server:
        (response,) = send(settings(server), GET)
    assert response.json() == {"text": "ä" * 100_000}


@both
def test_only_an_encoding_that_can_be_read_within_bounds_is_asked_for(send: Send) -> None:
    with peer(lambda: whole(b"true")) as server:
        send(settings(server), GET)
    asked = [line for line in server.requests[0].lower().split(b"\r\n") if line.startswith(b"accept-encoding")]
    assert asked == [b"accept-encoding: gzip"]


@both
def test_gzip_in_several_parts_is_read_to_its_end_and_what_follows_is_left_out(send: Send) -> None:
    packed = gzip.compress(b"[1,") + gzip.compress(b"2]") + b"\0\0padding"
    with peer(lambda: whole(packed, Content_Encoding="gzip")) as server:
        (response,) = send(settings(server), GET)
    assert response.json() == [1, 2]


@both
def test_a_body_in_chunks_is_read(send: Send) -> None:
    with peer(lambda: [head(Transfer_Encoding="chunked"), *chunks([b"[1", b",2", b"]", b""])]) as server:
        (response,) = send(settings(server), GET)
    assert response.json() == [1, 2]


@both
@pytest.mark.parametrize("status", [200, 204, 404])
def test_a_connection_is_used_again_after_a_response_was_read(send: Send, status: int) -> None:
    answer = [head(204)] if status == 204 else whole(b"true", status)
    with peer(lambda: answer) as server:
        responses = send(settings(server), GET, GET, GET)
        assert [response.status for response in responses] == [status] * 3
    assert server.connections == 1


@both
def test_a_slow_response_that_is_in_time_is_read(send: Send) -> None:
    def slow() -> Pieces:
        yield head(Content_Length=8)
        for number in range(8):
            yield b""
            yield b"12345678"[number : number + 1]

    with peer(slow) as server:
        (response,) = send(settings(server, timeout=5.0), GET)
    assert response.text == "12345678"


@both
@pytest.mark.usefixtures("at_most_1_mib")
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_body_of_exactly_the_largest_size_is_read(send: Send, encoding: str | None) -> None:
    answer = whole(zeros(MIB), Content_Encoding="gzip") if encoding else whole(bytes(MIB))
    with peer(lambda: answer) as server:
        (response,) = send(settings(server), GET)
    assert len(response.text) == MIB


# Size


def endless() -> Pieces:
    return itertools.chain([head(Transfer_Encoding="chunked")], chunks(itertools.repeat(b"x" * 65536)))


def endless_without_a_length() -> Pieces:
    return itertools.chain([head(Connection="close")], itertools.repeat(b"x" * 65536))


def endless_and_compressed() -> Pieces:
    squeeze = zlib.compressobj(0, zlib.DEFLATED, 31)
    pieces = (squeeze.compress(b"x" * 65536) for _ in itertools.count())
    return itertools.chain([head(Content_Encoding="gzip", Connection="close")], pieces)


def endlessly_nothing() -> Pieces:
    """Blocks of compressed data that stand for no byte at all."""
    start = zlib.compressobj(9, zlib.DEFLATED, 31).compress(b"")
    empty = b"\x00\x00\x00\xff\xff" * 10_000
    return itertools.chain([head(Content_Encoding="gzip", Connection="close"), start], itertools.repeat(empty))


def padded_for_ever() -> Pieces:
    """Something else behind the end of compressed data."""
    packed = gzip.compress(b"[1]")
    return itertools.chain([head(Content_Encoding="gzip", Connection="close"), packed], itertools.repeat(b"\0" * 65536))


def one_byte_more() -> Pieces:
    return [head(Connection="close"), bytes(MIB + 1), END]


def announced() -> Pieces:
    return [head(Content_Length=MIB + 1)]


def announced_beyond_measure() -> Pieces:
    return [head(Content_Length="9" * 5000)]


def bomb() -> Pieces:
    return whole(zeros(64 * MIB), Content_Encoding="gzip")


def bomb_of_another_kind() -> Pieces:
    return whole(zeros(64 * MIB, 15), Content_Encoding="deflate")


def bomb_in_a_redirect() -> Pieces:
    return whole(zeros(64 * MIB), 302, Content_Encoding="gzip", Location="https://elsewhere.test/")


def bomb_in_a_failure() -> Pieces:
    return whole(zeros(64 * MIB), 503, Content_Encoding="gzip")


@both
@pytest.mark.usefixtures("at_most_1_mib")
@pytest.mark.parametrize(
    "answer",
    [
        *(endless, endless_without_a_length, endless_and_compressed, endlessly_nothing, padded_for_ever),
        *(one_byte_more, announced, bomb, bomb_of_another_kind, bomb_in_a_redirect, bomb_in_a_failure),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_it_is_held(send: Send, answer: Callable[[], Pieces]) -> None:
    with peer(answer) as server:
        tracemalloc.start()
        try:
            message = refusal(MalformedAnswer, send, settings(server), GET)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert "GET /flow_runs/x: HTTP" in message
    assert "a body of more than 1 MiB" in message
    assert peak < 32 * MIB


@both
def test_a_length_beyond_all_measure_is_refused(send: Send) -> None:
    with peer(announced_beyond_measure) as server:
        refusal(PrefectError, send, settings(server), GET)


@both
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 5000])
def test_an_encoding_that_was_not_asked_for_is_refused(send: Send, encoding: str) -> None:
    with peer(lambda: whole(b"true", Content_Encoding=encoding)) as server:
        message = refusal(MalformedAnswer, send, settings(server), GET)
    assert f"encoded with {encoding[:40]!r}, which was not asked for" in message


@both
def test_what_is_not_compressed_as_it_says_is_refused(send: Send) -> None:
    with peer(lambda: whole(b"true", Content_Encoding="gzip")) as server:
        assert "cannot be decompressed" in refusal(MalformedAnswer, send, settings(server), GET)


# Time


def drips(pieces: Pieces) -> Iterator[bytes]:
    for piece in pieces:
        yield b""
        yield piece


def dripping_body() -> Pieces:
    return itertools.chain([head(Content_Length=100_000)], drips(itertools.repeat(b"x")))


def dripping_chunks() -> Pieces:
    return itertools.chain([head(Transfer_Encoding="chunked")], drips(chunks(itertools.repeat(b"x"))))


def dripping_length_of_a_chunk() -> Pieces:
    return itertools.chain([head(Transfer_Encoding="chunked")], drips(itertools.repeat(b"0")))


def dripping_status() -> Pieces:
    return itertools.chain([b"HTTP/1.1 200 "], drips(itertools.repeat(b"O")))


def dripping_headers() -> Pieces:
    return itertools.chain([b"HTTP/1.1 200 OK\r\n"], drips(itertools.repeat(b"x: y\r\n")))


def for_ever_about_to_answer() -> Pieces:
    return drips(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"))


def dripping_compressed() -> Pieces:
    start = zlib.compressobj(9, zlib.DEFLATED, 31).compress(b"")
    empty = b"\x00\x00\x00\xff\xff"
    return itertools.chain([head(Content_Encoding="gzip", Connection="close"), start], drips(itertools.repeat(empty)))


@both
@pytest.mark.parametrize(
    "answer",
    [
        *(dripping_body, dripping_chunks, dripping_length_of_a_chunk, dripping_status, dripping_headers),
        *(for_ever_about_to_answer, dripping_compressed),
    ],
)
def test_a_response_that_only_drips_is_given_up(
    send: Send, answer: Callable[[], Pieces], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (blocking, common):
        monkeypatch.setattr(module, "TOTAL_TIMES", 1.5)
    with peer(answer) as server:
        message = refusal(Unreachable, send, settings(server, timeout=0.5), GET)
        assert message == f"http://127.0.0.1:{server.port} has not sent its whole response within 1 s"


@both
def test_a_response_that_does_not_begin_is_given_up_after_the_timeout_of_the_connection(send: Send) -> None:
    with peer(lambda: itertools.repeat(b"")) as server:
        assert refusal(Unreachable, send, settings(server, timeout=0.1), GET).endswith("no answer in time")


@both
@pytest.mark.parametrize(
    "answer", [lambda: [head(Content_Length=5), b"12"], lambda: [head(Transfer_Encoding="chunked")]]
)
def test_a_response_that_stops_is_given_up_after_the_timeout_of_the_connection(send: Send, answer: Any) -> None:
    with peer(lambda: itertools.chain(answer(), itertools.repeat(b""))) as server:
        assert refusal(Unreachable, send, settings(server, timeout=0.1), GET).endswith("no answer in time")


# Headers


@both
@pytest.mark.parametrize(
    "piece",
    [b"x: y\r\n" * 10_000, b"x" * 65536, b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000],
    ids=["many", "long", "continue"],
)
def test_endless_headers_are_given_up(send: Send, piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    aiohttp_version = tuple(map(int, aiohttp.__version__.split(".")[:2]))
    if send is in_the_triggerer and piece.startswith(b"x: ") and aiohttp_version < (3, 14):
        pytest.skip("aiohttp before 3.14 does not limit the number of headers, and needs quadratic time for many")
    for module in (blocking, common):
        monkeypatch.setattr(module, "TOTAL_TIMES", 1)
    monkeypatch.setattr(blocking, "MAX_SIZE", MIB)
    with peer(lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(piece))) as server:
        refusal(Unreachable, send, settings(server, timeout=1.0), GET)


# The timeout that a user sets


@pytest.mark.parametrize(("timeout", "total"), [(30.0, 300.0), (2.0, 20.0), (600.0, 6000.0)])
def test_a_whole_response_may_take_ten_times_the_timeout_of_the_connection(timeout: float, total: float) -> None:
    assert common.total_timeout(Settings("http://x", "http://x", timeout=timeout)) == total
