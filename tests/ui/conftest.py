"""Real servers, a real browser, and Airflow's UI in it, for each Airflow that is named in AIRFLOWS."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.ui.airflow_ui import Airflow2Ui, Airflow3Ui, AirflowUi
from tests.ui.browser import NO_BROWSER, chromium, new_page
from tools.airflow_stack import AirflowStack
from tools.environments import ENVIRONMENTS, ROOT
from tools.prefect_stack import FOR_TESTS, PrefectServer

AIRFLOWS = os.environ.get("AIRFLOWS", "airflow-3.3.2 airflow-2.11.2").split()
PREFECT = ENVIRONMENTS / os.environ.get("PREFECT", "prefect-3.9.1")
INTEGRATION = Path(__file__).parents[1] / "integration"
USER, PASSWORD = "airflow", "open-sesame-7f3a"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        if found is None:
            pytest.skip(NO_BROWSER)
        yield found


@pytest.fixture(scope="session")
def prefect(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server that asks for a user and a password."""
    settings = {**FOR_TESTS, "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{PASSWORD}"}
    with PrefectServer(PREFECT, tmp_path_factory.mktemp("prefect"), settings=settings) as server:
        server.serve(INTEGRATION / "flows" / "served.py", "sleeping/served")
        server.serve(ROOT / "example_dags" / "flows" / "sales_report.py", "sales-report/demo")
        yield server


@pytest.fixture(scope="session", params=AIRFLOWS)
def airflow(
    request: pytest.FixtureRequest, prefect: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowStack]:
    """A whole Airflow with Dags whose tasks defer, are mapped, and fail."""
    home = tmp_path_factory.mktemp(request.param)
    dags = home / "dags"
    dags.mkdir()
    shutil.copy(INTEGRATION / "dags" / "deferring.py", dags)
    shutil.copy(ROOT / "example_dags" / "example_prefect_start_flow_run.py", dags)
    connection = {
        "conn_type": "prefect",
        "host": prefect.api_url,
        "login": USER,
        "password": PASSWORD,
        "extra": {"result_roots": str(prefect.results)},
    }
    with AirflowStack(
        ENVIRONMENTS / request.param,
        home,
        dags,
        connections={"prefect_default": json.dumps(connection)},
        settings={"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"},
    ) as stack:
        stack.wait_for_dag("failing")
        yield stack


@pytest.fixture
def page(browser: Browser, prefect: PrefectServer) -> Iterator[Page]:
    """A page that is logged in to Prefect."""
    password = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    page = new_page(browser, {prefect.ui_url: {"prefect-password": password}})
    yield page
    page.context.close()


@pytest.fixture
def ui(airflow: AirflowStack, page: Page) -> AirflowUi:
    kind = Airflow3Ui if airflow.major >= 3 else Airflow2Ui
    return kind(page, airflow.url)
