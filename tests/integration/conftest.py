"""Real servers for the whole session: each is started when a test first asks for it, and ended with the session."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tools import web
from tools.prefect_stack import FOR_TESTS, PrefectServer
from tools.processes import wait_until
from tools.testing import to_copy

ROOT = Path(__file__).resolve().parents[2]
FLOWS = Path(__file__).parent / "flows" / "served.py"
OUTPUT_FLOWS = Path(__file__).parent / "flows" / "outputs.py"
EXAMPLE_FLOW = ROOT / "example_dags" / "flows" / "sales_report.py"
PREFECT = Path(os.environ.get("PREFECT_ENVIRONMENT", ROOT / ".envs" / "prefect-3.9.1"))
PREFECT_2 = Path(os.environ.get("PREFECT2_ENVIRONMENT", ROOT / ".envs" / "prefect-2.20.26"))
NO_PARAMETERS = {"parameter_openapi_schema": {"type": "object", "properties": {}}}
"""Of a deployment that is made by hand: Prefect 3.0 and 3.4 start no run of one without a schema."""
USER, PASSWORD = "airflow", "open:sesame-7f3a"


def prefect_is_at_least(version: str) -> bool:
    """Whether the Prefect 3 of these tests is this one or newer."""
    return Version(PREFECT.name.partition("-")[2]) >= Version(version)


def page_of(server: PrefectServer, flow_run_id: str) -> str:
    """The address of a flow run in the UI. Prefect 3.0 has it where Prefect 2 had it, and redirects."""
    return f"{server.ui_url}/{'runs' if prefect_is_at_least('3.1.15') else 'flow-runs'}/flow-run/{flow_run_id}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" not in config.getoption("markexpr"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; ask for it with: -m slow"))


@pytest.fixture(scope="session", autouse=True)
def airflow_database() -> None:
    """Airflow's database in AIRFLOW_HOME, made here unless it is there already."""
    home = Path(os.environ["AIRFLOW_HOME"])
    with sqlite3.connect(home / "airflow.db") as database:
        made = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    if not made:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session", autouse=True)
def polls_often() -> Iterator[None]:
    """Let tasks poll flow runs more often than users may, for whom 3 seconds are the least, and 10 rescheduled."""
    from tests.integration.dag_runs import OFTEN, RESCHEDULED

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_prefect.utils.arguments.MIN_POLL_INTERVAL", OFTEN)
        patch.setattr("airflow_provider_prefect.sensors.flow_run._MIN_RESCHEDULE_INTERVAL", RESCHEDULED)
        yield


def connection_json(server: PrefectServer, **fields: Any) -> str:
    """The Airflow connection to ``server`` as JSON text."""
    extra = {"result_roots": str(server.results)}
    return json.dumps({"conn_type": "prefect", "host": server.api_url, "extra": extra, **fields})


