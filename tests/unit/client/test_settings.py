from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest

from airflow_provider_prefect.client.settings import Settings


def settings(**fields: Any) -> Settings:
    return Settings("http://host:4200/api", "http://host:4200", **fields)


def test_an_api_key_is_sent_as_a_bearer_token() -> None:
    assert settings(api_key="pnu_x").request_headers()["Authorization"] == "Bearer pnu_x"


@pytest.mark.parametrize("password", ["pass", "pass:with:colons", "pässwörd", ""])
def test_user_and_password_are_sent_as_basic_auth(password: str) -> None:
    scheme, _, token = settings(user="admin", password=password).request_headers()["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert b64decode(token).decode() == f"admin:{password}"


def test_a_user_without_a_password_is_sent_with_an_empty_one() -> None:
    assert settings(user="admin").request_headers()["Authorization"] == f"Basic {b64encode(b'admin:').decode()}"


def test_user_and_password_come_before_an_api_key() -> None:
    assert settings(user="admin", password="p", api_key="k").request_headers()["Authorization"].startswith("Basic ")


def test_without_credentials_nothing_is_sent() -> None:
    assert settings().request_headers() == {"Accept": "application/json"}


def test_the_connections_own_headers_are_added() -> None:
    headers = settings(api_key="k", headers={"CF-Access-Client-Id": "id"}).request_headers()
    assert headers == {"Accept": "application/json", "Authorization": "Bearer k", "CF-Access-Client-Id": "id"}


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_the_connections_own_headers_win_however_they_are_written(name: str) -> None:
    headers = settings(api_key="k", headers={name: "Custom token"}).request_headers()
    assert headers == {"Accept": "application/json", name: "Custom token"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user": "admin", "password": "p", "api_key": "k"}, "user and password"),
        ({"api_key": "k"}, "API key"),
        ({"headers": {"authorization": "Custom token"}}, "Authorization header"),
        ({"headers": {"X": "y"}}, "no credentials"),
        ({}, "no credentials"),
    ],
)
def test_how_requests_are_authenticated_is_said_in_words(fields: dict[str, Any], words: str) -> None:
    assert settings(**fields).authentication == words


SECRETS: dict[str, Any] = {
    "api_key": "s3cret-key",
    "user": "s3cret-user",
    "password": "s3cret-password",
    "headers": {"X-Token": "s3cret-header"},
    "proxy": "http://u:s3cret-proxy@proxy:3128",
}


def test_no_secret_is_in_the_repr() -> None:
    text = f"{settings(**SECRETS)!r} {settings(**SECRETS)}"
    assert "s3cret" not in text
    assert "http://host:4200/api" in text


def test_everything_secret_is_named_for_the_masker() -> None:
    secrets = settings(**SECRETS).secrets()
    basic = b64encode(b"s3cret-user:s3cret-password").decode()
    proxy = {SECRETS["proxy"], "s3cret-proxy"}
    assert {"s3cret-key", "s3cret-password", basic, "s3cret-header"} | proxy <= set(secrets)


def test_no_secret_is_left_in_a_text_that_repeats_it() -> None:
    some = settings(user="me", password='s3cret-"pass"wörd', headers={"X-Token": "s3cret-header"})
    basic = b64encode('me:s3cret-"pass"wörd'.encode()).decode()
    for repeated in ('s3cret-"pass"wörd', json.dumps('s3cret-"pass"wörd'), f"Basic {basic}", "X-Token=s3cret-header"):
        hidden = some.hide_secrets(f"before {repeated} after")
        assert hidden.startswith("before ")
        assert hidden.endswith(" after")
        assert "***" in hidden
        assert "s3cret" not in hidden
        assert basic not in hidden


def test_nothing_is_left_of_a_secret_that_begins_with_another_one() -> None:
    some = settings(api_key="s3cret", headers={"X-Token": "s3cret-and-more"})
    assert some.hide_secrets("token s3cret-and-more, key s3cret") == "token ***, key ***"


def test_the_credentials_of_a_proxy_are_hidden_in_each_form() -> None:
    some = settings(proxy="http://us%3Aer:s3cret%2Fproxy@proxy:3128")
    basic = b64encode(b"us:er:s3cret/proxy").decode()
    assert some.hide_secrets(f"Basic {basic}, s3cret%2Fproxy, s3cret/proxy") == "Basic ***, ***, ***"


def test_what_is_too_short_to_be_a_secret_is_no_reason_to_change_a_text() -> None:
    assert settings(user="a", password="err").hide_secrets("an error") == "an error"


def test_nothing_that_is_not_set_is_named_for_the_masker() -> None:
    assert settings().secrets() == []
    assert settings(api_key="", password="").secrets() == []


def test_only_the_api_of_cloud_is_cloud() -> None:
    assert Settings("https://api.prefect.cloud/api/accounts/a/workspaces/w", "").is_cloud
    assert not settings().is_cloud
    assert not Settings("https://api.prefect.cloud.example/api", "").is_cloud


def test_equal_settings_are_one_key_and_other_headers_make_another() -> None:
    first, second = settings(headers={"A": "1"}), settings(headers={"A": "1"})
    assert len({first, second}) == 1
    assert len({first, settings(headers={"A": "2"})}) == 2
    assert len({first, settings(headers={"A": "1"}, api_key="k")}) == 2


def test_the_tenant_of_prefect_1_is_sent_along() -> None:
    headers = settings(api="graphql", api_key="k", tenant_id="c1f1c1a0").request_headers()
    assert headers["X-PREFECT-TENANT-ID"] == "c1f1c1a0"
    assert headers["Authorization"] == "Bearer k"


def test_the_connections_own_header_wins_over_its_tenant() -> None:
    given = settings(tenant_id="ours", headers={"x-prefect-tenant-id": "theirs"})
    assert given.request_headers() == {"Accept": "application/json", "x-prefect-tenant-id": "theirs"}


def test_the_api_of_prefect_3_is_meant_unless_another_is_said() -> None:
    assert settings().api == "rest"
    assert settings().tenant_id is None


def test_the_same_address_with_another_api_or_tenant_is_another_connection() -> None:
    assert len({settings(), settings(api="graphql"), settings(api="graphql", tenant_id="t")}) == 3
