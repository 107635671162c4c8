from __future__ import annotations

import pytest

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.urls import api_url, flow_run_url, graphql_ui_url, graphql_url, ui_url
from tests.unit.client.samples import RUN_ID, run_json, run_json_2

ACCOUNT = "11111111-2222-3333-4444-555555555555"
WORKSPACE = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CLOUD_API = f"https://api.prefect.cloud/api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}"
CLOUD_UI = f"https://app.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}"


@pytest.mark.parametrize(
    ("pasted", "api"),
    [
        ("http://host:4200/api", "http://host:4200/api"),
        ("http://host:4200/api/", "http://host:4200/api"),
        ("http://host:4200", "http://host:4200/api"),
        ("http://host:4200/", "http://host:4200/api"),
        (" http://host:4200/api\n", "http://host:4200/api"),
        ("http://HOST:4200/api", "http://host:4200/api"),
        ("http://host:4200//api//", "http://host:4200/api"),
        ("https://x/prefect/api", "https://x/prefect/api"),
        ("https://x/prefect/api/", "https://x/prefect/api"),
        ("https://x/prefect", "https://x/prefect/api"),
        ("https://x/a/b/", "https://x/a/b/api"),
        ("https://x/prefect-api/v1", "https://x/prefect-api/v1"),
        ("https://api.example.com", "https://api.example.com/api"),
        ("https://api.example.com/prefect/", "https://api.example.com/prefect/api"),
        ("http://[::1]:4200/api", "http://[::1]:4200/api"),
        ("http://127.0.0.1:4200/api?x=1#y", "http://127.0.0.1:4200/api"),
        ("https://x/flows/api", "https://x/flows/api"),
    ],
)
def test_an_address_of_a_server_is_understood_in_every_form(pasted: str, api: str) -> None:
    assert api_url(pasted) == api


@pytest.mark.parametrize(
    "page",
    [
        "dashboard",
        f"runs/flow-run/{RUN_ID}",
        f"flow-runs/flow-run/{RUN_ID}?tab=Logs",
        "deployments",
        f"deployments/deployment/{RUN_ID}",
        "work-pools/work-pool/p",
        "settings",
    ],
)
@pytest.mark.parametrize("ui", ["", "/v2"])
@pytest.mark.parametrize("prefix", ["http://host:4200", "https://x/prefect"])
def test_a_page_of_a_servers_ui_is_understood(prefix: str, ui: str, page: str) -> None:
    assert api_url(f"{prefix}{ui}/{page}") == f"{prefix}/api"


@pytest.mark.parametrize("pasted", ["http://host:4200/v2", "http://host:4200/v2/", "http://host:4200/v2/login"])
def test_the_new_ui_of_a_server_is_no_part_of_the_path_of_its_api(pasted: str) -> None:
    assert api_url(pasted) == "http://host:4200/api"


@pytest.mark.parametrize(
    ("given", "api", "ui"),
    [
        ("http://host:4200/orchestrator", "http://host:4200/orchestrator", "http://host:4200"),
        ("http://host:4200/orchestrator/", "http://host:4200/orchestrator", "http://host:4200"),
        ("https://x/prefect/runs", "https://x/prefect/runs", "https://x/prefect"),
        ("http://host:4200/api", "http://host:4200/api", "http://host:4200"),
        ("http://host:4200", "http://host:4200", "http://host:4200"),
    ],
)
def test_an_address_that_is_exact_is_taken_as_it_stands(given: str, api: str, ui: str) -> None:
    assert api_url(given, exact=True) == api
    assert ui_url(api, exact=True) == ui


@pytest.mark.parametrize(
    "pasted",
    [
        f"https://api.private.prefect.cloud/api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}",
        f"https://app.private.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}/dashboard",
    ],
)
def test_an_address_of_cloud_over_privatelink_stays_private(pasted: str) -> None:
    api = api_url(pasted)
    assert api == f"https://api.private.prefect.cloud/api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}"
    assert ui_url(api) == f"https://app.private.prefect.cloud/account/{ACCOUNT}/workspace/{WORKSPACE}"


@pytest.mark.parametrize(
    "pasted",
    [
        CLOUD_API,
        CLOUD_API + "/",
        CLOUD_UI,
        CLOUD_UI + "/dashboard",
        f"{CLOUD_UI}/runs/flow-run/{RUN_ID}",
        CLOUD_API.replace("https://api.", "https://API."),
        CLOUD_API.replace("/api/accounts", "/accounts"),
        CLOUD_API.replace("https:", "http:"),
    ],
)
def test_an_address_of_a_cloud_workspace_is_understood_in_every_form(pasted: str) -> None:
    assert api_url(pasted) == CLOUD_API


@pytest.mark.parametrize(
    "pasted",
    ["https://app.prefect.cloud", "https://api.prefect.cloud/api", f"https://app.prefect.cloud/account/{ACCOUNT}"],
)
def test_an_address_of_cloud_without_a_workspace_is_refused_with_the_right_form(pasted: str) -> None:
    with pytest.raises(ConfigurationError, match=r"names no workspace.*https://api\.prefect\.cloud/api/accounts/"):
        api_url(pasted)


