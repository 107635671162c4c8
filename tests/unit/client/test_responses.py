from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    InvalidRequest,
    MalformedAnswer,
    NotFound,
)
from airflow_provider_prefect.client.responses import (
    asks_for_csrf_token,
    error_from,
    fields,
    is_integrity_conflict,
    may_be_wrong_url,
    reason_given,
    retry_after,
)
from airflow_provider_prefect.client.transport import Response
from tests.unit.client.driving import (
    BAD_PARAMETERS,
    BUSY,
    CONFLICT,
    NO_SUCH_RUN,
    NOON,
    WANTS_CSRF_TOKEN,
    answer,
    page,
)

# The answer to labels on a create: of Prefect 3 in pydantic 2's words, of Prefect 2 in pydantic 1's, and the plain list
# that FastAPI gives by itself.
REFUSED_3 = {
    "exception_message": "Invalid request received.",
    "exception_detail": [
        {
            "type": "extra_forbidden",
            "loc": ["body", "labels"],
            "msg": "Extra inputs are not permitted",
            "input": "s3cret",
        }
    ],
    "request_body": {"labels": "s3cret"},
}
REFUSED_2 = {
    "exception_message": "Invalid request received.",
    "exception_detail": [
        {"loc": ["body", "labels"], "msg": "extra fields not permitted", "type": "value_error.extra"},
        {"loc": ["body", "tags", 0], "msg": "str type expected", "type": "type_error.str"},
    ],
    "request_body": {"labels": "s3cret"},
}
REFUSED_LIST = {"detail": [{"loc": ["path", "id"], "msg": "value is not a valid uuid", "type": "type_error.uuid"}]}


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer({"exception_message": "Unauthorized"}, 401), AuthenticationError),
        (answer({"detail": "Forbidden"}, 403), AuthenticationError),
        (NO_SUCH_RUN, NotFound),
        (page(404), NotFound),
        (answer({"detail": "hydration"}, 400), InvalidRequest),
        (BAD_PARAMETERS, InvalidRequest),
        (answer({"detail": "too large"}, 413), InvalidRequest),
        (answer(REFUSED_3, 422), InvalidRequest),
        (BUSY, ApiError),
        (answer({"exception_message": "Internal Server Error"}, 500), ApiError),
        (page(502), MalformedAnswer),
        (page(400), MalformedAnswer),
        (Response(307, "", {"location": "https://elsewhere"}), ApiError),
    ],
)
def test_each_failure_is_an_error_of_its_own_kind_with_its_status(response: Response, kind: type[ApiError]) -> None:
    error = error_from(response)
    assert type(error) is kind
    assert error.status == response.status


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"detail": "Flow run not found"}, "Flow run not found"),
        ({"exception_message": "Service Unavailable"}, "Service Unavailable"),
        (REFUSED_3, "Invalid request received. labels: Extra inputs are not permitted"),
        (REFUSED_2, "Invalid request received. labels: extra fields not permitted; tags.0: str type expected"),
        (REFUSED_LIST, "path.id: value is not a valid uuid"),
        ({"exception_message": "Oh", "exception_detail": "a text"}, "Oh"),
        ({"detail": None}, ""),
        ([1, 2], ""),
        (None, ""),
    ],
)
def test_the_reason_is_in_prefects_own_words(body: Any, text: str) -> None:
    assert reason_given(answer(body, 422)) == text


def test_something_else_than_prefect_gives_no_reason() -> None:
    assert reason_given(page(502)) == ""


def test_the_reason_stands_in_the_message() -> None:
    assert "'s' is a required property" in str(error_from(BAD_PARAMETERS))
    assert "HTTP 409" in str(error_from(BAD_PARAMETERS))


@pytest.mark.parametrize("body", [REFUSED_3, REFUSED_2])
def test_what_was_sent_is_never_repeated(body: Any) -> None:
    error = error_from(answer(body, 422))
    assert "s3cret" not in f"{error} {error!r} {vars(error)}"


def test_a_reason_has_an_end() -> None:
    reason = reason_given(answer({"detail": "x" * 10_000}, 409))
    assert (reason.count("x"), len(reason) < 600) == (500, True)
    assert len(str(error_from(page(502, "<p>" + "x" * 10_000)))) < 500


def test_the_fields_that_a_422_complains_of_are_named() -> None:
    assert fields(answer(REFUSED_3, 422)) == ("labels",)
    assert fields(answer(REFUSED_2, 422)) == ("labels", "0")
    assert fields(answer(REFUSED_LIST, 422)) == ("id",)
    assert fields(answer({"detail": "a text"}, 422)) == ()
    assert fields(answer({"exception_detail": ["a text", {"msg": "no place"}]}, 422)) == ()
    error = error_from(answer(REFUSED_3, 422))
    assert isinstance(error, InvalidRequest)
    assert error.fields == ("labels",)


