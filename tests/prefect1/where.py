"""Hasura's ``where``, ``order_by``, ``limit``, ``offset`` and ``distinct_on`` over the tables.

A comparison with null is neither true nor false, as in SQL; an expression that is itself null is true, as the
server's Hasura is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import GraphQLInputObjectType, get_named_type

from tests.prefect1.errors import DatabaseError, NotServed
from tests.prefect1.tables import Row, Tables, identifier, moment

Truth = bool | None
Test = Callable[[Row], Truth]
BOOL_EXP = "_bool_exp"


def select(
    tables: Tables,
    table: str,
    rows: Sequence[Row] | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    order_by: Sequence[Mapping[str, Any]] | None = None,
    limit: int | None = None,
    offset: int | None = None,
    distinct_on: Sequence[str] | None = None,
) -> list[Row]:
    """The rows of ``table`` (or among ``rows``) that the arguments of a field ask for."""
    if where:
        kind = tables.schema.type_map[table + BOOL_EXP]
        assert isinstance(kind, GraphQLInputObjectType)
        matches = _expression(tables, kind, where)
        found = [row for row in (_candidates(tables, table, where) if rows is None else rows) if matches(row) is True]
    else:
        found = tables.all(table) if rows is None else list(rows)
    for clause in reversed(order_by or ()):
        for column, direction in reversed(clause.items()):
            found = _ordered(tables, table, found, column, direction)
    if distinct_on:
        first: dict[str, Row] = {}
        for row in found:
            first.setdefault(json.dumps([row[column] for column in distinct_on]), row)
        found = list(first.values())
    start = offset or 0
    return found[start:] if limit is None else found[start : start + limit]


def _candidates(tables: Tables, table: str, where: Mapping[str, Any]) -> list[Row]:
    # A thousand ids among many runs must not cost a scan.
    for column, comparison in where.items():
        if column.startswith("_") or not isinstance(comparison, Mapping):
            continue
        values = [comparison["_eq"]] if comparison.get("_eq") is not None else comparison.get("_in")
        if values is not None and (column == "id" or column.endswith("_id")):
            rows = tables.indexed(table, column, [identifier(value) for value in values])
            if rows is not None:
                return rows
    return tables.all(table)


def _all_of(tests: Sequence[Test]) -> Test:
    def test(row: Row) -> Truth:
        result: Truth = True
        for each in tests:
            truth = each(row)
            if truth is False:
                return False
            if truth is None:
                result = None
        return result

    return tests[0] if len(tests) == 1 else test


def _any_of(tests: Sequence[Test]) -> Test:
    def test(row: Row) -> Truth:
        result: Truth = False
        for each in tests:
            truth = each(row)
            if truth is True:
                return True
            if truth is None:
                result = None
        return result

    return test


def _expression(tables: Tables, kind: GraphQLInputObjectType, where: Mapping[str, Any] | None) -> Test:
    table = kind.name.removesuffix(BOOL_EXP)
    tests: list[Test] = []
    for name, value in (where or {}).items():
        if value is None:
            continue
        if name == "_and":
            tests.append(_all_of([_expression(tables, kind, each) for each in value]))
        elif name == "_or":
            tests.append(_any_of([_expression(tables, kind, each) for each in value]))
        elif name == "_not":
            tests.append(_not(_expression(tables, kind, value)))
        else:
            field = get_named_type(kind.fields[name].type)
            assert isinstance(field, GraphQLInputObjectType)
            if field.name.endswith(BOOL_EXP):
                tests.append(_relation(tables, table, name, _expression(tables, field, value)))
            else:
                column_type = field.name.removesuffix("_comparison_exp")
                tests.extend(_comparison(name, column_type, each, operand) for each, operand in value.items())
    return _all_of(tests)


def _not(inner: Test) -> Test:
    def test(row: Row) -> Truth:
        truth = inner(row)
        return None if truth is None else not truth

    return test


def _relation(tables: Tables, table: str, relation: str, inner: Test) -> Test:
    return lambda row: any(inner(found) is True for found in tables.related(table, row, relation))


def _comparison(column: str, column_type: str, name: str, operand: Any) -> Test:
    if operand is None:
        return lambda _: True
    if name == "_is_null":
        return lambda row: (row[column] is None) is operand
    cast = CASTS.get(column_type, _as_it_is)
    if name in ("_in", "_nin"):
        values = [cast(value) for value in operand]
        wanted: Any = values if column_type == "jsonb" else frozenset(values)
        return _known(column, lambda value: (value in wanted) is (name == "_in"))
    if name not in OPERATORS:
        raise NotServed(f"{name} on {column}")
    operator, wanted = OPERATORS[name], cast(operand)
    return _known(column, lambda value: operator(value, wanted))


def _as_it_is(value: Any) -> Any:
    return value


CASTS: dict[str, Callable[[Any], Any]] = {"uuid": identifier, "timestamptz": moment}


def _known(column: str, operator: Callable[[Any], bool]) -> Test:
    def test(row: Row) -> Truth:
        value = row[column]
        return None if value is None else operator(value)

    return test


def _like(value: str, pattern: str, flags: int = 0) -> bool:
    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(expression, value, flags | re.DOTALL) is not None


def _matches(value: str, pattern: str, flags: int = 0) -> bool:
    try:
        return re.search(pattern, value, flags) is not None
    except re.error as error:
        raise DatabaseError(f"invalid regular expression: {error}") from None


def _contains(value: Any, part: Any) -> bool:
    if isinstance(value, dict) and isinstance(part, dict):
        return all(key in value and _contains(value[key], each) for key, each in part.items())
    if isinstance(value, list):
        return all(
            any(_contains(each, wanted) for each in value) for wanted in (part if isinstance(part, list) else [part])
        )
    return bool(value == part)


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "_eq": lambda value, wanted: value == wanted,
    "_neq": lambda value, wanted: value != wanted,
    "_gt": lambda value, wanted: value > wanted,
    "_gte": lambda value, wanted: value >= wanted,
    "_lt": lambda value, wanted: value < wanted,
    "_lte": lambda value, wanted: value <= wanted,
    "_like": _like,
    "_nlike": lambda value, wanted: not _like(value, wanted),
    "_ilike": lambda value, wanted: _like(value, wanted, re.IGNORECASE),
    "_nilike": lambda value, wanted: not _like(value, wanted, re.IGNORECASE),
    "_regex": _matches,
    "_iregex": lambda value, wanted: _matches(value, wanted, re.IGNORECASE),
    "_contains": _contains,
    "_contained_in": lambda value, wanted: _contains(wanted, value),
    "_has_key": lambda value, wanted: wanted in value,
}


def _ordered(tables: Tables, table: str, rows: list[Row], column: str, direction: Any) -> list[Row]:
    path = [column]
    while isinstance(direction, Mapping):
        [(name, direction)] = direction.items()
        path.append(name)

    def value(row: Row) -> Any:
        here = table
        for relation in path[:-1]:
            found = tables.related(here, row, relation)
            if not found:
                return None
            here, row = _target(tables, here, relation), found[0]
        return row[path[-1]]

    if direction is None:
        return rows
    descending = direction.startswith("desc")
    # Without a word about it, null is the greatest value there is.
    nulls_first = direction.endswith("nulls_first") or direction == "desc"
    nulls = [row for row in rows if value(row) is None]
    others = [row for row in rows if value(row) is not None]
    others.sort(key=lambda row: _sortable(value(row)), reverse=descending)
    return nulls + others if nulls_first else others + nulls


def _sortable(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def _target(tables: Tables, table: str, relation: str) -> str:
    kind: Any = tables.schema.type_map[table]
    return str(get_named_type(kind.fields[relation].type).name)
