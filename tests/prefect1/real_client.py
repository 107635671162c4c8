"""Run the real tasks of Prefect 1.4.1 against the double, and see what came of it.

    outcome = run_real("create_flow_run", server, flow_name="etl", project_name="main")
    outcome.value, outcome.error, outcome.text, outcome.logs, outcome.slept, outcome.calls

All scenarios share one process, as Prefect 1.4.1 takes seconds to import. No time passes when it sleeps.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.prefect1.calls import Call, Request
from tests.prefect1.server import Prefect1Server

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("client_1_4_1.py")
PATIENCE = 60.0
"""For how long, in seconds, a scenario may run."""


@dataclass(frozen=True)
class Special:
    """An argument that JSON has no word for; ``run_config``, ``duration``, ``task`` and ``not_json`` make one."""

    name: str
    value: Any = None


def run_config(kind: str = "LocalRun", **fields: Any) -> Special:
    """A run config, for example ``run_config("KubernetesRun", image="busybox")``."""
    return Special("run_config", {"type": kind, "fields": fields})


def duration(seconds: float) -> Special:
    """A ``pendulum.Duration``."""
    return Special("duration", seconds)


def task(name: str) -> Special:
    """A ``prefect.Task``."""
    return Special("task", name)


def not_json() -> Special:
    """An object that cannot be written as JSON."""
    return Special("object")


@dataclass(frozen=True)
class Outcome:
    """What a scenario returned or raised, and all that could be seen of it."""

    value: Any
    error: str | None
    """The name of the class of what was raised; ``kinds`` are those of its base classes too."""
    text: str | None
    kinds: tuple[str, ...]
    state: str | None
    """The class of the state, if what was raised is a signal."""
    logs: tuple[tuple[str, str], ...]
    """Level and text of what the task logged."""
    slept: tuple[float, ...]
    """How long it would have slept, each time."""
    requests: tuple[Request, ...]
    """What the server was asked meanwhile."""
    retried: tuple[str, ...] = ()
    """Why requests were sent again, in the words of urllib3."""
    traceback: str | None = field(default=None, repr=False)

    @property
    def calls(self) -> tuple[Call, ...]:
        """What was asked for, in a form that can be compared."""
        return tuple(call for request in self.requests for call in request.calls)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what was asked for, in order."""
        return tuple(call.name for call in self.calls)

    @property
    def messages(self) -> tuple[str, ...]:
        """The texts of what the task logged."""
        return tuple(message for _, message in self.logs)


def environment() -> Path:
    """Where Prefect 1.4.1 is installed."""
    return Path(os.environ.get("PREFECT1_ENVIRONMENT", ROOT / ".envs" / "prefect-1.4.1"))


class RealClient:
    """A process that runs the real tasks one after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        python = environment() / "bin" / "python"
        if not python.exists():
            raise FileNotFoundError(
                f"There is no Prefect 1.4.1 in {environment()}: make it, or set PREFECT1_ENVIRONMENT."
            )
        self._home = Path(tempfile.mkdtemp(prefix="prefect-1-"))
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYTHON"))}
        self._log = (self._home / "client.log").open("w+")
        self._process = subprocess.Popen(
            [str(python), str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=self._home,
            env=own
            | {
                "HOME": str(self._home),
                "NO_PROXY": "127.0.0.1,localhost",
                "no_proxy": "127.0.0.1,localhost",
                "PREFECT__HOME_DIR": str(self._home),
                "PREFECT__USER_CONFIG_PATH": str(self._home / "config.toml"),
            },
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(
        self,
        scenario: str,
        server: Prefect1Server,
        *,
        prefect_context: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        patience: int = 200,
        arguments: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Run one scenario; see ``run_real``."""
        defaults = {
            "backend": "cloud" if server.cloud else "server",
            "server.endpoint": server.url,
            "cloud.endpoint": server.url,
            "cloud.api": server.url,
            # A thread sends them seconds later, when the next scenario is under way, except where a run ends it.
            "cloud.send_flow_run_logs": scenario == "execute",
        }
        order = {
            "scenario": scenario,
            "arguments": _written(arguments or {}),
            "context": _written(prefect_context or {}),
            "settings": {**defaults, **(settings or {})},
            "patience": patience,
        }
        with self._lock:
            before = len(server.requests)
            answer = json.loads(self._exchange(json.dumps(order)))
            requests = tuple(server.requests[before:])
        return Outcome(
            answer["value"],
            answer["error"],
            answer["text"],
            tuple(answer["kinds"]),
            answer["state"],
            tuple((level, message) for level, message in answer["logs"]),
            tuple(answer["slept"]),
            requests,
            tuple(answer["retried"]),
            answer.get("traceback"),
        )

    def _exchange(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            answer = self._process.stdout.readline() if selector.select(PATIENCE) else ""
        if not answer:
            self._process.kill()
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"The real client did not answer:\n{self._log.read()[-4000:]}")
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()
        shutil.rmtree(self._home, ignore_errors=True)


def _written(value: Any) -> Any:
    if isinstance(value, Special):
        return {f"${value.name}": _written(value.value)}
    if isinstance(value, Mapping):
        return {key: _written(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return {"$tuple": [_written(each) for each in value]}
    if isinstance(value, set | frozenset):
        return {"$set": [_written(each) for each in value]}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_written(each) for each in value]
    if isinstance(value, timedelta):
        return {"$timedelta": value.total_seconds()}
    if isinstance(value, datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, uuid.UUID):
        return {"$uuid": str(value)}
    return value


_shared: list[RealClient] = []


def run_real(
    scenario: str,
    server: Prefect1Server,
    *,
    prefect_context: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    patience: int = 200,
    **arguments: Any,
) -> Outcome:
    """Run a real task against the double.

    ``scenario`` is the name of the task: create_flow_run, wait_for_flow_run, get_task_run_result, StartFlowRun,
    RenameFlowRun, CancelFlowRun (for these three, ``init`` holds the constructor's arguments and the rest is for
    ``run``), or Client with a ``method``. ``prefect_context`` is put into ``prefect.context``, ``settings`` into the
    configuration as dotted names ("cloud.api_key"). ``patience`` is how often the task may sleep.
    Dates, deltas, sets, tuples and UUIDs arrive as what they are; see ``run_config`` and the others for more.
    """
    if not (_shared and _shared[0].alive):
        for ended in _shared:
            ended.close()
        _shared[:] = [RealClient()]
        atexit.register(_shared[0].close)
    return _shared[0].run(
        scenario, server, prefect_context=prefect_context, settings=settings, patience=patience, arguments=arguments
    )
