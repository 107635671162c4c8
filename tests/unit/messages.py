"""Collect from the source of the package what it says when something goes wrong: its errors, and its logs' warnings.

A message is written as the user sees it, with … for each of its values. One that is put together in several steps is
followed through the names of its own module, as far as that is needed to find its words: a variable, a constant, a
function that returns text, a parameter for which callers pass text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VALUE = "…"

_ERRORS = frozenset(
    ("PrefectError", "AirflowException", "AirflowFailException", "AirflowSkipException", "AirflowSensorTimeout")
)
"""What reaches a user, together with everything that is derived from one of these."""

_LOG_METHODS = ("warning", "error", "exception", "critical")

_PLACEHOLDER = re.compile(r"%[-+.\d]*[a-z]")
_END_OF_SENTENCE = re.compile(r"(?<=[.!?])(?:\s+(?=[A-Z…]|\w+=)|(?=…))")
_WORD = re.compile(r"[A-Za-z]{2,}")

_MIN_WORDS = 3
"""With fewer, what callers pass is a value in a message, such as the name of an argument, and not a part of it."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Message:
    """Hold what a user may read, and the file and line that it is from."""

    text: str
    where: str


@dataclass(frozen=True)
class Collected:
    """Hold the messages, and the names of the other exceptions that are raised."""

    messages: list[Message]
    other_exceptions: set[str]


def plain(text: str) -> str:
    """Return a message in one line, with a single … where several values follow each other, and none at either end."""
    line = re.sub(rf"{VALUE}(?:\s*{VALUE})+", VALUE, " ".join(text.split()))
    return line.strip(f"{VALUE}.,:= ")


def first_sentence(text: str) -> str:
    """Return what has happened, without what to do about it."""
    return plain(_END_OF_SENTENCE.split(" ".join(text.split()), maxsplit=1)[0])


def collect(sources: Mapping[str, str]) -> Collected:
    """Return what modules say, given their texts by their paths."""
    modules = [_Module(path, text) for path, text in sources.items()]
    errors = set(_ERRORS)
    while derived := {name for module in modules for name in module.derived_from(errors)} - errors:
        errors |= derived
    return Collected(
        [message for module in modules for message in module.messages(errors)],
        {name for module in modules for name in module.raised() - errors},
    )


def collect_from(package: Path) -> Collected:
    """Return what the modules of a package say."""
    return collect({str(path.relative_to(package.parent)): path.read_text() for path in sorted(package.rglob("*.py"))})


class _Module:
    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._tree = ast.parse(text)
        self._calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call)]
        self._functions = {node.name: node for node in ast.walk(self._tree) if isinstance(node, _Function)}

    def derived_from(self, errors: set[str]) -> set[str]:
        classes = [node for node in ast.walk(self._tree) if isinstance(node, ast.ClassDef)]
        return {node.name for node in classes if errors & set(map(_name, node.bases))}

    def raised(self) -> set[str]:
        """Return the classes that are called where something is raised; functions have lower-case names."""
        raised = [node.exc for node in ast.walk(self._tree) if isinstance(node, ast.Raise)]
        names = {_name(error.func if isinstance(error, ast.Call) else error) for error in raised}
        return {name for name in names if name.lstrip("_")[:1].isupper()}

    def messages(self, errors: set[str]) -> Iterator[Message]:
        for call, function, class_name in _calls_in_scope(self._tree):
            name = _name(call.func)
            is_log = name in _LOG_METHODS and isinstance(call.func, ast.Attribute)
            is_error = (class_name if name == "cls" else name) in errors or _is_made_of_a_variable(
                call, function, errors
            )
            if call.args and (is_log or is_error):
                for text in self._texts(call.args[0], function):
                    yield Message(_PLACEHOLDER.sub(VALUE, text) if is_log else text, f"{self._path}:{call.lineno}")

    def _texts(self, node: ast.expr | None, function: _Function | None) -> list[str]:
        """Return what an expression may be as text; nothing if no words of it are found."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=parts):
                return self._joined(parts, function)
            case ast.IfExp(body=body, orelse=other):
                return self._texts(body, function) + self._texts(other, function)
            case ast.Name(id=name):
                return self._named(name, function)
            case ast.Call(func=ast.Attribute(value=ast.JoinedStr() as text, attr="strip")):
                return self._texts(text, function)
            case ast.Call(func=called) if _name(called) in self._functions:
                return self._returned(self._functions[_name(called)])
        return []

    def _joined(self, parts: list[ast.expr], function: _Function | None) -> list[str]:
        values = [part.value for part in parts if isinstance(part, ast.FormattedValue)]
        pieces = [str(part.value) if isinstance(part, ast.Constant) else VALUE for part in parts]
        if not _WORD.search("".join(pieces)):
            return [text for value in values for text in self._texts(value, function)]
        beginnings = pieces[:1]
        if pieces[0] == VALUE and isinstance(values[0], ast.Name):
            beginnings = self._beginnings(values[0].id, function) or beginnings
        return [beginning + "".join(pieces[1:]) for beginning in beginnings]

    def _beginnings(self, name: str, function: _Function | None) -> list[str]:
        """Return the text of a variable or a parameter that a message begins with, if it is a part of the message."""
        found = [text for text in self._named(name, function) if _WORD.search(text)]
        if function is not None and _position(name, function) is not None:
            return [text for text in found if len(_WORD.findall(text)) >= _MIN_WORDS]
        return found if len(found) == 1 else []

    def _named(self, name: str, function: _Function | None) -> list[str]:
        """Return what a variable, a parameter or a constant may be as text."""
        if function is not None and (position := _position(name, function)) is not None:
            passed = [call.args[position:] for call in self._calls if _name(call.func) == function.name]
            return [text for arguments in passed for text in self._texts(next(iter(arguments), None), None)]
        values = (_assigned(name, ast.walk(function)) if function else []) or _assigned(name, self._tree.body)
        return [text for value in values for text in self._texts(value, function)]

    def _returned(self, function: _Function) -> list[str]:
        if _name(function.returns) != "str":
            return []
        returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
        return [text for node in returns for text in self._texts(node.value, function)]


def _calls_in_scope(
    node: ast.AST, function: _Function | None = None, class_name: str = ""
) -> Iterator[tuple[ast.Call, _Function | None, str]]:
    """Yield all calls, each with the function and the name of the class that it is in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child, function, class_name
        yield from _calls_in_scope(
            child,
            child if isinstance(child, _Function) else function,
            child.name if isinstance(child, ast.ClassDef) else class_name,
        )


def _is_made_of_a_variable(call: ast.Call, function: _Function | None, errors: set[str]) -> bool:
    """Return whether an error is made whose class is a variable, or the ``type`` of another error."""
    if isinstance(call.func, ast.Call):
        return _name(call.func.func) == "type"
    if function is None or function.returns is None or not _assigned(_name(call.func), ast.walk(function)):
        return False
    return bool(errors & {_name(node) for node in ast.walk(function.returns)})


def _assigned(name: str, nodes: Iterator[ast.AST] | list[ast.stmt]) -> list[ast.expr]:
    return [node.value for node in nodes if isinstance(node, ast.Assign) and name in map(_name, node.targets)]


def _position(name: str, function: _Function) -> int | None:
    names = [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]
    return names.index(name) if name in names else None


def _name(node: ast.AST | None) -> str:
    """Return the last part of a name; empty for anything else."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
