"""Both of Prefect's APIs offer the same, and each says what it has no use for."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest

from airflow_provider_prefect.client import graphql, rest
from airflow_provider_prefect.client.api import Api, api_of, check_supported
from airflow_provider_prefect.client.errors import UnsupportedByApi
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor

FUNCTIONS = [name for name, member in vars(Api).items() if inspect.isfunction(member) and name[0] != "_"]
ARGUMENTS = {
    name
    for function in (
        PrefectStartFlowRunOperator.__init__,
        PrefectCancelFlowRunOperator.__init__,
        PrefectGetTaskRunResultOperator.__init__,
        PrefectFlowRunSensor.__init__,
        PrefectHook.find_flow_runs,
    )
    for name in inspect.signature(function).parameters
}


def test_the_connection_says_which_api_is_spoken() -> None:
    for given, api in (({"api": "graphql"}, graphql), ({"api": "rest"}, rest), ({}, rest)):
        found: Any = api_of(Settings("http://host:4200", "", **given))
        assert found is api


@pytest.mark.parametrize("api", [rest, graphql], ids=["REST", "GraphQL"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_api_has_every_function_with_the_same_parameters(api: ModuleType, name: str) -> None:
    assert name in api.__all__
    wanted = list(inspect.signature(getattr(Api, name)).parameters.values())[1:]
    there = inspect.signature(getattr(api, name)).parameters
    assert [(each.name, each.kind) for each in wanted] == [(each.name, each.kind) for each in there.values()][
        : len(wanted)
    ]
    assert all(each.default is not inspect.Parameter.empty for each in list(there.values())[len(wanted) :])


def test_there_are_functions_to_compare() -> None:
    assert len(FUNCTIONS) > 15


@pytest.mark.parametrize(("api", "name", "value"), [(graphql, "deployment", "a/b"), (rest, "project_name", "main")])
def test_an_argument_of_the_other_api_is_refused_with_its_value_and_its_successor(
    api: Any, name: str, value: str
) -> None:
    with pytest.raises(UnsupportedByApi) as refusal:
        check_supported(api, {"parameters": {}, name: value})
    assert str(refusal.value) == f"{name}={value!r} is not for {api.NAME}: {api.LACKS[name]}"


@pytest.mark.parametrize(("api", "name"), [(graphql, "job_variables"), (rest, "run_config")])
def test_a_value_that_may_hold_a_secret_is_not_repeated(api: Any, name: str) -> None:
    with pytest.raises(UnsupportedByApi) as refusal:
        check_supported(api, {name: {"env": {"TOKEN": "hush-hush"}}})
    assert "hush-hush" not in str(refusal.value)


@pytest.mark.parametrize("api", [rest, graphql])
def test_what_is_not_given_is_not_refused(api: Any) -> None:
    check_supported(api, dict.fromkeys(api.LACKS))
    check_supported(api, {"parameters": {}, "idempotency_key": "k"})


@pytest.mark.parametrize(
    ("api", "name"), [(api, name) for api in (rest, graphql) for name in api.LACKS], ids=lambda each: str(each)[:30]
)
def test_what_is_said_to_be_lacking_is_an_argument_and_its_successor_is_named(api: Any, name: str) -> None:
    assert name.partition("=")[0] in ARGUMENTS
    assert api.LACKS[name].endswith(".")


def test_what_one_api_lacks_the_other_has() -> None:
    assert not set(rest.LACKS) & set(graphql.LACKS)
