"""Spoil an answer: every way in which one of its values can be of another type than it should be, or missing."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

NESTED: Any = []
for _ in range(200):
    NESTED = [NESTED]

OTHER_VALUES: tuple[Any, ...] = (
    *(None, True, 0, 10**30, float("nan"), "", "x", "a\nb", "\ud800", "../x", "0" * 5000, "0001-01-01", "9999-12-31"),
    *([], [None], [{}], {}, {"x": None}, NESTED),
)

MISSING = object()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of ``value`` itself, and those of everything in it."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def some_spoiled(answer: Any, number: int = 150) -> list[tuple[str, Any]]:
    """Some of what :func:`spoiled` yields, the same ones each time."""
    every = list(spoiled(answer))
    return random.Random(len(every)).sample(every, min(number, len(every)))


def spoiled(answer: Any) -> Iterator[tuple[str, Any]]:
    """``answer`` with each of its values missing, or replaced by each of :data:`OTHER_VALUES`, and what was done."""
    for path in places(answer):
        for other in (MISSING, *OTHER_VALUES):
            if not path:
                if other is not MISSING:
                    yield f"the whole is {other!r:.40}", other
                continue
            changed = copy.deepcopy(answer)
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            if other is MISSING:
                del holder[path[-1]]
            else:
                holder[path[-1]] = other
            yield f"{'.'.join(map(str, path))} is {'missing' if other is MISSING else f'{other!r:.40}'}", changed
