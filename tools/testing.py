"""Run pytest in one Airflow environment: ``python -m tools.testing airflow-3.3.2 prefect-3.8.8 prefect-2.20.26 …``.

The tests find the environments of Prefect 3, 2 and 1 in ``PREFECT_ENVIRONMENT``, ``PREFECT2_ENVIRONMENT`` and
``PREFECT1_ENVIRONMENT``.
Airflow gets a home that no other run uses, new for each run, with its database already made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import NoReturn

from tools.processes import clean_environment

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".envs"


def variables(environment: Path, prefects: Sequence[str], home: Path) -> dict[str, str]:
    """What the tests find in their environment."""
    names = {
        "prefect-3": "PREFECT_ENVIRONMENT",
        "prefect-2": "PREFECT2_ENVIRONMENT",
        "prefect-1": "PREFECT1_ENVIRONMENT",
    }
    return {
        **clean_environment(environment, home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        **{names[prefect.partition(".")[0]]: str(ENVIRONMENTS / prefect) for prefect in prefects},
    }


def home_for(airflow: str) -> Path:
    """A home that no other run uses, kept for this one until pytest, which this process becomes, has ended."""
    homes = ENVIRONMENTS / "home"
    homes.mkdir(exist_ok=True)
    for number in count(1):
        home = homes / (airflow if number == 1 else f"{airflow}-{number}")
        handle = os.open(f"{home}.in-use", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            os.set_inheritable(handle, True)
            return home
    raise AssertionError


def main(airflow: str, *arguments: str) -> NoReturn:
    """Make the database, then become pytest, so that its closing line is the last one."""
    prefects = list(takewhile(lambda argument: argument.startswith("prefect-"), arguments))
    environment = ENVIRONMENTS / airflow
    home = home_for(airflow)
    shutil.rmtree(home, ignore_errors=True)
    env = variables(environment, prefects, home)
    python = str(environment / "bin" / "python")
    migrate = subprocess.run(
        [python, "-m", "airflow", "db", "migrate"], env=env, capture_output=True, text=True, check=False
    )
    if migrate.returncode:
        sys.exit(f"Airflow's database cannot be made:\n{migrate.stdout}{migrate.stderr}")
    os.chdir(ROOT)
    os.execve(python, [python, "-m", "pytest", *arguments[len(prefects) :]], env)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
