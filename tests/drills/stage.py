"""Where the drills play: a real Airflow and a real Prefect with a proxy in front of each, and a hand that ends runs."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from tests.drills.proxy import Passing, Proxy
from tests.drills.trigger_ids import never_again
from tools import reaper, web
from tools.airflow_stack import AirflowStack, installed_major
from tools.prefect_stack import FOR_TESTS, PrefectServer
from tools.processes import StackError, free_port, wait_until
from tools.together import alone_in

ROOT = Path(__file__).resolve().parents[2]
DAGS = Path(__file__).parent / "dags"
LIVE = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED")
FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")
NUMBERS = (0, 1, 2, 3, 5, 10, 15, 30)
"""Of task instances; 0 is one that is not mapped."""

SETTINGS = {
    "AIRFLOW__CORE__PARALLELISM": "12",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "32",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    # Airflow 2.11 has other names for some of them.
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__LOCAL_TASK_JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "20",
    "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "3",
}


def dags_settings(numbers: Sequence[int]) -> dict[str, str]:
    """What the Dags read: how many task instances there are of each."""
    return {"DRILLS_ROOT": str(ROOT), "DRILLS_NUMBERS": ",".join(map(str, numbers))}


_UNCHECKED = "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK"


@contextmanager
def fresh_home(folder: Path, what: str) -> Iterator[Path]:
    """An empty place in ``folder`` for the servers; a second run of ``what`` there is refused meanwhile."""
    folder.parent.mkdir(exist_ok=True)
    with alone_in(folder, what):
        home = folder / "state"
        shutil.rmtree(home, ignore_errors=True)
        yield home


@dataclass
class Task:
    """One task instance as the drill finds it."""

    map_index: int
    state: str | None
    try_number: int
    xcoms: dict[str, Any] = field(default_factory=dict)


class Play:
    """One Dag run of a drill."""

    def __init__(self, stage: Stage, dag_id: str) -> None:
        self.stage = stage
        self.dag_id = dag_id
        self.defers = dag_id.startswith("deferred")
        self.run_id = f"{dag_id}-{time.time_ns()}"
        self.begun = time.monotonic()
        number = int(dag_id.rpartition("_")[2])
        self.indexes = list(range(number)) or [-1]
        stage.airflow.api.trigger(dag_id, self.run_id)

    # From Airflow's side

    def tasks(self) -> list[Task]:
        """The task instances, by map index, with their XComs."""
        xcoms: dict[int, dict[str, Any]] = defaultdict(dict)
        of_run = f"WHERE dag_id = '{self.dag_id}' AND run_id = '{self.run_id}'"
        rows = self.stage.rows(f"SELECT map_index, state, try_number FROM task_instance {of_run} ORDER BY map_index")
        for map_index, key, value in self.stage.rows(f"SELECT map_index, key, value FROM xcom {of_run}"):
            xcoms[int(map_index)][key] = json.loads(value)
        tasks = [Task(int(row[0]), row[1] or None, int(row[2])) for row in rows]
        return [replace(task, xcoms=xcoms[task.map_index]) for task in tasks if task.map_index in self.indexes]

    def until(self, ready: Callable[[list[Task]], bool], what: str, timeout: float = 600) -> list[Task]:
        deadline = time.monotonic() + timeout
        while not ready(tasks := self.tasks()):
            if time.monotonic() > deadline:
                raise StackError(f"{self.run_id}: {what}: not within {timeout:.0f} s: {tasks}")
            time.sleep(0.5)
        return tasks

    def until_ended(self, timeout: float = 600) -> list[Task]:
        def ended(tasks: list[Task]) -> bool:
            return len(tasks) == len(self.indexes) and all(task.state in FINISHED for task in tasks)

        return self.until(ended, "all task instances have ended", timeout)

    def until_run_ended(self, timeout: float = 120) -> None:
        """Wait until Airflow has taken the end of the Dag run in, which comes after that of its tasks."""

        def state() -> str:
            of_run = f"WHERE dag_id = '{self.dag_id}' AND run_id = '{self.run_id}'"
            return str(self.stage.rows(f"SELECT state FROM dag_run {of_run}")[0][0])

        wait_until(lambda: state() in ("success", "failed"), f"{self.run_id} has ended", timeout, every=0.5)

    def until_waiting(self, timeout: float = 600) -> list[Task]:
        """Wait until every task instance waits for a flow run that it names."""

        def waiting(tasks: list[Task]) -> bool:
            state = "deferred" if self.defers else "running"
            return len(tasks) == len(self.indexes) and all(
                task.state == state and ("flow_run_id" in task.xcoms or self.dag_id.startswith("naive"))
                for task in tasks
            )

        return self.until(waiting, "all task instances wait", timeout)

    def until_watched(self, since: float, timeout: float = 300) -> None:
        """Wait until somebody has looked at each live flow run after ``since``."""
        wanted = {run["id"] for runs in self.flow_runs().values() for run in runs if run["state_type"] in LIVE}

        def watched() -> bool:
            looks = (moment.passing for moment in list(self.stage.prefect_proxy.passed) if moment.at >= since)
            return wanted <= {flow_run_id for look in looks for flow_run_id in _looked_at(look)}

        wait_until(watched, f"{self.run_id}: all flow runs are watched", timeout)

    def mark(self, map_index: int, state: str) -> None:
        self.stage.airflow.api.set_task_state(self.dag_id, self.run_id, "start", state, map_index)

    def clear(self) -> None:
        """Clear the task as a person does."""
        api = self.stage.airflow.api
        if self.stage.major < 3 and any(task.state == "running" for task in self.tasks()):
            # The REST API of Airflow 2.11.2 answers with 200 and does nothing about a task that is running.
            date = api.dag_run(self.dag_id, self.run_id)["logical_date"]
            command = ("tasks", "clear", "--yes", "--task-regex", "^start$", "-s", date, "-e", date, self.dag_id)
            self.stage.airflow.command(*command)
            return
        body = {
            "dag_run_id": self.run_id,
            "task_ids": ["start"],
            "dry_run": False,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        api.call("POST", f"/dags/{self.dag_id}/clearTaskInstances", body)

    def mark_dag_run(self, state: str) -> None:
        self.stage.airflow.api.call("PATCH", f"/dags/{self.dag_id}/dagRuns/{self.run_id}", {"state": state})

    def logs(self, map_index: int) -> str:
        """All log files of one task instance, its triggers' included."""
        folder = self.stage.airflow.home / "task-logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        folder /= "task_id=start"
        files = sorted((folder / f"map_index={map_index}" if map_index >= 0 else folder).glob("*"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')}" for file in files)

    # From Prefect's side

    def flow_runs(self) -> dict[int, list[dict[str, Any]]]:
        """The flow runs of each task instance, in the order in which they were created."""
        found = self.stage.runs({"tags": {"all_": [self.run_id]}})
        by_index: dict[int, list[dict[str, Any]]] = {index: [] for index in self.indexes}
        for run in sorted(found, key=lambda run: run["created"]):
            [index] = [tag.removeprefix("map-") for tag in run["tags"] if tag.startswith("map-")]
            by_index[int(index)].append(run)
        return by_index

    def until_created(self, timeout: float = 300) -> None:
        wait_until(lambda: all(self.flow_runs().values()), f"{self.run_id}: all have a flow run", timeout)

    def finish(self, after: float = 0) -> None:
        """Have every live flow run of this Dag run end well from now on, ``after`` so many seconds of life."""
        self.stage.hand.finish[self.run_id] = after


class Hand(threading.Thread):
    """Does what Prefect's workers would: it ends runs that are to end, and those that were asked to stop."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self.stage = stage
        self.finish: dict[str, float] = {}
        self.rest = threading.Event()
        self._seen: dict[str, float] = {}

    def run(self) -> None:
        while not self.rest.wait(0.5):
            try:
                for run in self.stage.runs({"state": {"type": {"any_": [*LIVE, "CANCELLING"]}}}):
                    self._look_at(run)
            except (web.HttpError, OSError):
                continue  # a busy server; or it is being started again

    def _look_at(self, run: dict[str, Any]) -> None:
        seen = self._seen.setdefault(run["id"], time.monotonic())
        if run["state_type"] == "CANCELLING":
            self.stage.put(run["id"], "CANCELLED")
            return
        after = next((self.finish[tag] for tag in run["tags"] if tag in self.finish), None)
        if after is not None and time.monotonic() >= seen + after:
            body = {"key": "drill", "type": "result", "data": run["id"], "flow_run_id": run["id"]}
            self.stage.ask("POST", "/artifacts/", body)
            self.stage.put(run["id"], "COMPLETED")


def _looked_at(passing: Passing) -> Sequence[str]:
    """The flow runs that a request looks at: a worker's at one, a trigger's at many."""
    if passing.method == "GET":
        return [passing.path.rpartition("/")[2]]
    if passing.path.endswith("/flow_runs/filter") and isinstance(passing.body, dict):
        ids: Sequence[str] = passing.body["flow_runs"].get("id", {}).get("any_", ())
        return ids
    return ()


class Stage:
    """The servers. Used as a context manager, which starts and ends them.

    ``prefect_proxy`` is between Airflow and Prefect, ``airflow_proxy`` between Airflow's workers and its API server.
    ``numbers`` are those of the Dags' task instances. ``database`` and ``prefect_made`` are what this Airflow and this
    Prefect have made elsewhere, and are copied.
    """

    numbers: Sequence[int] = NUMBERS

    def __init__(
        self,
        airflow: Path,
        prefect: Path,
        home: Path,
        seed: int,
        *,
        database: Path | None = None,
        prefect_made: Path | None = None,
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        home = home.absolute()
        self.major = installed_major(airflow)
        self.prefect = PrefectServer(prefect, home / "prefect", settings=FOR_TESTS, made=prefect_made)
        self.prefect_proxy = Proxy(self.prefect.ui_url, free_port())
        execution_port = free_port()
        self.airflow_proxy = Proxy(f"http://127.0.0.1:{execution_port}", free_port())
        self.airflow = self._make_airflow(airflow, home / "airflow", execution_port, database)
        self.hand = Hand(self)
        self.left_behind: set[int] = set()
        """Sessions of parts that were killed without what they had started."""
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        with self._stack as stack:
            stack.callback(self.prefect.stop)
            self.prefect.launch()
            stack.callback(lambda: reaper.end(self.left_behind, 0))
            stack.callback(self.airflow.stop)
            stack.enter_context(self.prefect_proxy)
            stack.enter_context(self.airflow_proxy)
            self._make_database()
            self.prefect.wait_until_ready(300)
            flow = self.ask("POST", "/flows/", {"name": "drill"})
            # Prefect 3.0 and 3.4 start no run of a deployment without a schema.
            schema = {"type": "object", "properties": {}}
            nobody = {"name": "nobody", "flow_id": flow["id"], "parameter_openapi_schema": schema}
            self.ask("POST", "/deployments/", nobody)
            self.airflow.launch()
            self.airflow.wait_until_ready(300)
            self.hand.start()
            stack.callback(self.hand.join, 10)
            stack.callback(self.hand.rest.set)
            self.airflow.wait_for_dag(f"naive_{self.numbers[-1]}", 300)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_airflow(self, environment: Path, home: Path, execution_port: int, database: Path | None) -> AirflowStack:
        connection = {"conn_type": "prefect", "host": f"{self.prefect_proxy.url}/api", "extra": {"timeout": 10}}
        return AirflowStack(
            environment,
            home,
            DAGS,
            execution_port=execution_port,
            database=database,
            connections={"prefect_default": json.dumps(connection)},
            settings={
                **SETTINGS,
                # Several processes write into one SQLite database here, and wait for each other.
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=30",
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_proxy.url}/execution/",
                # SQLite beside several workers is not for production, which this is not.
                **({} if self.major >= 3 else {"AIRFLOW__CORE__EXECUTOR": "LocalExecutor", _UNCHECKED: "1"}),
                **dags_settings(self.numbers),
            },
        )

    def _make_database(self) -> None:
        self.airflow.migrate()
        never_again(self.airflow.home / "airflow.db")

    def rows(self, sql: str) -> Sequence[Sequence[Any]]:
        """What Airflow's database answers."""
        with closing(sqlite3.connect(self.airflow.home / "airflow.db", timeout=60)) as database:
            return database.execute(sql).fetchall()

    def play(self, kind: str, number: int) -> Play:
        return Play(self, f"{kind}_{number}")

    # Prefect, past the proxy

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One call of Prefect's API; asked again while its SQLite database is busy."""
        for pause in (0.1, 0.3, 1, 2, 4, None):
            try:
                return self.prefect.request(method, path, body)
            except (web.HttpError, OSError) as error:
                if pause is None or (isinstance(error, web.HttpError) and error.status not in (500, 503)):
                    raise
                time.sleep(pause)
        raise AssertionError

    def runs(self, criteria: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self.ask("POST", "/flow_runs/filter", {"flow_runs": criteria, "offset": len(found)}):
            found += page
        return found

    def put(self, flow_run_id: str, kind: str) -> None:
        """Put a flow run into a state, as its own process would."""
        body = {"state": {"type": kind, "name": kind.capitalize(), "message": "By the drill."}, "force": True}
        self.ask("POST", f"/flow_runs/{flow_run_id}/set_state", body)

    # Requests and processes

    def has_created(self, passing: Passing) -> bool:
        """Whether Prefect has acted on a request to create: now and then it refuses one, since its database is busy."""
        return any(one.passing is passing and one.status == 201 for one in self.prefect_proxy.passed)

    def sender(self, passing: Passing) -> psutil.Process | None:
        """The process that has sent a request; of several that share the socket the one that has opened it."""
        pids = {
            connection.pid
            for connection in psutil.net_connections("tcp4")
            if connection.laddr.port == passing.port and connection.pid and connection.pid != psutil.Process().pid
        }
        found = []
        for pid in pids:
            try:
                found.append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                continue
        return min(found, key=lambda process: process.create_time(), default=None)
