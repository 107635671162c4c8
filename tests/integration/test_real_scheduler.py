"""Tasks that really defer: Airflow's scheduler, Dag processor, API server and triggerer, each a process of its own.

The Prefect server asks for a user and a password, so that there is a secret that must not be found anywhere.
"""

from __future__ import annotations

import base64
import re
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import (
    EXAMPLE_FLOW,
    FLOWS,
    OUTPUT_FLOWS,
    PASSWORD,
    PREFECT,
    ROOT,
    USER,
    connection_json,
    opens_a_page,
)
from tests.integration.whole_airflow import MARKS, whole_airflow
from tools import web
from tools.airflow_stack import AirflowStack
from tools.prefect_stack import FOR_TESTS, PrefectServer
from tools.processes import wait_until
from tools.testing import to_copy

ORDER_LAKE, STOCK_COUNT, PRICE_LIST = (
    EXAMPLE_FLOW.with_name(f"{name}.py") for name in ("order_lake", "stock_count", "price_list")
)
OUTAGE = 60
WATCHERS = 3
"""Asset watchers in the Dags of this module."""
WRONG_PASSWORD = "wrong-password-51c9"
LINK = "Prefect flow run"
DAGS = ("example_prefect_start_flow_run", "waiting", "mapped", "failing", "sync", "refused")

pytestmark = MARKS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server of this module's own, since it is killed here."""
    settings = {**FOR_TESTS, "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{PASSWORD}"}
    home = tmp_path_factory.mktemp("killed-prefect")
    with PrefectServer(PREFECT, home, settings=settings, made=to_copy("PREFECT")) as prefect:
        prefect.serve(FLOWS, "sleeping/served")
        prefect.serve(EXAMPLE_FLOW, "sales-report/demo")
        yield prefect


@pytest.fixture(scope="module")
def statsd() -> Iterator[socket.socket]:
    """Where Airflow sends its metrics."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(90)
        yield receiver


@pytest.fixture(scope="module")
def airflow(
    server: PrefectServer, statsd: socket.socket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowStack]:
    """A whole Airflow with the example's Dag and those in ``dags``."""
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir()
    for file in (
        *(ROOT / "example_dags" / f"example_prefect_{name}.py" for name in ("start_flow_run", "events", "approval")),
        *(Path(__file__).parent / "dags").glob("*.py"),
    ):
        shutil.copy(file, dags)
    connections = {
        "prefect_default": connection_json(server, login=USER, password=PASSWORD),
        "prefect_wrong": connection_json(server, login=USER, password=WRONG_PASSWORD),
    }
    settings = {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.getsockname()[1]),
        "AIRFLOW__METRICS__METRICS_ALLOW_LIST": r"^prefect\.",
    }
    with whole_airflow(home, dags, connections=connections, ids=DAGS, settings=settings) as stack:
        yield stack


class Run:
    """One Dag run, and what can be seen of it from outside."""

    def __init__(self, airflow: AirflowStack, dag_id: str, conf: dict[str, Any] | None = None) -> None:
        self.airflow = airflow
        self.dag_id = dag_id
        self.run_id = f"{dag_id}-{time.time_ns()}"
        airflow.api.trigger(dag_id, self.run_id, conf)

    def state(self, task_id: str = "start", map_index: int = -1) -> str | None:
        return self.airflow.api.task_state(self.dag_id, self.run_id, task_id, map_index)

    def xcoms(self, task_id: str = "start", map_index: int = -1) -> dict[str, Any]:
        return self.airflow.api.xcoms(self.dag_id, self.run_id, task_id, map_index)

    def links(self, map_index: int = -1) -> dict[str, str | None]:
        return self.airflow.api.links(self.dag_id, self.run_id, "start", map_index)

    def log(self, task_id: str = "start", map_index: int = -1) -> str:
        return self.airflow.api.task_log(self.dag_id, self.run_id, task_id, map_index=map_index)

    def until(self, ready: Callable[[], bool], what: str, timeout: float = 240) -> None:
        wait_until(ready, f"{self.dag_id}: {what}", timeout, self.airflow.parts.values())

    def until_deferred(self, map_index: int = -1) -> None:
        self.until(lambda: self.state(map_index=map_index) == "deferred", "the task is deferred")

    def until_ended(self, timeout: float = 240) -> str:
        return self.airflow.api.wait_for_run(self.dag_id, self.run_id, timeout)


