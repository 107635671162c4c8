"""Convert what users write in arguments to what the client takes, or say in one sentence what is wrong with it.

Airflow renders a templated field to text, or with ``render_template_as_native_obj=True`` to any Python object, and the
XCom of a mapped task is a lazy sequence. Each kind of value is therefore converted in one place, for all operators, the
sensor and the hook. What rendered to nothing (``None``, ``"None"`` or ``""``) is treated as not given.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence, Set, ValuesView
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pendulum
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.model import FINAL
from airflow_provider_prefect.client.wait.flow_run import Deadlines
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood

MIN_POLL_INTERVAL = 3.0
"""Seconds; the minimum of Prefect 1's ``wait_for_flow_run`` too."""

_MARGIN_BEFORE_ALARM = 5.0
"""Seconds before Airflow's own alarm for ``execution_timeout`` at which the wait ends by itself."""

_MAX_SECONDS = timedelta.max.total_seconds()
"""Where a number of seconds ends that is a duration."""

_EARLIEST_START = datetime(2000, 1, 1, tzinfo=UTC)
"""Nobody starts a flow run before this on purpose: such a start comes from a number, or a value that is missing."""

_MAX_DEPTH = 100
"""How deep a value may be nested. Prefect can store or list no flow run with more than about 250 levels."""

_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
"""What Prefect can list. It stores a larger one, but then no list of flow runs with it (2.20.26 and 3.8.8)."""

_WRITTEN_BY_PYTHON = re.compile(
    r"\s*(?:\w+\(|[{\[(]).*?(?<=[{\[(,:\s])(?:'|None\b|True\b|False\b|[A-Za-z_][\w.]*\(|\(|-?\d+\s*:)", re.DOTALL
)
"""Matches a dict, a list or a tuple as ``str()`` writes it, if that is no JSON."""

_LIST_AS_TEXT = re.compile(r"\s*(?:\w+\()?[\[({]")


# Templated fields


@dataclasses.dataclass(frozen=True)
class Field:
    """Say how a templated field is read after Airflow has rendered it.

    :param convert: takes the field's name and what it rendered to, and returns what the client takes.
    :param default: the value of a field that rendered to nothing.
    :param otherwise: what happens then, for the task's log.
    :param way_out: given for a field that must not be ignored: what to do if it rendered to nothing. A sentence, or
        what makes one for the task.
    :param is_list: whether it is a list. Elements that rendered to nothing are left out; with ``way_out`` they are
        refused, and so is an empty list.
    """

    convert: Callable[[str, Any], Any]
    default: Any = None
    otherwise: str = "it is treated as not given"
    way_out: str | Callable[[Any], str] | None = None
    is_list: bool = False


def read_field(task: Any, name: str, field: Field, *, is_given: bool) -> Any:
    """Return what a templated field of ``task`` rendered to, as the client takes it.

    :param is_given: whether the user has given the field. If not, it is no news that there is nothing.
    :raises ConfigurationErrorForGood: it cannot be used, or the task needs it and it rendered to nothing.
    """
    value = getattr(task, name)
    if is_given and field.way_out is not None and _lacks_something(value, field):
        way_out = field.way_out if isinstance(field.way_out, str) else field.way_out(task)
        shown = _shown_nothing(value) if is_nothing(value) else _shown(value)
        raise ConfigurationErrorForGood(f"{name} rendered to {shown}: {way_out}")
    if field.is_list:
        value = _without_nothing(task, name, value)
    if not is_nothing(value):
        return field.convert(name, value)
    if is_given:
        task.log.warning("%s rendered to %s and is ignored: %s.", name, _shown_nothing(value), field.otherwise)
    return field.default


