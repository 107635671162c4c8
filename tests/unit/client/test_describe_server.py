from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    InvalidRequest,
    MalformedAnswer,
    NotFound,
    PrefectError,
    Unreachable,
)
from airflow_provider_prefect.client.model import Source
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import Response, run
from tests.unit.client.driving import BAD_PARAMETERS, BUSY, NO_CONTENT, NO_SUCH_RUN, Script, answer, page
from tests.unit.client.samples import DEPLOYMENT_ID, deployment_json

SERVER = Settings("http://host:4200/api", "http://host:4200")
CLOUD = Settings("https://api.prefect.cloud/api/accounts/a/workspaces/w", "https://app.prefect.cloud")
NO_GRAPHQL = answer({"detail": "Not Found"}, 404)
GRAPHQL = answer({"data": {"__typename": "Query"}})


def describe(script: Script) -> str:
    return run(script.api().describe_server())


@pytest.mark.parametrize(
    ("version", "text"),
    [("3.8.8", "Prefect 3 server 3.8.8"), ("2.20.26", "Prefect 2 server 2.20.26")],
)
def test_a_server_of_ones_own_says_its_version(version: str, text: str) -> None:
    script = Script([answer(version)], SERVER)
    assert describe(script) == text
    assert script.sent == ["GET /admin/version"]


def test_cloud_is_asked_for_something_that_needs_its_workspace() -> None:
    script = Script([answer(3)], CLOUD)
    assert describe(script) == "Prefect Cloud"
    assert script.sent == ["POST /flow_runs/count"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer({"exception_message": "Unauthorized"}, 401), AuthenticationError),
        (answer({"detail": "Forbidden"}, 403), AuthenticationError),
        (Unreachable("down"), Unreachable),
    ],
)
@pytest.mark.parametrize("settings", [SERVER, CLOUD])
def test_wrong_credentials_and_a_server_that_is_down_are_said_as_they_are(
    reply: object, kind: type[PrefectError], settings: Settings
) -> None:
    script = Script([reply], settings)
    with pytest.raises(kind):
        describe(script)
    assert len(script.requests) == 1


@pytest.mark.parametrize("first", [page(404), page(200), page(405), answer({"detail": "no"}, 400)])
def test_a_prefect_1_server_is_recognised(first: Response) -> None:
    with pytest.raises(ConfigurationError, match=r"There is a Prefect 1 server \(GraphQL\) at http://host:4200/api"):
        describe(Script([first, GRAPHQL], SERVER))


@pytest.mark.parametrize(
    ("body", "is_it"),
    [({"data": {"__typename": "Query"}}, True), ({"data": None}, False), ({"errors": []}, False), ([], False)],
)
def test_a_graphql_server_is_recognised_by_its_answer(body: Any, is_it: bool) -> None:
    script = Script([page(404), answer(body)], SERVER)
    with pytest.raises(ConfigurationError) as error:
        describe(script)
    assert ("There is a Prefect 1 server" in str(error.value)) is is_it
    assert script.sent == ["GET /admin/version", "POST "]


@pytest.mark.parametrize("second", [page(200), page(405), NO_GRAPHQL, NO_CONTENT, Unreachable("down"), answer([])])
def test_a_web_page_is_said_to_be_one_with_the_way_out(second: object) -> None:
    with pytest.raises(ConfigurationError, match=r"web page.*with /api behind it") as error:
        describe(Script([page(200), second], SERVER))
    assert error.value.__suppress_context__


def test_an_answer_that_is_no_web_page_is_not_called_one() -> None:
    with pytest.raises(ConfigurationError, match=r"no Prefect API at .*: .*upstream connect error"):
        describe(Script([Response(200, "upstream connect error"), NO_GRAPHQL], SERVER))


def test_anything_else_is_no_prefect_api_and_the_answer_is_quoted() -> None:
    with pytest.raises(ConfigurationError, match=r"no Prefect API at .*: HTTP 404: Not Found"):
        describe(Script([NO_GRAPHQL, NO_GRAPHQL], SERVER))


# Whether it has events


@pytest.mark.parametrize(
    ("given", "has"),
    [
        (answer("3.8.8"), True),
        (answer("3.0.0rc1"), True),
        (answer("2.20.26"), False),
        (answer({"detail": "Not Found"}, 404), True),  # Prefect Cloud
    ],
)
def test_prefect_2_is_not_asked_for_events(given: Any, has: bool) -> None:
    assert run(Script([given], SERVER).api().has_event_feed()) is has


def test_a_server_that_does_not_say_its_version_is_not_judged() -> None:
    with pytest.raises(ApiError):
        run(Script([BUSY], SERVER).api().has_event_feed())


def test_prefect_1_has_no_events_and_nothing_is_asked_to_know_that() -> None:
    script = Script([], prefect_1())
    assert run(script.api().has_event_feed()) is False
    assert script.requests == []


