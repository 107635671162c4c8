"""Make the virtual environments that the demo and the tests run in, from the lock files.

    python3 tools/environments.py airflow-3.3.2 prefect-3.9.1

Each name stands for ``requirements/<name>.txt`` and becomes ``.envs/<name>``. Packages are installed by uv,
which is itself installed into ``.envs/uv``: nothing is written outside this folder. An environment that
already matches its lock file is left alone, so a second run takes no time and needs no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".envs"
REQUIREMENTS = ROOT / "requirements"
UV = "uv==0.13.9"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
PACKAGING_FILES = ("setup.cfg", "setup.py", "pyproject.toml", "airflow_provider_prefect/__init__.py")


class SetupError(Exception):
    """An environment could not be made; the message is for the person who asked for it."""


def python_of(environment: Path) -> Path:
    """The interpreter inside an environment."""
    return environment / "bin" / "python"


def fingerprint(*parts: str | Path) -> str:
    """What an environment was made from: texts and the contents of files, and always this interpreter."""
    digest = hashlib.sha256(f"{sys.version}\0{sys.base_prefix}\0".encode())
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def once(stamp: Path, made_from: str, make: Callable[[], None]) -> None:
    """Call ``make`` unless ``stamp`` says that it already succeeded for the same ``made_from``."""
    if stamp.is_file() and stamp.read_text() == made_from:
        return
    stamp.unlink(missing_ok=True)
    make()
    stamp.write_text(made_from)


def child_environment() -> dict[str, str]:
    """The environment of pip and uv, which write into this folder only and never fetch a Python.

    PATH leads nowhere else: pip would ask a Rust toolchain for its version, which may write to the home folder.
    """
    temporary = ENVIRONMENTS / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    dropped = {"PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "CONDA_PREFIX"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    return environment | {
        "PATH": str(ENVIRONMENTS / "uv" / "bin"),
        "TMPDIR": str(temporary),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_CACHE_DIR": str(ENVIRONMENTS / "cache"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def run_step(title: str, command: Sequence[object], log: Path) -> None:
    """Run what may take minutes: its output goes to a log, its last line and the time to the screen."""
    on_terminal = sys.stderr.isatty()
    started, shown = time.monotonic(), 0.0
    with log.open("w") as output:
        try:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise SetupError(f"{title}: cannot start {command[0]}: {error}") from error
    try:
        while process.poll() is None:
            time.sleep(0.1)
            elapsed = time.monotonic() - started
            if elapsed - shown >= (0.5 if on_terminal else 10):
                shown = elapsed
                show(f"   {title}  {elapsed:.0f} s  {last_line(log)}", on_terminal)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode:
        tail = "\n".join(f"   | {line}" for line in log.read_text(errors="replace").splitlines()[-20:])
        raise SetupError(
            f"{title} failed (exit code {process.returncode}); the end of {log.relative_to(ROOT)}:\n{tail}"
        )
    show(f"   {title}  done in {time.monotonic() - started:.0f} s", on_terminal, final=True)


def show(line: str, on_terminal: bool, final: bool = False) -> None:
    """One line of progress; on a terminal each replaces the one before."""
    if on_terminal:
        print(f"\r\x1b[K{line[:110]}", end="\n" if final else "", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)


def last_line(log: Path) -> str:
    """What a running command said last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def ensure_uv() -> Path:
    """Install uv into an environment of its own and return its path."""
    environment = ENVIRONMENTS / "uv"

    def make() -> None:
        log = ENVIRONMENTS / "uv.log"
        run_step("uv: environment", [sys.executable, "-m", "venv", "--clear", environment], log)
        pip = [python_of(environment), "-m", "pip", "install", "--no-cache-dir", "--no-input"]
        run_step(f"uv: {UV}", [*pip, UV], log)

    once(ENVIRONMENTS / "uv.stamp", fingerprint(UV), make)
    return environment / "bin" / "uv"


def ensure(name: str, uv: Path) -> Path:
    """Make ``.envs/<name>`` match its lock file; an Airflow environment also gets the provider."""
    lock = REQUIREMENTS / f"{name}.txt"
    environment = ENVIRONMENTS / name
    python = python_of(environment)
    log = ENVIRONMENTS / f"{name}.log"

    def make() -> None:
        run_step(f"{name}: environment", [uv, "venv", "--clear", "--python", sys.executable, environment], log)

    def install() -> None:
        provider.unlink(missing_ok=True)
        run_step(f"{name}: packages", [uv, "pip", "sync", "--python", python, "--compile-bytecode", lock], log)

    def install_provider() -> None:
        # The build backend is in the lock file, so this needs neither the network nor a build environment.
        editable = ["--no-deps", "--no-build-isolation", "--offline", "--editable", ROOT]
        run_step(f"{name}: provider", [uv, "pip", "install", "--python", python, *editable], log)

    provider = ENVIRONMENTS / f"{name}.provider.stamp"
    if not python.exists():
        (ENVIRONMENTS / f"{name}.stamp").unlink(missing_ok=True)
        (ENVIRONMENTS / f"{name}.packages.stamp").unlink(missing_ok=True)
        provider.unlink(missing_ok=True)
    once(ENVIRONMENTS / f"{name}.stamp", fingerprint(name), make)
    once(ENVIRONMENTS / f"{name}.packages.stamp", fingerprint(lock), install)
    if name.startswith("airflow-"):
        once(provider, fingerprint(lock, *(ROOT / file for file in PACKAGING_FILES)), install_provider)
    return environment


@contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Keep two runs in the same folder from making the same environment."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / "in-use").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            show("   waiting for another run that makes environments in this folder", on_terminal=False)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(names: Sequence[str]) -> int:
    """Make every named environment; print one sentence and return 1 when one cannot be made."""
    try:
        if sys.version_info[:2] not in SUPPORTED:
            raise SetupError(
                f"Python 3.11, 3.12 or 3.13 is needed, and {sys.executable} is {sys.version.split()[0]}. "
                "Name another one with: make PYTHON=/path/to/python3.12 …"
            )
        known = sorted(file.stem for file in REQUIREMENTS.glob("*-*.txt"))
        if unknown := [name for name in names if name not in known]:
            raise SetupError(f"no lock file for {', '.join(unknown)}; there is one for {', '.join(known)}.")
        with only_one_at_a_time():
            uv = ensure_uv()
            for name in names:
                ensure(name, uv)
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
