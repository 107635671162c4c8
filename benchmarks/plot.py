"""The plot of the docs: requests and detection delay over the number of flow runs that are waited for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.plans import AIOHTTP, FEED, POLLING, TEN, Contender

mpl.use("svg")
# The same results make the same file.
mpl.rcParams["svg.hashsalt"] = "airflow-provider-prefect"

from matplotlib import pyplot as plt  # noqa: E402

_COLOURS = {FEED: "#2a6ebb", POLLING: "#3a9a5b", AIOHTTP: "#c2552d"}


def draw(results: Mapping[str, Any], file: Path) -> None:
    """Write the plot."""
    figure, (requests, delays) = plt.subplots(1, 2, figsize=(11, 4.2))
    for contender, colour in _COLOURS.items():
        heats = _heats(results, contender)
        waiting = [heat["waiting"] for heat in heats]
        requests.plot(
            waiting, [heat["idle"]["requests"] for heat in heats], marker="o", color=colour, label=contender.title
        )
        if contender is AIOHTTP:
            nominal = [heat["waiting"] * 60 / heat["interval"] for heat in heats]
            requests.plot(waiting, nominal, linestyle=":", color=colour, label="the same, if the server kept up")
        for figure_of, style in (("median", "-"), ("p99", "--")):
            points = [(heat["waiting"], ending[figure_of]) for heat in heats if (ending := _ending(heat))]
            label = contender.title + (", 99th percentile" if figure_of == "p99" else ", median")
            if points:
                delays.plot(*zip(*points, strict=True), linestyle=style, marker="o", color=colour, label=label)
    requests.set_title("Requests in a minute while nothing happens")
    delays.set_title("Seconds until 10 % that end at once are noticed")
    for axes in (requests, delays):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("flow runs that are waited for")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)


def _heats(results: Mapping[str, Any], contender: Contender) -> list[Mapping[str, Any]]:
    heats = [heat for heat in results["waiting"] if heat["contender"] == contender.name]
    return sorted(heats, key=lambda heat: int(heat["waiting"]))


def _ending(heat: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((ending for ending in heat["endings"] if ending["share"] == TEN), None)
