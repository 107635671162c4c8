"""Ends child processes whose parent is gone, even when the parent was killed without a warning.

The parent writes the session ids of its children into a pipe. A small process of its own reads them, and
when the pipe closes, which happens however the parent ends, it ends every session that the parent had not
ended itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_pipe: int | None = None
_reaper: subprocess.Popen[bytes] | None = None


def members(sessions: Iterable[int]) -> list[int]:
    """The processes of these sessions, this process excepted."""
    wanted = set(sessions)
    return [pid for pid in _all_processes() if pid != os.getpid() and _session_of(pid) in wanted]


def _all_processes() -> list[int]:
    processes = Path("/proc")
    if processes.is_dir():
        return [int(entry.name) for entry in processes.iterdir() if entry.name.isdecimal()]
    listing = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=True)
    return [int(word) for word in listing.stdout.split()]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end(sessions: Iterable[int], patience: float, collect: Callable[[], object] = lambda: None) -> None:
    """End sessions: their leaders are asked first, then what they leave behind; what stays is killed.

    ``collect`` is called while waiting; the parent takes the exit codes of its children in it, since a
    child that has ended but was not collected still counts as one.
    """
    sessions = set(sessions)
    asked: set[int] = set()
    deadline = time.monotonic() + patience
    while left := _alive(sessions):
        leaders = sessions.intersection(left)
        for pid in left:
            if time.monotonic() > deadline:
                send(pid, signal.SIGKILL)
            elif pid not in asked and (pid in leaders or _session_of(pid) not in leaders):
                send(pid, signal.SIGTERM)
                asked.add(pid)
        time.sleep(0.05)
        collect()


def _alive(sessions: set[int]) -> list[int]:
    return [pid for pid in members(sessions) if not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    """Whether it has ended and only waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def watch(session: int) -> None:
    """In the parent: see to it that this session ends with the parent."""
    _tell(f"+{session}\n")


def forget(session: int) -> None:
    """In the parent: this session has ended."""
    _tell(f"-{session}\n")


def own() -> set[int]:
    """In the parent: the reaper, which ends by itself when the parent has."""
    return set() if _reaper is None else {_reaper.pid}


def _tell(line: str) -> None:
    global _pipe, _reaper
    if _pipe is None:
        reading, _pipe = os.pipe()
        _reaper = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reading)
    os.write(_pipe, line.encode())


def main() -> None:
    """Collect session ids until the parent is gone, then end those that are left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        session = int(line[1:])
        if line.startswith("+"):
            sessions.add(session)
        else:
            sessions.discard(session)
    if sessions:
        end(sessions, patience=10)


if __name__ == "__main__":
    main()
