"""Several targets of make side by side: what is said about them at the end, and that nothing outlives them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools import descendants
from tools.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]

# What runs notes its process id and is then gone, or stays.
POLITE = "import time; note(); time.sleep(600)"
STUBBORN = """
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
note(); time.sleep(600)
"""
PROGRAM = """
import os, pathlib, signal, subprocess, sys, time
def note():
    pathlib.Path("noted", str(os.getpid())).touch()
def start(text, **how):
    return subprocess.Popen([sys.executable, "program.py", text], **how)
exec(sys.argv[1])
"""
PATIENCE = 1.0


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts targets of make, given by name and what Python they run, and ends whatever is left of them."""
    (tmp_path / "noted").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    running: list[subprocess.Popen[str]] = []

    def start(before: str = "", **targets: str) -> subprocess.Popen[str]:
        rules = []
        for name, text in targets.items():
            (tmp_path / f"{name}.txt").write_text(textwrap.dedent(text))
            # Not with exec: a shell in between is told to end, and tells nobody.
            rules.append(f'{name}:\n\t@"{sys.executable}" program.py "$$(cat {name}.txt)"; exit $$?\n')
        (tmp_path / "Makefile").write_text("".join(rules))
        program = f"""
            import signal, sys
            from tools import side_by_side
            {before}
            side_by_side.PATIENCE = {PATIENCE}
            try:
                sys.exit(side_by_side.main("make", *{list(targets)!r}))
            except KeyboardInterrupt:
                sys.exit(130)
        """
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(program)],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()
    for pid in noted(tmp_path):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def noted(folder: Path) -> list[int]:
    return [int(file.name) for file in (folder / "noted").iterdir()]


def alive(pid: int) -> bool:
    """Whether a process of a test still runs, with that id."""
    if pid in descendants.below(1):
        command = subprocess.run(["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True, check=False)
        return "program.py" in command.stdout
    return False


def until_noted(folder: Path, number: int) -> list[int]:
    wait_until(lambda: len(noted(folder)) == number, f"{number} processes run", 30)
    pids = noted(folder)
    assert all(map(alive, pids))
    return pids


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("kind", [POLITE, STUBBORN], ids=["polite", "stubborn"])
def test_a_signal_ends_everything_at_any_depth(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path, kind: str, number: signal.Signals
) -> None:
    below = f"start({kind!r}); start({kind!r}, start_new_session=True)"
    run = started(
        # As a shell starts what is to run in the background.
        before="signal.signal(signal.SIGINT, signal.SIG_IGN)",
        first=f"start({below + '; ' + kind!r}, start_new_session=True); {kind}",
        second=f"{below}; {kind}",
    )
    pids = until_noted(tmp_path, 7)
    run.send_signal(number)
    run.communicate(timeout=60)
    assert run.returncode == 130
    assert [pid for pid in pids if alive(pid)] == []


def test_what_a_target_leaves_behind_ends_with_the_last_target(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    run = started(
        only=f"""
        start({STUBBORN!r}, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        while not list(pathlib.Path("noted").iterdir()): time.sleep(0.05)
        """
    )
    run.communicate(timeout=60)
    assert run.returncode == 0
    [pid] = noted(tmp_path)
    assert not alive(pid)


def test_nothing_outlives_a_run_that_is_killed(started: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    run = started(first=POLITE, second=POLITE)
    pids = until_noted(tmp_path, 2)
    run.kill()
    wait_until(lambda: not any(map(alive, pids)), "what was started has ended", 60)


def test_the_slowest_tests_of_all_targets_come_before_how_each_has_ended(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    took = "\n".join(f"print('{number}.25s call     tests/test_a.py::test_{number}')" for number in range(20))
    run = started(
        first=f"{took}\nprint('==== 7 passed, 2 skipped in 3.10s ====')",
        second="""
        print("0.31s teardown tests/test_b.py::test_x")
        print("7.50s setup    tests/test_b.py::test_y[a b]")
        print("FAILED tests/test_b.py::test_y[a b] - assert 1")
        print("==== 1 failed, 3 passed, 1 error in 3.10s ====")
        sys.exit(1)
        """,
    )
    said = run.communicate(timeout=60)[0].splitlines()
    assert run.returncode == 1
    summary = said[said.index("== The 15 slowest tests") :]
    tests = [f"19.2 s  first   tests/test_a.py::test_{19}"]
    assert [line.strip() for line in summary[1:2]] == tests
    assert [line.split()[0] for line in summary[1:16]] == [
        *(f"{number}.2" for number in range(19, 7, -1)), "7.5", "7.2", "6.2",
    ]  # fmt: skip
    assert "   7.5 s  second  tests/test_b.py::test_y[a b] (setup)" in summary[13]
    assert summary[16].split() == ["part", "result", "passed", "failed", "skipped", "time", "processor"]
    rows = [re.sub(r"\d+ s", "… s", line).split() for line in summary[17:19]]
    assert rows[0] == ["==", "first", "passed", "7", "0", "2", "…", "s", "…", "s"]
    assert rows[1] == ["==", "second", "FAILED", "3", "2", "0", "…", "s", "…", "s"]
    assert summary[19:] == ["   FAILED tests/test_b.py::test_y[a b] - assert 1", "10 passed, 2 failed, 2 skipped"]
    ends = [summary[16].index(word) + len(word) for word in ("passed", "failed", "skipped")]
    assert [summary[18][end - 1] for end in ends] == ["3", "2", "0"]


def test_a_target_without_tests_is_shown_with_what_it_has_said_last(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    run = started(types="print('Success: no issues found')", tests="print('1 passed in 0.1s')")
    said = run.communicate(timeout=60)[0].splitlines()
    (row,) = [line for line in said if line.startswith("== types")]
    assert re.fullmatch(r"== types  passed +\d+ s +\d+ s  Success: no issues found", row)
    assert said[-1] == "1 passed, 0 failed, 0 skipped"
