"""What the figures were to be, beside what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.plans import AIOHTTP, FEED, HTTPX, POLLING, SLEEPING, TEN
from benchmarks.tables import number

_SIZE = 1000

# Why a figure falls short, where it is known. Shown only where it does.
_REASONS: dict[str, str] = {
    "blocked": "they come when a triggerer starts all of them at once, and when all end at once; how much of that is "
    "Airflow's own work for each trigger is not known",
    "requests-polling": "of these few requests the smaller part are looks, the others try to open the feed",
}


@dataclass(frozen=True)
class Bound:
    name: str
    what: str
    bound: str
    measured: str
    met: bool
    why: str = ""

    @property
    def verdict(self) -> str:
        if self.met:
            return "meets"
        reason = self.why or _REASONS.get(self.name)
        return f"falls short: {reason}" if reason else "falls short"


def bounds(results: Mapping[str, Any]) -> list[Bound]:
    """Those for which there are figures."""
    heats = {(heat["contender"], heat["waiting"]): heat for heat in results.get("waiting", [])}
    return [*_of_waiting(heats), *_of_the_rest(results)]


def _of_waiting(heats: Mapping[tuple[str, int], Mapping[str, Any]]) -> Iterator[Bound]:
    feed, polling, aiohttp, httpx = (
        heats.get((contender.name, _SIZE)) for contender in (FEED, POLLING, AIOHTTP, HTTPX)
    )
    where = f"{number(_SIZE)} waiting: "
    if aiohttp:
        for ours, name, share in ((polling, "requests-polling", 500), (feed, "requests-feed", 2000)):
            if ours:
                ratio = aiohttp["idle"]["requests"] / max(ours["idle"]["requests"], 1e-9)
                what = f"{where}requests, {ours['title']}, beside {aiohttp['title']}"
                yield Bound(name, what, f"1/{number(share)}", f"1/{number(ratio)}", ratio >= share)
    for other, name, share in ((aiohttp, "memory-aiohttp", 10), (httpx, "memory-httpx", 100)):
        if feed and other:
            ratio = other["memory_per_run"] / max(feed["memory_per_run"], 1)
            what = f"{where}memory for each wait, beside {other['title']}"
            why = _least(other, heats.get((SLEEPING.name, _SIZE)))
            yield Bound(name, what, f"1/{number(share)}", f"1/{number(ratio)}", ratio >= share, why)
    for (name, waiting), heat in sorted(heats.items(), key=lambda pair: pair[0][1]):
        if name == FEED.name and waiting >= _SIZE:
            yield from _of_delay(waiting, heat)
    for (name, waiting), heat in sorted(heats.items(), key=lambda pair: pair[0][1]):
        if name == POLLING.name:
            most, latest = heat["interval"] + 1, max(ending["max"] for ending in heat["endings"])
            what = f"{number(waiting)} waiting: latest detection, {heat['title']}"
            yield Bound("polling", what, f"{number(most)} s", f"{number(latest, 1)} s", latest <= most)


def _least(other: Mapping[str, Any], sleeping: Mapping[str, Any] | None) -> str:
    """Why a wait takes no less memory: what Airflow's trigger, its log and its task take by themselves."""
    if sleeping is None:
        return ""
    ratio = number(other["memory_per_run"] / max(sleeping["memory_per_run"], 1))
    return (
        f"a trigger that only sleeps takes {number(sleeping['memory_per_run'] / 1000)} kB, which is 1/{ratio}; "
        "the rest is what each of our waits keeps"
    )


def _of_delay(waiting: int, heat: Mapping[str, Any]) -> Iterator[Bound]:
    [ending] = [ending for ending in heat["endings"] if ending["share"] == TEN]
    for name, words, most in (("median", "median", 0.1), ("p99", "99th percentile of the", 0.5)):
        what = f"{number(waiting)} waiting: {words} detection delay with the event feed, 10 % ending at once"
        yield Bound(name, what, f"{most} s", f"{number(ending[name], 2)} s", ending[name] <= most)


def _of_the_rest(results: Mapping[str, Any]) -> Iterator[Bound]:
    for tasks in filter(None, (results.get("fewer_tasks"), results.get("tasks"))):
        warnings = tasks["blocked_warnings"]
        what = f"warnings about a blocked event loop with {number(tasks['tasks'])} tasks in a real Airflow"
        yield Bound("blocked", what, "0", number(warnings), warnings == 0)
    if plug := results.get("plug"):
        [ending] = plug["endings"]
        noticed = f"{number(ending['noticed'])} of {number(ending['ended'])}"
        what = f"flow runs noticed while the feed is killed every {number(plug['kill_every'])} s"
        yield Bound("plug", what, "all", noticed, ending["noticed"] == ending["ended"])
