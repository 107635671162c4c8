"""GraphQL over the tables: documents are checked and executed against the schema of a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    build_schema,
    execute_sync,
    extend_schema,
    get_operation_ast,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values

from tests.prefect1.errors import DatabaseError, NotServed, ServerError, refusal, too_deep
from tests.prefect1.mutations import MUTATIONS
from tests.prefect1.states import FINISHED
from tests.prefect1.tables import ARRAYS, OBJECTS, Row, Tables, identifier, moment
from tests.prefect1.where import BOOL_EXP, select

SCHEMA = Path(__file__).with_name("schema.graphql")
# Only Prefect Cloud had this; nobody can measure it any more (H7, H21).
CLOUD = "extend type Query { auth_info: auth_info_payload } type auth_info_payload { tenant_id: UUID }"
INTERNAL = "INTERNAL_SERVER_ERROR"


@dataclass
class Asked:
    """What a resolver has to know beside its arguments."""

    tables: Tables
    api: Mapping[str, Any]
    tenant_id: str | None = None
    """On a Cloud-like server: the tenant that the request is for, which sees its own rows only."""
    surprises: list[BaseException] = field(default_factory=list)
    """What went wrong in the double itself, which is no answer of a server."""


@lru_cache(maxsize=2)
def served_schema(cloud: bool) -> GraphQLSchema:
    """The schema of a Core server, or of one like Prefect Cloud."""
    schema = build_schema(SCHEMA.read_text())
    if cloud:
        schema = extend_schema(schema, parse(CLOUD))
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    for name, each in schema.query_type.fields.items():
        each.resolve = _query(name, each)
    for name, each in schema.mutation_type.fields.items():
        each.resolve = _mutation(name, each)
    for table in (name.removesuffix(BOOL_EXP) for name in list(schema.type_map) if name.endswith(BOOL_EXP)):
        kind = schema.type_map[table]
        assert isinstance(kind, GraphQLObjectType)
        for name, each in kind.fields.items():
            if resolve := _relation(table, name):
                each.resolve = resolve
            elif "path" in each.args:
                each.resolve = _column(name)
    for name, kind in schema.type_map.items():
        if name.endswith("_aggregate_fields") and isinstance(kind, GraphQLObjectType):
            for function, each in kind.fields.items():
                each.resolve = _aggregate(function, each)
    return schema


@lru_cache(maxsize=2000)
def _checked(cloud: bool, query: str) -> DocumentNode | tuple[str, tuple[GraphQLError, ...]]:
    try:
        document = parse(query)
    except GraphQLSyntaxError as error:
        return "GRAPHQL_PARSE_FAILED", (error,)
    errors = validate(served_schema(cloud), document)
    if not errors and (deep := too_deep(document)):
        errors = [deep]
    return ("GRAPHQL_VALIDATION_FAILED", tuple(errors)) if errors else document


def answer(
    asked: Asked, cloud: bool, query: str, variables: Mapping[str, Any], operation: str | None
) -> tuple[int, dict[str, Any]]:
    """The status and the body that a server answers with."""
    schema = served_schema(cloud)
    document = _checked(cloud, query)
    if isinstance(document, tuple):
        code, errors = document
        return 400, refusal(errors, code)
    node = get_operation_ast(document, operation)
    if not isinstance(node, OperationDefinitionNode):
        return 400, refusal(
            [GraphQLError("Must provide operation name if query contains multiple operations.")], INTERNAL
        )
    values = get_variable_values(schema, node.variable_definitions or (), dict(variables))
    if isinstance(values, list):
        return 400, refusal(values, INTERNAL)
    with asked.tables.lock:
        result = execute_sync(
            schema, document, context_value=asked, variable_values=dict(variables), operation_name=operation
        )
    for error in result.errors or ():
        if not isinstance(error.original_error, ServerError | DatabaseError):
            asked.surprises.append(error.original_error or error)
    return 200, dict(result.formatted)


def _visible(asked: Asked, table: str, rows: Sequence[Row] | None = None) -> list[Row] | None:
    if asked.tenant_id is None or table == "tenant":
        return None if rows is None else list(rows)
    everything = asked.tables.all(table) if rows is None else rows
    return [row for row in everything if row.get("tenant_id") == asked.tenant_id]


def _query(name: str, definition: GraphQLField) -> Any:
    if name.endswith("_by_pk"):
        table = name.removesuffix("_by_pk")

        def by_pk(_: Any, info: Any, id: str) -> Row | None:
            row = info.context.tables.get(table, identifier(id))
            found = _visible(info.context, table, [row] if row else [])
            return found[0] if found else None

        return by_pk
    if name.endswith("_aggregate"):
        table = name.removesuffix("_aggregate")
        return lambda _, info, **given: _aggregated(
            select(info.context.tables, table, _visible(info.context, table), **given)
        )
    if "where" in definition.args:
        return lambda _, info, **given: select(info.context.tables, name, _visible(info.context, name), **given)
    if name in QUERIES:
        return lambda _, info, **given: QUERIES[name](info.context, **given)
    return _not_served(name)


def _aggregated(rows: list[Row]) -> dict[str, Any]:
    return {"nodes": rows, "aggregate": {"rows": rows}}


AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {"max": max, "min": min, "sum": sum}


def _aggregate(function: str, definition: GraphQLField) -> Any:
    def count(source: Any, _: Any, columns: list[str] | None = None, distinct: bool | None = None) -> int:
        rows = [[row[column] for column in columns or ()] for row in source["rows"]]
        rows = [row for row in rows if None not in row]
        return len({repr(row) for row in rows}) if distinct else len(rows)

    def values(source: Any, _: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        kind: Any = definition.type
        for column in kind.fields:
            found = [row[column] for row in source["rows"] if row[column] is not None]
            result[column] = AGGREGATES[function](found) if found else None
        return result

    return count if function == "count" else values


def _relation(table: str, name: str) -> Any:
    if name in OBJECTS.get(table, {}):

        def related(row: Row, info: Any) -> Row | None:
            found = info.context.tables.related(table, row, name)
            return found[0] if found else None

        return related
    relation = name.removesuffix("_aggregate")
    if relation not in ARRAYS.get(table, {}):
        return None
    target = ARRAYS[table][relation][0]

    def rows(row: Row, info: Any, **given: Any) -> Any:
        tables = info.context.tables
        found = select(tables, target, tables.related(table, row, relation), **given)
        return found if name == relation else _aggregated(found)

    return rows


def _column(name: str) -> Any:
    def column(row: Row, _: Any, path: str | None = None) -> Any:
        if path is not None:
            raise NotServed(f"{name}(path:)")
        return row[name]

    return column


def _mutation(name: str, definition: GraphQLField) -> Any:
    if name not in MUTATIONS:
        return _not_served(name)
    kind = definition.args["input"].type

    def mutate(_: Any, info: Any, input: dict[str, Any]) -> Mapping[str, Any]:
        return MUTATIONS[name](info.context.tables, **_read(kind, input, "input"))

    return mutate


def _read(kind: Any, value: Any, path: str) -> Any:
    """Prefect's own scalars are read by Prefect's own code, so a wrong one is no error of the document (H20)."""
    if value is None:
        return None
    if isinstance(kind, GraphQLNonNull):
        return _read(kind.of_type, value, path)
    if isinstance(kind, GraphQLList):
        return [_read(kind.of_type, each, f"{path}[{index}]") for index, each in enumerate(value)]
    if isinstance(kind, GraphQLInputObjectType):
        return {name: _read(kind.fields[name].type, each, f"{path}.{name}") for name, each in value.items()}
    try:
        if kind.name == "UUID":
            return str(uuid.UUID(str(value)))
        if kind.name == "DateTime":
            return moment(value)
    except (ValueError, DatabaseError):
        message = f"Variable '$input' got invalid value {value!r} at '{path}'; Could not parse {kind.name}: {value}"
        raise ServerError(message) from None
    return value


def _not_served(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotServed(name)

    return refuse


def _task_run_info(asked: Asked, task_run_id: str) -> Row:
    run = asked.tables.get("task_run", _read_uuid(task_run_id))
    if run is None:
        raise ServerError(f"Task run {task_run_id} not found")
    return run


def _mapped_children(asked: Asked, task_run_id: str) -> dict[str, Any]:
    parent = _task_run_info(asked, task_run_id)
    siblings = asked.tables.referring("task_run", "flow_run_id", parent["flow_run_id"])
    children = [run for run in siblings if run["task_id"] == parent["task_id"] and run["map_index"] >= 0]
    counts: dict[str, int] = {}
    for child in children:
        counts[child["state"]] = counts.get(child["state"], 0) + 1
    done = [child for child in children if child["state"] in FINISHED]
    return {
        "state_counts": counts,
        "min_start_time": min((child["start_time"] for child in children if child["start_time"]), default=None),
        "max_end_time": max((child["end_time"] for child in done if child["end_time"]), default=None),
    }


def _read_uuid(value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise ServerError(f"Could not parse UUID: {value}") from None


QUERIES: dict[str, Any] = {
    "api": lambda asked: asked.api,
    "auth_info": lambda asked: {"tenant_id": asked.tenant_id},
    "get_task_run_info": _task_run_info,
    "hello": lambda _: f"hello, it is {datetime.now():%H:%M}",
    "mapped_children": _mapped_children,
}
