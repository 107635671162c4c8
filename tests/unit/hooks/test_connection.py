"""The connection in every form in which Airflow gets one, every address that a person pastes, and how it is read."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.hooks.connection import kept_settings, settings_from
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR

ACCOUNT = "11111111-2222-3333-4444-555555555555"
WORKSPACE = "66666666-7777-8888-9999-000000000000"
CLOUD = f"https://api.prefect.cloud/api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}"


def settings(extra: Any = None, **fields: Any) -> Settings:
    plain = {"conn_type": "prefect", "host": None, "port": None, "schema": None, "login": None, "password": None}
    return settings_from(SimpleNamespace(**{**plain, **fields}), {} if extra is None else extra)


def refusal(extra: Any = None, **fields: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        settings(extra, **{"host": "http://prefect:4200/api", **fields})
    return str(refused.value)


def read(connect: Any, *uri: str, **fields: Any) -> Settings:
    """The settings that come out of Airflow's own reading of a connection."""
    connect(*uri, **fields)
    return PrefectHook().settings


# The form


def test_a_null_from_the_form_is_an_unset_field() -> None:
    nulls = dict.fromkeys(CONN_FIELDS)
    assert settings(nulls, host="http://prefect:4200/api", port=0) == settings(host="http://prefect:4200/api")


def test_an_empty_text_from_the_form_is_an_unset_field() -> None:
    given = settings(
        dict.fromkeys(CONN_FIELDS, ""), host="http://prefect:4200/api", schema="", login="", password="", port=None
    )
    assert given == settings(host="http://prefect:4200/api")


def test_a_form_that_was_saved_without_changes_gives_the_defaults(connect: Any) -> None:
    saved = {name: spec["schema"].get("default") for name, spec in CONN_FIELDS.items()}
    given = read(connect, host="http://prefect:4200/api", port=0, login=None, password=None, extra=saved)
    assert (given.verify, given.timeout) == (True, 30.0)
    assert given == settings(host="http://prefect:4200/api")


def test_every_field_of_the_form_arrives() -> None:
    given = settings(
        {
            "ui_url": "https://prefect.example.com/",
            "secret_headers": {"CF-Access-Client-Id": "me"},
            "verify": False,
            "ca_file": "/ca.pem",
            "client_certificate": "/me.pem",
            "client_key": "/me.key",
            "proxy": "http://proxy:3128",
            "timeout": 7,
            "result_roots": "/mnt/prefect\n s3://aws_default@bucket/prefix \n\n",
        },
        host="http://prefect:4200/api",
    )
    assert given == Settings(
        api_url="http://prefect:4200/api",
        ui_url="https://prefect.example.com",
        headers={"CF-Access-Client-Id": "me"},
        verify=False,
        ca_file="/ca.pem",
        client_certificate="/me.pem",
        client_key="/me.key",
        proxy="http://proxy:3128",
        timeout=7.0,
        result_roots=("/mnt/prefect", "s3://aws_default@bucket/prefix"),
    )


def test_result_roots_may_be_a_list_or_parted_by_commas() -> None:
    as_list = settings({"result_roots": ["/a", " /b "]}, host="h").result_roots
    assert as_list == settings({"result_roots": "/a, /b,"}, host="h").result_roots == ("/a", "/b")


# JSON


def test_a_connection_as_json_works(connect: Any) -> None:
    given = read(
        connect,
        host=CLOUD,
        password="pnu_abcdefgh",
        extra={"timeout": 5, "verify": False, "secret_headers": {"X-Team": "sales"}},
    )
    assert given.api_url == CLOUD
    assert (given.api_key, given.user, given.password) == ("pnu_abcdefgh", None, None)
    assert (given.timeout, given.verify, given.headers) == (5.0, False, {"X-Team": "sales"})


def test_extra_as_json_text_within_json_works(connect: Any) -> None:
    assert read(connect, host="prefect:4200", extra='{"timeout": 5}').timeout == 5.0


