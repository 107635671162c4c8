"""Every GraphQL document of ours is one that a real server takes, and asks for nothing that nobody uses."""

from __future__ import annotations

import ast
import inspect
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    validate,
)

from airflow_provider_prefect.client import graphql
from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.errors import PrefectError, UnsupportedByApi
from airflow_provider_prefect.client.graphql import flow_runs, outputs, query, records
from airflow_provider_prefect.client.model import ALL, FlowRun, NewFlowRun, Source
from airflow_provider_prefect.client.transport import run
from tests.prefect1 import scenario
from tests.prefect1.conftest import KEY
from tests.prefect1.executing import served_schema
from tests.prefect1.our_side import OurSide
from tests.prefect1.server import Prefect1Server

MODULES = (graphql, flow_runs, outputs, query, records)
DEEPEST = 7
CLOUD_ONLY = ("auth_info",)


def documents(module: ModuleType) -> Iterator[tuple[str, str]]:
    """The documents that a module holds as constants, but parts of others."""
    for name, value in vars(module).items():
        if isinstance(value, str) and ("query " in value or "mutation " in value) and "{" in value:
            yield f"{module.__name__.rpartition('.')[2]}.{name}", value


ALL_DOCUMENTS = dict(document for module in MODULES for document in documents(module))
each_document = pytest.mark.parametrize("document", ALL_DOCUMENTS.values(), ids=ALL_DOCUMENTS.keys())


def depth(selections: SelectionSetNode | None, fragments: dict[str, FragmentDefinitionNode]) -> int:
    """How many levels of fields are below."""
    deepest = 0
    for node in selections.selections if selections else ():
        if isinstance(node, FieldNode):
            deepest = max(deepest, 1 + depth(node.selection_set, fragments))
        elif isinstance(node, FragmentSpreadNode):
            deepest = max(deepest, depth(fragments[node.name.value].selection_set, fragments))
        else:
            deepest = max(deepest, depth(node.selection_set, fragments))
    return deepest


def fields(document: DocumentNode) -> Iterator[FieldNode]:
    """All fields that a document selects."""
    waiting: list[SelectionSetNode | None] = [node.selection_set for node in document.definitions]  # type: ignore[attr-defined]
    while waiting:
        for node in selections.selections if (selections := waiting.pop()) else ():
            if isinstance(node, FieldNode):
                yield node
            if not isinstance(node, FragmentSpreadNode):
                waiting.append(node.selection_set)


def test_there_are_documents_to_check() -> None:
    assert len(ALL_DOCUMENTS) > 10


@each_document
def test_a_document_is_valid_in_the_schema_of_a_real_server(document: str) -> None:
    parsed = parse(document)
    cloud = any(field.name.value in CLOUD_ONLY for field in fields(parsed))
    assert validate(served_schema(cloud), parsed) == []


@each_document
def test_a_document_is_not_too_deep_and_has_one_named_operation(document: str) -> None:
    parsed = parse(document)
    fragments = {node.name.value: node for node in parsed.definitions if isinstance(node, FragmentDefinitionNode)}
    [operation] = [node for node in parsed.definitions if isinstance(node, OperationDefinitionNode)]
    assert operation.name
    assert depth(operation.selection_set, fragments) <= DEEPEST


@each_document
def test_a_document_takes_its_values_as_variables(document: str) -> None:
    for field in fields(parse(document)):
        for argument in field.arguments or ():
            # An order is no value of a user's.
            assert argument.value.kind == "variable" or argument.name.value == "order_by", argument.name.value


def read_names() -> set[str]:
    """All texts in the code of the modules that are no documents: what is read from an answer is named by one."""
    names: set[str] = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                names.add(node.value)
    return names


@each_document
def test_every_field_that_a_document_asks_for_is_read_somewhere(document: str) -> None:
    parsed = parse(document)
    asked = {field.name.value for field in fields(parsed)}
    for node in parsed.definitions:
        if isinstance(node, OperationDefinitionNode) and node.operation.value == "mutation":
            # What is done is asked for, whether its answer is read or not.
            asked -= {field.name.value for field in node.selection_set.selections if isinstance(field, FieldNode)}
    assert asked <= read_names()


# What is really sent


@pytest.fixture
def run_id(server: Prefect1Server) -> str:
    flow_id = scenario.register_flow(server, "etl", tasks=["load"], mapped=["square"])
    run_id = scenario.start_run(server, flow_id, "Running")
    scenario.finish_task(server, run_id, "load-1", result=scenario.prefect_result(1))
    scenario.finish_mapped(server, run_id, "square-1", [scenario.prefect_result(1)])
    scenario.write_log(server, run_id, "hello")
    return run_id


