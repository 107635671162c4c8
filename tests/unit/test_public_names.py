"""What Dags, connections and stored triggers refer to by its path. It stays where version 0.1.0 had it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

CLASSES = [
    ("hooks.prefect", "PrefectHook"),
    ("operators.flow_run", "PrefectStartFlowRunOperator"),
    ("operators.flow_run", "PrefectRenameFlowRunOperator"),
    ("operators.flow_run", "PrefectCancelFlowRunOperator"),
    ("operators.result", "PrefectGetTaskRunResultOperator"),
    ("operators.bulk", "PrefectBulkFlowRunOperator"),
    ("operators.resume", "PrefectResumeFlowRunOperator"),
    ("retry_policy", "PrefectRetryPolicy"),
    ("triggers.event", "PrefectEventTrigger"),
    ("sensors.flow_run", "PrefectFlowRunSensor"),
    ("triggers.flow_run", "PrefectFlowRunTrigger"),
    ("links", "PrefectFlowRunLink"),
]

ERRORS = {
    "PrefectError": "Exception",
    "ConfigurationError": "PrefectError ValueError",
    "UnsupportedByApi": "ConfigurationError",
    "ApiError": "PrefectError",
    "AuthenticationError": "ApiError",
    "NotFound": "ApiError",
    "DeploymentNotFound": "NotFound",
    "FlowRunNotFound": "NotFound",
    "InvalidRequest": "ApiError",
    "MalformedAnswer": "ApiError",
    "Unreachable": "PrefectError",
    "FlowRunTimeout": "PrefectError",
    "WaitTimeout": "FlowRunTimeout",
    "StartTimeout": "FlowRunTimeout",
    "FlowRunUnsuccessful": "PrefectError",
    "FlowRunFailed": "FlowRunUnsuccessful",
    "FlowRunCrashed": "FlowRunUnsuccessful",
    "FlowRunCancelled": "FlowRunUnsuccessful",
    "ResultError": "PrefectError",
}
"""The errors that users catch, each with those that it is caught as too."""

HOOK_METHODS = (
    "cancel_flow_run",
    "find_flow_runs",
    "flow_run_url",
    "get_conn",
    "read_artifacts",
    "read_flow_run",
    "read_flow_run_logs",
    "read_flow_runs",
    "read_result",
    "read_task_run_result",
    "read_task_runs",
    "rename_flow_run",
    "start_flow_run",
    "test_connection",
    "wait_for_flow_run",
    "with_patience",
)


def public(module: str, name: str) -> Any:
    return getattr(import_module(f"airflow_provider_prefect.{module}"), name)


@pytest.mark.parametrize(("module", "name"), CLASSES, ids=[name for _, name in CLASSES])
def test_a_class_is_where_it_was(module: str, name: str) -> None:
    # Airflow stores a trigger by the module that it names itself.
    assert public(module, name).__module__ == f"airflow_provider_prefect.{module}"


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_RESULT_SIZE", 1024 * 1024), ("MAX_UNREACHABLE", 600), ("PATIENCE", 60)]
)
def test_a_default_of_the_hook_is_where_it_was(name: str, value: float) -> None:
    assert public("hooks.prefect", name) == value


@pytest.mark.parametrize("name", HOOK_METHODS)
def test_the_hook_still_has(name: str) -> None:
    assert callable(getattr(public("hooks.prefect", "PrefectHook"), name))


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_where_it_was_and_is_caught_as_what_it_was(name: str) -> None:
    error = public("client.errors", name)
    assert error.__module__ == "airflow_provider_prefect.client.errors"
    assert {one.__name__ for one in error.__mro__} >= set(ERRORS[name].split())
