"""Install the wheel in ``dist/`` by itself into a fresh environment, and run an example Dag with it.

``make package`` builds what this tries out. The example Dag and its flow are taken from the sdist, and everything runs
outside the checkout: what the wheel or the sdist lacks is missing here. The Dag runs with ``airflow dags test``, which
is ``dag.test()``, and starts a flow run on a real Prefect server.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools import web
from tools.airflow_stack import AirflowStack
from tools.environments import (
    ENVIRONMENTS,
    REQUIREMENTS,
    ROOT,
    SetupError,
    ensure_uv,
    only_one_at_a_time,
    python_of,
    run_step,
)
from tools.prefect_stack import PrefectServer
from tools.processes import StackError, say, stop_on_signals
from tools.together import AIRFLOW, CONNECTION, DAG, DEPLOYMENT, PREFECT, connection_to

DIST = ROOT / "dist"
ENVIRONMENT = ENVIRONMENTS / "wheel"
STATE = ROOT / "build" / "wheel"
PACKAGE = "airflow_provider_prefect"
TIMEOUT = 180


def only(pattern: str) -> Path:
    """The one file in ``dist/`` that a pattern matches."""
    found = list(DIST.glob(pattern))
    if len(found) != 1:
        raise StackError(f"dist/ has {len(found)} files {pattern}, and one is needed. Build them with: make package")
    return found[0]


def install(wheel: Path) -> None:
    """Make the environment anew from what the wheel says that it needs, in the versions that the tests run with."""
    python, log = python_of(ENVIRONMENT), ENVIRONMENTS / "wheel.log"
    with only_one_at_a_time():
        uv = ensure_uv()
        run_step("wheel: environment", [uv, "venv", "--clear", "--python", sys.executable, ENVIRONMENT], log)
        constraints = ["--constraint", REQUIREMENTS / f"{AIRFLOW.name}.txt"]
        run_step("wheel: packages", [uv, "pip", "install", "--python", python, *constraints, wheel], log)
        run_step("wheel: dependencies", [uv, "pip", "check", "--python", python], log)


def airflow(stack: AirflowStack, *arguments: str) -> str:
    """Run one of Airflow's commands in the environment; return what it prints."""
    command = [str(ENVIRONMENT / "bin" / "airflow"), *arguments]
    done = subprocess.run(
        command, cwd=stack.home, env=stack.variables, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        raise StackError(f"`airflow {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def check_installed(stack: AirflowStack, version: str) -> None:
    """Check that Airflow finds this version of the provider, and that it is not the one in the checkout."""
    code = f"import {PACKAGE}; print({PACKAGE}.__file__)"
    where = subprocess.check_output(
        [python_of(ENVIRONMENT), "-c", code], cwd=stack.home, env=stack.variables, text=True
    )
    if not Path(where.strip()).is_relative_to(ENVIRONMENT / "lib"):
        raise StackError(f"{PACKAGE} is imported from {where.strip()}, not from the environment {ENVIRONMENT}.")
    providers = airflow(stack, "providers", "list", "--output", "plain")
    if not any(line.split()[:1] == ["airflow-provider-prefect"] and version in line for line in providers.splitlines()):
        raise StackError(f"Airflow does not list airflow-provider-prefect {version} among its providers:\n{providers}")
    say(f"Airflow lists airflow-provider-prefect {version}, imported from {where.strip()}")


def run_example(stack: AirflowStack, prefect: PrefectServer) -> None:
    """Run the Dag once; compare what its last task has printed with what Prefect has of the flow run."""
    said = airflow(stack, "dags", "test", DAG)
    runs = prefect.request("POST", "/flow_runs/filter", {})
    if [run["state_type"] for run in runs] != ["COMPLETED"]:
        states = [(run["name"], run["state_type"]) for run in runs]
        raise StackError(f"One flow run in state COMPLETED was expected, not {states}:\n{said}")
    (table,) = prefect.request("POST", "/artifacts/filter", {"artifacts": {"key": {"any_": ["sales-by-region"]}}})
    regions = json.loads(table["data"])
    orders, revenue = (sum(region[column] for region in regions) for column in ("orders", "revenue"))
    expected = f"{orders:,} orders for {revenue:,.2f}"
    if expected not in said:
        raise StackError(f"The Dag's last task has not printed {expected!r}:\n{said}")
    say(f"The flow run {runs[0]['name']} is COMPLETED, and the Dag's last task has printed: {expected}")


def run() -> None:
    """Try out what is in ``dist/``."""
    wheel, sdist = only("*.whl"), only("*.tar.gz")
    version = wheel.name.split("-")[1]
    install(wheel)
    shutil.rmtree(STATE, ignore_errors=True)
    shutil.unpack_archive(sdist, STATE, filter="data")
    dags = STATE / f"{PACKAGE}-{version}" / "example_dags"
    with PrefectServer(PREFECT, STATE / "prefect") as prefect:
        stack = AirflowStack(ENVIRONMENT, STATE / "airflow", dags, connections={CONNECTION: connection_to(prefect)})
        stack.migrate()
        check_installed(stack, version)
        prefect.serve(dags / "flows" / "sales_report.py", DEPLOYMENT)
        say(f"Running the Dag {DAG} …")
        run_example(stack, prefect)


def main() -> int:
    """Return 0 if the wheel can be installed and used."""
    stop_on_signals()
    started = time.monotonic()
    try:
        run()
    except (SetupError, StackError, web.HttpError, OSError, subprocess.SubprocessError) as error:
        say(f"\nThe wheel cannot be used: {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    say(f"The wheel works; that took {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