def test_login_and_password_are_basic_auth(connect: Any) -> None:
    given = read(connect, host="http://prefect:4200/api", login="admin", password="pass-word")
    assert (given.api_key, given.user, given.password) == (None, "admin", "pass-word")


# A URI


@pytest.mark.parametrize(
    ("uri", "api_url"),
    [
        ("prefect://prefect", "http://prefect/api"),
        ("prefect://prefect:4200", "http://prefect:4200/api"),
        ("prefect://prefect:4200/", "http://prefect:4200/api"),
        ("prefect://prefect:4200/api", "http://prefect:4200/api"),
        ("prefect://prefect:4200/http", "http://prefect:4200/api"),
        ("prefect://prefect:4200/https", "https://prefect:4200/api"),
        ("prefect://prefect:443", "https://prefect:443/api"),
        ("prefect://prefect:4200/orchestration%2Fapi", "http://prefect:4200/orchestration/api"),
        ("prefect://https://prefect:4200/api", "https://prefect:4200/api"),
        ("prefect://https://prefect/orchestration/api", "https://prefect/orchestration/api"),
        ("prefect://http%3A%2F%2Fprefect%3A4200%2Fapi", "http://prefect:4200/api"),
        (f"prefect://{quote(CLOUD, safe='')}", CLOUD),
        (f"prefect://api.prefect.cloud/{quote(f'api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}', safe='')}", CLOUD),
        ("prefect://[::1]:4200/api", "http://[::1]:4200/api"),
        ("prefect://[::1]/api", "http://[::1]/api"),
    ],
)
def test_a_connection_as_a_uri_works(connect: Any, uri: str, api_url: str) -> None:
    assert read(connect, uri).api_url == api_url


def test_user_and_password_in_a_uri_are_decoded(connect: Any) -> None:
    given = read(connect, "prefect://ad%40min:pa%2Fss%3Aword@prefect:4200/api")
    assert (given.user, given.password) == ("ad@min", "pa/ss:word")


def test_a_key_in_a_uri_is_its_password(connect: Any) -> None:
    given = read(connect, f"prefect://:pnu_abcdefgh@{quote(CLOUD, safe='')}")
    assert (given.api_key, given.user) == ("pnu_abcdefgh", None)


def test_extras_in_a_uri_are_text_and_understood(connect: Any) -> None:
    headers = quote(json.dumps({"X-Team": "sales"}))
    given = read(
        connect,
        f"prefect://prefect:4200/api?timeout=2.5&verify=false&secret_headers={headers}&result_roots=%2Fa%2C%2Fb",
    )
    assert (given.timeout, given.verify) == (2.5, False)
    assert (given.headers, given.result_roots) == ({"X-Team": "sales"}, ("/a", "/b"))


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("True", True), ("1", True), ("no", False), ("0", False)])
def test_verify_is_understood_as_text(text: str, meant: bool) -> None:
    assert settings({"verify": text}, host="h").verify is meant


# Addresses that people paste


@pytest.mark.parametrize(
    ("pasted", "api_url", "ui_url"),
    [
        ("http://prefect:4200/api", "http://prefect:4200/api", "http://prefect:4200"),
        ("http://prefect:4200/api/", "http://prefect:4200/api", "http://prefect:4200"),
        (" http://prefect:4200 ", "http://prefect:4200/api", "http://prefect:4200"),
        ("http://prefect:4200/", "http://prefect:4200/api", "http://prefect:4200"),
        ("prefect:4200", "http://prefect:4200/api", "http://prefect:4200"),
        ("prefect:4200/api", "http://prefect:4200/api", "http://prefect:4200"),
        ("https://x.example.com/prefect", "https://x.example.com/prefect/api", "https://x.example.com/prefect"),
        ("https://x.example.com/prefect/api/", "https://x.example.com/prefect/api", "https://x.example.com/prefect"),
        ("http://prefect:4200/dashboard", "http://prefect:4200/api", "http://prefect:4200"),
        ("http://prefect:4200/runs?tab=x#y", "http://prefect:4200/api", "http://prefect:4200"),
        (f"http://prefect:4200/runs/flow-run/{ACCOUNT}", "http://prefect:4200/api", "http://prefect:4200"),
        ("https://x.example.com/prefect/deployments", "https://x.example.com/prefect/api", None),
        ("HTTP://Prefect:4200/api", "http://prefect:4200/api", "http://prefect:4200"),
    ],
)
def test_an_address_of_a_server_is_understood(pasted: str, api_url: str, ui_url: str | None) -> None:
    given = settings(host=pasted)
    assert given.api_url == api_url
    assert ui_url is None or given.ui_url == ui_url
    assert not given.is_cloud


