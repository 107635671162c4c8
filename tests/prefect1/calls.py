"""What was asked of a server, in a form that can be compared: fields and values, never text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    value_from_ast_untyped,
)


@dataclass(frozen=True)
class Call:
    """One field of an operation, for example ``flow_run``, with the values of its arguments.

    Variables are replaced by what was sent for them, so it does not matter whether a client inlines a value.
    ``fields`` are the selected fields by name, in no order: two calls are equal if they ask for the same.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Call] = field(default_factory=dict)
    kind: str = "field"
    """"query" or "mutation" for what a document asks the server itself for."""

    @property
    def selection(self) -> Any:
        """The names alone, nested: ``{"id": {}, "project": {"name": {}}}``."""
        return {name: call.selection for name, call in self.fields.items()}

    @property
    def input(self) -> Any:
        """What a mutation was given."""
        return self.arguments["input"]


@dataclass(frozen=True)
class Request:
    """One request as it arrived. Header names are in lower case; ``variables`` are read, if they were sent as text."""

    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    query: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    variables_as_text: bool = False
    operation: str | None = None

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """What the document asks for; nothing, if it is no GraphQL."""
        try:
            return calls(parse(self.query), self.variables)
        except GraphQLError:
            return ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what is asked for, for example ``("flow_run",)``."""
        return tuple(call.name for call in self.calls)


def calls(document: DocumentNode, variables: Mapping[str, Any]) -> tuple[Call, ...]:
    """What the operations of a document ask for, with these variables."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    found: list[Call] = []
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            selected = _fields(node.selection_set, dict(variables), fragments, node.operation.value)
            found.extend(selected.values())
    return tuple(found)


def _fields(
    selections: SelectionSetNode | None,
    variables: dict[str, Any],
    fragments: Mapping[str, FragmentDefinitionNode],
    kind: str = "field",
) -> dict[str, Call]:
    found: dict[str, Call] = {}
    for node in selections.selections if selections else ():
        if isinstance(node, FieldNode):
            arguments = {
                each.name.value: value_from_ast_untyped(each.value, variables) for each in node.arguments or ()
            }
            inner = _fields(node.selection_set, variables, fragments)
            key = node.alias.value if node.alias else node.name.value
            found[key] = Call(node.name.value, arguments, inner, kind)
        elif isinstance(node, InlineFragmentNode):
            found |= _fields(node.selection_set, variables, fragments, kind)
        elif isinstance(node, FragmentSpreadNode):
            found |= _fields(fragments[node.name.value].selection_set, variables, fragments, kind)
    return found
