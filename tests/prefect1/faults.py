"""What goes wrong on demand, and what happens meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.prefect1.calls import Request

API_ERROR: list[dict[str, Any]] = [{"message": "API_ERROR", "path": [], "extensions": {"code": "API_ERROR"}}]


@dataclass
class Matching:
    """Which requests something is about: the first ``skip`` that fit are left alone, the next ``times`` are not.

    A request fits if it asks for one of the fields ``on`` (any, if there are none) and ``about`` stands somewhere in
    its query or variables.
    """

    on: tuple[str, ...] = ()
    about: str = ""
    skip: int = 0
    times: int | None = 1

    def takes(self, request: Request) -> bool:
        """Whether this request is meant; it is counted, if it fits."""
        if self.times == 0 or (self.on and not set(self.on) & set(request.names)):
            return False
        if self.about not in request.body.decode(errors="replace"):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Fault:
    """An answer that is not what a healthy server says."""

    matching: Matching
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of the answer."""
    edit: Callable[[dict[str, Any]], Any] | None = None
    """Makes another answer of the one that would be given."""
    acted: bool = False
    """Whether the server does what is asked before the fault."""
    reset: bool = False
    """Whether the connection is reset instead of answered."""
    truncate: int | None = None
    """After how many bytes of the body the connection ends."""
    delay: float = 0.0


@dataclass
class Meanwhile:
    """Something that is done just before a request is answered."""

    matching: Matching
    do: Callable[[], Any]


class Plan:
    """The faults and the happenings that a test has asked for; the oldest that fits a request is used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._happenings: list[Meanwhile] = []

    def add(self, item: Fault | Meanwhile) -> None:
        with self._lock:
            if isinstance(item, Fault):
                self._faults.append(item)
            else:
                self._happenings.append(item)

    def fault(self, request: Request) -> Fault | None:
        with self._lock:
            return next((fault for fault in self._faults if fault.matching.takes(request)), None)

    def happenings(self, request: Request) -> list[Meanwhile]:
        with self._lock:
            return [each for each in self._happenings if each.matching.takes(request)]

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._happenings.clear()
