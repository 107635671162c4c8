"""How a Prefect 1 server says no (rows H18 to H20)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
)

MAX_DEPTH = 7


class ServerError(Exception):
    """What Prefect's own code refuses: HTTP 200 with a path, and null for the field."""

    def __init__(self, message: str, code: str = "INTERNAL_SERVER_ERROR") -> None:
        super().__init__(message)
        self.extensions: dict[str, Any] = {"code": code, "exception": {"message": message}}


class DatabaseError(Exception):
    """What Hasura refuses: HTTP 200 without any data."""

    def __init__(self, message: str, code: str = "data-exception") -> None:
        super().__init__(message)
        self.extensions: dict[str, Any] = {"path": "$", "code": code}


class NotServed(Exception):
    """The double does not do this; it is never an answer, and fails the test."""


def refusal(errors: Iterable[GraphQLError], code: str) -> dict[str, Any]:
    """The body of a 400 answer: errors with a code and, as nothing was executed, no data."""
    said: list[dict[str, Any]] = []
    for error in errors:
        entry: dict[str, Any] = {"message": error.message, "extensions": {"code": code}}
        if error.locations:
            entry["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
        said.append(entry)
    return {"errors": said}


def unauthenticated(message: str = "UNAUTHENTICATED") -> dict[str, Any]:
    """The body of a 200 answer to somebody that a Cloud-like server does not know (H16)."""
    return {"errors": [{"message": message, "extensions": {"code": "UNAUTHENTICATED"}}], "data": None}


def too_deep(document: DocumentNode) -> GraphQLError | None:
    """What a server says about an operation that nests deeper than it allows (H19)."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode) and _depth(node.selection_set.selections, fragments) > MAX_DEPTH:
            name = node.name.value if node.name else ""
            return GraphQLError(f"'{name}' exceeds maximum operation depth of {MAX_DEPTH}", [node])
    return None


def _depth(selections: Collection[SelectionNode], fragments: dict[str, FragmentDefinitionNode]) -> int:
    deepest = 0
    for node in selections:
        if isinstance(node, FieldNode):
            # Introspection is not counted.
            if node.selection_set and not node.name.value.startswith("__"):
                deepest = max(deepest, 1 + _depth(node.selection_set.selections, fragments))
        elif isinstance(node, InlineFragmentNode):
            deepest = max(deepest, _depth(node.selection_set.selections, fragments))
        elif isinstance(node, FragmentSpreadNode):
            deepest = max(deepest, _depth(fragments[node.name.value].selection_set.selections, fragments))
    return deepest