@pytest.mark.parametrize(
    "pasted",
    [
        CLOUD,
        f"{CLOUD}/",
        f"https://app.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}",
        f"https://app.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}/dashboard",
        f"https://app.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}/runs/flow-run/{ACCOUNT}?entity=x",
        f"http://api.prefect.cloud/api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}",
        f"api.prefect.cloud/api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}",
        f"app.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}/flows",
    ],
)
def test_an_address_of_a_cloud_workspace_is_understood(pasted: str) -> None:
    given = settings(host=pasted)
    assert given.api_url == CLOUD
    assert given.ui_url == f"https://app.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}"
    assert given.is_cloud


@pytest.mark.parametrize(
    "pasted",
    [
        "https://app.prefect.cloud",
        "https://api.prefect.cloud/api",
        f"https://api.prefect.cloud/api/accounts/{ACCOUNT}",
        "https://app.prefect.cloud/my/profile",
    ],
)
def test_cloud_without_a_workspace_is_refused_with_the_right_form(pasted: str) -> None:
    message = refusal(host=pasted)
    assert "names no workspace" in message
    assert "https://api.prefect.cloud/api/accounts/<account id>/workspaces/<workspace id>" in message


@pytest.mark.parametrize("pasted", ["", "   ", None])
def test_no_address_is_refused_with_the_right_form(pasted: str | None) -> None:
    assert "API URL is empty" in refusal(host=pasted)
    assert "http://host:4200/api" in refusal(host=pasted)


@pytest.mark.parametrize("pasted", ["ftp://prefect/api", "http://", "http://prefect:none/api", "http://[::1/api"])
def test_what_is_no_web_address_is_refused_with_the_right_form(pasted: str) -> None:
    assert "http://host:4200/api" in refusal(host=pasted)


def test_prefect_1_cloud_is_refused_by_its_name() -> None:
    assert "not an API of Prefect 2 or 3" in refusal(host="https://api.prefect.io/graphql")
    assert "choose its API on the connection (api: graphql)" in refusal(host="https://api.prefect.io/graphql")


@pytest.mark.parametrize("pasted", ["http://me:hush-hush@prefect:4200/api", "me:hush-hush@prefect/api"])
def test_credentials_in_the_address_are_refused_and_not_repeated(pasted: str) -> None:
    message = refusal(host=pasted)
    assert "login and password fields" in message
    assert "hush-hush" not in message


def test_the_port_field_is_added_to_an_address_without_one() -> None:
    assert settings(host="http://prefect/api", port=4200).api_url == "http://prefect:4200/api"


def test_the_port_field_does_not_displace_one_in_the_address() -> None:
    assert settings(host="http://prefect:4200/api", port=8080).api_url == "http://prefect:4200/api"


@pytest.mark.parametrize("schema", ["api", "/api", "api/", "/http/"])
def test_slashes_around_the_schema_field_do_not_matter(schema: str) -> None:
    assert settings(host="prefect:4200", schema=schema).api_url == "http://prefect:4200/api"


def test_a_cloud_that_is_not_the_usual_one_is_not_asked_without_tls() -> None:
    assert settings(host="eu.prefect.cloud/api").api_url == "https://eu.prefect.cloud/api"
    assert settings({"api": "graphql"}, host="api.prefect.io").api_url == "https://api.prefect.io"


def test_a_given_ui_url_wins_over_the_derived_one() -> None:
    assert settings({"ui_url": "https://ui.example.com/x/"}, host="h").ui_url == "https://ui.example.com/x"


