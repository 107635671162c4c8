"""Failed responses of any shape become errors of ours, whose text is fit to be shown."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client import responses
from airflow_provider_prefect.client.errors import ApiError, MalformedAnswer
from airflow_provider_prefect.client.transport import Request, Response
from tests.unit.client.driving import answer
from tests.unit.client.spoiling import spoiled

INVALID = {"loc": ["body", "name"], "msg": "Field required", "type": "missing", "input": {"key": "s3cret"}}
BODIES = [
    {"detail": "Flow run not found"},
    {"detail": [INVALID]},
    {"exception_message": "Invalid request received.", "exception_detail": [INVALID]},
]


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 422, 500, 503])
@pytest.mark.parametrize("body", BODIES)
def test_a_failure_of_any_shape_is_an_error_of_ours(status: int, body: Any) -> None:
    for what, other in spoiled(body):
        try:
            error = responses.error_from(answer(other, status))
        except Exception as failure:
            pytest.fail(f"{what}: {failure!r}")
        assert isinstance(error, ApiError)
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        assert "s3cret" not in str(error)


def test_a_reason_forges_nothing() -> None:
    reason = "no\n[2026-10-01] INFO - forged\x1b[31m ::group::x"
    for body in ({"detail": reason}, {"exception_message": reason}, {"detail": [{"loc": [reason], "msg": reason}]}):
        shown = str(responses.error_from(answer(body, 422)))
        assert "\n" not in shown
        assert "\x1b" not in shown
        assert "::group::" not in shown
        assert "forged" in shown


def test_a_body_that_is_not_prefects_forges_nothing() -> None:
    error = responses.error_from(Response(502, "<html>\n[2026-10-01] INFO - forged\x1b[31m\x00 ::group::x", {}))
    assert isinstance(error, MalformedAnswer)
    assert error.is_page
    assert str(error).endswith("JSON: <html> [2026-10-01] INFO - forged\\x00 : :group::x")


@pytest.mark.parametrize(
    "text",
    ['{"detail": [{"input": {"password": "s3cret', '[{"parameters": {"key": "s3cret"}}', '{"parameters": "s3cret"}'],
)
def test_json_is_not_quoted_since_it_may_hold_secrets(text: str) -> None:
    for status in (418, 422, 500):
        error = responses.error_from(Response(status, text))
        assert isinstance(error, MalformedAnswer)
        assert str(error).endswith(f"JSON: {len(text)} characters that begin with {text[0]}")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"detail":' * 100_000])
def test_a_failure_that_is_nested_too_deeply_is_one_of_ours(text: str) -> None:
    assert isinstance(responses.error_from(Response(500, text, {})), MalformedAnswer)


@pytest.mark.parametrize(
    "location", ["http://[", "http://[::1", "http://x\n[2026] INFO", "//", "", "\x00", "http://" + "x" * 9999]
)
def test_a_redirect_to_anywhere_is_one_of_ours(location: str) -> None:
    error = responses.error_from(Response(302, "", {"location": location}))
    assert "redirects to" in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("5", 5.0), ("600", 600.0), ("601", 600.0), ("1e300", 600.0), ("inf", 600.0), ("-inf", 0.0), ("nan", 0.0)),
        *(("-5", 0.0), ("soon", 0.0), ("Wed, 21 Oct 9015 07:28:00 GMT", 600.0), ("Wed, 99 Oct 2015 07:28:00 GMT", 0.0)),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Wed, 21 Oct 2015 07:28:00 +9999", 0.0), ("9" * 5000, 600.0)),
    ],
)
def test_a_server_cannot_ask_for_an_endless_pause(value: str, seconds: float) -> None:
    assert responses.retry_after(Response(503, "", {"retry-after": value})) == seconds


# What a request is called


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (Request("GET", "/flow_runs/x"), "GET /flow_runs/x"),
        (Request("GET", "/csrf-token?client=s3cret"), "GET /csrf-token"),
        (Request("POST", "", {}, operation="GraphQL query flows"), "GraphQL query flows"),
        (Request("POST", ""), "POST"),
    ],
)
def test_a_request_is_named_by_what_it_asks_for(request_: Request, name: str) -> None:
    assert str(request_) == name


def test_an_error_without_a_request_is_still_a_sentence() -> None:
    with pytest.raises(MalformedAnswer, match=r"^HTTP 200 with something that is not Prefect's JSON: an empty body$"):
        Response(200, "").json()
