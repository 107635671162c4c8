"""What an import costs: every parse of a Dag file pays it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_prefect

PACKAGE = Path(airflow_provider_prefect.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def in_a_fresh_interpreter(code: str, **environment: str) -> list[str]:
    """The lines that ``code`` prints."""
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def loaded(code: str) -> set[str]:
    """The top-level modules that are loaded after ``code``."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    return set(json.loads(in_a_fresh_interpreter(f"{code}\n{report}")[-1]))


def imports(source: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_a_dag_file_does_not_pay_for_the_http_libraries() -> None:
    operator = "try: from airflow.sdk import BaseOperator\nexcept ImportError: from airflow.models import BaseOperator"
    airflow_alone = loaded(operator)
    package = "airflow_provider_prefect"
    with_us = loaded(f"import {package}.operators.flow_run, {package}.sensors.flow_run, {package}.triggers.flow_run")
    for library in ("requests", "aiohttp", "yarl", "flask_appbuilder", "wtforms"):
        assert library not in with_us - airflow_alone
    assert package in with_us


def test_the_provider_info_is_read_without_importing_airflow() -> None:
    assert "airflow" not in loaded("import airflow_provider_prefect; airflow_provider_prefect.get_provider_info()")


def test_tasks_defer_by_default_where_airflow_is_set_so() -> None:
    code = (
        "from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator as Start\n"
        "from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor as Sensor\n"
        "print(Start(task_id='a', deployment='a/b').deferrable, Sensor(task_id='b', flow_run_id='c').deferrable)"
    )
    assert in_a_fresh_interpreter(code, AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE="True")[-1] == "True True"
    assert in_a_fresh_interpreter(code, AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE="False")[-1] == "False False"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_prefect_itself_is_never_imported(source: Path) -> None:
    assert not [name for name in imports(source) if name.partition(".")[0] == "prefect"]


@pytest.mark.parametrize(
    "source", [path for path in SOURCES if path.parent.name == "client"], ids=lambda path: path.stem
)
def test_the_client_knows_nothing_of_airflow_or_of_what_is_built_on_it(source: Path) -> None:
    for name in imports(source):
        assert name.partition(".")[0] != "airflow"
        assert not name.startswith("airflow_provider_prefect.") or name.startswith("airflow_provider_prefect.client")
