"""Numbers of triggers that are never given again, as in every database that Airflow is run on for real.

SQLite gives the number of the last row, once that is deleted, to the next one. Airflow's triggerer knows a trigger by
its number alone: for a moment it may take the trigger of a new wait for one that it still runs (seen in Airflow 3.3.2),
so that nobody calls ``on_kill``, or the event of one wait reaches the task of another. What the provider does about the
latter is in ``tests/unit/operators/test_base.py``.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

_KEY = re.compile(r",\s*CONSTRAINT \w+ PRIMARY KEY \(id\)")
_COLUMN = "id INTEGER NOT NULL"


def never_again(database: Path) -> None:
    """Have a new database of Airflow's, on SQLite, number its triggers so."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT sql FROM sqlite_master WHERE tbl_name = 'trigger' AND sql IS NOT NULL ORDER BY type DESC"
        table, *indexes = (row[0] for row in connection.execute(query))
        numbered, keys = _KEY.subn("", table)
        assert keys == 1, table
        assert _COLUMN in table, table
        # Other tables refer to this one by its name, and it has no rows yet.
        connection.execute('DROP TABLE "trigger"')
        for statement in (numbered.replace(_COLUMN, "id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL"), *indexes):
            connection.execute(statement)
        connection.commit()