def trigger_rows(airflow: AirflowStack) -> list[str]:
    """What the database holds of the triggers that run now: class and arguments."""
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=30)) as database:
        return [" ".join(map(str, row)) for row in database.execute("SELECT * FROM trigger")]


def test_a_task_defers_and_hands_the_result_to_the_next(airflow: AirflowStack) -> None:
    run = Run(airflow, "example_prefect_start_flow_run")
    seen: list[str | None] = []

    def ended() -> bool:
        if (state := run.state("summarise")) not in seen:
            seen.append(state)
        return state in ("success", "failed")

    run.until(ended, "the first task has ended")
    assert run.until_ended() == "success"
    assert "deferred" in seen
    assert seen[-1] == "success"
    result = run.xcoms("summarise")["result"]
    assert result["month"] == "2026-10"
    assert f"{result['revenue']:,.2f}" in run.xcoms("report")["return_value"]


def test_the_link_is_there_while_tasks_wait_and_after_a_failure(airflow: AirflowStack, server: PrefectServer) -> None:
    failing, mapped, sync = Run(airflow, "failing"), Run(airflow, "mapped"), Run(airflow, "sync")
    for map_index in (0, 1):
        mapped.until_deferred(map_index)
        link = mapped.links(map_index)[LINK]
        assert mapped.state(map_index=map_index) == "deferred"
        assert link == mapped.xcoms(map_index=map_index)["flow_run_url"]
        assert opens_a_page(str(link))
    assert mapped.links(0) != mapped.links(1)

    sync.until(lambda: bool(sync.links().get(LINK)), "the task that does not defer has its link")
    assert sync.state() == "running"

    assert failing.until_ended() == "failed"
    assert failing.links()[LINK] == f"{server.ui_url}/runs/flow-run/{failing.xcoms()['flow_run_id']}"
    assert "the well is dry" in failing.log()
    assert mapped.until_ended() == "success"
    assert mapped.links(1)[LINK] == f"{server.ui_url}/runs/flow-run/{mapped.xcoms(map_index=1)['flow_run_id']}"
    assert sync.until_ended() == "success"


def workers(airflow: AirflowStack, run: Run) -> int:
    """How many processes have worked at the first task, each of which has read the Dag."""
    [log] = [file for file in airflow.home.rglob("attempt=1.log") if run.run_id in str(file) and "start" in str(file)]
    return log.read_text().count("DAG bundles loaded")


def test_a_task_whose_flow_run_completes_ends_without_a_second_worker(
    airflow: AirflowStack, server: PrefectServer
) -> None:
    run, failing = Run(airflow, "waiting", {"seconds": 5}), Run(airflow, "failing")
    assert run.until_ended() == "success"
    assert failing.until_ended() == "failed"
    assert (workers(airflow, run), workers(airflow, failing)) == (1, 2)
    xcoms = run.xcoms()
    [flow_run] = server.request("POST", "/flow_runs/filter", {"flow_runs": {"tags": {"all_": [run.run_id]}}})
    url = f"{server.ui_url}/runs/flow-run/{flow_run['id']}"
    assert xcoms == {
        "flow_run_id": flow_run["id"],
        "flow_run_name": flow_run["name"],
        "flow_run_url": url,
        "return_value": flow_run["id"],
        "state": "COMPLETED",
    }
    assert run.links()[LINK] == url
    assert run.xcoms("take")["return_value"] == {"taken": "COMPLETED"}
    [ti] = [ti for ti in airflow.api.task_instances("waiting", run.run_id) if ti["task_id"] == "start"]
    assert (ti["state"], ti["try_number"]) == ("success", 1)
    assert ti["duration"] >= 5
    assert "is in state Completed" in run.log()


