"""The tables of a Prefect 1 server, in memory, with the columns and relations of its schema."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLNonNull, GraphQLObjectType, GraphQLScalarType, GraphQLSchema, get_named_type

from tests.prefect1.errors import DatabaseError

Row = dict[str, Any]

# Which column of a table holds the id of the row that a relation leads to.
OBJECTS: dict[str, dict[str, tuple[str, str]]] = {
    "agent": {"agent_config": ("agent_config", "agent_config_id")},
    "edge": {
        "downstream_task": ("task", "downstream_task_id"),
        "flow": ("flow", "flow_id"),
        "upstream_task": ("task", "upstream_task_id"),
    },
    "flow": {
        "flow_group": ("flow_group", "flow_group_id"),
        "project": ("project", "project_id"),
        "tenant": ("tenant", "tenant_id"),
    },
    "flow_group": {"tenant": ("tenant", "tenant_id")},
    "flow_run": {"agent": ("agent", "agent_id"), "flow": ("flow", "flow_id"), "tenant": ("tenant", "tenant_id")},
    "flow_run_state": {"flow_run": ("flow_run", "flow_run_id")},
    "project": {"tenant": ("tenant", "tenant_id")},
    "task": {"flow": ("flow", "flow_id")},
    "task_run": {
        "flow_run": ("flow_run", "flow_run_id"),
        "task": ("task", "task_id"),
        "tenant": ("tenant", "tenant_id"),
    },
    "task_run_artifact": {"task_run": ("task_run", "task_run_id")},
    "task_run_state": {"task_run": ("task_run", "task_run_id")},
}
# Which column of the rows that a relation leads to holds the id of this table's row.
ARRAYS: dict[str, dict[str, tuple[str, str]]] = {
    "agent": {"flow_runs": ("flow_run", "agent_id")},
    "flow": {
        "edges": ("edge", "flow_id"),
        "flow_runs": ("flow_run", "flow_id"),
        "tasks": ("task", "flow_id"),
    },
    "flow_group": {"flows": ("flow", "flow_group_id")},
    "flow_run": {
        "logs": ("log", "flow_run_id"),
        "states": ("flow_run_state", "flow_run_id"),
        "task_runs": ("task_run", "flow_run_id"),
    },
    "project": {"flows": ("flow", "project_id")},
    "task": {
        "downstream_edges": ("edge", "upstream_task_id"),
        "task_runs": ("task_run", "task_id"),
        "upstream_edges": ("edge", "downstream_task_id"),
    },
    "task_run": {"logs": ("log", "task_run_id"), "states": ("task_run_state", "task_run_id")},
    "tenant": {
        "flow_groups": ("flow_group", "tenant_id"),
        "flows": ("flow", "tenant_id"),
        "projects": ("project", "tenant_id"),
    },
}
INDEXED = frozenset(target for relations in ARRAYS.values() for target in relations.values())
UNIQUE: dict[str, tuple[tuple[str, ...], ...]] = {
    "flow_run": (("idempotency_key", "flow_id"),),
    "task": (("flow_id", "slug"),),
    "task_run": (("flow_run_id", "task_id", "map_index"),),
    "tenant": (("slug",),),
}


def new_id() -> str:
    """The id of a new row."""
    return str(uuid.uuid4())


def moment(value: datetime | str | None = None) -> str:
    """A time (now, if none is given) as the server writes it: in UTC, so that the texts sort as the times do."""
    if isinstance(value, str):
        # Python takes up to six digits after the second; a client may send nine.
        text = re.sub(r"(\.\d{6})\d+", r"\1", value)
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            message = f'invalid input syntax for type timestamp with time zone: "{value}"'
            raise DatabaseError(message) from None
    value = value or datetime.now(UTC)
    # A time without a zone is in UTC to the server (C24).
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")


def identifier(value: Any) -> str:
    """A UUID as the database writes it."""
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        raise DatabaseError(f'invalid input syntax for type uuid: "{value}"') from None


class Tables:
    """All rows of one server. Whoever reads or writes more than one row holds ``lock``."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.lock = threading.RLock()
        self.schema = schema
        self._rows: dict[str, dict[str, Row]] = {}
        self._index: dict[tuple[str, str], dict[str, dict[str, Row]]] = {key: {} for key in INDEXED}
        self._unique: dict[tuple[str, tuple[str, ...]], dict[tuple[Any, ...], str]] = {}
        self._columns: dict[str, dict[str, tuple[str, bool]]] = {}

    def columns(self, table: str) -> dict[str, tuple[str, bool]]:
        """The columns of a table: the type of each, and whether it must have a value."""
        if table not in self._columns:
            kind = self.schema.type_map[table]
            assert isinstance(kind, GraphQLObjectType)
            self._columns[table] = {
                name: (get_named_type(field.type).name, isinstance(field.type, GraphQLNonNull))
                for name, field in kind.fields.items()
                if isinstance(get_named_type(field.type), GraphQLScalarType)
            }
        return self._columns[table]

    def insert(self, table: str, **values: Any) -> Row:
        """Add a row; what the schema does not allow in this table is an error."""
        now = moment()
        columns = self.columns(table)
        if unknown := values.keys() - columns.keys():
            raise ValueError(f"the table {table} has no {', '.join(sorted(unknown))}")
        defaults = {"id": new_id(), "created": now, "updated": now}
        row: Row = dict.fromkeys(columns)
        row.update({name: value for name, value in defaults.items() if name in columns})
        row.update({name: self._stored(table, name, value) for name, value in values.items()})
        if missing := [name for name, (_, required) in columns.items() if required and row[name] is None]:
            raise ValueError(f"a row of {table} needs {', '.join(missing)}")
        with self.lock:
            for names in UNIQUE.get(table, ()):
                key = tuple(row[name] for name in names)
                if (
                    None not in key
                    and self._unique.setdefault((table, names), {}).setdefault(key, row["id"]) != row["id"]
                ):
                    raise DatabaseError(f"Uniqueness violation in {table}: {', '.join(names)}", "constraint-violation")
            self._rows.setdefault(table, {})[row["id"]] = row
            for column in columns:
                if (table, column) in self._index:
                    self._index[table, column].setdefault(row[column], {})[row["id"]] = row
        return row

    def update(self, table: str, row_id: str, **values: Any) -> Row:
        """Change a row; ``updated`` follows, unless it is given."""
        with self.lock:
            row = self._rows[table][row_id]
            for name, value in {"updated": moment(), **values}.items():
                stored = self._stored(table, name, value)
                if (table, name) in self._index:
                    del self._index[table, name][row[name]][row_id]
                    self._index[table, name].setdefault(stored, {})[row_id] = row
                row[name] = stored
        return row

    def delete(self, table: str, row_id: str) -> None:
        """Take a row away, with everything that belongs to it."""
        with self.lock:
            for target, column in ARRAYS.get(table, {}).values():
                for row in self.referring(target, column, row_id):
                    self.delete(target, row["id"])
            row = self._rows[table].pop(row_id)
            for (indexed, column), index in self._index.items():
                if indexed == table:
                    index.get(row[column], {}).pop(row_id, None)
            for (unique, names), keys in self._unique.items():
                if unique == table:
                    keys.pop(tuple(row[name] for name in names), None)

    def get(self, table: str, row_id: str | None) -> Row | None:
        """The row with this id, if there is one."""
        return None if row_id is None else self._rows.get(table, {}).get(row_id)

    def all(self, table: str) -> list[Row]:
        """Every row, the oldest first."""
        with self.lock:
            return list(self._rows.get(table, {}).values())

    def referring(self, table: str, column: str, row_id: str | None) -> list[Row]:
        """The rows whose ``column`` holds this id, the oldest first."""
        with self.lock:
            if (table, column) in self._index:
                return list(self._index[table, column].get(row_id or "", {}).values())
            return [row for row in self.all(table) if row[column] == row_id]

    def related(self, table: str, row: Mapping[str, Any], relation: str) -> list[Row]:
        """The rows that a relation of ``row`` leads to; one at most, where it leads to an object."""
        if relation in OBJECTS.get(table, {}):
            target, column = OBJECTS[table][relation]
            found = self.get(target, row[column])
            return [] if found is None else [found]
        target, column = ARRAYS[table][relation]
        return self.referring(target, column, row["id"])

    def indexed(self, table: str, column: str, values: Iterable[str]) -> list[Row] | None:
        """The rows with one of these ids in ``column``, or None if only a scan can tell."""
        if column == "id":
            rows = self._rows.get(table, {})
            return [rows[value] for value in dict.fromkeys(values) if value in rows]
        if (table, column) in self._index:
            return [row for value in dict.fromkeys(values) for row in self.referring(table, column, value)]
        return None

    def _stored(self, table: str, column: str, value: Any) -> Any:
        kind, _ = self.columns(table)[column]
        if value is None:
            return None
        if kind == "timestamptz":
            return moment(value)
        return identifier(value) if kind == "uuid" else value