def test_the_test_button_of_airflow_2_sends_each_field_under_two_names() -> None:
    fields = {"verify": "y", "timeout": "7", "api": "rest"}
    both = fields | {f"extra__prefect__{name}": value for name, value in fields.items()}
    found = settings(both, host="http://prefect:4200/api")
    assert (found.verify, found.timeout, found.api) == (True, 7.0, "rest")


# What is wrong with a connection


def test_a_login_without_a_password_is_refused_and_told_where_a_key_goes() -> None:
    assert "An API key goes into the password, without a login" in refusal(login="pnu_mistaken")


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    message = refusal({"verifi": True, "timeout": 5})
    assert "unknown fields: verifi." in message
    assert all(name in message for name in CONN_FIELDS)


@pytest.mark.parametrize("extra", [["timeout"], [1], "timeout"])
def test_an_extra_that_is_no_object_is_refused(extra: Any) -> None:
    assert "extra" in refusal(extra)


@pytest.mark.parametrize("value", ["maybe", 2, [True], {"a": 1}])
def test_verify_is_true_or_false(value: Any) -> None:
    assert "verify" in refusal({"verify": value})


@pytest.mark.parametrize("value", [0, -1, "soon", "nan", "inf", [5]])
def test_a_timeout_is_a_number_of_seconds_above_zero(value: Any) -> None:
    assert "timeout" in refusal({"timeout": value})


@pytest.mark.parametrize(
    "value", ["X-Token: hush-hush", '["hush-hush"]', ["hush-hush"], {"X-Token": 5}, '{"X-Token": null}', 5]
)
def test_headers_are_an_object_of_texts_and_never_repeated(value: Any) -> None:
    message = refusal({"secret_headers": value})
    assert "secret_headers is not a JSON object of strings" in message
    assert "hush-hush" not in message


@pytest.mark.parametrize("name", ["ui_url", "ca_file", "client_certificate", "client_key", "proxy"])
def test_a_text_field_that_is_no_text_is_refused(name: str) -> None:
    assert name in refusal({name: 5})


@pytest.mark.parametrize("value", [5, [5], {"a": "b"}])
def test_result_roots_that_are_no_texts_are_refused(value: Any) -> None:
    assert "result_roots" in refusal({"result_roots": value})


@pytest.mark.parametrize("root", ["mnt/prefect", "s3:/bucket", "~/results"])
def test_a_result_root_that_is_no_absolute_path_and_no_url_is_refused(root: str) -> None:
    message = refusal({"result_roots": f"/mnt/prefect\n{root}"})
    assert f"result_roots has {root!r}" in message
    assert "/mnt/prefect, nor a URL, such as s3://" in message


@pytest.mark.parametrize("value", ["prefect", "prefect.example.com/ui", "ftp://prefect.example.com", "https://"])
def test_a_ui_url_that_is_no_web_address_is_refused(value: str) -> None:
    assert f"ui_url is {value!r}; it is an http or https URL" in refusal({"ui_url": value})


def test_a_key_without_its_certificate_is_refused() -> None:
    assert "client_key but no client_certificate" in refusal({"client_key": "/etc/ssl/airflow.key"})


@pytest.mark.parametrize("kind", ["postgres", "http", "", None])
def test_a_connection_of_another_type_is_refused(kind: str | None) -> None:
    assert "'prefect'" in refusal(conn_type=kind)


def test_the_settings_show_no_secret() -> None:
    given = settings(
        {"secret_headers": {"X-Token": "hush-header"}, "proxy": "http://me:hush-proxy@proxy:3128"},
        host="http://prefect/api",
        login="hush-user",
        password="hush-password",
    )
    assert "hush" not in f"{given!r} {given}"
    assert "hush" not in repr(settings(host="h", password="hush-key"))


# Prefect 1


@pytest.mark.parametrize("given", [{}, {"api": None}, {"api": ""}, {"api": "rest"}])
def test_the_api_is_that_of_prefect_3_unless_the_field_says_otherwise(given: dict[str, Any]) -> None:
    found = settings(given, host="http://prefect:4200")
    assert (found.api, found.api_url) == ("rest", "http://prefect:4200/api")


