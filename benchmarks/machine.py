"""What was measured with what: the machine, and the versions of what took part."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = (
    "airflow-provider-prefect",
    "apache-airflow",
    "aiohttp",
    "httpx",
    "apache-airflow-providers-dbt-cloud",
    "apache-airflow-providers-databricks",
)


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions(prefect: Path, database: str) -> dict[str, str]:
    """Of the packages, of Prefect in its own environment, and of the database under it."""
    [found] = prefect.glob("lib/python3.*/site-packages/prefect-*.dist-info")
    own = {package: version(package) for package in _PACKAGES}
    return own | {"prefect": found.name.removeprefix("prefect-").removesuffix(".dist-info"), "database": database}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()
