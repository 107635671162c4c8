from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    FlowRunNotFound,
    InvalidRequest,
    MalformedAnswer,
    NotFound,
    Unreachable,
)
from airflow_provider_prefect.client.http.common import CsrfProtection
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.retry import Patience, RetryingTransport
from airflow_provider_prefect.client.transport import Request, Response, run
from airflow_provider_prefect.client.wait.flow_run import Poller
from tests.unit.client.driving import (
    BAD_PARAMETERS,
    BUSY,
    CONFLICT,
    NO_CONTENT,
    NO_SUCH_RUN,
    NOON,
    WANTS_CSRF_TOKEN,
    Again,
    Notes,
    Script,
    answer,
    page,
)
from tests.unit.client.samples import RUN_ID, run_json, seen

OK = answer({"id": 1})
LOST = Unreachable("http://host/api cannot be reached: Connection reset by peer")
READ = Request("GET", "/flow_runs/x")
CREATE = Request("POST", "/deployments/x/create_flow_run", {"idempotency_key": "k"})
CREATE_WITHOUT_KEY = Request("POST", "/deployments/x/create_flow_run", {}, repeatable=False)
UNAUTHORIZED = answer({"exception_message": "Unauthorized"}, 401)
FORBIDDEN = answer({"detail": "Forbidden"}, 403)


def patient(script: Script, seconds: float = 60) -> RetryingTransport:
    return RetryingTransport(script, Patience(seconds, script.clock))


def send(script: Script, request: Request = READ, *, seconds: float = 60) -> Response:
    return run(patient(script, seconds).send(request))


def bound(tries: int) -> float:
    """The longest pause of full jitter after so many tries."""
    return float(min(30, 0.5 * 2 ** (tries - 1)))


# What passes


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("request_", [READ, CREATE], ids=["read", "create with a key"])
@pytest.mark.parametrize("body", ["", "<html>Bad Gateway</html>", '{"exception_message": "Service Unavailable"}'])
def test_a_failure_that_passes_is_asked_for_again(status: int, request_: Request, body: str) -> None:
    script = Script([Response(status, body), OK])
    assert send(script, request_) == OK
    assert script.requests == [request_, request_]
    assert len(script.sleeps) == 1


@pytest.mark.parametrize("request_", [READ, CREATE], ids=["read", "create with a key"])
def test_a_lost_answer_is_asked_for_again(request_: Request) -> None:
    script = Script([LOST, LOST, OK])
    assert send(script, request_) == OK
    assert script.requests == [request_] * 3


@pytest.mark.parametrize("body", ['{"id": "6f1f8a3c', "", "[{}"])
def test_half_an_answer_is_asked_for_again(body: str) -> None:
    script = Script([Response(200, body), OK])
    assert send(script) == OK


def test_an_answer_without_content_is_whole() -> None:
    script = Script([NO_CONTENT])
    assert send(script, Request("PATCH", "/flow_runs/x", {"name": "n"})) == NO_CONTENT


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_create_without_a_key_is_sent_again_when_the_server_has_not_acted_on_it(status: int) -> None:
    script = Script([Response(status, ""), OK])
    assert send(script, CREATE_WITHOUT_KEY) == OK


@pytest.mark.parametrize(
    "reply",
    [Response(500, ""), LOST, Response(201, '{"id": '), Response(201, "")],
    ids=["500", "lost", "half", "empty"],
)
def test_a_create_without_a_key_is_never_sent_again_when_nobody_knows_what_came_of_it(reply: object) -> None:
    script = Script([reply])
    with pytest.raises((ApiError, Unreachable)):
        send(script, CREATE_WITHOUT_KEY)
    assert len(script.requests) == 1


def test_two_writes_that_met_are_sent_again() -> None:
    script = Script([CONFLICT, CONFLICT, OK])
    assert send(script, CREATE) == OK


def test_a_conflict_that_stays_is_an_error_after_three_tries() -> None:
    script = Script([Again(CONFLICT)])
    with pytest.raises(InvalidRequest, match="integrity conflict"):
        send(script, CREATE)
    assert len(script.requests) == 3


@pytest.mark.parametrize("reply", [BAD_PARAMETERS, UNAUTHORIZED, NO_SUCH_RUN])
def test_a_conflict_does_not_make_the_next_failure_pass(reply: Response) -> None:
    script = Script([CONFLICT, reply])
    with pytest.raises(ApiError):
        send(script, CREATE)
    assert len(script.requests) == 2


def test_a_conflict_does_not_make_an_unclear_create_repeatable() -> None:
    script = Script([CONFLICT, Response(500, "")])
    with pytest.raises(ApiError):
        send(script, CREATE_WITHOUT_KEY)
    assert len(script.requests) == 2


# What stays