def is_nothing(value: Any) -> bool:
    """Return whether a template has rendered to nothing: ``None``, its text, or an empty text."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None"))


def _lacks_something(value: Any, field: Field) -> bool:
    """Return whether a value is nothing, or the value of a list is empty or has an element that is nothing."""
    items = _items(value) if field.is_list else None
    return is_nothing(value) if items is None else not items or any(map(is_nothing, items))


def _shown_nothing(value: Any) -> str:
    return "None" if value is None or value.strip() else "''"


def _without_nothing(task: Any, name: str, value: Any) -> Any:
    """Return a list without the elements that rendered to nothing, and ``None`` if no other ones are left."""
    items = _items(value)
    if not items or not any(map(is_nothing, items)):
        return value
    for index, item in enumerate(items):
        if is_nothing(item):
            task.log.warning("%s[%d] rendered to %s and is left out.", name, index, _shown_nothing(item))
    return [item for item in items if not is_nothing(item)] or None


def as_it_is(name: str, value: Any) -> Any:
    """Return a value that is converted where it is used."""
    return value


# Text


def text(name: str, value: Any) -> str | None:
    """Return text, also that of a number, a date, a datetime or a UUID; ``None`` for nothing.

    :raises ConfigurationErrorForGood: it is anything else.
    """
    if is_nothing(value):
        return None
    found = _as_text(value)
    if found is None:
        raise ConfigurationErrorForGood(
            f"{name}={_shown(value)} ({_type(value)}) is neither text nor what is taken as text: a number, a date, a "
            "datetime or a UUID."
        )
    return found


def _as_text(value: Any) -> str | None:
    """Return the text of what makes sense as text, otherwise ``None``."""
    value = _from_numpy(value)
    try:
        if isinstance(value, str):
            str.encode(value)
            return str.__str__(value)  # of an Enum with a text as its value that text, and not its name
        if isinstance(value, int) and not isinstance(value, bool):
            return str(int(value))
        if isinstance(value, float) and math.isfinite(value):
            return str(float(value))
        if isinstance(value, UUID) or (isinstance(value, Decimal) and value.is_finite()):
            return str(value)
        if isinstance(value, date) and not _is_not_a_time(value):
            return value.isoformat()
    except ValueError:  # half of a character, or an integer of thousands of digits
        pass
    return None


def string_list(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of strings; a number in it becomes text. A single string would be taken letter by letter.

    :raises ConfigurationErrorForGood: it is not a list of strings.
    """
    if is_nothing(value):
        return ()
    items = _items(value)
    found = None if items is None else [_as_text(item) for item in items]
    if found is None or None in found:
        hint = ""
        if isinstance(value, str) and _LIST_AS_TEXT.match(value):
            hint = (
                " It is the text of one: give a list whose elements are templates, or set "
                "render_template_as_native_obj=True on the Dag."
            )
        raise ConfigurationErrorForGood(f"{name}={_shown(value)} is not a list of strings.{hint}")
    return tuple(found)  # type: ignore[arg-type]


# JSON


def json_object(name: str, value: Any) -> dict[str, Any] | None:
    """Return a mapping, given as one or as its JSON text, with every value in a form that JSON has.

    Besides what JSON has itself, these are converted, at any depth: other mappings, sequences and sets, dataclasses and
    pydantic models, values of enums, numbers and arrays of numpy, dates and times (ISO 8601), durations (seconds),
    decimals, UUIDs and paths (text).

    :raises ConfigurationErrorForGood: it is not a mapping, or cannot be sent as JSON; the message has the path to what
        cannot, such as ``parameters['a'][2]``, and its type, but not its value, which may be secret.
    """
    if is_nothing(value):
        return None
    try:
        if isinstance(value, str):
            value = _parsed(name, value)
        plain = _plain(name, value, ())
    except RecursionError:
        raise _refused(name, "it is nested too deeply") from None
    if not isinstance(plain, dict):
        raise ConfigurationErrorForGood(
            f"{name} is a JSON {type(plain).__name__}, not an object. Give a mapping from names to values."
        )
    return plain


def run_context(name: str, value: Any) -> dict[str, Any] | None:
    """Return a mapping for the context of a flow run, as :func:`json_object` does.

    :raises ConfigurationErrorForGood: it cannot be sent, or has the key under which tasks say who started the flow run.
    """
    context = json_object(name, value)
    if context and "airflow" in context:
        raise ConfigurationErrorForGood(
            f"{name} has the key 'airflow', under which the operator says who started the flow run. Choose another key."
        )
    return context


