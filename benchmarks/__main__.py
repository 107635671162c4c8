"""``python -m benchmarks [bench | bench-full | bench-tiny] [--only waiting plug tasks imports] [--docs]``."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import imports, machine, pages, plot, report, triggerer, waiting
from benchmarks.plans import ALL, FEED, PLANS, Heat, Plan
from benchmarks.server import BenchServer
from tools.processes import StackError, say, stop_on_signals
from tools.together import alone_in

ROOT = pages.ROOT
PARTS = ("imports", "waiting", "plug", "tasks")
_FILES = 65536
_OTHER_FILES = 500


def main() -> int:
    """Measure, keep the results, print them beside what was promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What waiting for many flow runs costs.")
    parser.add_argument("plan", nargs="?", default="bench", choices=PLANS)
    parser.add_argument("--airflow", default="airflow-bench", help="an environment, such as airflow-bench")
    parser.add_argument("--prefect", default="prefect-3.9.1", help="an environment, such as prefect-3.9.1")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what of it, in place of all")
    names = sorted({heat.contender.name for plan in PLANS.values() for heat in plan.heats})
    parser.add_argument("--who", nargs="+", choices=names, default=(), help="who waits, in place of all")
    parser.add_argument("--docs", action="store_true", help="measure nothing, write the docs from the results")
    given = parser.parse_args()
    if given.docs:
        return write_docs()
    stop_on_signals()
    _allow_many_sockets()
    folder = ROOT / ".envs" / "home" / "bench"
    folder.parent.mkdir(exist_ok=True)
    with alone_in(folder, "A benchmark"):
        home = folder / "state"
        shutil.rmtree(home, ignore_errors=True)
        bench = Benchmark(given.plan, ROOT / ".envs" / given.airflow, ROOT / ".envs" / given.prefect, home)
        bench.run(given.only, given.who)
    say()
    for table in report.tables(bench.results):
        say(f"{table.text()}\n")
    say(f"Kept in {bench.file.relative_to(ROOT)}. `python -m benchmarks --docs` writes them into the docs.")
    return 0


class Benchmark:
    """One run. What it finds is kept after each part, beside what was found earlier and is not measured again."""

    def __init__(self, name: str, airflow: Path, prefect: Path, home: Path) -> None:
        self.name = name
        self.plan: Plan = PLANS[name]
        self.airflow = airflow
        self.prefect = prefect
        self.home = home
        self.file = (pages.RESULTS if self.plan.kept else home.parent) / f"{name}.json"
        self.results: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.results |= {"when": f"{datetime.now(UTC):%Y-%m-%d}"}
        self.results |= {"machine": machine.machine()}

    def run(self, parts: Sequence[str], who: Sequence[str]) -> None:
        if "imports" in parts:
            self._timed("imports", lambda: imports.measure(self.airflow, self.home / "imports", self.plan.imports))
        if not set(parts) - {"imports"}:
            return
        say("Starting Prefect's server …")
        with BenchServer(self.prefect, self.home / "server") as server:
            self.results["versions"] = machine.versions(self.prefect, server.database)
            bench = waiting.Bench(server, self.home, self.airflow, self.prefect)
            if "waiting" in parts:
                heats = [heat for heat in self.plan.heats if not who or heat.contender.name in who]
                others = [found for found in self.results.get("waiting", []) if who and found["contender"] not in who]
                self._timed("waiting", lambda: self._waiting(bench, heats, others), again=bool(others))
            if "plug" in parts:
                self._timed("plug", lambda: _plug(bench, self.plan))
            if "tasks" in parts:
                home = self.home / "airflow"
                self._timed(
                    "tasks", lambda: triggerer.measure(server, self.airflow, home, self.plan.tasks, self.plan.ends)
                )

    def _waiting(self, bench: waiting.Bench, heats: Sequence[Heat], others: Sequence[Any]) -> list[Any]:
        found = list(others)
        for heat in heats:
            if bench.server.can_carry(heat) and _has_sockets_for(heat):
                found.append(_heat(bench, heat))
                self.results["waiting"] = found
                self._keep()
        return found

    def _keep(self) -> None:
        measured = [part for part in PARTS if part in self.results]
        some = "" if len(measured) == len(PARTS) else f" BENCHMARKS='--only {' '.join(measured)}'"
        self.results["command"] = f"make {self.name}{some}"
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps(self.results, indent=1) + "\n")

    def _timed(self, part: str, measure: Any, *, again: bool = False) -> None:
        say(f"== {part}")
        began = time.monotonic()
        self.results[part] = measure()
        minutes = (time.monotonic() - began) / 60
        say(f"   {part} took {minutes:.1f} minutes")
        minutes_of = self.results.setdefault("minutes_of", {})
        minutes_of[part] = round(minutes + (minutes_of.get(part, 0.0) if again else 0.0), 1)
        self.results["minutes"] = round(sum(minutes_of.values()), 1)
        self._keep()


def _has_sockets_for(heat: Heat) -> bool:
    """Whether this process may have two sockets for each wait that has one, as the proxy that counts needs them."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = not heat.contender.one_by_one or 2 * heat.waiting + _OTHER_FILES < most
    if not enough:
        say(f"   {heat.waiting:6,} {heat.contender.title}: left out, {most:,} open files are too few")
    return enough


def _heat(bench: waiting.Bench, heat: Heat) -> dict[str, Any]:
    began = time.monotonic()
    found = waiting.measure(bench, heat)
    idle, endings = found["idle"], found["endings"]
    said = [f"{one['noticed']}/{one['ended']} p99 {one['p99'] or 0:.2f} s" for one in endings]
    said += [f"{found['failed']} failed: {found['failures']}"] if found["failed"] else []
    say(
        f"   {heat.waiting:6,} {heat.contender.title}: all wait after {found['start_seconds']:.1f} s, "
        f"{idle['requests']:,.0f} requests/min, {idle['cpu']:.2f} s/min, {found['memory_per_run'] / 1000:.1f} kB each; "
        f"{', '.join(said)} (took {time.monotonic() - began:.0f} s)"
    )
    return found


def _plug(bench: waiting.Bench, plan: Plan) -> dict[str, Any]:
    found = waiting.measure(bench, Heat(FEED, plan.plug, (ALL,)), plan.plug_every)
    return found | {"kill_every": plan.plug_every}


def write_docs() -> int:
    """Put the results that there are into the page and the plot."""
    results = pages.shown()
    if results is None:
        say("There are no results yet. `make bench` makes them.")
        return 1
    pages.PAGE.write_text(pages.written(pages.PAGE.read_text(), results))
    plot.draw(results, pages.PLOT)
    return 0


def _allow_many_sockets() -> None:
    """For one connection of each wait at both ends of the proxy; as many as the system lets it have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (_FILES, most):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, most)))
            return


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
