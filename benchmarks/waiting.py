"""One contender and so many waits: how long they take to start, what they cost, and how late they notice an end."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.counting import CountingProxy
from benchmarks.plans import POLL_INTERVAL, Contender, Heat
from benchmarks.server import BenchServer
from tools import reaper
from tools.processes import StackError, clean_environment

ROOT = Path(__file__).resolve().parent.parent

_UNTIL_ALL_WAIT = 600.0
_SETTLE = 3.0
"""Seconds in which what a start brings with it is over: our second look after the feed has opened among it."""

_LATE = 90.0
"""Seconds after an interval in which an end that was not noticed is still waited for."""


class Waiting:
    """The process of a contender; see :mod:`.program`. Used as a context manager."""

    def __init__(self, contender: Contender, environment: Path, home: Path, api_url: str, ids: Sequence[str]) -> None:
        file = home / "ids"
        file.write_text("\n".join(ids))
        self.noticed: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.stale: set[str] = set()
        self._done = threading.Semaphore(0)
        self._log = home / "waiting.log"
        connection = {"conn_type": "prefect", "host": api_url}
        self._command = [
            *(str(environment / "bin" / "python"), "-m", contender.program),
            *(contender.kind, str(POLL_INTERVAL), str(file)),
        ]
        self._variables = clean_environment(environment.absolute(), home) | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW_CONN_BENCH": json.dumps(connection),
            "DO_NOT_TRACK": "1",
            "PREFECT_API_URL": api_url,
            "PREFECT_HOME": str(home / "prefect"),
        }

    def __enter__(self) -> Waiting:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        reaper.watch(self._process.pid)
        threading.Thread(target=self._read, daemon=True).start()
        self._answered("its start", 120)
        self.process = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            reaper.end({self._process.pid}, 5, self._process.poll)
        reaper.forget(self._process.pid)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith("{"):
                self._done.release()
                continue
            said = json.loads(line)
            if "at" in said:
                self.noticed[said["id"]] = said["at"]
                if said["stale"]:
                    self.stale.add(said["id"])
            else:
                self.failed[said["id"]] = said["error"]

    def step(self, name: str, timeout: float = 300) -> None:
        """Have it do a step, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        self._answered(name, timeout)

    def _answered(self, what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._done.acquire(timeout=1):
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-2000:]
                raise StackError(f"The waiting process does not answer ({what}):\n{tail}")

    def memory(self) -> int:
        """Bytes that are its own, and its share of what it shares."""
        return int(self.process.memory_full_info().pss)

    def own_memory(self) -> int:
        """Bytes that are its own alone; who else shares the rest changes with every process that starts."""
        return int(self.process.memory_full_info().uss)

    def used(self) -> float:
        """Processor seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass
class Bench:
    """What all heats share: the server, its flow runs, and where the contenders' environments are."""

    server: BenchServer
    home: Path
    airflow: Path
    prefect: Path
    ids: list[str] = field(default_factory=list)

    def prepare(self, number: int, fresh: bool) -> list[str]:
        """So many flow runs, all of them pending: the same ones each time, unless they are fresh."""
        if fresh:
            return self.server.create(number)
        if len(self.ids) < number:
            self.ids += self.server.create(number - len(self.ids))
        self.server.run_again()
        return self.ids[:number]


def measure(bench: Bench, heat: Heat, kill_every: float | None = None) -> dict[str, Any]:
    """The figures of one heat.

    :param kill_every: cut the event feed every so many seconds, from the time when all wait.
    """
    contender = heat.contender
    ids = bench.prepare(heat.waiting, contender.fresh)
    bench.server.settle()
    home = bench.home / f"{contender.name}-{heat.waiting}-{time.time_ns()}"
    home.mkdir(parents=True)
    gc.collect()
    with ExitStack() as stack:
        port = bench.server.prefect.port
        proxy = stack.enter_context(CountingProxy(port, refuse_events=contender.refuse_events))
        environment = bench.prefect if contender.prefects else bench.airflow
        waiting = stack.enter_context(Waiting(contender, environment, home, proxy.api_url, ids))
        found: dict[str, Any] = {
            "contender": contender.name,
            "title": contender.title,
            "waiting": heat.waiting,
            "interval": POLL_INTERVAL,
            "load_before": os.getloadavg()[0],
        }
        found |= _start(waiting, proxy, ids)
        if kill_every is None:
            time.sleep(_SETTLE)
            found["idle"] = _idle(bench.server, waiting, proxy, contender)
        with _killing(proxy, kill_every):
            time.sleep(2 * kill_every if kill_every else 0)
            found["endings"] = [_end(bench.server, waiting, part) for part in _parts(ids[1:], heat.shares)]
        found["kills"], found["feeds"] = proxy.counted.kills, proxy.counted.feeds
        found["failed"] = len(waiting.failed)
        found["failures"] = sorted(set(waiting.failed.values()))[:5]
    return found