# Tracing a failure back to the address


def find(script: Script) -> Source:
    """Find what to start: by its name, as a request that a wrong address would fail."""
    given = "flow_name" if script.settings.api == "graphql" else "deployment"
    wanted = {"deployment": None, "flow_id": None, "flow_name": None, "project_name": None}
    return run(script.api().find_source(**{**wanted, given: "a/b"}))


def test_a_source_that_is_found_needs_no_explanation() -> None:
    script = Script([answer(deployment_json())], SERVER)
    assert find(script).id == DEPLOYMENT_ID
    assert script.sent == ["GET /deployments/name/a/b"]


@pytest.mark.parametrize("first", [page(404), answer({"detail": "Not Found"}, 404), page(200), page(400), page(405)])
def test_a_failure_because_of_a_wrong_address_is_explained_by_it(first: Response) -> None:
    with pytest.raises(ConfigurationError, match="web page"):
        find(Script([first, page(200), page(200)], SERVER))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (NO_SUCH_RUN, NotFound),
        (BAD_PARAMETERS, InvalidRequest),
        (BUSY, ApiError),
        (page(503), MalformedAnswer),
        (answer({"exception_message": "Unauthorized"}, 401), AuthenticationError),
        (Unreachable("down"), Unreachable),
    ],
)
def test_a_failure_of_another_kind_asks_for_nothing_more(reply: object, kind: type[PrefectError]) -> None:
    script = Script([reply], SERVER)
    with pytest.raises(kind):
        find(script)
    assert len(script.requests) == 1


def test_a_404_of_a_prefect_server_stays_a_404() -> None:
    with pytest.raises(NotFound, match="Not Found"):
        find(Script([answer({"detail": "Not Found"}, 404), answer("3.8.8")], SERVER))


# Prefect 1

TENANT = "c1f1c1a0-9a5b-4c6f-8a55-3f0f0c9d1b77"


def prefect_1(**fields: Any) -> Settings:
    return Settings("http://host:4200", "http://host:8080", api="graphql", **fields)


def told(*tenants: str) -> Response:
    slugs = [{"slug": slug} for slug in tenants]
    return answer({"data": {"api": {"backend": "server", "core_version": "1.4.1"}, "tenant": slugs}})


@pytest.mark.parametrize(
    ("tenants", "words"),
    [(("default",), "tenant 'default'"), (("a", "b"), "tenant 'a', 'b'"), ((), "no tenant yet")],
)
def test_a_prefect_1_server_says_its_version_and_its_tenants(tenants: tuple[str, ...], words: str) -> None:
    assert describe(Script([told(*tenants)], prefect_1())) == f"Prefect 1 server 1.4.1 ({words})"


def test_with_a_key_it_says_the_tenant_of_the_key() -> None:
    script = Script([told("default"), answer({"data": {"auth_info": {"tenant_id": TENANT}}})], prefect_1(api_key="k"))
    assert describe(script) == f"Prefect 1 server 1.4.1 (tenant {TENANT})"


def test_a_key_for_a_proxy_in_front_of_a_server_without_keys_does_no_harm() -> None:
    unknown = answer({"errors": [{"message": 'Cannot query field "auth_info"'}]}, 400)
    script = Script([told("default"), unknown], prefect_1(api_key="k"))
    assert describe(script) == "Prefect 1 server 1.4.1 (tenant 'default')"


def test_the_tenant_that_the_connection_names_is_not_asked_for() -> None:
    script = Script([told("default")], prefect_1(api_key="k", tenant_id=TENANT))
    assert describe(script) == f"Prefect 1 server 1.4.1 (tenant {TENANT})"
    assert script.all_used()


@pytest.mark.parametrize(
    "reply",
    [page(200), page(404), page(405), NO_GRAPHQL, answer({"errors": [{"message": "Cannot query field"}]}, 400)],
)
def test_where_no_prefect_1_answers_the_other_api_is_suggested(reply: Response) -> None:
    with pytest.raises(ConfigurationError, match=r"no GraphQL API of Prefect 1.*Prefect 2 or 3") as error:
        describe(Script([reply], prefect_1()))
    assert error.value.__suppress_context__


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer({"errors": [{"message": "x", "extensions": {"code": "UNAUTHENTICATED"}}]}), AuthenticationError),
        (answer({"detail": "Forbidden"}, 403), AuthenticationError),
        (Unreachable("down"), Unreachable),
    ],
)
def test_wrong_credentials_and_a_prefect_1_server_that_is_down_are_said_as_they_are(
    reply: object, kind: type[PrefectError]
) -> None:
    with pytest.raises(kind):
        describe(Script([reply], prefect_1()))


def test_a_start_that_meets_no_prefect_1_is_explained_by_the_address() -> None:
    with pytest.raises(ConfigurationError, match="no GraphQL API of Prefect 1"):
        find(Script([page(404), page(404)], prefect_1()))
