"""Run servers as child processes: started together, waited for, and always ended.

Each child is the leader of a session of its own, so Ctrl-C in a terminal reaches only the parent, and
everything the child started can be found again and ended with it. If the parent itself is killed, the
``reaper`` ends them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from tools import reaper

LOOPBACK = "127.0.0.1"
OWN_SETTINGS = ("AIRFLOW", "PREFECT", "XDG_", "PYTHON", "VIRTUAL_ENV", "CONDA_")


class StackError(Exception):
    """Something did not start, or ended too early; the message holds the end of its log."""


def free_port() -> int:
    """A port of the loopback interface that nothing listens on just now.

    It is none of those that Linux gives to outgoing connections: one of these could take the port of a server that
    is away for a while, even one that was to reach that server.
    """
    while True:
        port = 20000 + secrets.randbelow(12000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port


def clean_environment(environment: Path, home: Path) -> dict[str, str]:
    """The variables of a child that runs from a virtual environment and writes only into ``home``.

    The settings of the person who calls are left out: neither their Airflow and Prefect settings nor their
    Python's belong here. Bytecode is written, because it halves the time a server takes to start.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return own | {
        "PATH": f"{environment / 'bin'}{os.pathsep}{own.get('PATH', os.defpath)}",
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": f"{LOOPBACK},localhost",
        "no_proxy": f"{LOOPBACK},localhost",
    }


class Child:
    """One child process and its log file."""

    def __init__(self, name: str, command: Sequence[object], *, env: Mapping[str, str], log: Path, cwd: Path) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.env = dict(env)
        self.log = log
        self.cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output is added to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            try:
                self._process = subprocess.Popen(
                    self.command,
                    cwd=self.cwd,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"Cannot start {self.name}: {error}") from error
        reaper.watch(self._process.pid)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group and session."""
        if self._process is None:
            raise StackError(f"{self.name} was not started.")
        return self._process.pid

    @property
    def started(self) -> bool:
        """Whether it was started and not yet stopped; it may have ended by itself."""
        return self._process is not None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of its log, for an error message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(f"   | {line}" for line in text.splitlines()[-lines:])

    def require_running(self) -> None:
        """Raise what its log ends with if it has ended."""
        if not self.running:
            code = self._process.returncode if self._process else None
            raise StackError(f"{self.name} ended (exit code {code}); the end of {self.log}:\n{self.log_tail()}")

    def signal(self, number: int) -> None:
        """Send a signal to it and to everything it started: to pause it and go on, or to kill it."""
        for pid in reaper.members({self.pid}):
            reaper.send(pid, number)

    def stop(self, patience: float = 15) -> None:
        """End it and everything it started: asked first, killed when that takes longer than ``patience``."""
        stop_all([self], patience)

    def poll(self) -> None:
        """Take the exit code if it has ended."""
        if self._process is not None:
            self._process.poll()

    def forget(self) -> None:
        """It has been ended; the same object can be started again."""
        if self._process is not None:
            self._process.wait()
            reaper.forget(self._process.pid)
            self._process = None


def stop_all(children: Iterable[Child], patience: float = 15) -> None:
    """End several children at the same moment, each with everything it started."""
    started = [child for child in children if child.started]

    def collect() -> None:
        for child in started:
            child.poll()

    reaper.end({child.pid for child in started}, patience, collect)
    for child in started:
        child.forget()


def wait_until(
    ready: Callable[[], bool], what: str, timeout: float, children: Iterable[Child] = (), every: float = 0.2
) -> None:
    """Wait for ``ready()``; give up with the logs' ends when a child ends or the time is over."""
    children = list(children)
    deadline = time.monotonic() + timeout
    while not ready():
        for child in children:
            child.require_running()
        if time.monotonic() > deadline:
            tails = "".join(f"\n{child.log}:\n{child.log_tail()}" for child in children)
            raise StackError(f"{what}: not within {timeout:.0f} seconds.{tails}")
        time.sleep(every)


def stop_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this program the way Ctrl-C does: through its ``with`` blocks."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    # A shell starts background jobs with Ctrl-C ignored; this program can be stopped in any case.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def say(line: str = "") -> None:
    """A line for the person who watches, at once."""
    print(line, file=sys.stdout, flush=True)
