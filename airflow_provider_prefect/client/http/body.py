"""Read the body of a response within bounds, the same for both transports.

Neither library has a bound for the size of a body, and each decompresses a whole piece at once, however large it
becomes. So bodies are read as they come over the wire, and decompressed here.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from airflow_provider_prefect.client.errors import MalformedAnswer
from airflow_provider_prefect.client.transport import Request, Response

MAX_SIZE = 128 * 1024 * 1024
"""Bytes of a body, decompressed. A page has up to 200 flow runs, each with up to 512 KiB of parameters (the default
limits of prefect 3.8.8), which is 100 MiB."""

TOTAL_TIMES = 10
"""How many times the connection's timeout a response may take in all: 300 s by default, in which 128 MiB arrive over a
line of 4 Mbit/s."""

ACCEPTED = "gzip"
"""The encoding that is asked for."""

_ANY_HEADER = zlib.MAX_WBITS | 32
"""zlib's value for data with a header of gzip or of zlib."""


class Body:
    """Collect the pieces of one body.

    :param request: what it is the response to, for messages.
    :param headers: the response's, with their names in lower case.
    :raises MalformedAnswer: it announces more than :data:`MAX_SIZE`, or an encoding that was not asked for.
    """

    def __init__(self, request: Request, status: int, headers: Mapping[str, str]) -> None:
        self._request = request
        self._status = status
        self._headers = headers
        self._pieces: list[bytes] = []
        self._received = self._size = 0
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise self._malformed(f"a body that is encoded with {encoding[:40]!r}, which was not asked for")
        self._decoder = zlib.decompressobj(_ANY_HEADER) if encoding not in ("", "identity") else None
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > len(str(MAX_SIZE)) or int(length) > MAX_SIZE):
            raise self._too_large()

    def add(self, piece: bytes) -> None:
        """Add the next piece, as it came over the wire.

        :raises MalformedAnswer: there is more than :data:`MAX_SIZE`, or it cannot be decompressed.
        """
        self._received += len(piece)
        if self._received > MAX_SIZE:
            raise self._too_large()
        while piece:
            decoded, piece = self._decoded(piece)
            self._size += len(decoded)
            if self._size > MAX_SIZE:
                raise self._too_large()
            self._pieces.append(decoded)

    def response(self) -> Response:
        """Return the response with the text that has arrived."""
        return Response(self._status, b"".join(self._pieces).decode("utf-8", "replace"), self._headers)

    def _decoded(self, piece: bytes) -> tuple[bytes, bytes]:
        """Return the decompressed piece, no longer than may be, and what is left of it for another turn."""
        if self._decoder is None:
            return piece, b""
        try:
            decoded = self._decoder.decompress(piece, MAX_SIZE - self._size + 1)
        except zlib.error:
            if self._size:  # what follows the end is left out, as by other clients
                return b"", b""
            raise self._malformed("a body that cannot be decompressed") from None
        rest = self._decoder.unconsumed_tail
        if self._decoder.eof:
            rest = self._decoder.unused_data
            self._decoder = zlib.decompressobj(_ANY_HEADER)  # gzip may come in several parts
        return decoded, rest

    def _too_large(self) -> MalformedAnswer:
        return self._malformed(f"a body of more than {MAX_SIZE // 2**20} MiB")

    def _malformed(self, problem: str) -> MalformedAnswer:
        return MalformedAnswer(f"{self._request}: HTTP {self._status} with {problem}.", self._status)
