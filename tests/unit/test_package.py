"""What states the version, the extras, the workflows and the make targets agrees."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_prefect import __version__

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = sorted([*(ROOT / "docs").rglob("*.rst"), *ROOT.glob("*.rst"), *ROOT.glob("*.md")])


def setup_cfg() -> ConfigParser:
    parsed = ConfigParser()
    parsed.read(ROOT / "setup.cfg")
    return parsed


def loaded(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(workflow)["jobs"].values() for step in job["steps"]]


def values(workflow: Path, name: str) -> list[str]:
    """The values that a matrix or the environment of the workflow's jobs gives a variable."""
    found = []
    for job in loaded(workflow)["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        found += [str(value) for value in matrix.get(name, [])]
        found += [str(one[name]) for one in matrix.get("include", []) if name in one]
    return found


def targets() -> set[str]:
    """The targets of the Makefile, with those that a variable lists."""
    airflows = re.search(r"^TEST_AIRFLOWS := \$\(addprefix (\S+),(.+)\)$", MAKEFILE, re.MULTILINE)
    assert airflows
    found = {f"{airflows[1]}{version}" for version in airflows[2].split()}
    for rule in re.findall(r"^([a-z][\w .-]*):(?!=)", MAKEFILE, re.MULTILINE):
        found |= set(rule.split())
    return found


def wanted(workflow: Path) -> list[str]:
    """The targets that the workflow makes: ``make docs``, ``make "$TARGET"``, ``make "test-$AIRFLOW" TESTS=…``."""
    found = []
    for command in (step["run"] for step in steps(workflow) if "run" in step):
        match = re.fullmatch(r'make (?:"([\w-]*)\$(\w+)"|([\w-]+))(?: TESTS="[\w/ ]+")?', command)
        assert match, f"{workflow.name}: {command!r} is not one call of make"
        prefix, variable, target = match.groups()
        if target:
            found.append(target)
        else:
            given = values(workflow, variable.lower())
            assert given, f"{workflow.name}: no matrix has {variable.lower()}"
            found += [f"{prefix}{value}" for value in given]
    return found


def test_the_version_is_the_newest_that_the_changelog_dates() -> None:
    dated = re.findall(r"^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert dated[0] == __version__


def test_every_extra_that_is_written_about_exists() -> None:
    extras = set(setup_cfg()["options.extras_require"])
    written = {
        extra
        for page in PAGES
        for group in re.findall(r"airflow-provider-prefect\[([\w,]+)\]", page.read_text())
        for extra in group.split(",")
    }
    assert written == extras


def test_every_supported_python_is_declared_and_tested() -> None:
    declared = re.findall(r"Python :: (3\.\d+)$", setup_cfg()["metadata"]["classifiers"], re.MULTILINE)
    makefile = re.search(r"not in \((\(.+\))\)$", MAKEFILE, re.MULTILINE)
    assert makefile
    assert [f"{major}.{minor}" for major, minor in re.findall(r"\((\d+), (\d+)\)", makefile[1])] == declared
    assert set(values(ROOT / ".github" / "workflows" / "tests.yml", "python")) == set(declared)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_makes_only_targets_that_exist(workflow: Path) -> None:
    made = wanted(workflow)
    assert made
    assert set(made) <= targets()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_may_only_read_and_pins_what_it_uses(workflow: Path) -> None:
    assert loaded(workflow)["permissions"] == {}
    for job in loaded(workflow)["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
    uses = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert uses
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", use) for use in uses)


def test_every_airflow_that_has_an_environment_is_in_the_workflows() -> None:
    tested = {target for workflow in WORKFLOWS for target in wanted(workflow)}
    assert {f"test-{file.stem}" for file in (ROOT / "requirements").glob("airflow-[0-9]*.in")} - tested == {
        "test-airflow-2.11.0"  # of which there is test-lowest
    }
    assert "test-lowest" in tested


def test_a_hook_of_pre_commit_calls_make() -> None:
    entries = [hook["entry"] for repo in loaded(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert entries
    assert {entry.removeprefix("make ") for entry in entries} <= targets()
