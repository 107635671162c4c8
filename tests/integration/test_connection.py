"""PrefectHook and its connection against Prefect servers, open, protected and absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import AuthenticationError, ConfigurationError
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger
from tests.integration.conftest import PASSWORD, USER
from tests.integration.dag_runs import OFTEN
from tools.prefect_stack import PrefectServer
from tools.processes import LOOPBACK, free_port

Connect = Callable[..., PrefectHook]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Makes a connection, and the hook that uses it."""

    def make(host: str, **fields: Any) -> PrefectHook:
        connection = {"conn_type": "prefect", "host": host, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_PREFECT_MADE", json.dumps(connection))
        return PrefectHook("prefect_made")

    return make


# test_connection


def test_it_names_the_server_its_version_and_that_there_are_no_credentials(prefect: PrefectServer) -> None:
    version = prefect.request("GET", "/admin/version")
    sentence = f"Prefect 3 server {version} at {prefect.api_url}, with no credentials."
    assert PrefectHook().test_connection() == (True, sentence)


@pytest.mark.parametrize("path", ["", "/", "/api/", "/api", "/dashboard", "/runs/flow-run/0f1e?tab=Logs#top"])
def test_it_works_with_any_address_that_a_person_pastes(prefect: PrefectServer, connect: Connect, path: str) -> None:
    works, sentence = connect(f"{prefect.ui_url}{path}").test_connection()
    assert works, sentence
    assert prefect.api_url in sentence


def test_it_works_with_host_and_port_apart(prefect: PrefectServer, connect: Connect) -> None:
    works, sentence = connect(LOOPBACK, port=prefect.port).test_connection()
    assert works, sentence


def test_it_works_with_a_uri(prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PREFECT_URI", f"prefect://{LOOPBACK}:{prefect.port}/api")
    works, sentence = PrefectHook("prefect_uri").test_connection()
    assert works, sentence


@pytest.mark.prefect_alone
def test_it_says_who_is_asked_where_a_user_and_a_password_are_wanted(protected_prefect: PrefectServer) -> None:
    version = protected_prefect.request("GET", "/admin/version")
    works, sentence = PrefectHook("prefect_protected").test_connection()
    assert (works, sentence) == (
        True,
        f"Prefect 3 server {version} at {protected_prefect.api_url}, with user and password.",
    )


@pytest.mark.prefect_alone
@pytest.mark.parametrize(
    "fields",
    [{}, {"password": "pnu_wrong-key-51c9"}, {"login": USER, "password": "wrong-password-51c9"}],
    ids=["none", "an API key", "a wrong password"],
)
def test_it_says_that_credentials_are_wrong_without_showing_them(
    protected_prefect: PrefectServer, connect: Connect, fields: dict[str, str]
) -> None:
    works, sentence = connect(protected_prefect.api_url, **fields).test_connection()
    assert not works
    assert "401" in sentence
    assert "missing or wrong" in sentence
    assert "51c9" not in sentence


def test_it_says_that_a_page_of_the_ui_that_is_not_known_is_no_api(prefect: PrefectServer, connect: Connect) -> None:
    works, sentence = connect(f"{prefect.ui_url}/some/page").test_connection()
    assert not works
    assert f"{prefect.ui_url}/some/page" in sentence
    assert "There is no Prefect API at" in sentence
    assert "ends in /api" in sentence


def test_it_says_that_nothing_answers(connect: Connect) -> None:
    works, sentence = connect(f"http://{LOOPBACK}:{free_port()}/api").test_connection()
    assert not works
    assert "cannot be reached: Connection refused" in sentence


def test_it_says_that_the_host_does_not_exist(connect: Connect) -> None:
    works, sentence = connect("http://prefect.invalid:4200/api").test_connection()
    assert not works
    assert "cannot be reached" in sentence


def test_it_says_what_is_wrong_with_the_address(connect: Connect) -> None:
    works, sentence = connect("prefect:4200:api").test_connection()
    assert not works
    assert "http://host:4200/api" in sentence


# What the hook can do on a server with CSRF protection and a password


@pytest.mark.prefect_alone
def test_a_hook_can_create_rename_filter_and_cancel_where_csrf_tokens_are_wanted(
    protected_prefect: PrefectServer,
) -> None:
    hook = PrefectHook("prefect_protected")
    run = hook.start_flow_run("sleeping/served", tags=["csrf"]).run
    hook.rename_flow_run(run.id, "renamed")
    assert [found.name for found in hook.find_flow_runs({"flow_runs": {"tags": {"all_": ["csrf"]}}})] == ["renamed"]
    assert hook.cancel_flow_run(run.id).type in ("CANCELLED", "CANCELLING")


@pytest.mark.prefect_alone
async def test_a_trigger_waits_where_a_user_and_a_password_are_wanted(protected_prefect: PrefectServer) -> None:
    run = PrefectHook("prefect_protected").start_flow_run("quick/served").run
    trigger = PrefectFlowRunTrigger(run.id, "prefect_protected", poll_interval=OFTEN)
    event = await anext(aiter(trigger.run()))
    assert event.payload["flow_run"]["state_type"] == "COMPLETED"
    assert PASSWORD not in str(trigger.serialize())


@pytest.mark.prefect_alone
async def test_a_trigger_with_a_wrong_password_waits_for_a_right_one_until_its_deadline(
    protected_prefect: PrefectServer, connect: Connect
) -> None:
    connect(protected_prefect.api_url, login=USER, password="wrong-password-51c9")
    run = PrefectHook("prefect_protected").start_flow_run("quick/served").run
    trigger = PrefectFlowRunTrigger(run.id, "prefect_made", poll_interval=OFTEN, max_unreachable=3)
    event = await anext(aiter(trigger.run()))
    assert event.payload["flow_run"] is None
    assert "401" in event.payload["error"]["message"]
    assert "51c9" not in str(event.payload)


@pytest.mark.prefect_alone
def test_an_api_key_is_refused_before_anything_else_is_asked(
    protected_prefect: PrefectServer, connect: Connect
) -> None:
    hook = connect(protected_prefect.api_url, password="pnu_wrong-key-51c9")
    with pytest.raises(AuthenticationError, match="401") as refused:
        hook.start_flow_run("quick/served")
    assert "51c9" not in str(refused.value)


# Exactly once, although the server is overrun


@pytest.mark.prefect_alone
def test_twenty_creates_at_once_make_twenty_flow_runs(prefect: PrefectServer, unserved: str) -> None:
    criteria = {"flow_runs": {"tags": {"all_": ["burst"]}}}

    def create(number: int) -> str:
        hook = PrefectHook()
        return hook.start_flow_run(unserved, tags=["burst"], idempotency_key=f"burst {number}").run.id

    with ThreadPoolExecutor(20) as pool:
        created = list(pool.map(create, range(20)))
    assert len(set(created)) == 20
    assert prefect.request("POST", "/flow_runs/count", criteria) == 20
    assert {run.id for run in PrefectHook().find_flow_runs(criteria)} == set(created)


@pytest.mark.prefect_alone
def test_creates_with_one_key_at_once_make_one_flow_run(prefect: PrefectServer, unserved: str) -> None:
    def create(number: int) -> str:
        return PrefectHook().start_flow_run(unserved, tags=["one"], idempotency_key="the same").run.id

    with ThreadPoolExecutor(8) as pool:
        created = set(pool.map(create, range(8)))
    assert len(created) == 1
    assert prefect.request("POST", "/flow_runs/count", {"flow_runs": {"tags": {"all_": ["one"]}}}) == 1


@pytest.mark.usefixtures("nothing_created")
def test_a_hook_refuses_no_and_two_ways_to_name_a_deployment(prefect: PrefectServer) -> None:
    for arguments in ({}, {"deployment": "quick/served", "flow_name": "quick"}):
        with pytest.raises(ConfigurationError, match="exactly one of deployment="):
            PrefectHook().start_flow_run(**arguments)
