"""What imports what: the layers of the package, and what an import costs, which every parse of a Dag file pays."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import airflow_provider_prefect

PACKAGE = Path(airflow_provider_prefect.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
OURS = PACKAGE.name

MODULES = {
    ".".join([OURS, *(part for part in path.relative_to(PACKAGE).with_suffix("").parts if part != "__init__")]): path
    for path in SOURCES
}
"""Every module of the package with its file."""

LAYERS = {
    "sensors": {"operators", "hooks", "utils", "client", "links"},
    "operators": {"triggers", "hooks", "utils", "client", "links"},
    "triggers": {"hooks", "utils", "client"},
    "hooks": {"utils", "client", "provider_info"},
    "utils": {"client"},
    "client": set(),
    "links": set(),
    "retry_policy": {"utils", "client"},
    "provider_info": {""},
    "": {"provider_info"},
}
"""What each part of the package may import besides itself. The package's own file is the part without a name."""

CLIENT_LAYERS = {
    "watcher": {"wait", "api", "retry", "http"},
    "wait": {"api", "retry"},
    "api": {"rest", "graphql", "results", "retry"},
    "rest": {"results"},
    "graphql": {"results"},
    "results": set(),
    "retry": set(),
    "http": set(),
}
"""The same for the parts of the client. Those that are not listed are its base: all others may import them."""

BASE_OF_HTTP = {"transport", "responses", "fields", "settings", "errors"}
"""The base of the client as far as the HTTP transports know it."""

HTTP_LIBRARIES = {"requests", "aiohttp", "urllib3", "yarl"}


def in_a_fresh_interpreter(code: str, **environment: str) -> list[str]:
    """The lines that ``code`` prints."""
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def loaded(code: str) -> set[str]:
    """The modules that are loaded after ``code``."""
    report = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(in_a_fresh_interpreter(f"{code}\n{report}")[-1]))


def top_level(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def imports(source: Path) -> Iterator[tuple[str, str]]:
    """Every module that a file imports, wherever in it, and the name that it takes from there, if any.

    A name that is a module itself is one: ``from package import module`` imports ``package.module``.
    """
    module = next(name for name, path in MODULES.items() if path == source)
    package = module.split(".") if source.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                yield (whole, "") if whole in MODULES else (origin, alias.name)


def imported(source: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    return {module for module, _ in imports(source)}


def parts(module: str) -> tuple[str, str]:
    """The part of the package that a module of ours belongs to, and if that is the client, the part of the client."""
    names = [*module.split("."), "", ""]
    return names[1], names[2] if names[1] == "client" else ""


CLIENT_BASE = {parts(module)[1] for module in MODULES if parts(module)[0] == "client"} - {"", *CLIENT_LAYERS}


def named(source: Path) -> str:
    return str(source.relative_to(PACKAGE))


every_file = pytest.mark.parametrize("source", SOURCES, ids=named)
every_client_file = pytest.mark.parametrize(
    "source", [path for path in SOURCES if (PACKAGE / "client") in path.parents], ids=named
)


def test_a_dag_file_does_not_pay_for_the_http_libraries() -> None:
    operator = "try: from airflow.sdk import BaseOperator\nexcept ImportError: from airflow.models import BaseOperator"
    airflow_alone = top_level(loaded(operator))
    names = ("operators.flow_run", "operators.result", "sensors.flow_run", "triggers.flow_run", "links")
    modules = loaded("import " + ", ".join(f"{OURS}.{name}" for name in names))
    for library in ("requests", "aiohttp", "yarl", "flask_appbuilder", "wtforms"):
        assert library not in top_level(modules) - airflow_alone
    assert modules >= {f"{OURS}.{name}" for name in names}
    # Airflow itself may have imported a library already, depending on its version.
    assert not [name for name in modules if name.startswith((f"{OURS}.client.http", f"{OURS}.client.watcher"))]


def test_the_provider_info_is_read_without_importing_airflow() -> None:
    assert "airflow" not in top_level(
        loaded("import airflow_provider_prefect; airflow_provider_prefect.get_provider_info()")
    )


def test_tasks_defer_by_default_where_airflow_is_set_so() -> None:
    code = (
        "from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator as Start\n"
        "from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor as Sensor\n"
        "print(Start(task_id='a', deployment='a/b').deferrable, Sensor(task_id='b', flow_run_id='c').deferrable)"
    )
    assert in_a_fresh_interpreter(code, AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE="True")[-1] == "True True"
    assert in_a_fresh_interpreter(code, AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE="False")[-1] == "False False"


@every_file
def test_prefect_itself_is_never_imported(source: Path) -> None:
    assert "prefect" not in top_level(imported(source))


@every_client_file
def test_the_client_knows_nothing_of_airflow_or_of_what_is_built_on_it(source: Path) -> None:
    for name in imported(source):
        assert name.partition(".")[0] != "airflow"
        assert name.partition(".")[0] != OURS or parts(name)[0] == "client"


@pytest.mark.parametrize("part", ["", ".http", ".rest", ".graphql", ".results", ".wait", ".watcher"])
def test_importing_the_client_does_not_load_airflow(part: str) -> None:
    package = f"{OURS}.client{part}"
    modules = [name for name in MODULES if name == package or name.startswith(f"{package}.")]
    assert "airflow" not in top_level(loaded("import " + ", ".join(modules)))


@every_file
def test_only_the_transports_import_an_http_library(source: Path) -> None:
    may = HTTP_LIBRARIES if source.parent == PACKAGE / "client" / "http" else set()
    if source == PACKAGE / "client" / "watcher" / "events.py":
        may = {"aiohttp"}  # for the types of the websocket's messages
    assert top_level(imported(source)) & HTTP_LIBRARIES <= may


@every_file
def test_imports_point_downwards_only(source: Path) -> None:
    module = next(name for name, path in MODULES.items() if path == source)
    part, client_part = parts(module)
    for name in imported(source):
        if name.partition(".")[0] != OURS:
            continue
        other, other_client_part = parts(name)
        assert other == part or other in LAYERS[part], f"{module} imports {name}"
        if part == other == "client" and other_client_part != client_part:
            base = BASE_OF_HTTP if client_part == "http" else CLIENT_BASE
            assert other_client_part in CLIENT_LAYERS.get(client_part, set()) | base, f"{module} imports {name}"


def test_every_part_has_its_place_among_the_layers() -> None:
    assert {parts(module)[0] for module in MODULES} == set(LAYERS)
    assert {parts(module)[1] for module in MODULES if parts(module)[0] == "client"} >= set(CLIENT_LAYERS)
    assert {"transport", "model", "settings", "errors"} <= CLIENT_BASE


def test_no_file_imports_itself_by_way_of_others() -> None:
    below = {module: {name for name in imported(path) if name in MODULES} for module, path in MODULES.items()}
    # The entry point of the provider imports it when it is called. The description has the version from here.
    below[OURS].remove(f"{OURS}.provider_info")
    TopologicalSorter(below).prepare()  # raises CycleError


@every_file
def test_a_name_with_a_leading_underscore_stays_in_its_file(source: Path) -> None:
    def private(name: str) -> bool:
        return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))

    for module, name in imports(source):
        if module.partition(".")[0] == OURS:
            assert not private(name)
            assert not any(private(part) for part in module.split("."))
    defined, used = set(), set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Attribute):
            (defined if isinstance(node.ctx, ast.Store) else used).add(node.attr)
    assert not {name for name in used if private(name)} - defined
