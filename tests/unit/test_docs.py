"""What the docs say exists: the code that they quote, every argument, every field of the connection."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_prefect.client.graphql import GraphqlApi
from airflow_provider_prefect.client.rest import RestApi
from airflow_provider_prefect.hooks.connection import read_settings
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.bulk import PrefectBulkFlowRunOperator
from airflow_provider_prefect.operators.flow_run import (
    PrefectCancelFlowRunOperator,
    PrefectRenameFlowRunOperator,
    PrefectStartFlowRunOperator,
)
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.operators.resume import PrefectResumeFlowRunOperator
from airflow_provider_prefect.provider_info import CONN_FIELDS
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from airflow_provider_prefect.triggers.event import PrefectEventTrigger
from tests.prefect1.rows import DIFFERENT, ROWS
from tests.unit.test_public_names import CLASSES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.rst"))}
README = ROOT / "README.rst"
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))

HOW_TOS: dict[str, type[Any]] = {
    "howto/start.rst": PrefectStartFlowRunOperator,
    "howto/sensor.rst": PrefectFlowRunSensor,
    "howto/rename.rst": PrefectRenameFlowRunOperator,
    "howto/cancel.rst": PrefectCancelFlowRunOperator,
    "howto/result.rst": PrefectGetTaskRunResultOperator,
    "howto/resume.rst": PrefectResumeFlowRunOperator,
    "howto/bulk.rst": PrefectBulkFlowRunOperator,
    "howto/events.rst": PrefectEventTrigger,
}

# The arguments of Prefect 1's six tasks (prefect 1.4.1).
SEED = {
    "create_flow_run": (
        *("flow_id", "flow_name", "project_name", "parameters", "context", "labels", "run_name", "run_config"),
        *("scheduled_start_time", "idempotency_key"),
    ),
    "wait_for_flow_run": ("flow_run_id", "stream_states", "stream_logs", "raise_final_state", "max_duration"),
    "get_task_run_result": ("flow_run_id", "task_slug", "map_index", "poll_time"),
    "StartFlowRun": (
        *("flow_name", "project_name", "parameters", "wait", "new_flow_context", "run_name", "run_config"),
        *("scheduled_start_time", "poll_interval", "create_link_artifact", "idempotency_key"),
    ),
    "RenameFlowRun": ("flow_run_id", "flow_run_name"),
    "CancelFlowRun": ("flow_run_id",),
}


def quotations() -> list[tuple[str, Path, dict[str, str]]]:
    """Page, file and options of every ``literalinclude``."""
    found = []
    for name, page in PAGES.items():
        for match in re.finditer(r"^\.\. literalinclude:: (\S+)\n((?:   :.+\n)*)", page.read_text(), re.MULTILINE):
            options = dict(re.findall(r":([\w-]+): (.+)", match[2]))
            found.append((name, (page.parent / match[1]).resolve(), options))
    return found


@pytest.mark.parametrize(
    ("file", "options"),
    [pytest.param(file, options, id=f"{page} {options['start-after']}") for page, file, options in quotations()],
)
def test_a_quoted_piece_is_there(file: Path, options: dict[str, str]) -> None:
    text = file.read_text()
    start, end = f"# {options['start-after']}\n", f"# {options['end-before']}\n"
    assert options["start-after"].replace("START", "END") == options["end-before"]
    assert (text.count(start), text.count(end)) == (1, 1)
    piece = text.partition(start)[2].partition(end)[0].rpartition("\n")[0]
    assert piece.strip()
    indent = " " * int(options["dedent"])
    assert all(line.startswith(indent) for line in piece.splitlines() if line)


def test_every_piece_that_is_marked_in_an_example_is_quoted() -> None:
    quoted = {(file.name, options["start-after"]) for _, file, options in quotations()}
    marked = {(path.name, mark) for path in EXAMPLES for mark in re.findall(r"# (\[START \w+\])", path.read_text())}
    assert marked == quoted


def test_every_page_is_in_one_toctree_and_every_link_leads_to_a_page() -> None:
    in_toctrees = []
    for name, page in PAGES.items():
        text = page.read_text()
        toctrees = re.findall(r"^\.\. toctree::\n(?:   :.+\n)*\n((?:   .+\n)+)", text, re.MULTILINE)
        entries = [target for toctree in toctrees for target in toctree.split()]
        for target in entries + re.findall(r":doc:`([^`<]+)`", text):
            assert (page.parent / f"{target}.rst").resolve() in PAGES.values(), f"{name} links to {target}"
        in_toctrees += [(page.parent / f"{target}.rst").resolve() for target in entries]
    assert sorted([*in_toctrees, DOCS / "index.rst"]) == sorted(PAGES.values())


def test_every_public_class_and_every_error_is_in_the_api_reference() -> None:
    reference = "".join(page.read_text() for name, page in PAGES.items() if name.startswith("reference/"))
    shown = set(re.findall(r"^\.\. auto(?:class|module):: airflow_provider_prefect\.(\S+)$", reference, re.MULTILINE))
    assert {f"{module}.{name}" for module, name in CLASSES} | {"client.errors"} <= shown


@pytest.mark.parametrize(
    ("page", "argument"),
    [
        pytest.param(page, name, id=f"{operator.__name__} {name}")
        for page, operator in HOW_TOS.items()
        for name, parameter in inspect.signature(operator.__init__).parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ],
)
def test_every_argument_is_described(page: str, argument: str) -> None:
    operator = HOW_TOS[page]
    assert f":param {argument}: " in (operator.__doc__ or "")
    assert argument in PAGES[page].read_text() or argument == "prefect_conn_id"


@pytest.mark.parametrize("operator", HOW_TOS.values())
def test_no_argument_is_described_that_is_not_there(operator: type[Any]) -> None:
    # An inherited one may be described too, where it means something of its own here.
    known = {name for base in operator.__mro__ for name in inspect.signature(base.__init__).parameters}
    assert set(re.findall(r":param (\w+):", operator.__doc__ or "")) <= known


def test_every_field_of_the_connection_is_described() -> None:
    described = set(re.findall(r"``(\w+)``", PAGES["connection.rst"].read_text()))
    assert set(CONN_FIELDS) | {"host", "port", "schema", "login", "password"} <= described


def connections() -> list[str]:
    text = PAGES["connection.rst"].read_text()
    return re.findall(r"export AIRFLOW_CONN_PREFECT_DEFAULT='([^']+)'", text)


@pytest.mark.parametrize("value", connections())
def test_a_connection_of_the_docs_is_understood(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PREFECT_DEFAULT", value)
    settings = read_settings("prefect_default", PrefectHook)
    assert settings.api_url.startswith(
        ("https://api.prefect.cloud/api/accounts/1111", "http://prefect.", "https://prefect.")
    )
    assert settings.api_key in (None, "pnu_0123456789")
    assert (settings.user, settings.password) in ((None, None), ("airflow", "open sesame"))


def test_the_docs_show_connections_to_cloud_to_servers_with_and_without_tls_and_to_prefect_1() -> None:
    assert len(connections()) == 8
    assert sum("graphql?api=graphql" in value or '"api": "graphql"' in value for value in connections()) == 3


@pytest.mark.parametrize(
    "value",
    re.findall(r"export AIRFLOW_CONN_PREFECT_1='([^']+)'", "".join(p.read_text() for p in (*PAGES.values(), README))),
)
def test_a_connection_to_prefect_1_leads_to_its_graphql_api(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PREFECT_1", value)
    settings = read_settings("prefect_1", PrefectHook)
    assert (settings.api, settings.api_url) == ("graphql", "http://prefect1.example.com:4200")
    assert settings.ui_url == "http://prefect1.example.com:8080"


@pytest.mark.parametrize(
    ("task", "argument"), [(task, argument) for task, arguments in SEED.items() for argument in arguments]
)
def test_every_argument_of_prefect_1_has_a_row(task: str, argument: str) -> None:
    sections = re.split(r"^(\w+)\n-+\n", PAGES["from_prefect_1.rst"].read_text(), flags=re.MULTILINE)
    section = dict(zip(sections[1::2], sections[2::2], strict=True))[task]
    rows = re.findall(r"^   \* - (.+)\n((?:     .+\n)+)", section, re.MULTILINE)
    [row] = [rest for first, rest in rows if re.search(rf"``{argument}\b", first)]
    assert len(re.findall(r"^     - \S", row, re.MULTILINE)) == 4


@pytest.mark.parametrize("page", PAGES)
def test_what_the_docs_call_an_argument_of_ours_is_one(page: str) -> None:
    ours = {name for operator in HOW_TOS.values() for name in inspect.signature(operator.__init__).parameters}
    given = re.findall(r"``(\w+)=(?:True|False|\[|\d|\"(?:new|restart)\")", PAGES[page].read_text())
    of_prefect_1 = {"persist_result", "wait", "raise_final_state", "poll_time", "create_link_artifact"}
    of_airflow = {"soft_fail", "render_template_as_native_obj"}
    assert set(given) - of_prefect_1 - of_airflow <= ours


def test_the_page_on_prefect_1_names_every_argument_that_it_has_no_use_for_and_what_takes_its_place() -> None:
    section = PAGES["prefect1.rst"].read_text().partition("Unsupported arguments\n")[2].partition("\nDeliberately")[0]
    named = set(re.findall(r"``(\w+)", section))
    assert {name.partition("=")[0] for name in GraphqlApi.unsupported} <= named
    assert set(RestApi.unsupported) <= named


def test_the_page_on_prefect_1_has_each_of_the_deliberate_departures_once_by_its_row() -> None:
    section = PAGES["prefect1.rst"].read_text().partition("Deliberately different")[2]
    cells = [cell for cell in re.findall(r"^   \* - (.+)$", section, re.MULTILINE) if cell != "Row"]
    named = [row for cell in cells for row in cell.split(", ")]
    assert sorted(named) == sorted(row.id for row in ROWS if row.verdict == DIFFERENT)


def test_nothing_is_planned_any_more() -> None:
    assert "planned" not in PAGES["from_prefect_1.rst"].read_text().lower()
