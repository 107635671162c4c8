"""The tables that the results become. Nothing but the standard library: a unit test compares them with the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bounds import bounds
from benchmarks.plans import CONTENDERS, POLL_INTERVAL
from benchmarks.tables import Table, number

Results = Mapping[str, Any]
_ORDER = [contender.name for contender in CONTENDERS]
_ONE_BY_ONE = {contender.name for contender in CONTENDERS if contender.one_by_one}


def tables(results: Results) -> list[Table]:
    """All that can be made of what has been measured."""
    made = [_made_with(results)]
    if heats := _sorted(results.get("waiting", [])):
        made += [_idle(heats), _start(heats), _delays(heats)]
    if plug := results.get("plug"):
        made.append(_plug(plug))
    if tasks := results.get("tasks"):
        made.append(_tasks(tasks))
    if imports := results.get("imports"):
        made.append(_imports(imports))
    if checked := bounds(results):
        rows = [(bound.what, bound.bound, bound.measured, bound.verdict) for bound in checked]
        made.append(Table("bounds", "What was promised", ("figure", "bound", "measured", ""), rows))
    return made


def _sorted(heats: Sequence[Results]) -> list[Results]:
    return sorted(heats, key=lambda heat: (heat["waiting"], _ORDER.index(heat["contender"])))


def _made_with(results: Results) -> Table:
    machine, runs = results["machine"], results.get("runs", [results])
    rows = [
        *((f"``{run['command']}``", f"{run['when']}, in {number(run['minutes'], 0)} minutes") for run in runs),
        (
            "machine",
            f"{machine['processors']} processors ({machine['processor']}), {machine['memory_gb']} GB of memory, "
            f"{machine['system']}, Python {machine['python']}",
        ),
        ("everybody looks every", f"{number(POLL_INTERVAL)} s"),
        ("versions", ", ".join(f"{name} {version}" for name, version in results["versions"].items())),
    ]
    return Table("made-with", "How it was measured", ("", ""), rows)


def _idle(heats: Sequence[Results]) -> Table:
    rows = []
    for heat in heats:
        idle = heat["idle"]
        nominal = heat["waiting"] * 60 / heat["interval"] if heat["contender"] in _ONE_BY_ONE else None
        requests = number(idle["requests"])
        if nominal is not None and idle["requests"] < 0.9 * nominal:
            requests += f" (of {number(nominal)})"
        rows.append(
            (
                number(heat["waiting"]),
                heat["title"],
                requests,
                number(idle["bytes"] / 1000),
                number(idle["cpu"]),
                number(idle["server_cpu"]),
                number(idle["database_cpu"]),
            )
        )
    head = (
        *("waiting", "who waits", "requests", "kB", "processor s, waiting process"),
        *("processor s, Prefect's server", "processor s, its database"),
    )
    return Table("idle", "While nothing happens, in a minute", head, rows)


def _start(heats: Sequence[Results]) -> Table:
    rows = [
        (
            number(heat["waiting"]),
            heat["title"],
            number(heat["start_seconds"]),
            number(heat["start_cpu"]),
            number(heat["memory_per_run"] / 1000),
            number(heat["memory"] / 1e6),
        )
        for heat in heats
    ]
    head = (
        *("waiting", "who waits", "s until all wait", "processor s until then"),
        *("kB for each wait", "MB of the whole process"),
    )
    return Table("start", "Until all wait, and the memory that it takes", head, rows)


def _delays(heats: Sequence[Results]) -> Table:
    rows = []
    for heat in heats:
        for ending in heat["endings"]:
            noticed = f"{number(ending['noticed'])} of {number(ending['ended'])}"
            if ending["stale"]:
                noticed += f", {number(ending['stale'])} of them told that it still runs"
            share = "all that are left" if ending["share"] == 1 else f"{number(ending['share'] * 100)} %"
            rows.append(
                (
                    number(heat["waiting"]),
                    heat["title"],
                    f"{share} in {number(ending['ended_within'])} s",
                    noticed,
                    number(ending["median"]),
                    number(ending["p99"]),
                    number(ending["max"]),
                )
            )
    head = ("waiting", "who waits", "end at once", "noticed", "median", "99th percentile", "maximum")
    return Table("delays", "Seconds from the new state's own time to the trigger's event", head, rows)


def _plug(plug: Results) -> Table:
    [ending] = plug["endings"]
    row = (
        number(plug["waiting"]),
        f"{number(plug['kill_every'])} s, {number(plug['kills'])} times in all",
        f"{number(ending['noticed'])} of {number(ending['ended'])}",
        number(ending["median"]),
        number(ending["p99"]),
        number(ending["max"]),
    )
    head = ("waiting", "feed killed every", "noticed", "median", "99th percentile", "maximum")
    return Table("plug", "Ours, while the event feed is killed again and again", head, [row])


def _tasks(tasks: Results) -> Table:
    idle = tasks["idle"]
    rows = [
        ("from the Dag run's start until all are deferred and waited for", f"{number(tasks['all_wait_seconds'])} s"),
        (
            "from the start of a triggerer that finds them all until all are waited for",
            f"{number(tasks['again_seconds'])} s; {number(tasks['again_spread'])} s from the first to the last",
        ),
        ("memory of the triggerer before", f"{number(tasks['triggerer_memory_alone'] / 1e6)} MB"),
        ("memory of the triggerer while all wait", f"{number(tasks['triggerer_memory'] / 1e6)} MB"),
        ("requests in a minute while nothing happens", number(idle["requests"])),
        ("processor seconds of the triggerer in a minute while nothing happens", number(idle["triggerer_cpu"])),
        ("from the last flow run's end until no task is deferred", f"{number(tasks['none_waits_after'])} s"),
        ("from the last flow run's end until the last task's success", f"{number(tasks['last_success_after'])} s"),
        ("warnings about a blocked event loop", number(tasks["blocked_warnings"])),
        *(row for ends in tasks.get("one_by_one", ()) for row in _one_by_one(ends)),
    ]
    title = f"{number(tasks['tasks'])} deferred instances of one mapped task in a real Airflow"
    return Table("tasks", title, ("figure", "measured"), rows)


def _one_by_one(ends: Results) -> list[tuple[str, str]]:
    where = ends["dag"].removeprefix("bench_ended_").replace("_", " ")
    when = f"{number(ends['ends'])} flow runs end, one every {number(ends['between'])} s, and their tasks {where}"
    return [
        (
            f"{when}: from a flow run's end to its task's success",
            f"{number(ends['median'])} s (median), {number(ends['most'])} s (maximum)",
        ),
        (f"{when}: processor seconds of all of Airflow", number(ends["cpu"])),
    ]


def _imports(imports: Sequence[Results]) -> Table:
    rows = [
        (
            one["operator"],
            f"``{one['module'].rpartition('.')[2]}``",
            number(one["seconds"] * 1000),
            f"{number(one['least'] * 1000)} to {number(one['most'] * 1000)}",
            number(one["modules"]),
        )
        for one in imports
    ]
    head = ("provider", "operator", "ms (median)", "from … to", "modules")
    return Table("imports", "Importing an operator, beyond what importing ``DAG`` has imported", head, rows)