@pytest.mark.parametrize(
    "pasted", ["", "  ", "host", "host:4200", "localhost:4200/api", "ftp://host/api", "http://", "http://host:x/api"]
)
def test_what_is_no_address_is_refused_with_the_right_form(pasted: str) -> None:
    with pytest.raises(ConfigurationError, match="http://host:4200/api"):
        api_url(pasted)


def test_an_address_of_prefect_1s_cloud_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"api\.prefect\.io is not an API of Prefect 2 or 3"):
        api_url("https://api.prefect.io/graphql")


@pytest.mark.parametrize(
    "pasted",
    [
        "http://user:s3cret@host:4200/api",
        "https://s3cret@host/api",
        "http://user:s3c/s3cret@host/api",
        "ftp://user:p@s3cret@host/api",
        "user:s3cret@host:4200/api",
        "s3cret@host",
        "https://user:s3cret@app.prefect.cloud/",
        "http://user:s3cret@host:port/api",
    ],
)
def test_an_address_with_a_password_in_it_is_refused_and_never_shown(pasted: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        api_url(pasted)
    assert "s3cret" not in f"{error.value} {error.value!r}"
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None


@pytest.mark.parametrize(
    ("api", "ui"),
    [
        ("http://host:4200/api", "http://host:4200"),
        ("https://x/prefect/api", "https://x/prefect"),
        ("https://api.example.com/api", "https://api.example.com"),
        ("https://x/prefect-api/v1", "https://x/prefect-api/v1"),
        (CLOUD_API, CLOUD_UI),
    ],
)
def test_the_ui_is_where_the_api_says(api: str, ui: str) -> None:
    assert ui_url(api) == ui


def test_the_ui_that_the_connection_names_wins() -> None:
    assert ui_url("http://host:4200/api", " https://prefect.example/ ") == "https://prefect.example"


def test_an_empty_ui_of_the_connection_is_none() -> None:
    assert ui_url("http://host:4200/api", "") == "http://host:4200"


def test_the_page_of_a_flow_run_is_where_its_prefect_has_it() -> None:
    three, two = FlowRun.from_json(run_json(labels={})), FlowRun.from_json(run_json_2())
    assert flow_run_url("http://host:4200", three) == f"http://host:4200/runs/flow-run/{RUN_ID}"
    assert flow_run_url("http://host:4200", two) == f"http://host:4200/flow-runs/flow-run/{RUN_ID}"
    assert flow_run_url(CLOUD_UI, three) == f"{CLOUD_UI}/runs/flow-run/{RUN_ID}"


# Prefect 1


@pytest.mark.parametrize(
    ("pasted", "api"),
    [
        ("http://host:4200", "http://host:4200"),
        (" http://host:4200/ ", "http://host:4200"),
        ("http://host:4200/graphql", "http://host:4200/graphql"),
        ("http://host:4200/graphql/", "http://host:4200/graphql"),
        ("https://x/prefect1", "https://x/prefect1"),
        ("https://api.prefect.io", "https://api.prefect.io"),
        ("http://[::1]:4200", "http://[::1]:4200"),
    ],
)
def test_an_address_of_a_prefect_1_server_is_used_as_it_stands(pasted: str, api: str) -> None:
    assert graphql_url(pasted) == api


@pytest.mark.parametrize("pasted", ["", "  ", "host", "host:4200", "ftp://host", "http://", "http://host:x"])
def test_what_is_no_address_of_a_prefect_1_server_is_refused_with_the_right_form(pasted: str) -> None:
    with pytest.raises(ConfigurationError, match="http://host:4200 or the like"):
        graphql_url(pasted)


@pytest.mark.parametrize("pasted", ["http://user:s3cret@host:4200", "user:s3cret@host:4200"])
def test_an_address_of_a_prefect_1_server_with_a_password_in_it_is_refused_and_never_shown(pasted: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        graphql_url(pasted)
    assert "s3cret" not in f"{error.value} {error.value!r}"


@pytest.mark.parametrize(
    ("api", "ui"),
    [
        ("http://host:4200", "http://host:8080"),
        ("http://host:4200/graphql", "http://host:8080"),
        ("https://x", "https://x:8080"),
        ("http://[::1]:4200", "http://[::1]:8080"),
        ("https://api.prefect.io", "https://cloud.prefect.io"),
        ("https://api.prefect.io/graphql", "https://cloud.prefect.io"),
        ("https://api-hybrid.prefect.io", "https://hybrid.prefect.io"),
        ("https://prefect.io.example", "https://prefect.io.example:8080"),
    ],
)
def test_the_ui_of_prefect_1_is_where_its_own_client_takes_it_to_be(api: str, ui: str) -> None:
    assert graphql_ui_url(api) == ui


def test_the_ui_that_the_connection_names_wins_for_prefect_1_too() -> None:
    assert graphql_ui_url("http://host:4200", " https://prefect.example/ ") == "https://prefect.example"
    assert graphql_ui_url("http://host:4200", "") == "http://host:8080"


def test_the_page_of_a_flow_run_of_prefect_1_is_below_its_tenant() -> None:
    run = FlowRun(RUN_ID, "calm-otter", tenant="warehouse")
    assert flow_run_url("http://host:8080", run) == f"http://host:8080/warehouse/flow-run/{RUN_ID}"
