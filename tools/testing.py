"""Run pytest in one Airflow environment: ``python -m tools.testing airflow-3.3.2 prefect-3.9.1 prefect-2.20.26 …``.

The tests find the environments of Prefect 3, 2 and 1 in ``PREFECT_ENVIRONMENT``, ``PREFECT2_ENVIRONMENT`` and
``PREFECT1_ENVIRONMENT``. Airflow gets a home that no other run uses, new for each run, with its database already made.

Databases are made once for each lock file and then copied, by this program and by the tests that start servers: these
find what to copy in ``AIRFLOW_MADE``, ``PREFECT_MADE`` and ``PREFECT2_MADE``.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import NoReturn

from tools.environments import ENVIRONMENTS, REQUIREMENTS, ROOT, fingerprint, once
from tools.prefect_stack import FOR_TESTS, PrefectServer
from tools.processes import StackError, clean_environment

VARIABLES = {"prefect-3": "PREFECT", "prefect-2": "PREFECT2", "prefect-1": "PREFECT1"}
"""What the names of the variables for each Prefect begin with."""

HOMES = ENVIRONMENTS / "home"


def variables(environment: Path, prefects: Sequence[str], home: Path) -> dict[str, str]:
    """What the tests find in their environment."""
    found = {
        **clean_environment(environment, home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_MADE": str(made(environment.name)),
    }
    for prefect in prefects:
        name = VARIABLES[prefect.partition(".")[0]]
        found[f"{name}_ENVIRONMENT"] = str(ENVIRONMENTS / prefect)
        found[f"{name}_MADE"] = str(made(prefect))
    return found


def home_for(airflow: str) -> Path:
    """A home that no other run uses, kept for this one until pytest, which this process becomes, has ended."""
    HOMES.mkdir(exist_ok=True)
    for number in count(1):
        home = HOMES / (airflow if number == 1 else f"{airflow}-{number}")
        handle = os.open(f"{home}.in-use", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            os.set_inheritable(handle, True)
            return home
    raise AssertionError


def made(name: str) -> Path:
    """What an environment's programs have made once, for all runs to copy: Airflow's database, Prefect's folder."""
    return HOMES / f"{name}.made" / ("airflow.db" if name.startswith("airflow-") else "prefect")


def make(name: str, do: Callable[[Path], None]) -> None:
    """Have it made, unless it is there for the same lock file; several runs may want it at once."""
    folder = made(name).parent
    folder.mkdir(exist_ok=True)

    def anew() -> None:
        for old in folder.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
        do(folder)

    with (HOMES / f"{name}.made.in-use").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        once(HOMES / f"{name}.made.stamp", fingerprint(REQUIREMENTS / f"{name}.txt"), anew)


def migrate(environment: Path, env: Mapping[str, str], folder: Path) -> None:
    """Make Airflow's database in a folder."""
    command = [str(environment / "bin" / "python"), "-m", "airflow", "db", "migrate"]
    own = {**env, "AIRFLOW_HOME": str(folder)}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"Airflow's database cannot be made:\n{done.stdout}{done.stderr}")


def start_once(environment: Path, folder: Path) -> None:
    """Have a Prefect server make its database and whatever else it makes at its first start."""
    with PrefectServer(environment, folder, settings=FOR_TESTS):
        pass


def to_copy(whose: str) -> Path | None:
    """In a test: what a server may begin with a copy of; ``whose`` is "AIRFLOW", "PREFECT" or "PREFECT2".

    There is none where pytest was started by hand.
    """
    return Path(os.environ[f"{whose}_MADE"]) if f"{whose}_MADE" in os.environ else None


def main(airflow: str, *arguments: str) -> NoReturn:
    """Make the database, unless there is one to copy, then become pytest, so that its closing line is the last one."""
    prefects = list(takewhile(lambda argument: argument.startswith("prefect-"), arguments))
    environment = ENVIRONMENTS / airflow
    home = home_for(airflow)
    shutil.rmtree(home, ignore_errors=True)
    env = variables(environment, prefects, home)
    try:
        make(airflow, lambda folder: migrate(environment, env, folder))
        for prefect in prefects:
            if not prefect.startswith("prefect-1"):
                make(prefect, functools.partial(start_once, ENVIRONMENTS / prefect))
    except StackError as error:
        sys.exit(str(error))
    shutil.copyfile(made(airflow), home / "airflow.db")
    python = str(environment / "bin" / "python")
    os.chdir(ROOT)
    os.execve(python, [python, "-m", "pytest", *arguments[len(prefects) :]], env)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
