"""A real Airflow with a real triggerer, and mapped tasks that wait deferred for many flow runs."""

from __future__ import annotations

import json
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.counting import CountingProxy
from benchmarks.server import BenchServer
from tools.airflow_stack import AirflowStack
from tools.processes import StackError, free_port

DAG = "bench_waiting"
ONE_BY_ONE = ("bench_ended_in_the_triggerer", "bench_ended_by_workers")
_DAGS = Path(__file__).parent / "dags"
_BLOCKED = "was blocked for"
_IDLE = 30.0
_BETWEEN_ENDS = 1.0

_SETTINGS = {
    "AIRFLOW__CORE__PARALLELISM": "8",
    # A worker is busy for so many seconds after its task has deferred (seen in 3.3.2). How soon many tasks defer is
    # not what is measured here.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    # How soon another triggerer takes over is not either.
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
}


class Deferred:
    """One Dag run of the Dag, and what Airflow's database says of it."""

    def __init__(self, airflow: AirflowStack, server: BenchServer, number: int, dag_id: str = DAG) -> None:
        self.airflow = airflow
        self.server = server
        self.number = number
        self.run_id = f"{dag_id}-{time.time_ns()}"
        airflow.api.trigger(dag_id, self.run_id)

    def states(self) -> dict[str, int]:
        """How many task instances there are in each state."""
        sql = f"SELECT state, count(*) FROM task_instance WHERE run_id = '{self.run_id}' GROUP BY state"  # noqa: S608
        return {str(state): int(number) for state, number in self._rows(sql)}

    def ends(self) -> list[float]:
        """The epoch seconds at which the task instances have ended, the first one first."""
        epoch = "extract(epoch from end_date)" if self.server.postgres else "unixepoch(end_date, 'subsec')"
        sql = f"SELECT {epoch} FROM task_instance WHERE run_id = '{self.run_id}'"  # noqa: S608
        return sorted(float(end) for [end] in self._rows(sql))

    def until(self, state: str, timeout: float) -> float:
        """Wait until all task instances are in a state; returns the epoch second."""
        deadline = time.monotonic() + timeout
        while (states := self.states()).get(state) != self.number:
            self.airflow.require_running()
            if time.monotonic() > deadline:
                raise StackError(f"{self.number} are not {state} within {timeout:.0f} s: {states}")
            time.sleep(0.5)
        return time.time()

    def until_none_waits(self, timeout: float) -> float:
        """Wait until no task instance is deferred any more; returns the epoch second."""
        deadline = time.monotonic() + timeout
        while self.states().get("deferred"):
            if time.monotonic() > deadline:
                raise StackError(f"Some are still deferred after {timeout:.0f} s: {self.states()}")
            time.sleep(0.2)
        return time.time()

    def flow_run_ids(self) -> list[str]:
        found: list[str] = []
        criteria = {"tags": {"all_": [self.run_id]}}
        body = {"flow_runs": criteria, "sort": "NAME_ASC"}
        while page := self.server.prefect.request("POST", "/flow_runs/filter", {**body, "offset": len(found)}):
            found += [run["id"] for run in page]
        return found

    def _rows(self, sql: str) -> list[list[Any]]:
        if self.server.postgres:
            answer = self.server.postgres.query("airflow", sql)
            return [line.split("\t") for line in answer.splitlines()]
        with closing(sqlite3.connect(self.airflow.home / "airflow.db", timeout=60)) as database:
            return [list(row) for row in database.execute(sql)]


def measure(server: BenchServer, environment: Path, home: Path, number: int, ends: int) -> dict[str, Any]:
    """The figures of one Dag run with so many task instances, and of ends that come one by one."""
    patience = 300 + 4.0 * number
    with ExitStack() as stack:
        proxy = stack.enter_context(CountingProxy(server.prefect.port))
        airflow = stack.enter_context(_airflow(server, environment, home, proxy.api_url, number, ends))
        for dag_id in (DAG, *ONE_BY_ONE):
            airflow.wait_for_dag(dag_id)
        triggerer = airflow.parts["triggerer"]
        alone = _memory(triggerer.pid)
        stack.enter_context(_starting(server))
        proxy.note_looks(batches_only=True)
        begun = time.time()
        run = Deferred(airflow, server, number)
        deferred = run.until("deferred", patience)
        ids = run.flow_run_ids()
        _, all_wait = proxy.wait_for_looks(ids, 120)
        found: dict[str, Any] = {
            "tasks": number,
            "all_deferred_seconds": deferred - begun,
            "all_wait_seconds": max(deferred, all_wait) - begun,
            "triggerer_memory_alone": alone,
            "triggerer_memory": _memory(triggerer.pid),
        }
        found |= _again(airflow, proxy, ids)
        found["idle"] = _idle(proxy, triggerer.pid)
        ended = max(server.end(ids).values())
        found["none_waits_after"] = run.until_none_waits(patience) - ended
        run.until("success", patience)
        found["last_success_after"] = run.ends()[-1] - ended
        found["blocked_warnings"] = triggerer.log.read_text(errors="replace").count(_BLOCKED)
        found["one_by_one"] = [_one_by_one(airflow, server, proxy, dag_id, ends) for dag_id in ONE_BY_ONE]
    return found


