"""Run several targets of make, some at once and in this order: ``python -m tools.side_by_side make a b c``.

Tests against real servers wait most of the time, so several runs of pytest together are ready much sooner than one
after the other. Every line of output begins with the name of its target, and the last lines say how each has ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tools.processes import say, stop_on_signals

_saying = threading.Lock()
_COUNTED = re.compile(r"(\d+) (passed|failed|error|skipped)")
_OF_MAKE = re.compile(r"\w*make(\[\d+\])?: ")
_BAD = re.compile(r"(FAILED|ERROR) ")
_SHOWN = 20


class Target:
    """One target of make; ``last_line`` is what it has said last, and not make; ``bad`` the tests that have failed."""

    def __init__(self, make: str, name: str, width: int) -> None:
        self.name = name
        self.label = name.ljust(width)
        self.last_line = "not started"
        self.failed = True
        self.bad: list[str] = []
        self._command = [make, "--no-print-directory", name]
        self._process: subprocess.Popen[str] | None = None

    def run(self, stopped: threading.Event) -> None:
        """Run it and show what it says."""
        if stopped.is_set():
            return
        began = time.monotonic()
        with subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as self._process:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                if line.strip() and not _OF_MAKE.match(line):
                    self.last_line = line.rstrip()
                if _BAD.match(line):
                    self.bad.append(line.rstrip())
                with _saying:
                    say(f"{self.label} | {line.rstrip()}")
        self.failed = self._process.returncode != 0
        self.last_line = f"{self.last_line.strip('= ')} ({time.monotonic() - began:.0f} s in all)"

    def stop(self) -> None:
        """Tell make to stop; it tells what it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


def main(make: str, *names: str) -> int:
    """Run the targets, and return 1 if one of them fails."""
    stop_on_signals()
    targets = [Target(make, name, max(map(len, names))) for name in names]
    stopped = threading.Event()
    with ThreadPoolExecutor(at_once()) as pool:
        try:
            for run in [pool.submit(target.run, stopped) for target in targets]:
                run.result()
        except BaseException:
            stopped.set()
            for target in targets:
                target.stop()
            raise
    return summarise(targets)


def at_once() -> int:
    """As many as there are processors: each waits more than half of its time, but starts servers in the other."""
    return max(2, os.cpu_count() or 1)


def summarise(targets: Sequence[Target]) -> int:
    """Say how each has ended, and how many tests that were."""
    say()
    counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
    for target in targets:
        say(f"== {target.label} {'FAILED' if target.failed else 'passed'}: {target.last_line}")
        for number, kind in _COUNTED.findall(target.last_line):
            counts["failed" if kind == "error" else kind] += int(number)
        for line in target.bad[:_SHOWN]:
            say(f"   {line}")
    say(", ".join(f"{number} {kind}" for kind, number in counts.items()))
    return int(any(target.failed for target in targets))


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
