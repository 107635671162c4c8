"""A real Prefect server, and flows that it really runs, on this machine's loopback interface."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from tools import web
from tools.processes import LOOPBACK, Child, clean_environment, free_port, stop_all, wait_until

_PATIENCE = 70
"""Seconds to wait for an answer: longer than Prefect waits for its SQLite database, which is a minute."""

# On SQLite the services that write to the database by themselves lock out the requests, and each other: with many
# flow runs that nobody starts, a server was seen to mark runs as late, and to fail at it, for minutes.
_WRITING = ("LATE_RUNS", "TRIGGERS", "FOREMAN", "PAUSE_EXPIRATIONS", "FLOW_RUN_NOTIFICATIONS")
_CLEANUP = "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP"
FOR_TESTS = {
    **{f"PREFECT_API_SERVICES_{service}_ENABLED": "false" for service in _WRITING},
    # Prefect 3.8.8 forgets a flow run that is cancelled while its process starts; the server gives up on it later.
    f"{_CLEANUP}_CANCELLING_TIMEOUT_SECONDS": "60",
    f"{_CLEANUP}_LOOP_SECONDS": "5",
}
"""Settings for the server of a test, with many flow runs and little time."""


class PrefectServer:
    """One Prefect server on SQLite, with the programs that serve its flows.

    ``environment`` is a virtual environment with Prefect in it, ``home`` the folder that everything is kept
    in. The server keeps its port and its database from one ``start`` to the next, so it can be stopped and
    started again while others hold on to its address. ``settings`` are more of Prefect's own, for example
    ``PREFECT_SERVER_API_AUTH_STRING`` or ``PREFECT_SERVER_CSRF_PROTECTION_ENABLED``. ``made`` is the ``kept`` of
    another server of this version, which has ended: the server begins with a copy, and so starts much sooner.
    """

    def __init__(
        self,
        environment: Path,
        home: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        made: Path | None = None,
    ) -> None:
        self.environment = environment.absolute()
        self.home = home.absolute()
        self.port = port or free_port()
        self.settings = dict(settings or {})
        self.results = self.home / "results"
        self.results.mkdir(parents=True, exist_ok=True)
        self.kept = self.home / "prefect"
        self._made = made
        self._served: list[Child] = []
        command = [self.environment / "bin" / "prefect", "server", "start"]
        self._server = Child(
            "the Prefect server",
            [*command, "--host", LOOPBACK, "--port", str(self.port)],
            env=self._variables(),
            log=self.home / "logs" / "server.log",
            cwd=self.home,
        )

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"http://{LOOPBACK}:{self.port}/api"

    @property
    def ui_url(self) -> str:
        """Where a person looks."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._server.pid

    @property
    def logs(self) -> list[Path]:
        """The log files of the server and of what it serves."""
        return [child.log for child in (self._server, *self._served)]

    def _variables(self) -> dict[str, str]:
        return {
            **clean_environment(self.environment, self.home),
            "DO_NOT_TRACK": "1",
            "PREFECT_HOME": str(self.kept),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_UI_URL": self.ui_url,
            "PREFECT_SERVER_UI_API_URL": self.api_url,
            "PREFECT_CLI_COLORS": "false",
            **self.settings,
        }

    def start(self, timeout: float = 120) -> None:
        """Start the server and wait until it answers."""
        self.launch()
        self.wait_until_ready(timeout)

    def launch(self) -> None:
        """Start the server."""
        if self._made is not None and not self.kept.exists():
            shutil.copytree(self._made, self.kept)
        self._server.start()

    def wait_until_ready(self, timeout: float = 120) -> None:
        """Wait until the server answers."""
        health = f"{self.api_url}/health"
        wait_until(lambda: web.answers(health), "Prefect's API answers", timeout, [self._server])

    def stop_server(self, patience: float = 15) -> None:
        """Stop the server alone; what serves the flows keeps running and waits for it."""
        self._server.stop(patience)

    def kill_server(self) -> None:
        """End the server without a warning, as a crash does."""
        self._server.stop(patience=0)

    def restart(self) -> None:
        """Stop the server and start it again on the same port and database."""
        self.stop_server()
        self.start()

    def require_running(self) -> None:
        """Raise what its log ends with if the server, or what serves a flow, has ended."""
        for child in (self._server, *self._served):
            child.require_running()

    def stop(self) -> None:
        """Stop everything that serves the flows, which tells the server so, and then the server."""
        stop_all(self._served, patience=5)
        stop_all([self._server])
        self._served.clear()

    def serve(self, script: Path, deployment: str, timeout: float = 120) -> Child:
        """Run a script that serves a flow, and wait until ``deployment`` ("flow/deployment") takes runs.

        Results that its flows persist are written to ``self.results``, where others on this machine can
        read them.
        """
        started = datetime.now(UTC)
        child = Child(
            f"the program that serves {deployment}",
            [self.environment / "bin" / "python", script.absolute()],
            env=self.client_variables(),
            log=self.home / "logs" / f"serve-{script.stem}.log",
            cwd=script.absolute().parent,
        )
        self._served.append(child)
        child.start()
        what = f"{deployment} is served"
        wait_until(lambda: self._polled_since(deployment, started), what, timeout, [child, self._server])
        return child

    def stop_serving(self, *served: Child) -> None:
        """Stop some of what serves the flows: each asks the server for work every second."""
        stop_all(served, patience=5)
        self._served = [child for child in self._served if child not in served]

    def client_variables(self) -> dict[str, str]:
        """The variables of a program that uses this server: its address, and where results go."""
        auth = self.settings.get("PREFECT_SERVER_API_AUTH_STRING")
        return {
            **self._variables(),
            **({"PREFECT_API_AUTH_STRING": auth} if auth else {}),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_LOCAL_STORAGE_PATH": str(self.results),
            "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(self.results),
        }

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the API, for a test that looks from Prefect's side."""
        headers = {}
        if auth := self.settings.get("PREFECT_SERVER_API_AUTH_STRING"):
            headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        for pause in (0.2, 0.5, 1, 2):
            try:
                return web.request(method, f"{self.api_url}{path}", body, headers, _PATIENCE)
            except web.HttpError as error:
                if error.status != 503:  # what becomes of SQLite's "database is locked"
                    raise
            time.sleep(pause)
        return web.request(method, f"{self.api_url}{path}", body, headers, _PATIENCE)

    def _polled_since(self, deployment: str, moment: datetime) -> bool:
        flow, _, name = deployment.partition("/")
        try:
            found = self.request("GET", f"/deployments/name/{quote(flow, safe='')}/{quote(name, safe='')}")
        except (web.HttpError, OSError):
            return False
        polled = found.get("last_polled")
        return polled is not None and datetime.fromisoformat(polled) >= moment

    def __enter__(self) -> PrefectServer:
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
