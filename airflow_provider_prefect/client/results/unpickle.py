"""Read a pickle of plain data, and refuse every other one.

Theory of operation
-------------------

Prefect's default serializer is cloudpickle, so a plain result is a pickle too. What can be built from one here is what
an XCom can carry: numbers, text, containers, dates and times, ``Decimal`` and ``UUID``; and bytes. Whatever else a
pickle names is not even imported.

A pickle may also stand for more than it holds: thirty tuples, each of the one before twice, have a thousand million
items, and to use the last one as a key takes as long. So :func:`_weigh` first goes through the opcodes as the
unpickler would, with a stack of weights in place of objects. Only a pickle that is light and shallow enough is then
read, by an unpickler whose ``find_class`` knows the plain types and nothing else.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.printable import line

# Types without side effects, whose size is bounded by that of their arguments; so no bytearray, which takes a length.
_PLAIN = {
    f"{kind.__module__}.{kind.__qualname__}": kind
    for kind in (date, datetime, time, timedelta, timezone, Decimal, UUID, OrderedDict, complex, set, frozenset)
}

# Neither pickle nor cloudpickle writes these for plain data. The first three could name what is not asked for.
_NEVER = ("EXT1", "EXT2", "EXT4", "DUP", "POP", "POP_MARK", "NEXT_BUFFER", "READONLY_BUFFER")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_FILLING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_PAIRS = ("SETITEM", "SETITEMS", "DICT")
_HASHING = (*_PAIRS, "ADDITEMS", "FROZENSET", "BUILD", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ")

_MAX_DEPTH = 500
"""Levels of nesting; the hash of many more would overflow the stack of the process."""

_MAX_HASHED_SHARE = 4
"""How many times the largest weight may be hashed: once as a rule, again for each key within a key."""


class _Refused(Exception):
    pass


class TooLarge(Exception):
    """Raised when the value would have too many bytes as JSON."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _PLAIN[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, reference: Any) -> Any:
        raise _Refused(f"a persistent reference ({type(reference).__name__})")


def plain(content: bytes, way_out: str, max_size: int) -> Any:
    """Return the plain data in a pickle.

    :param way_out: what the user can do instead; ends the sentence of a refusal.
    :param max_size: bytes that the value may have as JSON; it is certain only that a larger one is not built in vain.
    :raises ResultError: it names anything else, or is no pickle. Nothing of it has run.
    :raises TooLarge: it stands for more than that.
    """
    try:
        _weigh(content, max_size)
        return _PlainUnpickler(io.BytesIO(content)).load()
    except TooLarge:
        raise
    except _Refused as refused:
        raise ResultError(
            f"The result is a pickle that needs {line(str(refused))}, which is not supported as plain data. {way_out}"
        ) from None
    except Exception as error:
        raise ResultError(f"The result is not a readable pickle ({type(error).__name__}). {way_out}") from None


@dataclass(slots=True)
class _Item:
    """Weigh an object on the unpickler's stack: how many objects it holds, with repetitions, and how deep it goes."""

    weight: int = 1
    depth: int = 1


def _weigh(content: bytes, max_size: int) -> None:
    """Go through a pickle as the unpickler does, without building anything.

    The weight of a value is at most the length of its JSON. Lengths that ``content`` does not back, for which the
    unpickler would allocate memory at once, are refused by ``genops``.
    """
    stack: list[_Item | None] = []  # None is a mark
    memo: dict[int, _Item] = {}
    hashed = 0
    for opcode, argument, _position in pickletools.genops(content):
        if opcode.name in _NEVER:
            raise _Refused(f"the opcode {opcode.name}")
        if opcode.name in _PUTS:
            index = len(memo) if argument is None else argument
            if index > len(content):
                raise ValueError("memo index")
            memo[index] = _present(stack[-1])
        elif opcode.name in _GETS:
            stack.append(memo[int(argument or 0)])
        elif opcode.name == "MARK":
            stack.append(None)
        else:
            items = _taken(stack, opcode)
            target = items.pop(0) if opcode.name in _FILLING else _Item()
            target.weight += sum(item.weight for item in items)
            target.depth = max([target.depth, *(item.depth + 1 for item in items)])
            if opcode.name in _HASHING:
                hashed += sum(item.weight for item in (items[::2] if opcode.name in _PAIRS else items))
            if target.weight > max_size or hashed > _MAX_HASHED_SHARE * max_size or len(stack) > max_size:
                raise TooLarge
            if target.depth > _MAX_DEPTH:
                raise _Refused(f"more than {_MAX_DEPTH} levels of nesting")
            if opcode.stack_after:
                stack.append(target)


def _taken(stack: list[_Item | None], opcode: pickletools.OpcodeInfo) -> list[_Item]:
    """Take from the stack what the opcode does, and return it from the bottom to the top, without the mark."""
    before: Sequence[object] = opcode.stack_before
    count = len(before)
    taken: list[_Item] = []
    if pickletools.markobject in before:
        count = before.index(pickletools.markobject)
        while (item := stack.pop()) is not None:
            taken.append(item)
    taken += [_present(stack.pop()) for _ in range(count)]
    return taken[::-1]


def _present(item: _Item | None) -> _Item:
    if item is None:
        raise ValueError("a mark where an object should be")
    return item
