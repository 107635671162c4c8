"""The hook: an Airflow connection, what it answers to "Test connection", and what it never shows."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import redact

from airflow_provider_prefect.client.errors import (
    AuthenticationError,
    ConfigurationError,
    DeploymentNotFound,
    FlowRunNotFound,
    InvalidRequest,
    PrefectError,
    ResultError,
    Unreachable,
    UnsupportedByApi,
)
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.hooks.connection import aread_settings
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger
from tests.prefect1 import scenario
from tests.prefect1.server import Prefect1Server
from tests.unit.fake_prefect import UI_PAGE, FakePrefect, state
from tests.unit.running import event_of

RUN = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a port at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


# The connection


def test_nothing_is_read_or_opened_before_the_first_call() -> None:
    assert PrefectHook("there_is_none").prefect_conn_id == "there_is_none"


def test_the_default_connection_is_prefect_default(prefect: FakePrefect) -> None:
    assert PrefectHook().settings.api_url == prefect.api_url


def test_an_unknown_connection_says_which_and_what_to_do() -> None:
    with pytest.raises(ConfigurationError) as refused:
        _ = PrefectHook("there_is_none").settings
    message = str(refused.value)
    assert "prefect_conn_id='there_is_none'" in message
    assert "type 'prefect'" in message
    assert "AIRFLOW_CONN_THERE_IS_NONE" in message


def test_a_connection_that_only_the_triggerer_lacks_is_said_to_be_missing_there() -> None:
    event = event_of(PrefectFlowRunTrigger(RUN, "there_is_none"))
    assert event["error"]["kind"] == "ConfigurationError"
    assert "The triggerer has no connection prefect_conn_id='there_is_none'" in event["error"]["message"]
    assert "AIRFLOW_CONN_THERE_IS_NONE" in event["error"]["message"]


def test_the_triggerer_reads_the_same_settings_as_a_worker(connect: Any) -> None:
    connect(
        host="http://prefect:4200/api",
        login="me",
        password="pass-word",
        extra={"secret_headers": {"X-Token": "to-ken"}, "timeout": 5, "proxy": None},
    )
    assert asyncio.run(read_async()) == PrefectHook().settings


async def read_async() -> Settings:
    """The settings as a trigger reads them."""
    return await aread_settings("prefect_default", PrefectHook)


# What it never shows

SECRETS = {
    "password": "hush-password",
    "extra": {
        "secret_headers": {"X-Token": "hush-header"},
        "ui_url": "https://ui.example.com",
    },
}


@pytest.mark.parametrize("login", [None, "me"])
def test_airflow_masks_every_secret_of_a_connection_that_was_read(connect: Any, login: str | None) -> None:
    proxy = "http://hush-user:hush-proxy@127.0.0.1:9"
    connect(host="http://prefect/api", login=login, **{**SECRETS, "extra": {**SECRETS["extra"], "proxy": proxy}})
    settings = PrefectHook().settings
    for secret in ("hush-password", "hush-header", proxy, settings.request_headers()["Authorization"].split()[1]):
        assert redact(f"in the middle {secret} of a line") == "in the middle *** of a line"


def test_airflow_masks_every_secret_that_the_triggerer_has_read(connect: Any) -> None:
    connect(host="http://prefect/api", login="triggerer", password="hush-triggerer-password")
    settings = asyncio.run(read_async())
    derived = settings.request_headers()["Authorization"].split()[1]
    for secret in ("hush-triggerer-password", derived):
        assert redact(f"in the middle {secret} of a line") == "in the middle *** of a line"


def unreachable(prefect: FakePrefect, nobody: str) -> dict[str, Any]:
    return {"host": f"http://{nobody}/api"}


def without_tls(prefect: FakePrefect, nobody: str) -> dict[str, Any]:
    return {"host": prefect.api_url.replace("http:", "https:")}


def behind_a_broken_proxy(prefect: FakePrefect, nobody: str) -> dict[str, Any]:
    return {"proxy": f"http://hush-user:hush-proxy@{nobody}"}


def not_allowed(prefect: FakePrefect, nobody: str) -> dict[str, Any]:
    prefect.answer("GET", ".*", 401, {"exception_message": "Unauthorized"})
    return {}


def not_prefect(prefect: FakePrefect, nobody: str) -> dict[str, Any]:
    prefect.answer("GET", ".*", 200, UI_PAGE.encode())
    return {}


def with_a_broken_key(prefect: FakePrefect, nobody: str) -> dict[str, Any]:
    return {"password": "hush-password\n", "login": None}


def with_a_key_in_other_letters(prefect: FakePrefect, nobody: str) -> dict[str, Any]:
    prefect.authorization = "Bearer another"
    return {"password": "hush-p\u00e4ssword-\u043a\u043b\u044e\u0447", "login": None}


def with_broken_headers(prefect: FakePrefect, nobody: str) -> dict[str, Any]:
    return {"secret_headers": {"X-Token": "hush-header\r\nX-Other: hush-header"}}


@pytest.mark.parametrize(
    "wrong",
    [
        unreachable,
        without_tls,
        behind_a_broken_proxy,
        not_allowed,
        not_prefect,
        with_a_broken_key,
        with_a_key_in_other_letters,
        with_broken_headers,
    ],
)
@pytest.mark.parametrize("login", [None, "hush-user"])
def test_no_secret_is_in_an_error_an_event_or_a_log(
    prefect: FakePrefect,
    nobody: str,
    connect: Any,
    logged: Callable[[], str],
    login: str | None,
    wrong: Callable[[FakePrefect, str], dict[str, Any]],
) -> None:
    fields: dict[str, Any] = {"host": prefect.api_url, "login": login, **SECRETS}
    for name, value in wrong(prefect, nobody).items():
        if name in ("host", "login", "password"):
            fields[name] = value
        else:
            fields["extra"] = {**fields["extra"], name: value}
    connect(**fields)

    works, sentence = PrefectHook().test_connection()
    assert not works

    with pytest.raises(PrefectError) as raised:
        PrefectHook().wait_for_flow_run(RUN, max_unreachable=0)
    shown = [sentence, repr(raised.value), "".join(traceback.format_exception(raised.value))]

    event = event_of(PrefectFlowRunTrigger(RUN, "prefect_default", max_unreachable=0))
    assert event["error"]["kind"] in ("Unreachable", "ConfigurationError", "AuthenticationError", "FlowRunNotFound")
    shown += [json.dumps(event), logged()]

    settings = asyncio.run(read_async())
    shown += [repr(settings), repr(PrefectHook()), repr(vars(PrefectHook()))]
    derived = settings.request_headers()["Authorization"].split()[1]
    for text in shown:
        assert "hush" not in text
        assert derived not in text


# Test connection


def test_a_connection_that_works_says_which_server_version_and_credentials(prefect: FakePrefect, connect: Any) -> None:
    assert PrefectHook().test_connection() == (
        True,
        f"Prefect 3 server 3.8.8 at {prefect.api_url}, with no credentials.",
    )
    connect(host=prefect.ui_url, password="pnu_abcdefgh")
    assert PrefectHook().test_connection() == (True, f"Prefect 3 server 3.8.8 at {prefect.api_url}, with API key.")
    connect(host=prefect.ui_url, login="me", password="pass-word")
    assert "with user and password." in PrefectHook().test_connection()[1]


def test_prefect_2_is_named(prefect: FakePrefect) -> None:
    prefect.answer("GET", "/admin/version", 200, "2.20.26")
    assert "Prefect 2 server 2.20.26" in PrefectHook().test_connection()[1]


def test_credentials_are_sent_and_not_only_read(prefect: FakePrefect, connect: Any) -> None:
    prefect.authorization = "Basic bWU6cGFzcy13b3Jk"  # me:pass-word
    connect(host=prefect.api_url, login="me", password="pass-word", extra={"secret_headers": {"X-Team": "sales"}})
    assert PrefectHook().test_connection()[0]
    assert prefect.requests[-1].headers["x-team"] == "sales"


def test_wrong_credentials_are_said_to_be_wrong(prefect: FakePrefect, connect: Any) -> None:
    prefect.authorization = "Bearer right"
    connect(host=prefect.api_url, password="wrong")
    works, sentence = PrefectHook().test_connection()
    assert not works
    assert "401" in sentence
    assert "API key" in sentence


def test_a_server_that_is_not_there_is_said_not_to_be_reached(nobody: str, connect: Any) -> None:
    connect(host=nobody)
    assert PrefectHook().test_connection() == (
        False,
        f"http://{nobody}/api cannot be reached: Connection refused",
    )


def test_a_test_asks_once_and_does_not_wait(prefect: FakePrefect) -> None:
    prefect.answer("GET", "/admin/version", 503)
    assert not PrefectHook().test_connection()[0]
    assert len(prefect.asked("GET", "/admin/version")) == 1


def test_a_web_page_instead_of_the_api_is_told_apart(prefect: FakePrefect) -> None:
    prefect.answer("GET", ".*", 200, UI_PAGE.encode())
    works, sentence = PrefectHook().test_connection()
    assert not works
    assert "There is a web page at" in sentence
    assert "/api" in sentence


def test_a_prefect_1_server_is_told_apart(prefect: FakePrefect) -> None:
    prefect.answer("GET", ".*", 404, b"Cannot GET /api/admin/version")
    prefect.answer("POST", "", 200, {"data": {"__typename": "query_root"}})
    works, sentence = PrefectHook().test_connection()
    assert not works
    assert "Prefect 1 server (GraphQL)" in sentence


def test_something_else_that_answers_is_no_prefect(prefect: FakePrefect) -> None:
    prefect.answer("GET", ".*", 404, {"detail": "Not Found"})
    works, sentence = PrefectHook().test_connection()
    assert not works
    assert "There is no Prefect API at" in sentence


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": ""}, "API URL is empty"),
        ({"host": "h", "login": "me"}, "no password"),
        ({"host": "h", "extra": {"verifi": False}}, "unknown fields: verifi"),
        ({"host": "h", "extra": {"ca_file": "/not/there.pem"}}, "/not/there.pem"),
        ({"host": "h", "conn_type": "http"}, "of type 'http'"),
    ],
)
def test_a_wrong_field_is_a_sentence_too(connect: Any, fields: dict[str, Any], said: str) -> None:
    connect(**fields)
    works, sentence = PrefectHook().test_connection()
    assert not works
    assert said in sentence


# Starting


def test_a_flow_run_is_created_with_all_that_is_given(prefect: FakePrefect) -> None:
    created = PrefectHook().start_flow_run(
        "sales/demo",
        parameters={"month": "10"},
        run_name="october",
        tags=["nightly"],
        labels={"team": "sales"},
        context={"from": "here"},
        job_variables={"cpu": 2},
        work_queue_name="fast",
        idempotency_key="once",
        enforce_parameter_schema=True,
    )
    assert (created.is_new, created.run.name) == (True, "october")
    assert prefect.created == [
        {
            "parameters": {"month": "10"},
            "name": "october",
            "tags": ["nightly"],
            "labels": {"team": "sales"},
            "context": {"from": "here"},
            "job_variables": {"cpu": 2},
            "work_queue_name": "fast",
            "idempotency_key": "once",
            "enforce_parameter_schema": True,
        }
    ]


def test_a_key_that_prefect_knows_finds_its_run(prefect: FakePrefect) -> None:
    first = PrefectHook().start_flow_run("sales/demo", idempotency_key="once")
    second = PrefectHook().start_flow_run("sales/demo", idempotency_key="once")
    assert (first.is_new, second.is_new) == (True, False)
    assert first.run.id == second.run.id


def test_without_a_key_every_call_creates_a_run_of_its_own(prefect: FakePrefect) -> None:
    first, second = PrefectHook().start_flow_run("sales/demo"), PrefectHook().start_flow_run("sales/demo")
    assert first.run.id != second.run.id
    assert all(body["idempotency_key"] for body in prefect.created)


def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    prefect.answer("POST", "/deployments/.*/create_flow_run", 500, {"exception_message": "oops"}, times=1)
    PrefectHook().start_flow_run("sales/demo")
    one, other = prefect.created
    assert one["idempotency_key"] == other["idempotency_key"]
    assert len(prefect.flow_runs) == 1


def test_a_deployment_is_found_by_its_id_or_its_flow(prefect: FakePrefect) -> None:
    (deployment_id,) = prefect.deployments
    for how in ({"deployment": deployment_id}, {"deployment": "sales/demo"}, {"flow_name": "sales"}):
        assert PrefectHook().start_flow_run(**how).run.deployment_id == deployment_id


@pytest.mark.parametrize("given", [{}, {"deployment": "sales/demo", "flow_name": "sales"}, {"deployment": ""}])
def test_exactly_one_way_to_a_deployment_is_given(prefect: FakePrefect, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Give exactly one of deployment"):
        PrefectHook().start_flow_run(**given)
    assert not prefect.created


def test_an_unknown_deployment_names_the_nearest(prefect: FakePrefect) -> None:
    with pytest.raises(DeploymentNotFound, match=r"'sales/dmeo'.*'sales/demo'"):
        PrefectHook().start_flow_run("sales/dmeo")
    with pytest.raises(DeploymentNotFound, match=r"'sale'.*'sales/demo'"):
        PrefectHook().start_flow_run(flow_name="sale")


def test_a_flow_with_several_deployments_lists_them(prefect: FakePrefect) -> None:
    prefect.add_deployment("sales/nightly")
    with pytest.raises(ConfigurationError, match="'sales/demo', 'sales/nightly'"):
        PrefectHook().start_flow_run(flow_name="sales")


def test_refused_parameters_show_the_servers_reason_and_are_not_sent_again(prefect: FakePrefect) -> None:
    prefect.answer("POST", "/deployments/.*/create_flow_run", 409, {"detail": "Validation failed: 'month' is missing"})
    with pytest.raises(InvalidRequest, match="'month' is missing"):
        PrefectHook().start_flow_run("sales/demo")
    assert len(prefect.created) == 1


def test_wrong_credentials_fail_at_once_before_anything_is_created(prefect: FakePrefect) -> None:
    prefect.authorization = "Bearer right"
    with pytest.raises(AuthenticationError):
        PrefectHook().start_flow_run("sales/demo")
    assert len(prefect.requests) == 1


def test_a_prefect_1_server_is_told_apart_when_a_run_is_started(prefect: FakePrefect) -> None:
    prefect.answer("GET", ".*", 404, b"Cannot GET")
    prefect.answer("POST", "", 200, {"data": {"__typename": "query_root"}})
    with pytest.raises(ConfigurationError, match="Prefect 1 server"):
        PrefectHook().start_flow_run("sales/demo")


# Reading and waiting


@pytest.mark.parametrize("flow_run_id", ["", "brave-otter", "../admin/version", None])
def test_what_is_no_flow_run_id_is_refused_before_anything_is_sent(prefect: FakePrefect, flow_run_id: Any) -> None:
    hook = PrefectHook()
    for method in (
        hook.read_flow_run,
        hook.wait_for_flow_run,
        hook.cancel_flow_run,
        hook.read_flow_run_logs,
        hook.read_task_runs,
        lambda given: hook.rename_flow_run(given, "name"),
        lambda given: hook.read_artifacts(given, "key"),
    ):
        with pytest.raises(ConfigurationError, match="is not the id"):
            method(flow_run_id)
    assert prefect.requests == []


def test_an_unknown_flow_run_is_not_found(prefect: FakePrefect) -> None:
    with pytest.raises(FlowRunNotFound, match=RUN):
        PrefectHook().read_flow_run(RUN)


def test_a_wait_ends_with_the_run_in_whatever_state(prefect: FakePrefect) -> None:
    for final in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
        run = PrefectHook().wait_for_flow_run(prefect.add_flow_run("RUNNING", final), poll_interval=0)
        assert run.state.type == final


def test_a_wait_for_a_run_that_is_gone_ends(prefect: FakePrefect) -> None:
    with pytest.raises(FlowRunNotFound):
        PrefectHook().wait_for_flow_run(RUN, poll_interval=0)
    assert len(prefect.asked("GET", f"/flow_runs/{RUN}")) == 2  # nobody's word is taken for it once


def test_a_wait_on_an_api_that_stays_away_ends(nobody: str, connect: Any) -> None:
    connect(host=nobody)
    with pytest.raises(Unreachable):
        PrefectHook().wait_for_flow_run(RUN, poll_interval=0, max_unreachable=0)


def test_a_run_is_asked_to_stop_and_its_state_told(prefect: FakePrefect) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    assert PrefectHook().cancel_flow_run(run_id).type == "CANCELLING"
    assert prefect.cancelled == [run_id]


def test_a_run_that_has_ended_stays_as_it_is(prefect: FakePrefect) -> None:
    assert PrefectHook().cancel_flow_run(prefect.add_flow_run("COMPLETED")).type == "COMPLETED"


# Results


def stored(key: str, kind: str = "json", block_id: str | None = None) -> dict[str, Any]:
    """The state of a run whose result was persisted."""
    data = {"storage_key": key, "storage_block_id": block_id, "serializer": {"type": kind}, "prefect_version": "3.8.8"}
    return state("COMPLETED", data=data)


def result_of(prefect: FakePrefect, ended: dict[str, Any], **how: Any) -> Any:
    hook = PrefectHook()
    return hook.read_result(hook.read_flow_run(prefect.add_flow_run(ended)), **how)


@pytest.fixture
def root(prefect: FakePrefect, connect: Any, tmp_path: Path) -> Path:
    """A folder that the connection allows."""
    folder = tmp_path / "results"
    folder.mkdir()
    connect(host=prefect.api_url, extra={"result_roots": str(folder)})
    return folder


def test_a_persisted_json_result_is_read(prefect: FakePrefect, root: Path) -> None:
    (root / "one").write_text('{"total": 5}')
    assert result_of(prefect, stored(str(root / "one"))) == {"total": 5}


def test_a_key_is_relative_to_its_storage_block(prefect: FakePrefect, root: Path) -> None:
    (root / "one").write_text('{"total": 5}')
    prefect.answer("GET", "/block_documents/b1", 200, {"data": {"basepath": f"{root}/"}})
    assert result_of(prefect, stored("one", block_id="b1")) == {"total": 5}


@pytest.mark.parametrize("key", ["../secret", "/etc/hostname", "file:///etc/hostname"])
def test_a_result_outside_the_roots_is_refused(prefect: FakePrefect, root: Path, key: str) -> None:
    (root.parent / "secret").write_text('"hush-hush"')
    with pytest.raises(ResultError, match="is not under any of the connection's result_roots"):
        result_of(prefect, stored(key if "/etc" in key else f"{root}/{key}"))


def test_a_storage_block_does_not_widen_the_roots(prefect: FakePrefect, root: Path) -> None:
    (root.parent / "secret").write_text('"hush-hush"')
    prefect.answer("GET", "/block_documents/b1", 200, {"data": {"basepath": str(root.parent)}})
    with pytest.raises(ResultError, match="is not under any of the connection's result_roots"):
        result_of(prefect, stored("secret", block_id="b1"))


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run_it(prefect: FakePrefect, root: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (root / "was-run",)

    wrapped = {
        "serializer": {"type": "pickle"},
        "data": base64.b64encode(pickle.dumps(Evil())).decode(),
        "prefect_version": "2.20.26",
    }
    for content in (pickle.dumps(Evil()), base64.b64encode(pickle.dumps(Evil())), json.dumps(wrapped).encode()):
        (root / "one").write_bytes(content)
        for kind in ("pickle", "cloudpickle", "json"):
            with pytest.raises(ResultError):
                result_of(prefect, stored(str(root / "one"), kind))
    assert not (root / "was-run").exists()


def test_a_result_that_is_too_large_is_refused_with_its_limit(prefect: FakePrefect, root: Path) -> None:
    (root / "one").write_text(json.dumps("x" * 100))
    assert result_of(prefect, stored(str(root / "one")), max_size=102) == "x" * 100
    with pytest.raises(ResultError):
        result_of(prefect, stored(str(root / "one")), max_size=101)


def test_a_run_without_a_result_says_how_to_leave_one(prefect: FakePrefect) -> None:
    with pytest.raises(ResultError, match="persist_result=True"):
        result_of(prefect, state("COMPLETED"))


def artifact(prefect: FakePrefect, run_id: str, data: Any, kind: str = "table") -> None:
    prefect.artifacts.append({"id": "a", "key": "totals", "type": kind, "data": data, "flow_run_id": run_id})


def test_an_artifact_is_read_by_its_key_and_a_table_as_its_rows(prefect: FakePrefect) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    artifact(prefect, run_id, '[{"region": "north", "total": 5}]')
    hook = PrefectHook()
    rows = hook.read_result(hook.read_flow_run(run_id), artifact_key="totals")
    assert rows == [{"region": "north", "total": 5}]
    with pytest.raises(ResultError, match="no artifact with the key 'others'"):
        hook.read_result(hook.read_flow_run(run_id), artifact_key="others")


def test_an_artifact_of_another_run_is_not_taken(prefect: FakePrefect) -> None:
    artifact(prefect, prefect.add_flow_run("COMPLETED"), "[]")
    with pytest.raises(ResultError, match="no artifact"):
        result_of(prefect, state("COMPLETED"), artifact_key="totals")


def test_an_artifact_that_is_too_large_is_refused(prefect: FakePrefect) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    artifact(prefect, run_id, "x" * 100, "markdown")
    hook = PrefectHook()
    with pytest.raises(ResultError, match="max_result_size"):
        hook.read_result(hook.read_flow_run(run_id), artifact_key="totals", max_size=101)


# Prefect 1

OF_PREFECT_1 = {
    "find_source": lambda hook: hook.start_flow_run("sales/demo"),
    "tags": lambda hook: hook.start_flow_run(flow_name="etl", tags=["t"]),
    "job_variables": lambda hook: hook.start_flow_run(flow_name="etl", job_variables={}),
    "work_queue_name": lambda hook: hook.start_flow_run(flow_name="etl", work_queue_name="q"),
    "enforce_parameter_schema": lambda hook: hook.start_flow_run(flow_name="etl", enforce_parameter_schema=False),
    "find_newest": lambda hook: run(hook.api.find_newest(RUN, (), datetime.now(UTC), datetime.now(UTC))),
    "find_live_flow_runs": lambda hook: run(hook.api.find_live_flow_runs(RUN, ())),
    "restart_flow_run": lambda hook: run(hook.api.restart_flow_run(RUN)),
    "read_artifacts": lambda hook: hook.read_artifacts(RUN, "key"),
    "artifact_key": lambda hook: hook.read_result(FlowRun(RUN, "x"), artifact_key="key"),
    "find_flow_runs": lambda hook: hook.find_flow_runs({}),
}
OF_PREFECT_3 = {
    "flow_id": lambda hook: hook.start_flow_run(flow_id=RUN),
    "project_name": lambda hook: hook.start_flow_run(flow_name="sales", project_name="main"),
    "agent_labels": lambda hook: hook.start_flow_run("sales/demo", agent_labels=["a"]),
    "no agent_labels": lambda hook: hook.start_flow_run("sales/demo", agent_labels=[]),
    "run_config": lambda hook: hook.start_flow_run("sales/demo", run_config={"type": "LocalRun"}),
}


@pytest.fixture
def prefect_1(connect: Callable[..., None]) -> Iterator[Prefect1Server]:
    """A double of a Prefect 1 server, and a connection to it."""
    with Prefect1Server() as server:
        connect(host=server.url, extra={"api": "graphql"})
        yield server


def test_a_prefect_1_server_that_works_says_its_version_and_its_tenant(prefect_1: Prefect1Server) -> None:
    sentence = f"Prefect 1 server 1.4.1 (tenant 'default') at {prefect_1.url}, with no credentials."
    assert PrefectHook().test_connection() == (True, sentence)


def test_a_prefect_1_server_of_the_cloud_kind_says_the_tenant_of_the_key(connect: Any) -> None:
    with Prefect1Server(api_keys={"key-1": None}) as server:
        connect(host=server.url, password="key-1", extra={"api": "graphql"})
        works, sentence = PrefectHook().test_connection()
        assert works
        assert f"(tenant {server.tenant_id})" in sentence
        connect(host=server.url, password="key-2", extra={"api": "graphql"})
        works, sentence = PrefectHook().test_connection()
        assert not works
        assert "API key" in sentence
        assert "key-2" not in sentence


def test_a_prefect_3_server_is_told_apart_where_the_connection_says_prefect_1(
    prefect: FakePrefect, connect: Any
) -> None:
    connect(host=prefect.api_url, extra={"api": "graphql"})
    works, sentence = PrefectHook().test_connection()
    assert not works
    assert "no GraphQL API of Prefect 1" in sentence
    assert "Prefect 2 or 3" in sentence


@pytest.mark.parametrize("name", OF_PREFECT_1)
def test_what_prefect_1_has_no_use_for_is_refused_before_anything_is_sent(prefect_1: Prefect1Server, name: str) -> None:
    with pytest.raises(UnsupportedByApi, match="is not supported by Prefect 1"):
        OF_PREFECT_1[name](PrefectHook().with_patience(0))
    assert not prefect_1.requests


@pytest.mark.parametrize("name", OF_PREFECT_3)
def test_what_is_prefect_1s_alone_is_refused_elsewhere_before_anything_is_sent(prefect: FakePrefect, name: str) -> None:
    with pytest.raises(UnsupportedByApi, match="is not supported by Prefect 2 and 3"):
        OF_PREFECT_3[name](PrefectHook().with_patience(0))
    assert not prefect.requests


def test_labels_of_agents_are_refused_on_prefect_3_by_the_name_of_their_argument(prefect: FakePrefect) -> None:
    with pytest.raises(UnsupportedByApi, match=r"^agent_labels is not supported by Prefect 2 and 3: .*work_queue_name"):
        PrefectHook().start_flow_run("sales/demo", agent_labels=["gpu"])
    assert not prefect.requests


def test_a_flow_of_prefect_1_is_started_with_all_that_is_given(prefect_1: Prefect1Server) -> None:
    flow_id = scenario.register_flow(prefect_1, "etl", parameters=[scenario.parameter("n", 3)], labels=["lab"])
    created = PrefectHook().start_flow_run(
        flow_name="etl",
        project_name="main",
        parameters={"n": 4},
        run_name="my run",
        agent_labels=["b", "a"],
        context={"who": "me"},
        run_config={"type": "LocalRun", "env": {"A": "1"}},
        scheduled_start_time=datetime(2030, 1, 2, 12, tzinfo=UTC),
        idempotency_key="key-1",
    )
    assert created.is_new
    row = scenario.row(prefect_1, "flow_run", created.run.id)
    assert (row["flow_id"], row["name"], row["parameters"]) == (flow_id, "my run", {"n": 4})
    assert (row["labels"], row["run_config"]) == (["a", "b"], {"type": "LocalRun", "env": {"A": "1"}})
    assert (row["context"]["who"], row["idempotency_key"]) == ("me", "key-1")
    assert created.run.expected_start_time == datetime(2030, 1, 2, 12, tzinfo=UTC)
    assert not PrefectHook().start_flow_run(flow_name="etl", idempotency_key="key-1").is_new


def test_without_a_key_every_call_creates_a_run_of_its_own_on_prefect_1_too(prefect_1: Prefect1Server) -> None:
    scenario.register_flow(prefect_1, "etl")
    first, second = (PrefectHook().start_flow_run(flow_name="etl") for _ in range(2))
    assert (first.is_new, second.is_new) == (True, True)
    assert first.run.id != second.run.id


def test_a_flow_run_of_prefect_1_is_renamed_stopped_and_read(prefect_1: Prefect1Server) -> None:
    run_id = scenario.start_run(prefect_1, scenario.register_flow(prefect_1, "etl"), "Submitted", "Running")
    scenario.write_log(prefect_1, run_id, "hello", "WARNING")
    hook = PrefectHook()
    hook.rename_flow_run(run_id, "new name")
    assert hook.read_flow_run(run_id).name == "new name"
    assert hook.cancel_flow_run(run_id).type == "CANCELLING"
    assert [(line.level, line.message) for line in hook.read_flow_run_logs(run_id)] == [(30, "hello")]
    assert [line.message for line in run(hook.api.read_last_logs(run_id, 20))] == ["hello"]
    assert [task_run.name for task_run in hook.read_task_runs(run_id)] == ["work-1"]
    assert hook.flow_run_url(hook.read_flow_run(run_id)) == f"http://127.0.0.1:8080/default/flow-run/{run_id}"


def test_a_wait_on_prefect_1_ends_with_the_run_in_whatever_state(prefect_1: Prefect1Server) -> None:
    run_id = scenario.start_run(prefect_1, scenario.register_flow(prefect_1, "etl"), "Submitted", "Running")
    scenario.moving_on(prefect_1, run_id, "Failed", skip=1)
    ended = PrefectHook().wait_for_flow_run(run_id, poll_interval=0)
    assert (ended.state.type, ended.state.name) == ("FAILED", "Failed")


@pytest.mark.parametrize("kind", ["PrefectResult", "LocalResult as JSON", "LocalResult as a pickle"])
def test_what_a_task_of_prefect_1_has_returned_is_read(
    prefect_1: Prefect1Server, connect: Any, tmp_path: Path, kind: str
) -> None:
    connect(host=prefect_1.url, extra={"api": "graphql", "result_roots": str(tmp_path)})
    run_id = scenario.start_run(prefect_1, scenario.register_flow(prefect_1, "etl", tasks=["load"]), "Success")
    value = {"rows": [1, 2], "of": "orders"}
    content = json.dumps(value).encode() if "JSON" in kind else pickle.dumps(value)
    (tmp_path / "load.prefect").write_bytes(content)
    stored = scenario.local_result("load.prefect", str(tmp_path))
    result = scenario.prefect_result(value) if kind == "PrefectResult" else stored
    scenario.finish_task(prefect_1, run_id, "load-1", result=result)
    assert PrefectHook().read_task_run_result(run_id, "load-1") == value


def test_a_result_of_prefect_1_outside_the_roots_is_refused(
    prefect_1: Prefect1Server, connect: Any, tmp_path: Path
) -> None:
    connect(host=prefect_1.url, extra={"api": "graphql", "result_roots": str(tmp_path / "allowed")})
    run_id = scenario.start_run(prefect_1, scenario.register_flow(prefect_1, "etl", tasks=["load"]), "Success")
    (tmp_path / "load").write_text("1")
    scenario.finish_task(prefect_1, run_id, "load-1", result=scenario.local_result("load", str(tmp_path)))
    with pytest.raises(ResultError, match="is not under any of the connection's result_roots"):
        PrefectHook().read_task_run_result(run_id, "load-1")


def test_a_pickle_of_prefect_1_that_would_run_code_is_refused_and_does_not_run_it(
    prefect_1: Prefect1Server, connect: Any, tmp_path: Path
) -> None:
    connect(host=prefect_1.url, extra={"api": "graphql", "result_roots": str(tmp_path)})
    run_id = scenario.start_run(prefect_1, scenario.register_flow(prefect_1, "etl", tasks=["load"]), "Success")
    (tmp_path / "load").write_bytes(pickle.dumps(Path(tmp_path)))
    scenario.finish_task(prefect_1, run_id, "load-1", result=scenario.local_result("load", str(tmp_path)))
    with pytest.raises(ResultError, match=r"pathlib.*JSONSerializer"):
        PrefectHook().read_task_run_result(run_id, "load-1")
