"""The page of the docs that shows the results: what stands between its marks comes from the results' file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.rst"
PLOT = ROOT / "docs" / "performance.svg"
_MARKED = re.compile(r"^\.\. BEGIN ([\w-]+)\n(.*?)^\.\. END \1\n", re.MULTILINE | re.DOTALL)


def shown(folder: Path = RESULTS) -> dict[str, Any] | None:
    """The results that the page shows: the full ones, with waits that ``make bench`` has measured too from there."""
    found = [
        json.loads(file.read_text()) for name in ("bench", "bench-full") if (file := folder / f"{name}.json").exists()
    ]
    if not found:
        return None
    results: dict[str, Any] = {"runs": [{key: one[key] for key in ("command", "when", "minutes")} for one in found]}
    waiting: dict[tuple[str, int], Any] = {}
    for one in found:
        results |= one
        for heat in one.get("waiting", []):
            waiting.setdefault((heat["contender"], heat["waiting"]), heat)
    if len(found) > 1 and "tasks" in found[0]:
        results["fewer_tasks"] = found[0]["tasks"]
    return results | {"waiting": list(waiting.values())}


def written(page: str, results: dict[str, Any]) -> str:
    """The page with the results' tables between its marks."""
    tables = {table.name: table.rst() for table in report.tables(results)}

    def fill(mark: re.Match[str]) -> str:
        name = mark[1]
        table = tables.get(name, "Not measured yet.")
        return f".. BEGIN {name}\n\n{table}\n\n.. END {name}\n"

    return _MARKED.sub(fill, page)
