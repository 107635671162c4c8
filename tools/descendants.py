"""Everything below this process, at any depth and in whatever session: found and ended.

A program that has started others may be gone before they are. On Linux what it leaves behind becomes a child of this
process, once ``adopt`` was called, and is found too; elsewhere the ``reaper`` of the program that is gone ends it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from tools import reaper

_SET_CHILD_SUBREAPER = 36
"""Of Linux's prctl.h."""


def adopt() -> None:
    """Become the parent of whatever below this process loses its own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(parent: int) -> set[int]:
    """The processes that ``parent`` has started itself, or adopted; not those that have ended."""
    return set(_by_parent()[parent])


def below(root: int) -> set[int]:
    """The processes that ``root`` has started, that these have started, and so on; not those that have ended."""
    by_parent = _by_parent()
    found: set[int] = set()
    new = by_parent[root]
    while new:
        found.update(new)
        new = [child for pid in new for child in by_parent[pid]]
    return found


def end_all(patience: float) -> None:
    """End everything: who is a child of this process is asked with SIGTERM, and what is left in the end is killed.

    A program that is asked ends what it has started; what it leaves behind is a child of this process then.
    """
    asked: set[int] = set()
    deadline = time.monotonic() + patience
    while left := below(os.getpid()) - reaper.own():
        if time.monotonic() > deadline:
            for pid in left:
                reaper.send(pid, signal.SIGKILL)
        else:
            for pid in children(os.getpid()) & left - asked:
                reaper.send(pid, signal.SIGTERM)
                asked.add(pid)
        time.sleep(0.05)


def _by_parent() -> defaultdict[int, list[int]]:
    by_parent: defaultdict[int, list[int]] = defaultdict(list)
    for pid, parent, ended in _processes():
        if not ended:
            by_parent[parent].append(pid)
    return by_parent


def _processes() -> list[tuple[int, int, bool]]:
    """Each process of this machine: its id, its parent's, and whether it has ended and only waits for its parent."""
    if Path("/proc/self/stat").exists():
        stats = (_stat(entry / "stat") for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return [stat for stat in stats if stat]
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listing.stdout.splitlines())
    # ps lists itself, which is gone by now.
    return [(int(pid), int(parent), state.startswith("Z")) for pid, parent, state in rows if not _gone(int(pid))]


def _stat(file: Path) -> tuple[int, int, bool] | None:
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold anything.
    state, parent = text.rpartition(")")[2].split()[:2]
    return int(text.split(maxsplit=1)[0]), int(parent), state in "ZX"


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
