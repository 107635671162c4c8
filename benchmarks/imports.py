"""What importing an operator costs the Dag processor, beyond what a Dag file imports anyway."""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

from tools.processes import StackError, clean_environment

_OPERATORS = {
    "ours": ("airflow_provider_prefect.operators.flow_run", "PrefectStartFlowRunOperator"),
    "dbt Cloud": ("airflow.providers.dbt.cloud.operators.dbt", "DbtCloudRunJobOperator"),
    "Databricks": ("airflow.providers.databricks.operators.databricks", "DatabricksRunNowOperator"),
}
_PROGRAM = """
import json, sys, time
from airflow.sdk import DAG, BaseOperator
before, began = len(sys.modules), time.perf_counter()
from {module} import {name}
print(json.dumps([time.perf_counter() - began, len(sys.modules) - before]))
"""


def measure(environment: Path, home: Path, times: int) -> list[dict[str, Any]]:
    """The median of so many times, each in a process of its own and in turn; once before, for the bytecode."""
    home.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, list[float]] = {title: [] for title in _OPERATORS}
    modules: dict[str, int] = {}
    for turn in range(times + 1):
        for title in _OPERATORS:
            taken, number = _once(environment, home, title)
            modules[title] = number
            if turn:
                seconds[title].append(taken)
    return [
        {
            "operator": title,
            "module": ".".join(_OPERATORS[title]),
            "seconds": statistics.median(taken),
            "least": min(taken),
            "most": max(taken),
            "modules": modules[title],
        }
        for title, taken in seconds.items()
    ]


def _once(environment: Path, home: Path, title: str) -> tuple[float, int]:
    module, name = _OPERATORS[title]
    done = subprocess.run(
        [environment.absolute() / "bin" / "python", "-c", _PROGRAM.format(module=module, name=name)],
        env=clean_environment(environment.absolute(), home) | {"AIRFLOW_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise StackError(f"{module} cannot be imported:\n{done.stderr[-2000:]}")
    taken, number = json.loads(done.stdout.splitlines()[-1])
    return taken, number
