"""The form of the connection: filled in, tested, saved, and opened again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page

from airflow_provider_prefect.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from tests.ui.airflow_ui import STANDARD, Airflow3Ui, AirflowUi
from tests.ui.browser import take_picture
from tests.ui.conftest import PASSWORD, USER
from tools.airflow_stack import AirflowStack
from tools.prefect_stack import PrefectServer
from tools.processes import free_port

SECRET = "the-secret-51c9"
VALUES: dict[str, Any] = {
    "host": "https://prefect.example.com/api",
    "login": "airflow",
    "password": SECRET,
    "port": "443",
    "result_roots": "/mnt/prefect/results\ns3://aws_default@bucket/prefix",
    "ui_url": "https://prefect.example.com/ui",
    "secret_headers": json.dumps({"CF-Access-Client-Secret": SECRET}),
    "proxy": f"http://airflow:{SECRET}@proxy.example.com:3128",
    "verify": False,
    "ca_file": "/etc/ssl/company.pem",
    "client_certificate": "/etc/ssl/airflow.pem",
    "client_key": "/etc/ssl/airflow.key",
    "timeout": "12.5",
    "exact_api_url": True,
    "tenant_id": "11111111-2222-3333-4444-555555555555",
}
HAS_A_DEFAULT = {"api"}
SECRETS = {"password", "proxy", "secret_headers"}


def shown_values(page: Page) -> str:
    """Whatever the page holds: its text, and the values of its fields."""
    fields = page.locator("input, textarea").evaluate_all("fields => fields.map(field => field.value)")
    return "\n".join([page.content(), *fields])


def test_every_field_has_its_label_and_its_sentence_in_the_order_of_the_docs(ui: AirflowUi) -> None:
    ui.open_new_connection("prefect_labels")
    labels = UI_FIELD_BEHAVIOUR["relabeling"] | {"port": "Port"}
    assert {name: ui.label(name) for name in STANDARD} == {name: labels[name] for name in STANDARD}
    placeholders = UI_FIELD_BEHAVIOUR["placeholders"]
    assert {name: ui.field(name).get_attribute("placeholder") for name in STANDARD} == placeholders
    if isinstance(ui, Airflow3Ui):
        take_picture("connection-form", ui.dialog)
    assert ui.fields() == list(CONN_FIELDS)
    for name, field in CONN_FIELDS.items():
        assert (ui.label(name), ui.help(name)) == (field["label"], field["description"])


def test_what_is_entered_is_there_when_the_connection_is_opened_again_but_no_secret(ui: AirflowUi) -> None:
    assert {*VALUES, *HAS_A_DEFAULT} == {*STANDARD, *CONN_FIELDS}
    ui.open_new_connection("prefect_full")
    for name, value in VALUES.items():
        ui.fill(name, value)
    ui.save()
    ui.open_connection("prefect_full")
    assert ui.fields() == list(CONN_FIELDS)
    # Airflow 2 shows its default where a switch is off.
    shown = VALUES | ({} if isinstance(ui, Airflow3Ui) else {"verify": True})
    for name in VALUES.keys() - SECRETS:
        assert ui.value(name) == shown[name], name
    assert ui.value("api") == "rest"
    assert SECRET not in shown_values(ui.page)


def test_a_secret_that_is_not_changed_is_kept_when_the_connection_is_saved_again(
    ui: AirflowUi, airflow: AirflowStack, prefect: PrefectServer
) -> None:
    ui.open_new_connection("prefect_kept")
    for name, value in {"host": prefect.api_url, "login": USER, "password": PASSWORD, "port": "0"}.items():
        ui.fill(name, value)
    ui.save()
    ui.open_connection("prefect_kept")
    ui.fill("timeout", "20")
    ui.save()
    assert "Connection success" in airflow.command("connections", "test", "prefect_kept")


def test_the_test_button_says_whether_the_server_and_the_credentials_are_right(
    ui: AirflowUi, airflow: AirflowStack, prefect: PrefectServer
) -> None:
    ui.open_new_connection("prefect_right")
    for name, value in {"host": prefect.api_url, "login": USER, "password": PASSWORD, "port": "0"}.items():
        ui.fill(name, value)
    succeeded, message = ui.save_and_test("prefect_right")
    assert succeeded
    version = prefect.environment.name.partition("-")[2]
    assert message == f"Prefect 3 server {version} at {prefect.api_url}, with user and password."

    ui.open_new_connection("prefect_wrong_key")
    for name, value in {"host": prefect.api_url, "password": f"pnu_{SECRET}", "port": "0"}.items():
        ui.fill(name, value)
    succeeded, message = ui.save_and_test("prefect_wrong_key")
    assert not succeeded
    assert "401" in message
    assert "API key" in message
    assert SECRET not in message
    if isinstance(ui, Airflow3Ui):
        take_picture("connection-test", ui.page)

    ui.open_new_connection("prefect_wrong_url")
    nobody = f"http://127.0.0.1:{free_port()}/api"
    ui.fill("host", nobody)
    ui.fill("port", "0")
    succeeded, message = ui.save_and_test("prefect_wrong_url")
    assert not succeeded
    assert nobody.removesuffix("/api") in message


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("host", "ftp://prefect", "API URL"),
        ("result_roots", "mnt/prefect", "result_roots"),
        ("ui_url", "prefect", "ui_url"),
        ("secret_headers", '{"X-Number": 1}', "secret_headers"),
        ("proxy", "ftp://proxy", "proxy"),
        ("ca_file", "/nowhere/ca.pem", "CA file"),
        ("client_key", "/nowhere/client.key", "client_key"),
        ("tenant_id", "11111111-2222-3333-4444-555555555555", "tenant_id"),
    ],
)
def test_the_test_button_names_the_field_that_is_wrong(
    ui: AirflowUi, prefect: PrefectServer, name: str, value: str, said: str
) -> None:
    conn_id = f"prefect_wrong_{name}"
    ui.open_new_connection(conn_id)
    for given, right in {"host": prefect.api_url, "login": USER, "password": PASSWORD, "port": "0"}.items():
        ui.fill(given, right)
    ui.fill(name, value)
    succeeded, message = ui.save_and_test(conn_id)
    assert not succeeded
    assert said in message
