"""Run several targets of make, some at once and in this order: ``python -m tools.side_by_side make a b c``.

Tests against real servers wait most of the time, so several runs of pytest together are ready much sooner than one
after the other. Every line of output begins with the name of its target; then come the slowest tests of all targets
together, and a table of how each has ended. Whatever ends this program ends everything that it has started.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tools import descendants, reaper
from tools.processes import say, stop_on_signals

PATIENCE = 10.0
"""Seconds that what runs has for its end when it is asked to stop; pytest stops its servers in them."""

SLOWEST = 15
"""How many of the slowest tests are shown."""

_saying = threading.Lock()
_KINDS = ("passed", "failed", "skipped")
_COUNTED = re.compile(r"(\d+) (passed|failed|error|skipped)")
_OF_MAKE = re.compile(r"\w*make(\[\d+\])?: ")
_BAD = re.compile(r"(FAILED|ERROR) ")
_TOOK = re.compile(r"(\d+\.\d+)s (setup|call|teardown) +(\S.*)")
_SHOWN = 20


class Target:
    """One target of make; ``last_line`` is what it has said last, and not make; ``bad`` the tests that have failed.

    ``took`` holds how long its slowest tests took, in seconds, and which; the whole target took ``seconds``, and
    ``processor_seconds`` of a processor.
    """

    def __init__(self, make: str, name: str, width: int) -> None:
        self.name = name
        self.label = name.ljust(width)
        self.last_line = "not started"
        self.failed = True
        self.bad: list[str] = []
        self.took: list[tuple[float, str]] = []
        self.seconds = self.processor_seconds = 0.0
        self._command = [make, "--no-print-directory", name]

    def run(self, stopped: threading.Event) -> None:
        """Run it and show what it says."""
        if stopped.is_set():
            return
        began = time.monotonic()
        # In a session of its own Ctrl-C in a terminal does not reach it: it is asked to stop, once.
        with subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process:
            reaper.watch(process.pid)
            assert process.stdout is not None
            for line in process.stdout:
                self._take(line.rstrip())
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        reaper.forget(process.pid)
        self.failed = process.returncode != 0
        self.seconds = time.monotonic() - began
        self.processor_seconds = used.ru_utime + used.ru_stime

    def counts(self) -> dict[str, int]:
        """How many tests have passed, failed and been skipped, as its last line says; none where it ran no tests."""
        counts: dict[str, int] = {}
        for number, kind in _COUNTED.findall(self.last_line):
            kind = "failed" if kind == "error" else kind
            counts[kind] = counts.get(kind, 0) + int(number)
        return counts

    def _take(self, line: str) -> None:
        if line and not _OF_MAKE.match(line):
            self.last_line = line
        if _BAD.match(line):
            self.bad.append(line)
        if found := _TOOK.match(line):
            seconds, phase, test = found.groups()
            self.took.append((float(seconds), f"{test}{'' if phase == 'call' else f' ({phase})'}"))
        with _saying:
            say(f"{self.label} | {line}")


def main(make: str, *names: str) -> int:
    """Run the targets, and return 1 if one of them fails."""
    stop_on_signals()
    descendants.adopt()
    os.environ["PYTEST_ADDOPTS"] = f"{os.environ.get('PYTEST_ADDOPTS', '')} --durations={SLOWEST}".strip()
    targets = [Target(make, name, max(map(len, names))) for name in names]
    stopped = threading.Event()
    with ThreadPoolExecutor(at_once()) as pool:
        try:
            for run in [pool.submit(target.run, stopped) for target in targets]:
                run.result()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # it is ending already, and within seconds
            stopped.set()
            descendants.end_all(PATIENCE)
    return summarise(targets)


def at_once() -> int:
    """As many as there are processors: each waits more than half of its time, but starts servers in the other."""
    return max(3, os.cpu_count() or 1)


def summarise(targets: Sequence[Target]) -> int:
    """Say which tests took longest, how each target has ended, and how many tests that were."""
    say()
    width = max(len(target.label) for target in targets)
    took = sorted(((seconds, test, target) for target in targets for seconds, test in target.took), key=_by_seconds)
    if took:
        say(f"== The {min(SLOWEST, len(took))} slowest tests")
    for seconds, test, target in took[:SLOWEST]:
        say(f"   {seconds:6.1f} s  {target.name.ljust(width)}  {test}")
    say(f"   {'part'.ljust(width)}  result  passed  failed  skipped     time  processor")
    for target in targets:
        counts = target.counts()
        numbers = "".join(
            f"{counts.get(kind, 0):{len(kind) + 2}}" if counts else " " * (len(kind) + 2) for kind in _KINDS
        )
        times = f"{target.seconds:7.0f} s  {target.processor_seconds:7.0f} s"
        said = "" if counts else f"  {target.last_line}"
        say(f"== {target.label}  {'FAILED' if target.failed else 'passed'}{numbers}{times}{said}")
        for line in target.bad[:_SHOWN]:
            say(f"   {line}")
    say(", ".join(f"{sum(target.counts().get(kind, 0) for target in targets)} {kind}" for kind in _KINDS))
    return int(any(target.failed for target in targets))


def _by_seconds(took: tuple[float, str, Target]) -> float:
    return -took[0]


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
