"""The Prefect server that everybody waits on, and its flow runs: made in bulk, ended in bulk, and made to run again."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.plans import Heat
from tools import web
from tools.postgres import Postgres, found
from tools.prefect_stack import FOR_TESTS, PrefectServer
from tools.processes import StackError

_CREATED_AT_ONCE = 100
_ENDED_AT_ONCE = 50
"""What prefect 3.8.8 accepts in one request."""

_IN_PARALLEL = 2
_PLACES = 90

# As they are when a worker has taken them. After a minute ours warns that they have not started, and asks why not; what
# that takes counts.
_PENDING = {"type": "PENDING", "name": "Pending"}

# Flow runs that have ended go back to the state that they were created in. The API would take as long as it takes to
# end them, and nothing that is measured sees how it was done.
_AGAIN = """
UPDATE flow_run SET state_id = before.id, state_type = before.type, state_name = before.name,
    state_timestamp = before.timestamp, end_time = NULL
FROM flow_run_state AS before
WHERE before.flow_run_id = flow_run.id AND before.type = 'PENDING' AND flow_run.state_type = 'COMPLETED'
"""


@dataclass(frozen=True)
class Used:
    """Processor seconds."""

    server: float
    database: float


class BenchServer:
    """A Prefect server, on PostgreSQL where there is one, else on SQLite. Used as a context manager."""

    def __init__(self, prefect: Path, home: Path) -> None:
        self._stack = ExitStack()
        self._prefect_environment = prefect
        self._home = home
        programs = found()
        self.postgres = Postgres(programs) if programs else None

    def __enter__(self) -> BenchServer:
        with self._stack as stack:
            # Nobody starts the flow runs here, so marking them as late would be work of this benchmark's making.
            settings = {"PREFECT_API_SERVICES_LATE_RUNS_ENABLED": "false"}
            if self.postgres:
                stack.enter_context(self.postgres)
                self.postgres.create("prefect")
                settings["PREFECT_API_DATABASE_CONNECTION_URL"] = self.postgres.url("asyncpg", "prefect")
            else:
                settings |= FOR_TESTS
            self.prefect = PrefectServer(self._prefect_environment, self._home, settings=settings)
            stack.callback(self.prefect.stop)
            self.prefect.start(300)
            flow = self.prefect.request("POST", "/flows/", {"name": "bench"})
            deployment = {"name": "nobody", "flow_id": flow["id"]}
            self.deployment_id = self.prefect.request("POST", "/deployments/", deployment)["id"]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def database(self) -> str:
        return self.postgres.version() if self.postgres else f"SQLite {sqlite3.sqlite_version}"

    def can_carry(self, heat: Heat) -> bool:
        """Whether it goes on answering: without PostgreSQL each websocket holds one of 100 places for requests."""
        return bool(self.postgres) or not heat.contender.sockets or heat.waiting < _PLACES

    def create(self, number: int) -> list[str]:
        """Flow runs that are pending, as far as the server knows."""
        made: list[str] = []
        path = f"/deployments/{self.deployment_id}/create_flow_run/bulk"
        while len(made) < number:
            part = min(_CREATED_AT_ONCE, number - len(made))
            answer = self.ask("POST", path, [{"state": _PENDING}] * part)
            made += [result["flow_run_id"] for result in answer["results"] if result["status"] == "CREATED"]
        return made

    def end(self, ids: Sequence[str]) -> dict[str, float]:
        """Complete flow runs, as fast as the server does it; returns the epoch second of each one's new state."""
        parts = [ids[start : start + _ENDED_AT_ONCE] for start in range(0, len(ids), _ENDED_AT_ONCE)]
        ended: dict[str, float] = {}
        with ThreadPoolExecutor(_IN_PARALLEL) as pool:
            for results in pool.map(self._end, parts):
                ended |= results
        return ended

    def _end(self, ids: Sequence[str]) -> dict[str, float]:
        ended: dict[str, float] = {}
        for _ in range(10):
            left = [one for one in ids if one not in ended]
            if not left:
                return ended
            state = {"type": "COMPLETED", "name": "Completed", "message": "By the benchmark."}
            body = {"flow_runs": {"id": {"any_": left}}, "state": state, "force": True, "limit": len(left)}
            for result in self.ask("POST", "/flow_runs/bulk_set_state", body)["results"]:
                if result["status"] == "ACCEPT":
                    ended[result["flow_run_id"]] = datetime.fromisoformat(result["state"]["timestamp"]).timestamp()
        raise StackError(f"{len(ids) - len(ended)} flow runs cannot be completed.")

    def run_again(self) -> None:
        """Put every flow run that has ended back into the state PENDING."""
        if self.postgres:
            self.postgres.query("prefect", _AGAIN)
            return
        with closing(sqlite3.connect(self._home / "prefect" / "prefect.db", timeout=60)) as database, database:
            database.execute(_AGAIN)

    def used(self) -> Used:
        """What the server and its database have used of the processors so far."""
        database = _used(self.postgres.pid) if self.postgres else 0.0
        return Used(_used(self.prefect.pid), database)

    def memory(self) -> int:
        """Bytes that the server holds."""
        return sum(process.memory_full_info().pss for process in _family(self.prefect.pid))

    def settle(self, seconds: float = 15) -> None:
        """Wait until the server has nothing to do: what it was asked before is not to be on the next one's bill."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            before = self.used().server
            time.sleep(1)
            if self.used().server - before < 0.1:
                return

    def ask(self, method: str, path: str, body: Any) -> Any:
        for pause in (0.2, 0.5, 1, 2, 4, None):
            try:
                return self.prefect.request(method, path, body)
            except (web.HttpError, OSError) as error:
                if pause is None or (isinstance(error, web.HttpError) and error.status not in (500, 503)):
                    raise
                time.sleep(pause)
        raise AssertionError


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _used(pid: int) -> float:
    """With children that have ended, which PostgreSQL has many of."""
    total = 0.0
    for process in _family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