def test_a_409_of_the_schema_is_never_sent_again() -> None:
    script = Script([BAD_PARAMETERS])
    with pytest.raises(InvalidRequest, match="'s' is a required property"):
        send(script, CREATE)
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (UNAUTHORIZED, AuthenticationError),
        (FORBIDDEN, AuthenticationError),
        (NO_SUCH_RUN, NotFound),
        (page(404), NotFound),
        (answer({"detail": "no"}, 400), InvalidRequest),
        (answer({"detail": "no"}, 422), InvalidRequest),
        (Response(307, "", {"location": "http://host/x/"}), ApiError),
        (page(200), MalformedAnswer),
    ],
)
def test_what_will_not_pass_is_an_error_at_once(reply: Response, kind: type[ApiError]) -> None:
    script = Script([reply])
    with pytest.raises(kind):
        send(script)
    assert (script.requests, script.sleeps) == ([READ], [])


# While a flow run is polled, requests are not sent again here: the wait itself tolerates what may pass


def poll(script: Script, seconds: float = 60) -> FlowRun | None:
    return run(Poller(script, RUN_ID, 5, seconds, Notes(), script.clock).next_state(None, NOON + 3600))


@pytest.mark.parametrize(
    "reply",
    [
        *(UNAUTHORIZED, FORBIDDEN, page(401), page(403), page(404), answer({"detail": "Not Found"}, 404)),
        *(page(200), page(500), Response(307, ""), Response(200, ""), answer({"detail": "no"}, 422)),
    ],
)
def test_while_polling_every_answer_that_is_not_prefects_own_word_on_the_run_may_pass(reply: Response) -> None:
    script = Script([reply, reply, answer(run_json())])
    assert poll(script) == seen("RUNNING")
    assert len(script.sleeps) == 2


@pytest.mark.parametrize("text", ["Flow run not found", "Flow run with id x not found"])
def test_while_polling_prefects_own_word_that_there_is_no_such_run_does_not_pass(text: str) -> None:
    script = Script([answer({"detail": text}, 404)] * 2)
    with pytest.raises(FlowRunNotFound):
        poll(script)


@pytest.mark.parametrize("reply", [UNAUTHORIZED, FORBIDDEN, page(401), page(403)])
def test_while_polling_refused_credentials_have_the_connection_read_again_before_each_try(reply: Response) -> None:
    script = Script([reply, reply, answer(run_json())])
    poll(script)
    read = f"GET /flow_runs/{RUN_ID}"
    assert script.steps == [read, "reload", "sleep", read, "reload", "sleep", read]


@pytest.mark.parametrize("reply", [BUSY, LOST, page(404), page(200)])
def test_while_polling_the_connection_is_not_read_again_for_other_trouble(reply: object) -> None:
    script = Script([reply, answer(run_json())])
    poll(script)
    assert script.reloads == 0


def test_while_polling_no_patience_left_is_unreachable_too() -> None:
    script = Script([UNAUTHORIZED])
    with pytest.raises(Unreachable, match="401"):
        poll(script, 0)


# Patience


@pytest.mark.parametrize("reply", [BUSY, LOST, Response(200, "{")])
def test_patience_ends_as_unreachable_after_exactly_as_long_as_given(reply: object) -> None:
    script = Script([Again(reply)])
    with pytest.raises(Unreachable, match=r"tried \d+ times in 60 s"):
        send(script, seconds=60)
    assert script.clock.now - NOON == pytest.approx(60)
    assert len(script.requests) == len(script.sleeps) + 1


def test_patience_counts_from_the_first_failure() -> None:
    script = Script([OK, BUSY, OK])
    transport = patient(script, 60)
    run(transport.send(READ))
    script.clock.now += 3600
    assert run(transport.send(READ)) == OK


def test_each_request_has_the_whole_patience() -> None:
    script = Script([*[BUSY] * 5, OK, *[BUSY] * 5, OK])

    transport = patient(script, 20)
    run(transport.send(READ))
    assert run(transport.send(READ)) == OK


def test_the_message_says_what_the_trouble_was() -> None:
    script = Script([Again(BUSY)])
    with pytest.raises(Unreachable, match="HTTP 503: Service Unavailable"):
        send(script)


def test_without_patience_the_first_trouble_is_the_error() -> None:
    script = Script([BUSY])
    with pytest.raises(ApiError, match="HTTP 503: Service Unavailable"):
        send(script, seconds=0)
    assert (script.requests, script.sleeps) == ([READ], [])


# Pauses


def test_pauses_are_full_jitter_between_nothing_and_a_doubling_bound_up_to_half_a_minute() -> None:
    draws: dict[int, list[float]] = {}
    for _ in range(100):
        script = Script([*[BUSY] * 9, OK])
        send(script, seconds=100_000)
        for tries, pause in enumerate(script.sleeps, 1):
            draws.setdefault(tries, []).append(pause)
    for tries, pauses in draws.items():
        assert 0 <= min(pauses) < bound(tries) / 3
        assert bound(tries) * 2 / 3 < max(pauses) <= bound(tries)


def test_retry_after_in_seconds_is_not_undercut_and_jitter_comes_on_top() -> None:
    for _ in range(20):
        script = Script([answer(status=429, retry_after="7"), OK])
        send(script)
        (pause,) = script.sleeps
        assert 7 <= pause <= 7 + bound(1)


