"""An argument that only one of Prefect's APIs has says on the other one what takes its place, and creates nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import UnsupportedByApi
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.client.wait.newest import NewestRun, find_newest, wait_for_newest
from airflow_provider_prefect.hooks.prefect import PrefectHook
from tests.prefect1 import scenario
from tests.prefect1.our_side import OurSide
from tests.prefect1.server import Prefect1Server
from tests.unit.client.driving import Notes
from tests.unit.fake_prefect import FakePrefect

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
UUID = "00000000-0000-4000-8000-000000000001"

START: dict[str, tuple[dict[str, Any], str]] = {
    "deployment": ({"deployment": "etl/demo"}, "Name the flow: flow_name (with project_name), or flow_id"),
    "deployment's id": ({"deployment": UUID}, "Name the flow: flow_name (with project_name), or flow_id"),
    "tags": ({"tags": ["nightly"]}, "Agents are chosen by labels"),
    "tags, none": ({"tags": []}, "Agents are chosen by labels"),
    "job_variables": ({"job_variables": {"cpu": 2}}, "give run_config, a mapping with its type"),
    "work_queue_name": ({"work_queue_name": "fast"}, "Agents are chosen by labels"),
    "enforce_parameter_schema": ({"enforce_parameter_schema": False}, "a flow says itself which of its parameters"),
    "on_retry": ({"on_retry": "restart"}, "Leave it at on_retry='new'"),
    "fetch_result": ({"fetch_result": True}, "PrefectGetTaskRunResultOperator fetches a task's, by its slug"),
    "fetch_result's artifact": ({"fetch_result": "report"}, "PrefectGetTaskRunResultOperator fetches a task's"),
}


@both_modes
@pytest.mark.parametrize(("arguments", "successor"), START.values(), ids=START.keys())
def test_an_argument_for_prefect_2_and_3_is_refused_on_prefect_1(
    server: Prefect1Server, ours: OurSide, arguments: dict[str, Any], successor: str, deferrable: bool
) -> None:
    scenario.register_flow(server, "etl")
    done = ours.start(deferrable=deferrable, wait_for_completion=True, **arguments)
    assert successor in done.text
    assert done.text.startswith(next(iter(arguments)))
    assert "is not supported by Prefect 1" in done.text
    assert done.for_good
    assert done.requests == ()
    assert server.tables.all("flow_run") == []


WAITS: dict[str, tuple[str, dict[str, Any], str]] = {
    "sensor's deployment": ("wait", {"deployment": "etl/demo"}, "or a flow_run_id"),
    "sensor's since": ("wait", {"deployment": "etl/demo", "since": datetime(2026, 10, 1, tzinfo=UTC)}, "a flow_run_id"),
    "sensor's tags": ("wait", {"deployment": "etl/demo", "tags": ["nightly"]}, "a flow_run_id"),
    "cancel's deployment": ("cancel", {"deployment": "etl/demo"}, "or a flow_run_id"),
    "cancel's tags": ("cancel", {"deployment": "etl/demo", "tags": ["nightly"]}, "or a flow_run_id"),
}


@both_modes
@pytest.mark.parametrize(("what", "arguments", "successor"), WAITS.values(), ids=WAITS.keys())
def test_the_runs_of_a_deployment_are_not_looked_for_on_prefect_1(
    server: Prefect1Server, ours: OurSide, what: str, arguments: dict[str, Any], successor: str, deferrable: bool
) -> None:
    given = {**arguments, "deferrable": deferrable}
    done = ours.wait(None, **given) if what == "wait" else ours.cancel(**given)  # type: ignore[arg-type]
    assert "deployment='etl/demo' is not supported by Prefect 1" in done.text
    assert successor in done.text
    assert done.for_good
    assert done.requests == ()


@pytest.mark.parametrize(
    ("arguments", "successor"),
    [({"artifact_key": "report"}, "Name the task whose result is meant: task_name="), ({}, "Name a task by its slug")],
)
def test_a_result_is_a_tasks_on_prefect_1(
    server: Prefect1Server, ours: OurSide, arguments: dict[str, Any], successor: str
) -> None:
    done = ours.get(UUID, None, **arguments)
    assert successor in done.text
    assert done.for_good
    assert done.requests == ()


NEWEST = NewestRun(UUID, datetime(2026, 10, 1, tzinfo=UTC))
HOOK: dict[str, Callable[[PrefectHook], Any]] = {
    "start_flow_run": lambda hook: hook.start_flow_run("etl/demo"),
    "start_flow_run's tags": lambda hook: hook.start_flow_run(flow_name="etl", tags=["a"]),
    "start_flow_run's job_variables": lambda hook: hook.start_flow_run(flow_name="etl", job_variables={"a": 1}),
    "start_flow_run's work_queue_name": lambda hook: hook.start_flow_run(flow_name="etl", work_queue_name="a"),
    "start_flow_run's enforce_parameter_schema": lambda hook: hook.start_flow_run(
        flow_name="etl", enforce_parameter_schema=True
    ),
    "find_newest": lambda hook: run(find_newest(hook.get_conn(), NEWEST, Patience(0))),
    "find_live_flow_runs": lambda hook: run(hook.api.find_live_flow_runs(UUID, ())),
    "find_flow_runs": lambda hook: hook.find_flow_runs({"name": {"any_": ["a"]}}),
    "restart_flow_run": lambda hook: run(hook.api.restart_flow_run(UUID)),
    "read_artifacts": lambda hook: hook.read_artifacts(UUID, "report"),
    "wait_for_newest": lambda hook: run(
        wait_for_newest(hook.get_conn(), NEWEST, interval=3, until=math.inf, patience=0, observer=Notes())
    ),
}


@pytest.mark.parametrize("call", HOOK.values(), ids=HOOK.keys())
def test_a_call_for_prefect_2_and_3_is_refused_on_prefect_1(
    server: Prefect1Server, ours: OurSide, call: Callable[[PrefectHook], Any]
) -> None:
    scenario.register_flow(server, "etl")
    done = ours.tried(call)
    assert isinstance(done.error, UnsupportedByApi)
    assert "is not supported by Prefect 1" in done.text
    assert done.requests == ()
    assert server.tables.all("flow_run") == []


# The other way round

REST: dict[str, tuple[dict[str, Any], str]] = {
    "flow_id": ({"flow_id": UUID}, "deployment"),
    "project_name": ({"flow_name": "sales", "project_name": "main"}, "deployment"),
    "labels": ({"deployment": "sales/demo", "labels": ["lab"]}, "work_queue_name"),
    "labels, none": ({"deployment": "sales/demo", "labels": []}, "work_queue_name"),
    "run_config": ({"deployment": "sales/demo", "run_config": {"type": "LocalRun"}}, "job_variables"),
    "context": ({"deployment": "sales/demo", "context": {"note": "hello"}}, "parameters"),
}


@both_modes
@pytest.mark.parametrize(("arguments", "successor"), REST.values(), ids=REST.keys())
def test_an_argument_for_prefect_1_is_refused_on_prefect_2_and_3(
    ours: OurSide, prefect: FakePrefect, arguments: dict[str, Any], successor: str, deferrable: bool
) -> None:
    before = len(prefect.requests)
    done = ours.start(deferrable=deferrable, wait_for_completion=True, **arguments)
    refused = "project_name" if "project_name" in arguments else [*arguments][-1]
    assert done.text.startswith(refused)
    assert " is not supported by " in done.text
    assert successor in done.text.partition(" is not supported by ")[2]
    assert done.for_good
    assert prefect.created == []
    assert len(prefect.requests) == before