def _start(waiting: Waiting, proxy: CountingProxy, ids: Sequence[str]) -> dict[str, Any]:
    """One wait first, so that what all share does not count as the first one's."""
    proxy.note_looks()
    waiting.step("spare")
    proxy.wait_for_looks(ids[:1], _UNTIL_ALL_WAIT)
    time.sleep(1)
    waiting.step("collect")
    memory, used = waiting.own_memory(), waiting.used()
    proxy.note_looks()
    began = time.time()
    waiting.step("go")
    _, all_wait = proxy.wait_for_looks(ids[1:], _UNTIL_ALL_WAIT)
    time.sleep(1)
    waiting.step("collect")
    held = waiting.own_memory()
    return {
        "start_seconds": all_wait - began,
        "start_cpu": waiting.used() - used,
        "memory": waiting.memory(),
        "memory_per_run": (held - memory) / (len(ids) - 1),
    }


def _idle(server: BenchServer, waiting: Waiting, proxy: CountingProxy, contender: Contender) -> dict[str, Any]:
    """Nothing happens for a while. What the bench itself uses tells whether it is in the way."""
    own = psutil.Process()
    counted, used, served, bench = proxy.counted, waiting.used(), server.used(), sum(own.cpu_times()[:2])
    began = time.monotonic()
    time.sleep(contender.idle)
    now = proxy.counted
    per_minute = 60 / (time.monotonic() - began)
    passed, serves = now.since(counted), server.used()
    return {
        "seconds": contender.idle,
        "requests": passed.requests * per_minute,
        "bytes": (passed.asked + passed.answered) * per_minute,
        "connections": passed.connections * per_minute,
        "cpu": (waiting.used() - used) * per_minute,
        "server_cpu": (serves.server - served.server) * per_minute,
        "database_cpu": (serves.database - served.database) * per_minute,
        "bench_cpu": (sum(own.cpu_times()[:2]) - bench) * per_minute,
        "memory": waiting.memory(),
        "server_memory": server.memory(),
    }


def _parts(ids: Sequence[str], shares: Sequence[float]) -> Iterator[tuple[float, list[str]]]:
    """Which flow runs end together: the last share is all that are left."""
    left = random.Random(len(ids)).sample(list(ids), len(ids))
    for share in shares:
        number = len(left) if share == 1 else max(1, round(len(ids) * share))
        yield share, left[:number]
        left = left[number:]


def _end(server: BenchServer, waiting: Waiting, part: tuple[float, Sequence[str]]) -> dict[str, Any]:
    share, ids = part
    began, used = time.monotonic(), waiting.used()
    ended = server.end(ids)
    deadline = time.monotonic() + POLL_INTERVAL + _LATE
    while any(one not in waiting.noticed and one not in waiting.failed for one in ids):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    delays = sorted(waiting.noticed[one] - ended[one] for one in ids if one in waiting.noticed)
    return {
        "share": share,
        "ended": len(ids),
        "ended_within": max(ended.values()) - min(ended.values()),
        "noticed": len(delays),
        "stale": len(waiting.stale.intersection(ids)),
        "cpu": waiting.used() - used,
        "seconds": time.monotonic() - began,
        "median": quantile(delays, 0.5),
        "p99": quantile(delays, 0.99),
        "max": quantile(delays, 1.0),
    }


def quantile(sorted_values: Sequence[float], share: float) -> float | None:
    """The least value that so many of them do not exceed."""
    if not sorted_values:
        return None
    return sorted_values[max(0, -int(-share * len(sorted_values) // 1) - 1)]


@contextmanager
def _killing(proxy: CountingProxy, every: float | None) -> Iterator[None]:
    if every is None:
        yield
        return
    over = threading.Event()

    def kill() -> None:
        while not over.wait(every):
            proxy.kill_feeds()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
