"""The numbers of triggers in the drills' Airflow, against the one that SQLite makes by itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.drills.trigger_ids import never_again

TABLE = """CREATE TABLE "trigger" (
    id INTEGER NOT NULL,
    classpath VARCHAR(1000) NOT NULL,
    CONSTRAINT trigger_pkey PRIMARY KEY (id)
)"""


@pytest.mark.parametrize("never", [False, True])
def test_a_number_is_not_given_again(tmp_path: Path, never: bool) -> None:
    file = tmp_path / "airflow.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute(TABLE)
        database.execute('CREATE INDEX by_path ON "trigger" (classpath)')
        database.commit()
    if never:
        never_again(file)
    with closing(sqlite3.connect(file)) as database:
        first = database.execute("INSERT INTO \"trigger\" (classpath) VALUES ('a')").lastrowid
        database.execute('DELETE FROM "trigger"')
        second = database.execute("INSERT INTO \"trigger\" (classpath) VALUES ('b')").lastrowid
        assert (first != second) == never
        assert database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'by_path'").fetchone() == (1,)
