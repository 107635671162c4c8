from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client import identify
from airflow_provider_prefect.client.call import Call, Request, Response
from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    InvalidRequest,
    NotFound,
    PrefectError,
    Unreachable,
)
from airflow_provider_prefect.client.retry import Patience, retried
from airflow_provider_prefect.client.settings import Settings
from tests.unit.client.driving import BAD_PARAMETERS, BUSY, NO_SUCH_RUN, Script, answer, page

SERVER = Settings("http://host:4200/api", "http://host:4200")
CLOUD = Settings("https://api.prefect.cloud/api/accounts/a/workspaces/w", "https://app.prefect.cloud")
NO_GRAPHQL = answer({"detail": "Not Found"}, 404)
GRAPHQL = answer({"data": {"__typename": "Query"}})


def asked(script: Script, call: Call[Any]) -> Any:
    return script.run(retried(call, Patience(0, clock=script.clock)))


@pytest.mark.parametrize(
    ("version", "text"),
    [("3.8.8", "Prefect 3 server 3.8.8"), ("2.20.26", "Prefect 2 server 2.20.26")],
)
def test_a_server_of_ones_own_says_its_version(version: str, text: str) -> None:
    assert asked(Script([answer(version)]), identify.server(SERVER)) == text


def test_cloud_is_asked_for_something_that_needs_its_workspace() -> None:
    script = Script([answer(3)])
    assert asked(script, identify.server(CLOUD)) == "Prefect Cloud"
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
    script = Script([reply])
    with pytest.raises(kind):
        asked(script, identify.server(settings))
    assert len(script.requests) == 1


@pytest.mark.parametrize("first", [page(404), page(200), page(405), answer({"detail": "no"}, 400)])
def test_a_prefect_1_server_is_recognised(first: Response) -> None:
    with pytest.raises(ConfigurationError, match="http://host:4200/api is a Prefect 1 server"):
        asked(Script([first, GRAPHQL]), identify.server(SERVER))


@pytest.mark.parametrize("second", [page(200), page(405), NO_GRAPHQL, Unreachable("down"), answer([])])
def test_a_web_page_is_said_to_be_one_with_the_way_out(second: object) -> None:
    with pytest.raises(ConfigurationError, match=r"web page.*with /api behind it") as error:
        asked(Script([page(200), second]), identify.server(SERVER))
    assert error.value.__suppress_context__


def test_an_answer_that_is_no_web_page_is_not_called_one() -> None:
    with pytest.raises(ConfigurationError, match=r"no Prefect API: .*upstream connect error"):
        asked(Script([Response(200, "upstream connect error"), NO_GRAPHQL]), identify.server(SERVER))


def test_anything_else_is_no_prefect_api_and_the_answer_is_quoted() -> None:
    with pytest.raises(ConfigurationError, match="no Prefect API: HTTP 404: Not Found"):
        asked(Script([NO_GRAPHQL, NO_GRAPHQL]), identify.server(SERVER))


# Tracing a failure back to the address


def read() -> Call[str]:
    response = yield from Request("GET", "/deployments/name/a/b")
    return str(response.json())


def explained(*answers: object) -> Script:
    script = Script(answers)
    asked(script, identify.explained(read(), SERVER))
    return script


def test_a_call_that_succeeds_needs_no_explanation() -> None:
    script = Script([answer("yes")])
    assert asked(script, identify.explained(read(), SERVER)) == "yes"
    assert script.all_used()


@pytest.mark.parametrize("first", [page(404), answer({"detail": "Not Found"}, 404), page(200), page(400), page(405)])
def test_a_failure_because_of_a_wrong_address_is_explained_by_it(first: Response) -> None:
    with pytest.raises(ConfigurationError, match="web page"):
        explained(first, page(200), page(200))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (NO_SUCH_RUN, NotFound),
        (BAD_PARAMETERS, InvalidRequest),
        (BUSY, ApiError),
        (answer({"exception_message": "Unauthorized"}, 401), AuthenticationError),
        (Unreachable("down"), Unreachable),
    ],
)
def test_a_failure_of_another_kind_asks_for_nothing_more(reply: object, kind: type[PrefectError]) -> None:
    script = Script([reply])
    with pytest.raises(kind):
        asked(script, identify.explained(read(), SERVER))
    assert len(script.requests) == 1


def test_a_404_of_a_prefect_server_stays_a_404() -> None:
    with pytest.raises(NotFound, match="Not Found"):
        explained(answer({"detail": "Not Found"}, 404), answer("3.8.8"))