@pytest.mark.long
def test_a_triggerer_that_is_killed_between_the_xcoms_and_the_end_of_a_task_loses_nothing(
    airflow: AirflowStack, server: PrefectServer
) -> None:
    for _ in range(5):
        run = Run(airflow, "waiting", {"seconds": 10})
        run.until_deferred()
        with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=30)) as database:
            pushed = "SELECT 1 FROM xcom WHERE run_id = ? AND task_id = 'start' AND key = 'return_value'"
            until = time.monotonic() + 120
            while not database.execute(pushed, (run.run_id,)).fetchone():
                assert time.monotonic() < until
                time.sleep(0.02)
        airflow.parts["triggerer"].signal(signal.SIGKILL)
        was_between = run.state() == "deferred"
        airflow.parts["triggerer"].stop()
        airflow.parts["triggerer"].start()
        assert run.until_ended() == "success"
        assert run.xcoms("take")["return_value"] == {"taken": "COMPLETED"}
        [flow_run] = server.request("POST", "/flow_runs/filter", {"flow_runs": {"tags": {"all_": [run.run_id]}}})
        assert run.xcoms()["return_value"] == flow_run["id"]
        if was_between:
            return
    pytest.fail("The triggerer was never killed in between.")


def test_a_wait_goes_on_after_the_triggerer_was_started_again(airflow: AirflowStack, server: PrefectServer) -> None:
    run = Run(airflow, "waiting", {"seconds": 20})
    run.until_deferred()
    run.until(lambda: bool(trigger_rows(airflow)), "there is a trigger")
    airflow.parts["triggerer"].stop()
    assert run.state() == "deferred"
    airflow.parts["triggerer"].start()
    assert run.until_ended() == "success"
    assert run.xcoms("take")["return_value"] == {"taken": "COMPLETED"}
    [flow_run] = server.request("POST", "/flow_runs/filter", {"flow_runs": {"tags": {"all_": [run.run_id]}}})
    assert flow_run["id"] == run.xcoms()["flow_run_id"]
    assert flow_run["state_type"] == "COMPLETED"


def test_lines_of_the_flow_run_are_in_the_task_log_while_the_task_is_deferred(
    airflow: AirflowStack, server: PrefectServer
) -> None:
    server.serve(OUTPUT_FLOWS, "talking/served")
    airflow.wait_for_dag("streaming")
    run = Run(airflow, "streaming")
    run.until_deferred()
    run.until(lambda: "flow line 10" in run.log(), "the task's log has lines of the flow run")
    assert run.state() == "deferred"
    assert run.until_ended() == "success"
    numbers = [int(number) for number in re.findall(r"\] flow line (\d+)", run.log())]
    # The flow says at its end how many lines it has logged.
    [said] = re.findall(r"last words after (\d+) lines", run.log())
    assert numbers == list(range(int(said)))
    assert "task line 4" in run.log()
    for level, number in (("info", 3), ("warning", 4), ("error", 5)):
        [line] = [line for line in run.log().splitlines() if line.endswith(f"] flow line {number}")]
        assert f" {level} " in line


def test_a_cancel_that_defers_remembers_what_it_has_asked_to_stop(airflow: AirflowStack) -> None:
    airflow.wait_for_dag("cancelling")
    run = Run(airflow, "cancelling")
    assert run.until_ended() == "success"
    assert run.xcoms("cancel")["return_value"] == "CANCELLED"
    assert run.xcoms("cancel")["flow_run_id"] == run.xcoms("start")["return_value"]


def test_the_waits_of_a_triggerer_are_among_airflows_metrics(airflow: AirflowStack, statsd: socket.socket) -> None:
    statsd.setblocking(False)
    while True:  # what earlier tests have left
        try:
            statsd.recv(2**16)
        except BlockingIOError:
            break
    statsd.settimeout(90)
    run = Run(airflow, "waiting", {"seconds": 5})
    seen: dict[str, str] = {}
    while not {"airflow.prefect.waits", "airflow.prefect.polls", "airflow.prefect.detection_delay"} <= seen.keys():
        name, _, value = statsd.recv(2**16).decode().partition(":")
        seen[name] = value
    assert re.fullmatch(r"\d+\|g", seen["airflow.prefect.waits"])
    assert seen["airflow.prefect.polls"] == "1|c"
    assert 0 < float(seen["airflow.prefect.detection_delay"].removesuffix("|ms")) < 30_000
    assert run.until_ended() == "success"


def payloads(airflow: AirflowStack, asset: str) -> list[dict[str, Any]]:
    """What Airflow was told by the trigger that watches for an asset, the oldest first."""
    found: list[dict[str, Any]] = []

    def listed() -> bool:
        # Airflow 3.3.2 answers with an error as long as a Dag run that an event has made has not started.
        try:
            found[:] = airflow.api.call("GET", "/assets/events?limit=100&order_by=timestamp")["asset_events"]
        except web.HttpError as error:
            if error.status != 500:
                raise
            return False
        return True

    wait_until(listed, "Airflow lists the asset events", 60)
    return [event["extra"]["payload"] for event in found if event["name"] == asset]