NOW = datetime(2026, 10, 1, tzinfo=UTC)
CALLS: dict[str, Callable[[Api, str, str], Coroutine[Any, Any, Any]]] = {
    "find_source": lambda api, run_id, flow_id: api.find_source(
        deployment=None, flow_id=flow_id, flow_name=None, project_name=None
    ),
    "create_flow_run": lambda api, run_id, flow_id: api.create_flow_run(
        Source(flow_id, "etl", "group"), NewFlowRun(idempotency_key="k", parameters={"a": 1})
    ),
    "read_flow_run": lambda api, run_id, flow_id: api.read_flow_run(run_id),
    "read_flow_runs": lambda api, run_id, flow_id: api.read_flow_runs([run_id]),
    "find_by_keys": lambda api, run_id, flow_id: api.find_by_keys(["k"]),
    "reasons_not_started": lambda api, run_id, flow_id: api.reasons_not_started(FlowRun(run_id, "x")),
    "rename_flow_run": lambda api, run_id, flow_id: api.rename_flow_run(run_id, "new"),
    "cancel_flow_run": lambda api, run_id, flow_id: api.cancel_flow_run(run_id),
    "cancel_flow_runs": lambda api, run_id, flow_id: api.cancel_flow_runs([run_id]),
    "read_logs": lambda api, run_id, flow_id: api.read_logs(run_id, level=30, limit=5),
    "read_log_page": lambda api, run_id, flow_id: api.read_log_page(run_id, after=NOW, offset=0),
    "read_last_logs": lambda api, run_id, flow_id: api.read_last_logs(run_id, 5),
    "count_logs": lambda api, run_id, flow_id: api.count_logs(run_id),
    "read_task_runs": lambda api, run_id, flow_id: api.read_task_runs(
        run_id, ids=[str(uuid.uuid4())], state_types=["FAILED"], limit=5
    ),
    "select_task_runs": lambda api, run_id, flow_id: api.select_task_runs(run_id, "square-1", ALL),
    "describe_server": lambda api, run_id, flow_id: api.describe_server(),
    "read_changed": lambda api, run_id, flow_id: api.read_changed([run_id], known_type="PENDING", limit=5),
    "count_existing": lambda api, run_id, flow_id: api.count_existing([run_id]),
    "read_logs_of": lambda api, run_id, flow_id: api.read_logs_of([run_id], after=NOW, limit=5),
}


NOT_ON_PREFECT_1 = {
    *("find_flow_runs", "find_live_flow_runs", "find_newest"),
    *("restart_flow_run", "read_artifacts", "read_storage_block"),
    *("pause_flow_run", "resume_flow_run", "find_reached", "read_materializations"),
}
NOTHING_TO_SEND = {"has_event_feed", "read_end_from_events", "read_run_input"}


def test_every_document_is_sent_and_no_other_one_and_the_server_takes_it(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    flow_id = scenario.row(server, "flow_run", run_id)["flow_id"]
    ours.connect(password=KEY)  # only then the tenant of the key is asked for
    before = len(server.requests)
    for name, call in CALLS.items():
        try:
            run(call(ours.hook.api, run_id, flow_id))
        except PrefectError as error:
            pytest.fail(f"{name}: {error}")
    assert {request.query for request in server.requests[before:]} == set(ALL_DOCUMENTS.values())


def test_every_call_of_the_api_is_among_them() -> None:
    methods = {name for name, member in vars(Api).items() if inspect.iscoroutinefunction(member)}
    assert methods - NOT_ON_PREFECT_1 - NOTHING_TO_SEND == CALLS.keys()


def test_where_there_is_no_document_nothing_is_sent(server: Prefect1Server, ours: OurSide, run_id: str) -> None:
    before = len(server.requests)
    assert run(ours.hook.api.has_event_feed()) is False
    assert run(ours.hook.api.read_end_from_events(run_id)) is None
    assert run(ours.hook.api.read_run_input(run_id)) is None
    assert len(server.requests) == before


def test_what_prefect_1_does_not_have_is_refused_and_not_sent(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    before = len(server.requests)
    api = ours.hook.api
    for refused in (
        lambda: api.pause_flow_run(run_id, 60),
        lambda: api.resume_flow_run(run_id, {"approved": True}),
        lambda: api.find_reached(["COMPLETED"], None, ["x"], None),
        lambda: api.read_materializations(asset_key="s3://lake/orders"),
    ):
        with pytest.raises(UnsupportedByApi, match="Prefect 1"):
            run(refused())
    assert len(server.requests) == before