def test_retry_after_as_a_date_is_not_undercut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOON)
    when = format_datetime(datetime.fromtimestamp(NOON, UTC) + timedelta(seconds=9), usegmt=True)
    script = Script([answer(status=503, retry_after=when), OK])
    send(script)
    (pause,) = script.sleeps
    assert 9 <= pause <= 9 + bound(1)


def test_retry_after_beyond_the_patience_asks_once_more_at_its_end() -> None:
    script = Script([Again(answer(status=429, retry_after="3600"))])
    with pytest.raises(Unreachable):
        send(script, seconds=60)
    assert script.sleeps == [60]


# CSRF


class Protected:
    """The script behind the CSRF protection that both HTTP transports have."""

    def __init__(self, script: Script) -> None:
        self.settings = script.settings
        self.sleep = script.sleep
        self._send = script.send
        self._csrf = CsrfProtection()

    async def send(self, request: Request) -> Response:
        return await self._csrf.send(request, self._send)


def send_protected(script: Script, request: Request) -> Response:
    return run(RetryingTransport(Protected(script), Patience(60, script.clock)).send(request))


def steps(script: Script) -> list[str]:
    return ["token" if step.startswith("GET /csrf-token?client=") else step.partition(" ")[0] for step in script.steps]


def test_a_csrf_token_is_fetched_when_it_is_asked_for_and_the_request_sent_again_at_once() -> None:
    script = Script([WANTS_CSRF_TOKEN, answer({"token": "t"}), OK])
    assert send_protected(script, CREATE) == OK
    assert steps(script) == ["POST", "token", "POST"]
    assert [script.requests[0], script.requests[2]] == [CREATE, CREATE]


def test_a_csrf_token_is_fetched_for_a_create_without_a_key_too() -> None:
    script = Script([WANTS_CSRF_TOKEN, answer({"token": "t"}), OK])
    assert send_protected(script, CREATE_WITHOUT_KEY) == OK


def test_a_403_without_a_word_of_csrf_fetches_no_token() -> None:
    script = Script([FORBIDDEN])
    with pytest.raises(AuthenticationError):
        send_protected(script, CREATE)
    assert steps(script).count("token") == 0


def test_a_server_that_is_never_content_with_a_csrf_token_is_not_asked_for_ever() -> None:
    script = Script([*[WANTS_CSRF_TOKEN, answer({"token": "t"})] * 3, WANTS_CSRF_TOKEN])
    with pytest.raises(AuthenticationError, match="CSRF"):
        send_protected(script, CREATE)
    assert steps(script).count("token") == 3


@pytest.mark.parametrize("trouble", [BUSY, LOST])
def test_a_csrf_token_that_cannot_be_fetched_now_is_fetched_later(trouble: object) -> None:
    script = Script([WANTS_CSRF_TOKEN, trouble, WANTS_CSRF_TOKEN, answer({"token": "t"}), OK])
    assert send_protected(script, CREATE) == OK
    assert steps(script) == ["POST", "token", "sleep", "POST", "token", "POST"]


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (401, AuthenticationError), (422, InvalidRequest)])
def test_a_csrf_token_that_is_refused_is_an_error_at_once(status: int, kind: type[ApiError]) -> None:
    script = Script([WANTS_CSRF_TOKEN, answer({"detail": "no token for you"}, status)])
    with pytest.raises(kind, match="no token for you"):
        send_protected(script, CREATE)
    assert script.sleeps == []


# What a create has to know of its answer


@pytest.mark.parametrize(
    "reply", [LOST, BUSY, Response(500, ""), Response(408, ""), Response(504, ""), Response(200, "{")]
)
def test_an_answer_says_that_the_server_may_have_acted_on_the_request_before(reply: object) -> None:
    script = Script([reply, OK])
    assert send(script, CREATE).resent


@pytest.mark.parametrize("replies", [[], [answer(status=429)], [CONFLICT], [WANTS_CSRF_TOKEN, answer({"token": "t"})]])
def test_an_answer_says_that_the_server_cannot_have_acted_on_the_request_before(replies: list[object]) -> None:
    script = Script([*replies, OK])
    assert not send_protected(script, CREATE).resent


# Everything else


def test_pauses_and_settings_are_those_of_the_transport_within() -> None:
    script = Script([])
    run(patient(script).sleep(3.0))
    assert script.sleeps == [3.0]
    assert patient(script).settings is script.settings


def test_a_call_may_handle_the_error_that_is_left() -> None:
    async def forgiving(transport: RetryingTransport) -> str:
        try:
            await transport.send(READ)
        except NotFound as error:
            return error.detail
        raise AssertionError

    assert run(forgiving(patient(Script([NO_SUCH_RUN])))) == "Flow run not found"


def test_each_try_again_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    script = Script([BUSY, LOST, OK])
    send(script)
    assert ["503" in caplog.messages[0], "Connection reset" in caplog.messages[1]] == [True, True]
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("make", [lambda: BUSY, lambda: LOST])
def test_tries_are_counted_in_the_message(make: Callable[[], object]) -> None:
    script = Script([Again(make())])
    with pytest.raises(Unreachable) as error:
        send(script, seconds=30)
    assert f"tried {len(script.requests)} times in 30 s" in str(error.value)
