"""A real Airflow on this machine: scheduler, Dag processor, API server and triggerer on SQLite."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tools.airflow_api import AirflowApi
from tools.processes import LOOPBACK, Child, StackError, clean_environment, free_port, stop_all, wait_until

# Airflow 2.11 asks for a login unless the public role may do everything.
WEBSERVER_CONFIG = 'AUTH_ROLE_PUBLIC = "Admin"\nWTF_CSRF_ENABLED = True\n'


class AirflowStack:
    """All parts of one Airflow, each a process of its own, everything it writes below ``home``.

    ``environment`` is a virtual environment with Airflow and the provider in it. ``connections`` are given
    by id as JSON text or URI and reach every part as ``AIRFLOW_CONN_…``; ``settings`` are more
    ``AIRFLOW__…`` variables, and win over the ones here. Whoever asks is an admin: it listens on the
    loopback interface only.

    ``execution_port`` has a server of its own answer the workers of Airflow 3. On SQLite one server for both stands
    still for half a minute now and then: it writes its audit log in its event loop, and waits there for a
    transaction that only the event loop would end (seen in 3.3.2).

    ``copies`` says of which parts there is more than one, and ``celery_workers`` how many there are of them.

    ``database`` is one that this Airflow has made elsewhere: the stack begins with a copy of it, which takes no time.
    """

    def __init__(
        self,
        environment: Path,
        home: Path,
        dags_folder: Path,
        *,
        connections: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        execution_port: int | None = None,
        database: Path | None = None,
        copies: Mapping[str, int] | None = None,
        celery_workers: int = 0,
    ) -> None:
        self.environment = environment.absolute()
        self.home = home.absolute()
        self.dags_folder = dags_folder.absolute()
        self.port = port or free_port()
        self.execution_port = execution_port
        self.database = database
        self.major = installed_major(self.environment)
        self.home.mkdir(parents=True, exist_ok=True)
        self.variables = self._variables(connections or {}, settings or {})
        self.api = AirflowApi(self.url, self.major)
        commands = self._commands()
        for part, number in (copies or {}).items():
            commands |= {f"{part}-{copy}": commands[part] for copy in range(2, number + 1)}
        commands |= {f"worker-{number}": self._celery_worker(number) for number in range(1, celery_workers + 1)}
        self.parts = {part: self._child(part, arguments) for part, arguments in commands.items()}

    @property
    def url(self) -> str:
        """Where the UI and the REST API are."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def execution_url(self) -> str:
        """Where the workers of Airflow 3 ask."""
        return f"http://{LOOPBACK}:{self.execution_port or self.port}"

    @property
    def logs(self) -> list[Path]:
        """The log files of the parts."""
        return [child.log for child in self.parts.values()]

    def _commands(self) -> dict[str, list[str]]:
        # Task logs are read from the disk, so no part needs to serve them on a port of its own.
        scheduler = ["scheduler", "--skip-serve-logs"]
        triggerer = ["triggerer", "--skip-serve-logs"]
        if self.major >= 3:
            server = ["api-server", "--host", LOOPBACK, "--workers", "1"]
            whole = {"api-server": [*server, "--port", str(self.port)]}
            if self.execution_port:
                whole["api-server"] += ["--apps", "core"]
                whole["execution-api"] = [*server, "--port", str(self.execution_port), "--apps", "execution"]
            return {**whole, "scheduler": scheduler, "dag-processor": ["dag-processor"], "triggerer": triggerer}
        server = ["webserver", "--hostname", LOOPBACK, "--port", str(self.port), "--workers", "1"]
        return {"webserver": server, "scheduler": scheduler, "triggerer": triggerer}

    def _celery_worker(self, number: int) -> list[str]:
        name = f"worker-{number}"
        named = ["--celery-hostname", f"{name}@%h", "--pid", str(self.home / f"{name}.pid")]
        return ["celery", "worker", *named, "--concurrency", "8", "--skip-serve-logs"]

    def _child(self, name: str, arguments: list[str]) -> Child:
        command = [self.environment / "bin" / "airflow", *arguments]
        log = self.home / "logs" / f"{name}.log"
        return Child(f"Airflow's {name}", command, env=self.variables, log=log, cwd=self.home)

    def _variables(self, connections: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
        secret = self._secret()
        return {
            **clean_environment(self.environment, self.home),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor" if self.major >= 3 else "SequentialExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.execution_url}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "task-logs"),
            # Without it each part that finds no airflow.cfg makes a key of its own, and one that finds the file still
            # empty has none: it cannot read what another part has stored for a trigger, and ends (seen in 3.3.2).
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode(),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secret,
            "AIRFLOW__API_AUTH__JWT_SECRET": secret,
            # A worker that gets no answer in 5 s fails its task, which happens where other tests run beside it.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **({} if self.major >= 3 else self._variables_of_airflow_2(secret)),
            **{f"AIRFLOW_CONN_{conn_id.upper()}": value for conn_id, value in connections.items()},
            **settings,
        }

    def _variables_of_airflow_2(self, secret: str) -> dict[str, str]:
        config = self.home / "webserver_config.py"
        config.write_text(WEBSERVER_CONFIG)
        return {
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.default",
            "AIRFLOW__WEBSERVER__BASE_URL": self.url,
            "AIRFLOW__WEBSERVER__CONFIG_FILE": str(config),
            "AIRFLOW__WEBSERVER__SECRET_KEY": secret,
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "10",
        }

    def _secret(self) -> str:
        """A secret that all parts share, and that stays the same when the stack is started again."""
        file = self.home / "secret"
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as handle:
                handle.write(secrets.token_hex(64))
        return file.read_text()

    def command(self, *arguments: str, timeout: float = 180) -> str:
        """Run ``airflow …`` beside the parts and return what it prints."""
        done = subprocess.run(
            [self.environment / "bin" / "airflow", *arguments],
            env=self.variables,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise StackError(f"airflow {' '.join(arguments[:2])} failed (exit code {done.returncode}):\n{tail}")
        return done.stdout

    def migrate(self) -> None:
        """Make the database, or bring it up to date."""
        own = self.home / "airflow.db"
        if self.database is not None and not own.exists():
            shutil.copyfile(self.database, own)
            return
        self.command("db", "migrate")

    def start(self, timeout: float = 180) -> None:
        """Migrate the database, start all parts and wait until they report to be healthy."""
        self.migrate()
        self.launch()
        self.wait_until_ready(timeout)

    def launch(self) -> None:
        """Start all parts."""
        for child in self.parts.values():
            child.start()

    def wait_until_ready(self, timeout: float = 180) -> None:
        """Wait until all parts report to be healthy."""
        wait_until(self.api.healthy, "All parts of Airflow are healthy", timeout, self.parts.values(), every=0.5)

    def wait_for_dag(self, dag_id: str, timeout: float = 120) -> None:
        """Wait until a Dag was read and can be run."""
        what = f"Airflow has read the Dag {dag_id}"
        wait_until(lambda: self.api.dag_known(dag_id), what, timeout, self.parts.values(), every=0.5)

    def require_running(self) -> None:
        """Raise what its log ends with if a part has ended."""
        for child in self.parts.values():
            child.require_running()

    def stop(self) -> None:
        """Stop all parts."""
        stop_all(self.parts.values())

    def __enter__(self) -> AirflowStack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def installed_major(environment: Path) -> int:
    """The major version of the Airflow in a virtual environment."""
    for found in environment.glob("lib/python3.*/site-packages/apache_airflow-*.dist-info"):
        return int(found.name.removeprefix("apache_airflow-").split(".")[0])
    raise StackError(f"There is no Airflow in {environment}.")