def opens_a_page(url: str) -> bool:
    """Whether a browser that goes to ``url`` is shown a page (HTTP 200)."""
    page = web.request("GET", url, headers={"Accept": "text/html"})
    return isinstance(page, str) and page.lstrip().lower().startswith("<!doctype html>")


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server that runs the test flows and the example's; ``prefect_default`` leads to it."""
    if not (PREFECT / "bin" / "prefect").exists():
        pytest.fail(f"There is no Prefect in {PREFECT}: run the tests with `make test`, or set PREFECT_ENVIRONMENT.")
    home = tmp_path_factory.mktemp("prefect")
    with (
        PrefectServer(PREFECT, home, settings=FOR_TESTS, made=to_copy("PREFECT")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        server.serve(FLOWS, "quick/served")
        patch.setenv("AIRFLOW_CONN_PREFECT_DEFAULT", connection_json(server))
        yield server


@pytest.fixture(scope="session")
def outputs(prefect: PrefectServer) -> PrefectServer:
    """The same server, which also runs the flows whose logs and results are read."""
    prefect.serve(OUTPUT_FLOWS, "talking/served")
    return prefect


@pytest.fixture(scope="session")
def prefect_2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect 2 server that runs the test flows; the connection ``prefect_2`` leads to it."""
    if not (PREFECT_2 / "bin" / "prefect").exists():
        pytest.fail(f"There is no Prefect in {PREFECT_2}: run the tests with `make test`, or set PREFECT2_ENVIRONMENT.")
    home = tmp_path_factory.mktemp("prefect-2")
    with (
        PrefectServer(PREFECT_2, home, settings=FOR_TESTS, made=to_copy("PREFECT2")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        server.serve(FLOWS, "quick/served")
        patch.setenv("AIRFLOW_CONN_PREFECT_2", connection_json(server))
        yield server


@pytest.fixture(scope="session")
def protected_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server that asks for a user, a password and CSRF tokens; ``prefect_protected`` leads to it."""
    if not prefect_is_at_least("3.1.15"):
        pytest.skip("Prefect 3.0 can ask for no credentials.")
    settings = {
        **FOR_TESTS,
        "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{PASSWORD}",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    }
    home = tmp_path_factory.mktemp("protected-prefect")
    with (
        PrefectServer(PREFECT, home, settings=settings, made=to_copy("PREFECT")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        server.serve(FLOWS, "quick/served")
        patch.setenv("AIRFLOW_CONN_PREFECT_PROTECTED", connection_json(server, login=USER, password=PASSWORD))
        yield server


@pytest.fixture
def new_dag(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes an empty Dag that is named after the test, and after what is added when the test has two."""
    from airflow.providers.common.compat.sdk import DAG

    name = re.sub(r"\W+", "_", request.node.name).strip("_")
    return lambda added="": DAG(name + added, schedule=None)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Gives what tasks and triggers have logged so far. Airflow 3 writes it to the output, Airflow 2 does so twice."""
    from tests.integration.dag_runs import AIRFLOW

    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    def logged() -> str:
        seen.extend(capfd.readouterr())
        return caplog.text if AIRFLOW < (3,) else "".join(seen)

    return logged


@pytest.fixture(scope="session")
def unserved(prefect: PrefectServer) -> str:
    """A deployment that nobody serves: its flow runs are never started."""
    flow = prefect.request("POST", "/flows/", {"name": "unserved"})
    prefect.request("POST", "/deployments/", {"name": "by-nobody", "flow_id": flow["id"], **NO_PARAMETERS})
    return "unserved/by-nobody"


@pytest.fixture(scope="session")
def scheduled(prefect: PrefectServer, unserved: str) -> Iterator[str]:
    """Deployments, each for one test, that nobody serves and a schedule has made runs of for the coming days."""
    flow = prefect.request("POST", "/flows/", {"name": unserved.partition("/")[0]})
    daily = [{"active": True, "schedule": {"interval": 86400, "timezone": "UTC"}}]
    names = [f"daily-{number}" for number in range(15)]
    made = [
        prefect.request(
            "POST", "/deployments/", {"name": name, "flow_id": flow["id"], "schedules": daily, **NO_PARAMETERS}
        )["id"]
        for name in names
    ]
    for deployment_id in made:
        prefect.request("POST", f"/deployments/{deployment_id}/schedule", {"min_runs": 3})

    def counted(deployment_id: str) -> bool:
        to_come = {"deployment_id": {"any_": [deployment_id]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
        return bool(prefect.request("POST", "/flow_runs/count", {"flow_runs": to_come}))

    wait_until(lambda: all(map(counted, made)), "Prefect has made runs of all schedules", 90, every=1)
    return iter([f"{flow['name']}/{name}" for name in names])


@pytest.fixture
def nothing_created(prefect: PrefectServer) -> Iterator[None]:
    """Fails the test if Prefect has more flow runs after it than before."""
    before = prefect.request("POST", "/flow_runs/count", {})
    yield
    assert prefect.request("POST", "/flow_runs/count", {}) == before
