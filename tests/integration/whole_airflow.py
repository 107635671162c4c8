"""The whole of Airflow, each part a process of its own, for the tests of some modules."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.dag_runs import AIRFLOW
from tools.airflow_stack import AirflowStack
from tools.processes import free_port
from tools.testing import to_copy

NEWEST = (3, 3, 2)

MARKS = [
    pytest.mark.stack,
    pytest.mark.skipif(
        AIRFLOW < NEWEST,
        reason=f"the whole of Airflow is started on {'.'.join(map(str, NEWEST))} only; it takes minutes",
    ),
]


@contextmanager
def whole_airflow(
    home: Path,
    dags: Path,
    *,
    connections: Mapping[str, str],
    ids: Iterable[str],
    settings: Mapping[str, str] | None = None,
) -> Iterator[AirflowStack]:
    """An Airflow that has read the Dags of these ids."""
    with AirflowStack(
        Path(sys.prefix),
        home,
        dags,
        connections=connections,
        settings=settings or {},
        execution_port=free_port(),
        database=to_copy("AIRFLOW"),
    ) as stack:
        for dag_id in ids:
            stack.wait_for_dag(dag_id)
        yield stack