def start_run(server: PrefectServer, flow: str, deployment: str, **body: Any) -> str:
    """Start a flow run as somebody else than Airflow does, and return its id."""
    criteria = {"deployments": {"name": {"any_": [deployment]}}, "flows": {"name": {"any_": [flow]}}}
    [found] = server.request("POST", "/deployments/filter", criteria)
    return str(server.request("POST", f"/deployments/{found['id']}/create_flow_run", body)["id"])


def run_watched(server: PrefectServer, name: str) -> str:
    """Run a flow whose end a Dag watches for, and return the flow run's id once it has ended."""
    flow_run_id = start_run(server, "quick", "served", name=name, tags=["watched"], parameters={"number": 2})

    def ended() -> bool:
        return bool(server.request("GET", f"/flow_runs/{flow_run_id}")["state_type"] == "COMPLETED")

    wait_until(ended, f"flow run {name} has completed", 90)
    return flow_run_id


def test_a_dag_starts_on_each_flow_run_once_although_the_triggerer_is_killed_between_two(
    airflow: AirflowStack, server: PrefectServer
) -> None:
    for dag_id in ("on_flow_run", "on_asset"):
        airflow.wait_for_dag(dag_id)
    wait_until(lambda: stored_cursors(airflow) == WATCHERS, "all triggers have polled", 90)
    first = run_watched(server, "first")
    wait_until(lambda: len(payloads(airflow, "completed")) == 1, "Airflow knows of the first", 30)
    time.sleep(5)  # the trigger keeps what it has sent some seconds afterwards
    airflow.parts["triggerer"].signal(signal.SIGKILL)
    airflow.parts["triggerer"].stop()
    second = run_watched(server, "second")
    assert len(payloads(airflow, "completed")) == 1
    airflow.parts["triggerer"].start()
    wait_until(lambda: len(payloads(airflow, "completed")) >= 2, "Airflow knows of the second", 90)
    third = run_watched(server, "third")
    wait_until(lambda: len(payloads(airflow, "completed")) >= 3, "Airflow knows of the third", 30)
    time.sleep(15)  # more than a poll
    told = payloads(airflow, "completed")
    assert [one["flow_run_id"] for one in told] == [first, second, third]
    one = told[0]
    assert (one["flow_run_name"], one["state_type"]) == ("first", "COMPLETED")
    assert "watched" in one["tags"]
    assert one["parameter_names"] == ["number"]
    assert one["flow_run_url"] == f"{server.ui_url}/runs/flow-run/{first}"
    runs = airflow.api.call("GET", "/dags/on_flow_run/dagRuns")["dag_runs"]
    reported = [
        payload["flow_run_id"]
        for run in runs
        for payload in airflow.api.xcoms("on_flow_run", run["dag_run_id"], "report")["return_value"]
    ]
    assert sorted(reported) == sorted([first, second, third])


def test_a_dag_starts_when_a_flow_materializes_an_asset(airflow: AirflowStack, server: PrefectServer) -> None:
    served = server.serve(ORDER_LAKE, "order-lake/demo")
    start_run(server, "order-lake", "demo")
    wait_until(lambda: len(payloads(airflow, "written")) >= 1, "Airflow knows of the asset", 120)
    [told] = payloads(airflow, "written")
    assert told["asset_key"] == "s3://lake/orders.parquet"
    assert told["metadata"] == {"day": "2026-11-01", "rows": 120}
    server.stop_serving(served)


def test_the_example_of_events_starts_a_dag_run(airflow: AirflowStack, server: PrefectServer) -> None:
    airflow.wait_for_dag("example_prefect_events")
    served = server.serve(STOCK_COUNT, "stock-count/demo")
    wait_until(lambda: stored_cursors(airflow) == WATCHERS, "all triggers have polled", 90)
    start_run(server, "stock-count", "demo", name="a count", parameters={"seconds_per_shelf": 0})
    path = "/dags/example_prefect_events/dagRuns"
    wait_until(lambda: bool(airflow.api.call("GET", path)["dag_runs"]), "a Dag run has started", 120)
    [started] = airflow.api.call("GET", path)["dag_runs"]
    assert airflow.api.wait_for_run("example_prefect_events", started["dag_run_id"], 120) == "success"
    reported = airflow.api.xcoms("example_prefect_events", started["dag_run_id"], "report")
    assert reported["return_value"] == ["a count: Completed"]
    server.stop_serving(served)


