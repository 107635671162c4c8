"""JSON over HTTP to a server on this machine, with nothing but the standard library."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

# A proxy in the environment is for other machines.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HttpError(Exception):
    """The server answered with an error; ``status`` and ``text`` are what it said."""

    def __init__(self, method: str, url: str, status: int, text: str) -> None:
        super().__init__(f"{method} {url}: {status} {text[:500]}")
        self.status = status
        self.text = text


def request(
    method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 30
) -> Any:
    """Send JSON and return the JSON that comes back (text, where it is something else).

    Raises ``HttpError`` for an answer that says no, and ``OSError`` when there is none.
    """
    data = None if body is None else json.dumps(body).encode()
    sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
    message = urllib.request.Request(url, data=data, headers=sent, method=method)
    try:
        with _opener.open(message, timeout=timeout) as response:
            text = response.read().decode()
            kind = response.headers.get_content_type()
    except urllib.error.HTTPError as error:
        with error:
            raise HttpError(method, url, error.code, error.read().decode(errors="replace")) from None
    return json.loads(text) if kind == "application/json" and text else text


def answers(url: str) -> bool:
    """Whether a server answers this address with something other than an error."""
    try:
        request("GET", url, timeout=5)
    except (HttpError, OSError):
        return False
    return True
