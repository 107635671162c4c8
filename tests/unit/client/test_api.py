"""Both of Prefect's APIs offer the same, and each says what it has no use for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.api import Api, check_supported, make_api
from airflow_provider_prefect.client.errors import ApiError, Unreachable, UnsupportedByApi
from airflow_provider_prefect.client.graphql import GraphqlApi
from airflow_provider_prefect.client.rest import RestApi
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from airflow_provider_prefect.triggers.event import PrefectEventTrigger
from tests.unit.client.driving import BUSY, GRAPHQL, REST, Again, Script
from tests.unit.client.samples import RUN_ID

APIS = {"REST": Script((), REST).api(), "GraphQL": Script((), GRAPHQL).api()}
EACH = pytest.mark.parametrize("api", APIS.values(), ids=APIS)
METHODS = [name for name, member in vars(Api).items() if inspect.isfunction(member) and name[0] != "_"]
PROPERTIES = {"name": str, "unsupported": dict, "late_log_seconds": int}
ARGUMENTS = {
    name
    for function in (
        PrefectStartFlowRunOperator.__init__,
        PrefectCancelFlowRunOperator.__init__,
        PrefectGetTaskRunResultOperator.__init__,
        PrefectFlowRunSensor.__init__,
        PrefectHook.find_flow_runs,
        PrefectHook.start_flow_run,
        PrefectHook.resume_flow_run,
        PrefectEventTrigger.__init__,
    )
    for name in inspect.signature(function).parameters
}


@pytest.mark.parametrize(
    ("given", "kind"), [({"api": "graphql"}, GraphqlApi), ({"api": "rest"}, RestApi), ({}, RestApi)]
)
def test_the_connection_says_which_api_is_used(given: dict[str, Any], kind: type) -> None:
    assert type(make_api(Script((), Settings("http://host:4200", "", **given)), Patience(0))) is kind


@pytest.mark.parametrize("settings", [REST, GRAPHQL])
def test_an_api_sends_again_what_has_failed_and_only_for_as_long_as_its_patience(settings: Settings) -> None:
    script = Script([Again(BUSY)], settings)
    with pytest.raises(Unreachable, match="in 60 s"):
        run(script.api(60).read_flow_run(RUN_ID))
    assert len(script.requests) > 1
    script = Script([BUSY], settings)
    with pytest.raises(ApiError, match="503"):
        run(script.api(0).read_flow_run(RUN_ID))


@EACH
@pytest.mark.parametrize("name", METHODS)
def test_an_api_has_every_method_with_the_same_parameters(api: Api, name: str) -> None:
    wanted, there = getattr(Api, name), getattr(type(api), name)
    assert inspect.iscoroutinefunction(there) is inspect.iscoroutinefunction(wanted)
    assert [(each.name, each.kind, each.default) for each in inspect.signature(there).parameters.values()] == [
        (each.name, each.kind, each.default) for each in inspect.signature(wanted).parameters.values()
    ]


@EACH
@pytest.mark.parametrize("name", PROPERTIES)
def test_an_api_has_every_property(api: Api, name: str) -> None:
    assert isinstance(getattr(Api, name), property)
    assert isinstance(getattr(api, name), PROPERTIES[name])


def test_there_are_methods_and_all_properties_to_compare() -> None:
    assert len(METHODS) > 15
    assert {name for name, member in vars(Api).items() if isinstance(member, property)} == set(PROPERTIES)


@pytest.mark.parametrize(
    ("kind", "name", "value"), [("GraphQL", "deployment", "a/b"), ("REST", "project_name", "main")]
)
def test_an_argument_of_the_other_api_is_refused_with_its_value_and_its_successor(
    kind: str, name: str, value: str
) -> None:
    api = APIS[kind]
    with pytest.raises(UnsupportedByApi) as refusal:
        check_supported(api, **{"parameters": {}, name: value})
    assert str(refusal.value) == f"{name}={value!r} is not supported by {api.name}: {api.unsupported[name]}"


@pytest.mark.parametrize(("kind", "name"), [("GraphQL", "job_variables"), ("REST", "run_config")])
def test_a_value_that_may_hold_a_secret_is_not_repeated(kind: str, name: str) -> None:
    with pytest.raises(UnsupportedByApi) as refusal:
        check_supported(APIS[kind], **{name: {"env": {"TOKEN": "hush-hush"}}})
    assert "hush-hush" not in str(refusal.value)


@EACH
def test_what_is_not_given_is_not_refused(api: Api) -> None:
    check_supported(api, **dict.fromkeys(api.unsupported))
    check_supported(api, parameters={}, idempotency_key="k")


@pytest.mark.parametrize(
    ("api", "name"), [(api, name) for api in APIS.values() for name in api.unsupported], ids=lambda each: str(each)[:30]
)
def test_what_is_unsupported_is_an_argument_and_its_successor_is_named(api: Api, name: str) -> None:
    assert name.partition("=")[0] in ARGUMENTS
    assert api.unsupported[name].endswith(".")


def test_what_one_api_does_not_support_the_other_does() -> None:
    assert not set(APIS["REST"].unsupported) & set(APIS["GraphQL"].unsupported)


LATER = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda api: api.find_flow_runs({"flow_runs": {}}), "criteria is not supported by Prefect 1: .*read_flow_runs"),
        (
            lambda api: api.find_live_flow_runs("d", ()),
            "deployment='d' is not supported by Prefect 1: there are no deployments",
        ),
        (lambda api: api.find_newest("d", (), LATER, LATER), "deployment='d' is not supported by Prefect 1"),
        (
            lambda api: api.restart_flow_run(RUN_ID),
            "on_retry='restart' is not supported by Prefect 1: .*on_retry='new'",
        ),
        (
            lambda api: api.read_artifacts(RUN_ID, "table"),
            "artifact_key='table' is not supported by Prefect 1: .*task_name",
        ),
        (lambda api: api.read_storage_block("b"), "block_id='b' is not supported by Prefect 1: .*not stored in blocks"),
    ],
)
def test_what_prefect_1_does_not_have_is_refused_before_anything_is_sent(
    call: Callable[[Api], Coroutine[Any, Any, Any]], text: str
) -> None:
    script = Script((), GRAPHQL)
    with pytest.raises(UnsupportedByApi, match=text):
        run(call(script.api()))
    assert script.requests == []
