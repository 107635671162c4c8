"""Read the fields of a parsed response, each with the type that it has to have.

Nothing here knows requests: a value of the wrong type is a :class:`WrongShape`, which says where it is, and
:meth:`.transport.Response.read`, the only place that parses responses, turns it into a :class:`.MalformedAnswer` that
names the request too. Fields that nobody asks for are never looked at, so that a newer server breaks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow_provider_prefect.client import printable

T = TypeVar("T")

_IDENTIFIER = re.compile(r"[\w.:-]{1,100}", re.ASCII)
"""Ids are UUIDs as a rule, and become part of paths, addresses and log lines."""

_YEARS = range(2, 9999)
"""Years of times that can be calculated with; a time of the first or the last one may have no other next to it."""


class WrongShape(ValueError):
    """Raised when a value in a response is missing or of a wrong type.

    :param path: where it is within the response, such as ``state.type``; empty for the response itself.
    :param problem: what is wrong with it, to be read after its path.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or 'it'} {problem}")
        self.path = path
        self.problem = problem

    def below(self, path: str) -> WrongShape:
        """Return the error with ``path`` before its own."""
        joint = "." if self.path and not self.path.startswith("[") else ""
        return WrongShape(f"{path}{joint}{self.path}", self.problem)


class Fields:
    """Read the fields of an object. A method's name says which type its field has.

    Those that begin with ``optional`` return ``None`` where the field is null or missing.

    :param record: the object, as it was parsed.
    :raises WrongShape: it is not an object; each method raises it for its field.
    """

    __slots__ = ("_record",)

    def __init__(self, record: Any) -> None:
        if not isinstance(record, Mapping):
            raise WrongShape("", _problem(record, "an object"))
        self._record = record

    def value(self, name: str) -> Any:
        """Return whatever the field holds; ``None`` if it is missing."""
        return self._record.get(name)

    def optional_text(self, name: str) -> str | None:
        value = self._record.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise WrongShape(name, _problem(value, "text"))
        # JSON can spell halves of characters, which nothing can write to a log or a database.
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")

    def text(self, name: str) -> str:
        return self._required(name, self.optional_text(name), "text")

    def name(self, name: str) -> str:
        """Return the name of something, fit to be shown: on one line, and not too long."""
        return printable.line(self.text(name))

    def optional_identifier(self, name: str) -> str | None:
        value = self._record.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and _IDENTIFIER.fullmatch(value):
            return value
        raise WrongShape(name, "is not an id" if isinstance(value, str) else _problem(value, "an id"))

    def identifier(self, name: str) -> str:
        return self._required(name, self.optional_identifier(name), "an id")

    def optional_number(self, name: str) -> int | None:
        """Return a whole number."""
        value = self._record.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise WrongShape(name, _problem(value, "a whole number"))

    def number(self, name: str) -> int:
        return self._required(name, self.optional_number(name), "a whole number")

    def flag(self, name: str) -> bool:
        """Return whether the field is true; false where it is null or missing."""
        value = self._record.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise WrongShape(name, _problem(value, "true or false"))

    def optional_time(self, name: str) -> datetime | None:
        """Return a time; one without a zone is in UTC."""
        text = self.optional_text(name)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            found = datetime.min
        if found.year not in _YEARS:
            raise WrongShape(name, f"is {printable.line(text, 40)!r} and not a time")
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def time(self, name: str) -> datetime:
        return self._required(name, self.optional_time(name), "a time")

    def optional_mapping(self, name: str) -> Mapping[str, Any] | None:
        value = self._record.get(name)
        if value is None or isinstance(value, Mapping):
            return value
        raise WrongShape(name, _problem(value, "an object"))

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return an object; an empty one where the field is null or missing."""
        return self.optional_mapping(name) or {}

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; an empty one where the field is null or missing."""
        return () if self._record.get(name) is None else tuple(self.rows(name, text))

    def optional_part(self, name: str, read: Callable[[Any], T]) -> T | None:
        value = self._record.get(name)
        return None if value is None else _below(name, read, value)

    def part(self, name: str, read: Callable[[Any], T]) -> T:
        """Return what ``read`` makes of the field."""
        return _below(name, read, self._required(name, self._record.get(name), "an object"))

    def rows(self, name: str, read: Callable[[Any], T]) -> list[T]:
        """Return a list, with what ``read`` makes of each row."""
        return _below(name, lambda value: rows(value, read), self._required(name, self._record.get(name), "a list"))

    def _required(self, name: str, value: T | None, wanted: str) -> T:
        if value is None:
            found = "missing" if name not in self._record else "null" if self._record[name] is None else "empty"
            raise WrongShape(name, f"is {found} and not {wanted}")
        return value


def rows(value: Any, read: Callable[[Any], T]) -> list[T]:
    """Return what ``read`` makes of each row of a list.

    :raises WrongShape: ``value`` is not a list, or a row is not what ``read`` expects.
    """
    if not isinstance(value, list):
        raise WrongShape("", _problem(value, "a list"))
    found: list[T] = []
    try:
        for row in value:
            found.append(read(row))
    except WrongShape as error:
        raise error.below(f"[{len(found)}]") from None
    return found


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object.

    :raises WrongShape: it is not one.
    """
    if not isinstance(value, Mapping):
        raise WrongShape("", _problem(value, "an object"))
    return value


def text(value: Any) -> str:
    """Return ``value``, which has to be text.

    :raises WrongShape: it is not.
    """
    return Fields({"": value}).text("")


def number(value: Any) -> int:
    """Return ``value``, which has to be a whole number.

    :raises WrongShape: it is not.
    """
    return Fields({"": value}).number("")


def _below(name: str, read: Callable[[Any], T], value: Any) -> T:
    try:
        return read(value)
    except WrongShape as error:
        raise error.below(name) from None


def _problem(value: Any, wanted: str) -> str:
    """Say what ``value`` is instead of what is wanted, without the value itself, which may be a secret."""
    return f"is {_kind(value)} and not {wanted}"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"
