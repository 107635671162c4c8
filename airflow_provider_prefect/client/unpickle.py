"""Reading a pickle of plain data, and refusing every other one. Pure.

Prefect's default serializer is cloudpickle, so a plain result is a pickle too. What can be built from one here is what
an XCom can carry: numbers, text, bytes, containers, dates and times, ``Decimal`` and ``UUID``. Whatever else a pickle
names is not even imported.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from airflow_provider_prefect.client.errors import ResultError

# Types without side effects, whose size is bounded by that of their arguments; so no bytearray, which takes a length.
_PLAIN = {
    f"{kind.__module__}.{kind.__qualname__}": kind
    for kind in (date, datetime, time, timedelta, timezone, Decimal, UUID, OrderedDict, complex, set, frozenset)
}


class _Refused(Exception):
    pass


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _PLAIN[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, reference: Any) -> Any:
        raise _Refused(f"a persistent reference ({type(reference).__name__})")


def plain(content: bytes, way_out: str) -> Any:
    """The plain data in a pickle.

    :param way_out: what the user can do instead; ends the sentence of a refusal.
    :raises ResultError: it names anything else, or is no pickle. Nothing of it has run.
    """
    try:
        _check_sizes(content)
        return _PlainUnpickler(io.BytesIO(content)).load()
    except _Refused as refused:
        raise ResultError(
            f"The result is a pickle that needs {refused}, which is not read as plain data. {way_out}"
        ) from None
    except Exception as error:
        raise ResultError(f"The result is not a readable pickle ({type(error).__name__}). {way_out}") from None


def _check_sizes(content: bytes) -> None:
    """Refuse lengths and memo indexes that ``content`` cannot back: the unpickler would allocate them at once."""
    for _opcode, argument, _position in pickletools.genops(content):
        if isinstance(argument, int) and _opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(content):
            raise ValueError("memo index")
