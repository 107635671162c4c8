"""The lock files promise what the package's metadata promises."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def locked(name: str) -> dict[str, str]:
    """The version of each package in a lock file."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    pairs = (line.partition(" ;")[0].partition("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(package): version.strip() for package, _, version in pairs}


def test_the_lowest_versions_that_are_tested_are_those_that_setup_cfg_allows() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    allowed = [Requirement(line) for line in setup["options"]["install_requires"].split()]
    assert len(allowed) > 4
    lowest = {canonicalize_name(one.name): [bound.version for bound in one.specifier] for one in allowed}
    tested = locked("airflow-2.11.0")
    for package, bounds in lowest.items():
        (bound,) = bounds
        assert Version(tested[package]) == Version(bound), package