def test_a_404_keeps_prefects_own_word_and_nobody_elses() -> None:
    theirs, proxys = error_from(NO_SUCH_RUN), error_from(page(404))
    assert isinstance(theirs, NotFound)
    assert isinstance(proxys, NotFound)
    assert (theirs.detail, proxys.detail) == ("Flow run not found", "")


def test_a_409_is_a_conflict_only_if_it_says_so() -> None:
    assert is_integrity_conflict(CONFLICT)
    assert not is_integrity_conflict(BAD_PARAMETERS)
    assert not is_integrity_conflict(answer({"detail": "Data integrity conflict"}, 422))


@pytest.mark.parametrize(
    "reason", ["Missing CSRF token.", "Missing client identifier.", "Invalid CSRF token or client identifier."]
)
@pytest.mark.parametrize("field", ["detail", "exception_message"])
def test_a_403_of_the_csrf_protection_is_told_from_other_403s(reason: str, field: str) -> None:
    assert asks_for_csrf_token(answer({field: reason}, 403))
    assert not asks_for_csrf_token(answer({field: "Forbidden"}, 403))
    assert not asks_for_csrf_token(answer({field: reason}, 422))
    assert asks_for_csrf_token(WANTS_CSRF_TOKEN)


def test_a_401_says_which_fields_of_the_connection_count() -> None:
    text = str(error_from(answer({"exception_message": "Unauthorized"}, 401)))
    assert "401 (Unauthorized)" in text
    assert "password" in text
    assert "login" in text


def test_a_redirect_says_where_to_without_the_path_and_why_it_is_not_followed() -> None:
    text = str(error_from(Response(302, "", {"location": "https://login.example/?token=s3cret"})))
    assert "https://login.example" in text
    assert "not followed" in text
    assert "s3cret" not in text


@pytest.mark.parametrize("headers", [{}, {"location": "/api/flows/"}])
def test_a_redirect_without_a_host_is_described_too(headers: dict[str, str]) -> None:
    assert "another address" in str(error_from(Response(307, "", headers)))


@pytest.mark.parametrize(
    ("text", "is_page"),
    [("<!DOCTYPE html><html>", True), ("\n <HTML>", True), ("upstream connect error", False), ("", False)],
)
def test_a_web_page_is_recognised(text: str, is_page: bool) -> None:
    error = error_from(Response(418, text))
    assert isinstance(error, MalformedAnswer)
    assert error.is_page is is_page
    assert text.strip()[:5] in str(error)


# How long to wait


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12", 12),
        ("1.5", 1.5),
        (" 3 ", 3),
        ("-5", 0),
        ("", 0),
        ("soon", 0),
        ("Wed, 14 Nov 2001 00:00:00 GMT", 0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10),
        ("Tue, 14 Nov 2023 22:13:30", 10),
        ("Tue, 14 Nov 2023 23:13:30 +0100", 10),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_anything_else_is_nothing(
    value: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOON)
    assert retry_after(Response(429, "", {"retry-after": value})) == pytest.approx(seconds)


def test_a_date_without_a_zone_is_of_greenwich_wherever_the_worker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOON)
    with monkeypatch.context() as here:
        here.setenv("TZ", "America/New_York")
        time.tzset()
        seconds = retry_after(Response(429, "", {"retry-after": "Tue, 14 Nov 2023 22:13:30"}))
    time.tzset()
    assert seconds == pytest.approx(10)


def test_an_error_keeps_how_long_the_server_asks_to_wait() -> None:
    assert error_from(answer({"detail": "slow down"}, 429, retry_after="12")).retry_after == 12
    assert error_from(answer({"detail": "slow down"}, 429)).retry_after == 0


def test_without_retry_after_nothing_is_added() -> None:
    assert retry_after(Response(429, "")) == 0


# Whether the address is wrong


@pytest.mark.parametrize(
    "response",
    [
        *(page(200), page(404), page(400), page(405)),
        *(answer({"detail": "Not Found"}, 404), answer({"detail": "no"}, 400), answer({"detail": "no"}, 405)),
    ],
)
def test_what_something_else_than_prefect_answers_may_come_of_a_wrong_address(response: Response) -> None:
    assert may_be_wrong_url(error_from(response))


@pytest.mark.parametrize(
    "response",
    [
        *(NO_SUCH_RUN, BUSY, BAD_PARAMETERS, page(502), answer({"detail": "Internal Server Error"}, 500)),
        *(answer({"exception_message": "Unauthorized"}, 401), page(403), answer(REFUSED_3, 422)),
    ],
)
def test_what_prefect_answers_and_trouble_that_may_pass_do_not(response: Response) -> None:
    assert not may_be_wrong_url(error_from(response))