def _airflow(server: BenchServer, environment: Path, home: Path, api_url: str, number: int, ends: int) -> AirflowStack:
    # SQLite waits for whoever else writes, here instead of failing.
    database = f"sqlite:///{home.absolute() / 'airflow.db'}?timeout=60"
    if server.postgres:
        server.postgres.create("airflow")
        database = server.postgres.url("psycopg2", "airflow")
    return AirflowStack(
        environment,
        home,
        _DAGS,
        execution_port=free_port(),
        connections={"bench": json.dumps({"conn_type": "prefect", "host": api_url})},
        settings={
            **_SETTINGS,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "BENCH_TASKS": str(number),
            "BENCH_ENDS": str(ends),
        },
    )


def _again(airflow: AirflowStack, proxy: CountingProxy, ids: list[str]) -> dict[str, Any]:
    """A triggerer that finds all of them waiting: how long it takes to start so many triggers at once."""
    triggerer = airflow.parts["triggerer"]
    triggerer.stop()
    proxy.note_looks(batches_only=True)
    begun = time.time()
    triggerer.start()
    first, last = proxy.wait_for_looks(ids, 180)
    time.sleep(3)
    return {"again_seconds": last - begun, "again_spread": last - first, "again_memory": _memory(triggerer.pid)}


def _one_by_one(
    airflow: AirflowStack, server: BenchServer, proxy: CountingProxy, dag_id: str, number: int
) -> dict[str, Any]:
    """How long tasks take to end whose flow runs end one after the other, and what that costs all of Airflow."""
    proxy.note_looks(batches_only=True)
    run = Deferred(airflow, server, number, dag_id)
    run.until("deferred", 300)
    ids = run.flow_run_ids()
    proxy.wait_for_looks(ids, 120)
    time.sleep(5)  # what has deferred the last of them is over
    used = _used_by_all(airflow)
    completed: list[float] = []
    for flow_run_id in ids:
        completed += server.end([flow_run_id]).values()
        time.sleep(_BETWEEN_ENDS)
    run.until("success", 300)
    time.sleep(5)
    delays = [end - one for end, one in zip(run.ends(), sorted(completed), strict=True)]
    return {
        "dag": dag_id,
        "ends": number,
        "between": _BETWEEN_ENDS,
        "median": statistics.median(delays),
        "most": max(delays),
        "cpu": _used_by_all(airflow) - used,
    }


def _idle(proxy: CountingProxy, pid: int) -> dict[str, Any]:
    counted, used = proxy.counted, _used(pid)
    time.sleep(_IDLE)
    per_minute = 60 / _IDLE
    passed = proxy.counted.since(counted)
    return {
        "seconds": _IDLE,
        "requests": passed.requests * per_minute,
        "bytes": (passed.asked + passed.answered) * per_minute,
        "triggerer_cpu": (_used(pid) - used) * per_minute,
    }


@contextmanager
def _starting(server: BenchServer) -> Iterator[None]:
    """Does what Prefect's workers would: what is scheduled starts soon."""
    over = threading.Event()
    body = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "state": {"type": "RUNNING", "name": "Running"}}

    def start() -> None:
        while not over.wait(1):
            server.ask("POST", "/flow_runs/bulk_set_state", {**body, "force": True, "limit": 50})

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _memory(pid: int) -> int:
    return sum(process.memory_full_info().pss for process in _family(pid))


def _used(pid: int) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _family(pid))


def _used_by_all(airflow: AirflowStack) -> float:
    """The processor seconds of all of Airflow, those of processes that have ended included."""
    return sum(sum(process.cpu_times()[:4]) for child in airflow.parts.values() for process in _family(child.pid))