@pytest.mark.parametrize(
    ("pasted", "api_url"),
    [
        ("http://prefect:4200", "http://prefect:4200"),
        ("http://prefect:4200/graphql", "http://prefect:4200/graphql"),
        ("prefect:4200", "http://prefect:4200"),
        ("https://api.prefect.io", "https://api.prefect.io"),
    ],
)
def test_the_address_of_a_prefect_1_server_is_taken_as_it_is(pasted: str, api_url: str) -> None:
    assert settings({"api": "graphql"}, host=pasted).api_url == api_url


@pytest.mark.parametrize(
    "uri",
    [
        "prefect://prefect:4200?api=graphql",
        "prefect://prefect:4200/?api=graphql",
        "prefect://http%3A%2F%2Fprefect%3A4200?api=graphql",
    ],
)
def test_a_connection_to_prefect_1_as_a_uri_works(connect: Any, uri: str) -> None:
    found = read(connect, uri)
    assert (found.api, found.api_url, found.ui_url) == ("graphql", "http://prefect:4200", "http://prefect:8080")


def test_a_path_in_a_uri_to_prefect_1_is_kept(connect: Any) -> None:
    assert read(connect, "prefect://prefect:4200/graphql?api=graphql").api_url == "http://prefect:4200/graphql"


def test_the_key_and_the_tenant_of_a_prefect_1_server_arrive(connect: Any) -> None:
    found = read(connect, host="https://x", password="key", extra={"api": "graphql", "tenant_id": ACCOUNT})
    assert (found.api_key, found.tenant_id) == ("key", ACCOUNT)


def test_the_ui_of_prefect_1_can_be_given() -> None:
    given = {"api": "graphql", "ui_url": "https://ui.example.com/"}
    assert settings(given, host="http://prefect:4200").ui_url == "https://ui.example.com"


@pytest.mark.parametrize("value", ["GraphQL", "prefect 1", "1", 1, True, ["graphql"], {"graphql": 1}])
def test_an_api_that_there_is_not_is_refused_with_those_that_there_are(value: Any) -> None:
    assert "'rest' for Prefect 2 and 3, 'graphql' for Prefect 1" in refusal({"api": value})


def test_a_tenant_without_prefect_1_is_refused() -> None:
    assert "tenant_id is for Prefect 1" in refusal({"tenant_id": ACCOUNT})


def test_an_api_url_that_is_exact_is_taken_as_it_stands() -> None:
    exact = settings({"exact_api_url": "true"}, host="http://prefect:4200/orchestrator")
    assert (exact.api_url, exact.ui_url) == ("http://prefect:4200/orchestrator", "http://prefect:4200")


def test_an_exact_api_url_is_refused_for_prefect_1_which_has_no_other() -> None:
    assert "always used as it is" in refusal({"api": "graphql", "exact_api_url": True}, host="http://prefect1:4200")
    settings({"api": "graphql", "exact_api_url": False}, host="http://prefect1:4200")


@pytest.mark.parametrize("value", ["default", "x", ACCOUNT[:-1]])
def test_a_tenant_that_is_no_uuid_is_refused(value: str) -> None:
    assert "tenant_id" in refusal({"api": "graphql", "tenant_id": value})
    assert "not a UUID" in refusal({"api": "graphql", "tenant_id": value})


# Reading a connection for many triggers at once


class Connection:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.key = "old"

    async def read(self, prefect_conn_id: str, hook: Any) -> Settings:
        self.reads += 1
        await asyncio.sleep(0)
        return Settings("http://a/api", "http://a", api_key=self.key)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    made = Connection()
    monkeypatch.setattr("airflow_provider_prefect.hooks.connection.aread_settings", made.read)
    return made


async def kept(refused: Settings | None = None) -> Settings:
    return await kept_settings("prefect_default", PrefectHook, refused)


