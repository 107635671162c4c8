"""Make inputs that nobody has thought of, the same ones for the same seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from tests.unit.client.spoiling import MISSING, OTHER_VALUES, places

TEXTS = (
    *(
        "",
        " ",
        "None",
        "null",
        "0",
        "-1",
        "nan",
        "true",
        "[]",
        "{}",
        "x" * 3000,
        "é",
        "\ud800",
        "\x00",
        "a\nb",
        "\x1b[31m",
    ),
    *("::group::x", "../../etc/passwd", "/etc/passwd", "s3://b/k", "file:///etc/passwd", "http://127.0.0.1:1/", "%s%n"),
    *("{{ x }}", "2026-01-02T03:04:05Z", "0000-00-00", "9999-12-31T23:59:59+14:00", "P1Y", "PT5M", "10:30", "1e400"),
    *("COMPLETED", "FAILED", "SCHEDULED", "pickle", "json", "compressed/json", "LocalResult", "etl/demo"),
    "6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11",
)
NUMBERS = (
    0,
    1,
    -1,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**400,
    0.1,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
)


class Chaos(random.Random):
    """A source of chance that also makes values."""

    def text(self) -> str:
        """A text: one that has done harm elsewhere, or any characters."""
        if self.random() < 0.7:
            return self.choice(TEXTS)
        return "".join(
            chr(self.choice((self.randrange(128), self.randrange(0x110000)))) for _ in range(self.randrange(20))
        )

    def value(self, depth: int = 3) -> Any:
        """Whatever JSON, or Python's reading of it, can hold."""
        kind = self.randrange(9 if depth else 6)
        if kind < 2:
            return self.text()
        if kind < 4:
            return self.choice((self.choice(NUMBERS), self.randrange(1000)))
        if kind == 4:
            return self.choice((None, True, False))
        if kind == 5:
            return self.choice(OTHER_VALUES)
        if kind < 8:
            return {self.text(): self.value(depth - 1) for _ in range(self.randrange(4))}
        return [self.value(depth - 1) for _ in range(self.randrange(4))]

    def changed(self, value: Any) -> Any:
        """``value`` with one to four of its parts missing, exchanged for one another, or replaced."""
        found = copy.deepcopy(value)
        for _ in range(self.randint(1, 4)):
            found = self._changed_once(found)
        return found

    def _changed_once(self, value: Any) -> Any:
        every = list(places(value))
        path = self.choice(every)
        other = self.choice((MISSING, self.value(), self.value(), _at(value, self.choice(every))))
        if not path:
            return value if other is MISSING or self.random() < 0.8 else other
        holder = _at(value, path[:-1])
        if other is MISSING:
            del holder[path[-1]]
        elif isinstance(holder, dict) and self.random() < 0.1:
            holder[self.text()] = holder.pop(path[-1])
        else:
            holder[path[-1]] = copy.deepcopy(other)
        return value

    def spoiled(self, content: bytes) -> bytes:
        """``content`` with some of its bytes changed, left out, doubled, moved, or with others put between them."""
        found = bytearray(content)
        for _ in range(self.randint(1, 4)):
            at = self.randrange(len(found) + 1)
            length = self.choice((1, 1, 2, 4, self.randrange(40)))
            match self.randrange(6):
                case 0:
                    found[at : at + length] = self.randbytes(length)
                case 1:
                    del found[at : at + length]
                case 2:
                    found[at:at] = found[at : at + length] * self.choice((1, 2, 100))
                case 3:
                    del found[at:]
                case 4:
                    found[at:at] = self.randbytes(length)
                case 5 if found:
                    found[at % len(found)] ^= 1 << self.randrange(8)
        return bytes(found)

    def written(self, value: Any) -> str:
        """``value`` as JSON, sometimes with some of its characters spoiled."""
        text = json.dumps(value)
        return text if self.random() < 0.8 else self.spoiled(text.encode()).decode(errors="replace")


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value
