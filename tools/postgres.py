"""A PostgreSQL server of its own for the benchmarks and the cluster, where its programs are found."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tools.processes import LOOPBACK, Child, StackError, free_port, wait_until

_USER = "airflow"
_DEBIAN = Path("/usr/lib/postgresql")
_NEEDED = ("initdb", "postgres", "psql")


def found() -> Path | None:
    """The folder with PostgreSQL's programs; Debian and Ubuntu keep them off the path."""
    on_path = shutil.which("postgres")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(_DEBIAN.glob("*/bin"), reverse=True)
    usable = (place for place in places if all((place / name).exists() for name in _NEEDED))
    return next(usable, None)


class Postgres:
    """One server on the loopback interface, without a password. Used as a context manager.

    :param programs: the folder with its programs; see :func:`found`.
    """

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.port = free_port()
        # Not below this folder: the other user that it may have to run as could not get there.
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._as_user = _unprivileged()
        options = {"listen_addresses": LOOPBACK, "unix_socket_directories": "", "max_connections": "200"}
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._server = Child(
            "PostgreSQL",
            [*self._as_user, programs / "postgres", "-D", self._home / "data", "-p", str(self.port), *given],
            env=_environment(),
            log=self._home / "postgres.log",
            cwd=self._home,
        )

    @property
    def pid(self) -> int:
        return self._server.pid

    def version(self) -> str:
        """As ``PostgreSQL 15.13``."""
        return " ".join(self.query("postgres", "SELECT version()").split()[:2])

    def restart(self) -> None:
        """Stop it at once, as its package does for a restart, and start it again."""
        self._server.signal(signal.SIGINT)
        wait_until(lambda: not self._server.running, "PostgreSQL has stopped", 60)
        self._server.forget()
        self._server.start()
        wait_until(self._answers, "PostgreSQL answers", 60, [self._server])

    def create(self, database: str) -> None:
        self.query("postgres", f"CREATE DATABASE {database}")

    def url(self, driver: str, database: str) -> str:
        """SQLAlchemy's address of a database."""
        return f"postgresql+{driver}://{_USER}@{LOOPBACK}:{self.port}/{database}"

    def query(self, database: str, sql: str) -> str:
        """What a statement returns: a line for each row, tabs between the columns."""
        command = [self.programs / "psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        of_server = ["-h", LOOPBACK, "-p", self.port, "-U", _USER, "-d", database]
        return self._run([*command, *of_server, "-c", sql], f"PostgreSQL does not do {sql[:60]!r}")

    def _run(self, command: Sequence[object], failed: str) -> str:
        """What one of the programs prints; ``failed`` begins what is said if it fails."""
        done = subprocess.run(
            [str(part) for part in command],
            env=_environment(),
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise StackError(f"{failed}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def _answers(self) -> bool:
        try:
            self.query("postgres", "SELECT 1")
        except StackError:
            return False
        return True

    def __enter__(self) -> Postgres:
        try:
            if self._as_user:
                shutil.chown(self._home, *_owner())
            options = ["-U", _USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]
            initdb = [*self._as_user, self.programs / "initdb", "-D", self._home / "data", *options]
            self._run(initdb, "initdb failed")
            self._server.start()
            wait_until(self._answers, "PostgreSQL answers", 60, [self._server])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        shutil.rmtree(self._home, ignore_errors=True)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _owner() -> tuple[int, int]:
    """The user that Debian's package makes, else one that owns nothing."""
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise StackError("PostgreSQL does not run as root, and there is neither a user 'postgres' nor 'nobody'.")


def _unprivileged() -> list[str]:
    """What begins a command that must not run as root. It becomes that command, so its process id stays."""
    if os.geteuid() != 0:
        return []
    user, group = _owner()
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