async def test_a_thousand_who_ask_at_once_have_it_read_once(connection: Connection) -> None:
    found = await asyncio.gather(*(kept() for _ in range(1000)))
    assert connection.reads == 1
    assert len(set(found)) == 1


async def test_it_is_read_again_after_some_minutes(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_prefect.hooks.connection._KEEP_FOR", 0.0)
    await kept()
    await kept()
    assert connection.reads == 2


async def test_after_a_refusal_it_is_read_again_once_for_all(connection: Connection) -> None:
    old = await kept()
    connection.key = "new"
    found = await asyncio.gather(*(kept(refused=old) for _ in range(100)))
    assert {one.api_key for one in found} == {"new"}
    assert connection.reads == 2


async def test_a_connection_that_stays_refused_is_not_read_by_everybody(connection: Connection) -> None:
    old = await kept()
    await asyncio.gather(*(kept(refused=old) for _ in range(100)))
    assert connection.reads == 2


async def test_a_connection_that_cannot_be_read_is_tried_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(prefect_conn_id: str, hook: Any) -> Settings:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_prefect.hooks.connection.aread_settings", fails)
        with pytest.raises(OSError):
            await kept()
    assert (await kept()).api_key == "old"


async def test_two_teams_have_each_their_own_connection_of_the_same_id(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await kept_settings("prefect_default", PrefectHook, team_name="sales")
    connection.key = "new"
    other = await kept_settings("prefect_default", PrefectHook, team_name="finance")
    again = await kept_settings("prefect_default", PrefectHook, team_name="sales")
    assert (first.api_key, other.api_key, again.api_key) == ("old", "new", "old")


def test_each_event_loop_reads_for_itself(connection: Connection) -> None:
    for _ in range(2):
        asyncio.run(kept())
    assert connection.reads == 2


# The form of Airflow before 3.2, which Flask-AppBuilder draws


@pytest.fixture
def drawn() -> dict[str, Any]:
    """The form's own fields, each as it is drawn."""
    pytest.importorskip("flask_appbuilder", reason="only Airflow before 3.2 draws its form with Flask-AppBuilder")
    from wtforms import Form

    return dict(type("Drawn", (Form,), PrefectHook.get_connection_form_widgets())()._fields)


def test_the_legacy_form_has_the_same_fields_with_the_same_labels(drawn: dict[str, Any]) -> None:
    assert {name: field.label.text for name, field in drawn.items()} == {
        name: spec["label"] for name, spec in CONN_FIELDS.items()
    }


def test_the_legacy_form_has_the_same_defaults_and_help(drawn: dict[str, Any]) -> None:
    assert {name: (field.default, field.description) for name, field in drawn.items()} == {
        name: (spec["schema"].get("default"), spec["description"]) for name, spec in CONN_FIELDS.items()
    }


def test_the_legacy_form_draws_each_field_after_its_kind(drawn: dict[str, Any]) -> None:
    kinds = {name: type(field).__name__ for name, field in drawn.items()}
    assert kinds.pop("verify") == kinds.pop("exact_api_url") == "BooleanField"
    assert kinds.pop("proxy") == kinds.pop("secret_headers") == "PasswordField"
    assert set(kinds.values()) == {"StringField"}
    many_lines = {name for name, field in drawn.items() if type(field.widget).__name__ == "BS3TextAreaFieldWidget"}
    assert many_lines == {"result_roots"}


def test_airflow_2_shows_the_fields_only_if_it_knows_the_kind_of_each(drawn: dict[str, Any]) -> None:
    # Of ProvidersManager, which shows no field of a hook with any other.
    known = {"BooleanField", "IntegerField", "PasswordField", "StringField"}
    assert {type(field).__name__ for field in drawn.values()} <= known


def test_the_standard_fields_are_named_as_the_legacy_form_wants_them() -> None:
    assert PrefectHook.get_ui_field_behaviour() == {
        "hidden_fields": UI_FIELD_BEHAVIOUR["hidden-fields"],
        "relabeling": UI_FIELD_BEHAVIOUR["relabeling"],
        "placeholders": UI_FIELD_BEHAVIOUR["placeholders"],
    }
