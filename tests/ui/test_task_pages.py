"""From a task instance to its flow run in Prefect, and why a flow run failed, on a screen 1,400 pixels wide."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.ui.airflow_ui import Airflow3Ui, AirflowUi
from tests.ui.browser import take_picture
from tools.airflow_stack import AirflowStack
from tools.prefect_stack import PrefectServer
from tools.processes import wait_until


class Run:
    """One Dag run."""

    def __init__(self, airflow: AirflowStack, dag_id: str, task_id: str = "start") -> None:
        self.airflow = airflow
        self.dag_id = dag_id
        self.task_id = task_id
        # As long as the name that Airflow gives.
        self.run_id = f"manual__{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}.{time.time_ns() % 10**6:06}+00:00"
        airflow.api.trigger(dag_id, self.run_id)

    def until(self, state: str, map_index: int = -1) -> None:
        wait_until(
            lambda: self.airflow.api.task_state(self.dag_id, self.run_id, self.task_id, map_index) == state,
            f"{self.dag_id}: the task is {state}",
            180,
            self.airflow.parts.values(),
        )

    def flow_run(self, map_index: int = -1) -> dict[str, str]:
        return self.airflow.api.xcoms(self.dag_id, self.run_id, self.task_id, map_index)


def check_link(ui: AirflowUi, prefect: PrefectServer, run: Run, map_index: int = -1) -> Page:
    """Follow the link from the task instance to the page of its flow run."""
    flow_run = run.flow_run(map_index)
    ui.open_task(run.dag_id, run.run_id, run.task_id, map_index)
    opened = ui.follow_link()
    expect(opened.get_by_text(flow_run["flow_run_name"]).first).to_be_visible()
    assert opened.url == f"{prefect.ui_url}/runs/flow-run/{flow_run['flow_run_id']}" == flow_run["flow_run_url"]
    return opened


@pytest.fixture(scope="module")
def failed(airflow: AirflowStack) -> Run:
    run = Run(airflow, "failing")
    run.until("failed")
    return run


def test_the_link_of_a_deferred_task_leads_to_its_flow_run(
    ui: AirflowUi, airflow: AirflowStack, prefect: PrefectServer
) -> None:
    run = Run(airflow, "waiting")
    run.until("deferred")
    check_link(ui, prefect, run)
    if isinstance(ui, Airflow3Ui):
        take_picture("link", ui.page)


def test_the_link_of_a_failed_task_leads_to_its_flow_run(ui: AirflowUi, prefect: PrefectServer, failed: Run) -> None:
    check_link(ui, prefect, failed)


def test_the_link_of_each_mapped_task_leads_to_its_own_flow_run(
    ui: AirflowUi, airflow: AirflowStack, prefect: PrefectServer
) -> None:
    run = Run(airflow, "mapped")
    for map_index in (0, 1):
        run.until("deferred", map_index)
    opened = [check_link(ui, prefect, run, map_index) for map_index in (0, 1)]
    assert opened[0].url != opened[1].url


def test_nothing_that_matters_in_the_log_is_cut_off(ui: AirflowUi, failed: Run) -> None:
    flow_run = failed.flow_run()
    ui.open_log(failed.dag_id, failed.run_id, "start")
    assert ui.overhang("Created flow run: ") < 0
    assert ui.overhang(flow_run["flow_run_url"]) < 0
    assert (
        ui.overhang("Flow run is in state Failed: Flow run encountered an exception: ValueError: the well is dry") < 0
    )
    assert ui.overhang("Flow run ended in state Failed: ValueError: the well is dry.") < 0


def test_the_log_of_the_example_shows_the_flow_run_from_its_start_to_its_end(
    ui: AirflowUi, airflow: AirflowStack
) -> None:
    run = Run(airflow, "example_prefect_start_flow_run", "summarise")
    run.until("success")
    ui.open_log(run.dag_id, run.run_id, run.task_id)
    assert ui.overhang(run.flow_run()["flow_run_url"]) < 0
    assert ui.overhang("Flow run is in state Completed") < 0
    if isinstance(ui, Airflow3Ui):
        take_picture("demo", ui.page)


def test_a_text_that_is_cut_off_is_noticed(ui: AirflowUi, failed: Run) -> None:
    ui.open_log(failed.dag_id, failed.run_id, "start")
    line = f"({failed.flow_run()['flow_run_name']!r})"
    assert re.search(r"\('failing\.start manual__", line)
    ui.page.set_viewport_size({"width": 700, "height": 900})
    assert ui.overhang(line) > 0