def test_the_example_of_an_approval_resumes_the_flow_run(airflow: AirflowStack, server: PrefectServer) -> None:
    airflow.wait_for_dag("example_prefect_approval")
    served = server.serve(PRICE_LIST, "price-list/demo")
    run = Run(airflow, "example_prefect_approval")
    run.until(lambda: run.state("ask") in ("deferred", "awaiting_input"), "Airflow asks")
    path = f"/flow_runs/{run.xcoms()['return_value']}"
    run.until(lambda: server.request("GET", path)["state_type"] == "PAUSED", "the flow run is paused")
    answer = {"chosen_options": ["Approve"], "params_input": {}}
    question = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/ask/-1/hitlDetails"
    airflow.api.call("PATCH", question, answer)
    assert run.until_ended() == "success"
    assert run.xcoms("resume")["return_value"] == "RUNNING"
    assert server.request("GET", path)["state_type"] == "COMPLETED"
    assert run.xcoms("wait")["return_value"]["id"] == run.xcoms()["return_value"]
    server.stop_serving(served)


def stored_cursors(airflow: AirflowStack) -> int:
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=30)) as database:
        return int(
            database.execute("SELECT count(*) FROM asset_state_store WHERE key = 'prefect_cursor'").fetchone()[0]
        )


# After the test that cancels: Prefect 3.8.8's runner hears of no cancel any more once its server was away for so long.
def test_a_wait_outlives_a_minute_without_the_prefect_server(airflow: AirflowStack, server: PrefectServer) -> None:
    run = Run(airflow, "waiting", {"seconds": OUTAGE + 15})
    run.until_deferred()
    # Its process needs the server until the flow itself has begun, which is a while after the state RUNNING.
    criteria = {"logs": {"flow_run_id": {"any_": [run.xcoms()["flow_run_id"]]}}}
    run.until(
        lambda: any(
            line["message"].startswith("Beginning") for line in server.request("POST", "/logs/filter", criteria)
        ),
        "the flow has begun",
    )
    server.kill_server()
    down_until = time.monotonic() + OUTAGE
    while time.monotonic() < down_until:
        assert run.state() == "deferred"
        assert not web.answers(f"{server.api_url}/health")
        airflow.require_running()
        time.sleep(2)
    server.start()
    assert run.state() == "deferred"
    assert run.until_ended() == "success"
    assert run.xcoms()["state"] == "COMPLETED"
    assert "Prefect is not answering" in run.log()
    [flow_run] = server.request("POST", "/flow_runs/filter", {"flow_runs": {"tags": {"all_": [run.run_id]}}})
    assert flow_run["state_type"] == "COMPLETED"


def test_a_password_is_in_no_log_file_and_not_in_the_database(airflow: AirflowStack) -> None:
    waiting, refused = Run(airflow, "waiting", {"seconds": 5}), Run(airflow, "refused")
    waiting.until_deferred()
    waiting.until(lambda: bool(trigger_rows(airflow)), "there is a trigger")
    [row] = [row for row in trigger_rows(airflow) if waiting.xcoms()["flow_run_id"] in row]
    assert waiting.until_ended() == "success"
    assert refused.until_ended() == "failed"
    assert "401" in refused.log()

    secrets = [PASSWORD, WRONG_PASSWORD]
    secrets += [base64.b64encode(f"{USER}:{secret}".encode()).decode() for secret in secrets]
    logs = [file for file in airflow.home.rglob("*.log*") if file.is_file()]
    assert any(".log.trigger." in file.name for file in logs)
    assert any(file.name == "attempt=1.log" for file in logs)
    for file in logs:
        text = file.read_text(errors="replace")
        assert [secret for secret in secrets if secret in text] == [], file
    assert [secret for secret in secrets if secret in row] == []
    database = (airflow.home / "airflow.db").read_bytes()
    assert [secret for secret in secrets if secret.encode() in database] == []