def _parsed(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        way_out = "Give a mapping, or the JSON text of an object."
        if _WRITTEN_BY_PYTHON.match(value):
            way_out = (
                "It is as Python writes a dict. Let the template write JSON, {{ … | tojson }}, or set "
                "render_template_as_native_obj=True on the Dag, so that the dict itself is passed on."
            )
        raise ConfigurationErrorForGood(f"{name} is text, but not JSON ({error}). {way_out}") from None


def _plain(path: str, value: Any, inside: tuple[int, ...]) -> Any:
    """Return a value in a form that JSON has.

    :param path: where it is, for messages.
    :param inside: the identities of the values around it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(path, value.value, inside)
    if isinstance(value, str):
        return _encodable(path, str.__str__(value))
    if isinstance(value, UUID) or callable(getattr(type(value), "as_posix", None)):
        return _encodable(path, str(value))  # Airflow's paths of object storage are no pathlib.Path in all versions
    if isinstance(value, int):
        return _listable(path, int(value))
    if isinstance(value, (float, Decimal)):
        if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
            raise _refused(path, f"it is {value}, which JSON does not have")
        return str(value) if isinstance(value, Decimal) else float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (date, time_of_day)) and not _is_not_a_time(value):
        return value.isoformat()
    if id(value) in inside:
        raise _refused(path, "it contains itself")
    if len(inside) >= _MAX_DEPTH:
        raise _refused(path, f"it is nested too deeply, in {_MAX_DEPTH} others")
    return _plain_container(path, value, (*inside, id(value)))


def _plain_container(path: str, value: Any, inside: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        return _plain_mapping(path, value, inside)
    if isinstance(value, (set, frozenset)):
        return _plain_set(path, value, inside)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise _refused(path, f"it is of type {_type(value)}. Decode it, or encode it as text in base64")
    if isinstance(value, (Sequence, Set, ValuesView)):
        return [_plain(f"{path}[{index}]", item, inside) for index, item in enumerate(value)]
    if isinstance(value, BaseOperator):  # a dataclass too, in Airflow 3
        raise _refused(path, f"it is the task {value.task_id!r}. Give what it returned: the task's output")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        return _plain_mapping(path, fields, inside)
    for other in (_from_pydantic(value), _from_numpy(value)):
        if other is not value:
            return _plain(path, other, inside)
    raise _refused(path, f"it is of type {_type(value)}, which has no form in JSON")


def _plain_mapping(path: str, value: Mapping[Any, Any], inside: tuple[int, ...]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key in value:  # items() of Airflow's own params would give other values
        name = _plain_key(path, key, is_top_level=len(inside) == 1)
        if name in plain:
            raise _refused(path, f"two of its keys become {_shown(name)}")
        plain[name] = _plain(f"{path}[{_shown(name)}]", value[key], inside)
    return plain


def _plain_key(path: str, key: Any, *, is_top_level: bool) -> str:
    """Return a key as text. Numbers become text below the top level, as in Python's own JSON."""
    plain = _from_numpy(key.value if isinstance(key, Enum) else key)
    if isinstance(plain, str):
        return _encodable(path, str.__str__(plain))
    if is_top_level:
        raise ConfigurationErrorForGood(f"{path} has the key {_shown(key)}, which is not text.")
    try:
        if plain is None or isinstance(plain, (int, float)):
            return json.dumps(plain, allow_nan=False)
    except ValueError:
        pass
    raise _refused(path, f"its key {_shown(key)} of type {_type(key)} is not text")


def _plain_set(path: str, value: Set[Any], inside: tuple[int, ...]) -> list[Any]:
    """Return a set as a list in an order that does not change from one process to the next."""
    if not any(isinstance(item, Set) for item in value):  # which are compared without an order
        try:
            return [_plain(f"{path}[…]", item, inside) for item in sorted(value)]
        except TypeError:
            pass
    plain = [_plain(f"{path}[…]", item, inside) for item in value]
    return sorted(plain, key=lambda item: json.dumps(item, sort_keys=True))


def _from_pydantic(value: Any) -> Any:
    """Return what a pydantic model writes as JSON, and anything else as it is."""
    if not callable(getattr(type(value), "model_dump", None)):
        return value
    try:
        return value.model_dump(mode="json")
    except Exception:  # whatever its own serializers raise
        return value


def _from_numpy(value: Any) -> Any:
    """Return a number or an array of numpy, or of a library like it, as Python's own; anything else as it is."""
    try:
        kind = getattr(getattr(value, "dtype", None), "kind", None)
        if kind in ("M", "m"):  # Python's own times have no nanoseconds: tolist() would give integers
            value = value.astype("datetime64[us]" if kind == "M" else "timedelta64[us]")
        for convert in ("tolist", "item"):
            if callable(getattr(type(value), convert, None)):
                plain = getattr(value, convert)()
                return value if type(plain) is type(value) else plain
    except Exception:  # whatever a method of this name raises that is meant for something else
        return value
    return value


def _encodable(path: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refused(
            path, "it has half of a character in it (a lone surrogate), which Prefect cannot store"
        ) from None
    return value


def _listable(path: str, value: int) -> int:
    if not _MIN_INTEGER <= value <= _MAX_INTEGER:
        raise _refused(
            path,
            "it is an integer beyond 64 bits. Prefect stores it, but then fails with status 500 whenever it lists the "
            "flow run. Send it as text",
        )
    return value


def _refused(path: str, reason: str) -> ConfigurationErrorForGood:
    return ConfigurationErrorForGood(f"{printable.line(path)} cannot be sent as JSON: {reason}.")


def _items(value: Any) -> list[Any] | None:
    """Return what is in a list, or in another sequence, a set or an array of numpy; ``None`` for anything else."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    value = _from_numpy(value)
    is_text = isinstance(value, (str, bytes, bytearray, memoryview))
    return list(value) if isinstance(value, (Sequence, Set, ValuesView)) and not is_text else None


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: Any) -> str:
    """Return what a message shows of a value, in one line."""
    try:
        return printable.line(repr(value), 200)
    except Exception:  # of the value's own class, or of an integer with thousands of digits
        return "…"


# Times


def start_time(name: str, value: Any) -> datetime | None:
    """Return when to start a flow run, given as :func:`point_in_time` takes it.

    A time that has just passed is fine: the flow run starts at once.

    :raises ConfigurationErrorForGood: it is no such time, a negative duration, or before the year 2000.
    """
    start = point_in_time(name, value, negative=False)
    if start is not None and start < _EARLIEST_START:
        raise ConfigurationErrorForGood(
            f"{name}={_shown(value)} is before the year 2000. To start the flow run at once, leave it out."
        )
    return start


def point_in_time(name: str, value: Any, *, negative: bool = True) -> datetime | None:
    """Return a time given as a datetime, ISO 8601 text, or a duration from now (a timedelta, or text like ``PT5M``).

    A time without a zone is taken as UTC, a date without a time (``{{ ds }}``) as its midnight.

    :param negative: whether a duration may be negative, which is a time in the past.
    :raises ConfigurationErrorForGood: it is neither.
    """
    if is_nothing(value):
        return None
    found = _from_numpy(value)
    if isinstance(found, str):
        found = _parsed_time(found.strip())
    if isinstance(found, time_of_day):
        raise ConfigurationErrorForGood(
            f"{name}={_shown(value)} is a time of day without a date. Give both, in ISO 8601, or a duration from now "
            "such as PT5M."
        )
    if isinstance(found, datetime) and not _is_not_a_time(found):
        return found if found.utcoffset() is not None else found.replace(tzinfo=UTC)
    if isinstance(found, date) and not isinstance(found, datetime):
        return datetime(found.year, found.month, found.day, tzinfo=UTC)
    if isinstance(found, timedelta) and not isinstance(found, pendulum.Interval):
        if found < timedelta() and not negative:
            raise ConfigurationErrorForGood(
                f"{name}={_shown(value)} is a negative duration: nothing starts in the past."
            )
        try:
            return datetime.now(UTC) + found
        except OverflowError:
            raise ConfigurationErrorForGood(f"{name}={_shown(value)} is a duration of too many years.") from None
    raise ConfigurationErrorForGood(
        f"{name}={_shown(value)} is neither a datetime, nor a timedelta, nor the ISO 8601 text of one, such as "
        "2026-10-01T12:00:00Z or PT5M."
    )


def _parsed_time(value: str) -> Any:
    """Return the time or the duration that a text stands for; ``None`` if it is neither."""
    if value.isdecimal() and len(value) != len("20261001"):
        return None  # seconds since some time, or a year
    try:
        if value.startswith("-P"):
            return -pendulum.parse(value[1:], exact=True)  # type: ignore[operator]
        return pendulum.parse(value, exact=True)
    except (ValueError, TypeError, ArithmeticError):  # what it raises for "2026-13-01", "5:" and "P99999999999Y"
        return None


def _is_not_a_time(value: Any) -> bool:
    """Return whether this is pandas' ``NaT``, which is a datetime and has none of its values."""
    return bool(value != value)


# Arguments that are not templated


def checked_skip_on(value: Sequence[str] | None) -> tuple[str, ...]:
    """Return state types in which a flow run can end, in upper case.

    :raises ConfigurationErrorForGood: one of them is not such a state type.
    """
    types = tuple(state_type.upper() for state_type in string_list("skip_on", value))
    unknown = [state_type for state_type in types if state_type not in FINAL]
    if unknown:
        raise ConfigurationErrorForGood(
            f"skip_on={_shown(unknown[0])} is not a state type that a flow run ends in: {', '.join(FINAL)}."
        )
    return types


def checked_poll_interval(name: str, seconds: float) -> float:
    """Return ``seconds``, unless it is too short for a server that others use too.

    :raises ConfigurationErrorForGood: it is, or it is not a number of seconds.
    """
    if not _is_number(seconds):
        raise ConfigurationErrorForGood(f"{name}={_shown(seconds)} is not a number of seconds.")
    if not seconds >= MIN_POLL_INTERVAL:
        raise ConfigurationErrorForGood(
            f"{name}={seconds!r} is too short: it is at least {MIN_POLL_INTERVAL:.0f} seconds."
        )
    return seconds


def checked_size(name: str, value: int, unit: str = "bytes") -> int:
    """Return a number of bytes, or of another unit.

    :raises ConfigurationErrorForGood: it is not one above 0.
    """
    if not (_is_number(value) and value > 0):
        raise ConfigurationErrorForGood(f"{name}={_shown(value)} is not a number of {unit} above 0.")
    return value


def checked_optional_duration(name: str, value: float | timedelta | None) -> float | None:
    """Return ``value`` as seconds, and ``None`` as it is.

    :raises ConfigurationErrorForGood: it is not a duration.
    """
    return None if value is None else checked_duration(name, value)


def checked_duration(name: str, value: float | timedelta, *, zero: bool = False) -> float:
    """Return ``value`` as seconds.

    :param zero: whether 0 is allowed.
    :raises ConfigurationErrorForGood: it is not a duration.
    """
    seconds: Any = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(seconds) or not 0 <= seconds < _MAX_SECONDS or (seconds == 0 and not zero):
        least = "0 or above" if zero else "above 0"
        raise ConfigurationErrorForGood(
            f"{name}={_shown(value)} is not a duration: it is a number of seconds {least}, or a timedelta."
        )
    return float(seconds)


def too_long(given: Mapping[str, Any]) -> list[str]:
    """Return those of the arguments, with their values, that are numbers of seconds beyond the longest timedelta."""
    return [f"{name}={_shown(value)}" for name, value in given.items() if _is_number(value) and value > _MAX_SECONDS]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def deadlines_from_now(
    timeout: float | None,
    start_timeout: float | None,
    execution_timeout: timedelta | None,
    start: float | None = None,
    began: float | None = None,
) -> Deadlines:
    """Return when a wait that begins now ends without the flow run.

    :param execution_timeout: the task's; Airflow 3 does not enforce it while a task is deferred, so the wait does.
    :param start: the epoch second from which ``start_timeout`` counts, if that is later than now.
    :param began: the epoch second at which the task began, from which ``execution_timeout`` counts; now by default.
    """
    now = time.time()
    ends = [now + timeout] if timeout is not None else []
    if execution_timeout is not None:
        seconds = execution_timeout.total_seconds()
        ends.append((began or now) + seconds - min(_MARGIN_BEFORE_ALARM, seconds / 4))
    started = math.inf if start_timeout is None else max(now, start or now) + start_timeout
    return Deadlines(finished=min(ends, default=math.inf), started=started)


def as_kwarg(epoch: float) -> float | None:
    """Return an epoch second as an argument of a trigger, which is stored as JSON."""
    return None if math.isinf(epoch) else epoch
