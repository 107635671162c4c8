"""One suite for both drivers: whatever one does over a real socket, the other has to do too."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_provider_prefect.client.api import make_api
from airflow_provider_prefect.client.errors import (
    ApiError,
    ConfigurationError,
    MalformedAnswer,
    PrefectError,
    Unreachable,
)
from airflow_provider_prefect.client.http import common
from airflow_provider_prefect.client.http.blocking import BlockingTransport
from airflow_provider_prefect.client.retry import Patience, RetryingTransport
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import ReloadableTransport, Request, Response, run
from airflow_provider_prefect.client.wait.flow_run import Poller
from airflow_provider_prefect.client.watcher.connection import SharedConnection
from airflow_provider_prefect.client.watcher.watcher import Watcher
from tests.unit.client.driving import Notes
from tests.unit.client.http.serving import (
    PATIENCE,
    Reply,
    Seen,
    Server,
    proxying,
    refusing_port,
    reply,
    serving,
    shared,
)
from tests.unit.client.samples import RUN_ID, run_json, state_json

Driver = Callable[[Callable[[], Settings]], AbstractContextManager["Driven"]]


@dataclass(frozen=True)
class Driven:
    """An open transport, and ``run``, which runs a coroutine over it to its end."""

    transport: ReloadableTransport
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    def send(self, method: str, path: str, body: Any = None) -> Response:
        response = self.run(self.transport.send(Request(method, path, body)))
        assert isinstance(response, Response)
        return response

    def send_until(self, patience: float, *requests: Request) -> Response:
        """The response to the last of ``requests``, each sent until it succeeds or the patience is over."""
        retrying = RetryingTransport(WithoutPauses(self.transport), Patience(patience))
        for request in requests:
            response = self.run(retrying.send(request))
        assert isinstance(response, Response)
        return response

    def reload(self) -> None:
        self.run(self.transport.reload_settings())


class WithoutPauses:
    """A transport that does not sleep."""

    def __init__(self, transport: ReloadableTransport) -> None:
        self._transport = transport

    @property
    def settings(self) -> Settings:
        return self._transport.settings

    async def send(self, request: Request) -> Response:
        return await self._transport.send(request)

    async def sleep(self, seconds: float) -> None:
        return None


@contextmanager
def with_requests(read: Callable[[], Settings]) -> Iterator[Driven]:
    with BlockingTransport(read) as transport:
        yield Driven(transport, run)


@contextmanager
def with_aiohttp(read: Callable[[], Settings]) -> Iterator[Driven]:
    async def aread(refused: Settings | None) -> Settings:
        await asyncio.sleep(0)
        return read()

    with asyncio.Runner() as runner:
        connection = SharedConnection(aread)
        runner.run(connection.__aenter__())
        try:
            yield Driven(connection, runner.run)
        finally:
            runner.run(connection.__aexit__(None, None, None))


@pytest.fixture(params=[with_requests, with_aiohttp], ids=["requests", "aiohttp"])
def driver(request: pytest.FixtureRequest) -> Driver:
    chosen: Driver = request.param
    return chosen


def settings(url: str, **fields: Any) -> Settings:
    # Longer than any answer takes; the tests in which none comes ask for less.
    return Settings(url, url, **{"timeout": PATIENCE, **fields})


def sent(driver: Driver, given: Settings, *requests: Request) -> Response:
    """The answer to the last of ``requests``, sent one after the other."""
    with driver(lambda: given) as http:
        for request in requests or (Request("GET", "/health"),):
            response = http.send(request.method, request.path, request.body)
    return response


def everything(error: BaseException) -> str:
    """All that a log may show of an error: its text, its repr, and the traceback with whatever is chained to it."""
    return "\n".join([str(error), repr(error), str(vars(error)), *traceback.format_exception(error)])


# A request and its answer


def test_a_request_arrives_as_it_was_meant(driver: Driver) -> None:
    body = {"name": "größe", "n": [1, None, True], "empty": {}}
    with serving() as server:
        sent(driver, settings(server.url + "/prefix/api", api_key="pnu_x"), Request("POST", "/flows/", body))
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.json) == ("POST", "/prefix/api/flows/", body)
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["authorization"] == "Bearer pnu_x"
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["user-agent"].startswith("airflow-provider-prefect/")


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_request_without_a_body_has_none_and_an_empty_body_is_one(driver: Driver, method: str) -> None:
    with serving() as server:
        sent(driver, settings(server.url), Request(method, "/x"), Request(method, "/x", {}))
    assert [seen.body for seen in server.seen] == [b"", b"{}"]
    assert server.seen[1].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path", ["/a%2Fb%20c/%25/%C3%B6", "/flows/", "/flows", "/x?client=a%26b", "/a%3Ab%2Bc%40d", ""]
)
def test_a_path_arrives_quoted_as_it_was(driver: Driver, path: str) -> None:
    with serving() as server:
        sent(driver, settings(server.url + "/api"), Request("GET", path))
    assert server.seen[0].path == f"/api{path}"


NAMED: dict[str, Any] = {"flow_id": None, "flow_name": None, "project_name": None}


def test_names_with_slashes_and_spaces_arrive_whole(driver: Driver) -> None:
    def not_there(seen: Seen) -> Reply:
        return reply({"id": "d", "name": "b c", "flow_id": "f"})

    with serving(not_there) as server, driver(lambda: settings(server.url)) as http:
        http.run(make_api(http.transport, Patience(0)).find_source(**NAMED, deployment="a #?% b/c d"))
    assert server.seen[0].path == "/deployments/name/a%20%23%3F%25%20b/c%20d"


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 409, 422, 429, 500, 503])
def test_every_answer_is_passed_through_with_its_status_and_headers(driver: Driver, status: int) -> None:
    with serving(lambda _: reply({"grüß": "Gott"}, status, Retry_After="7", X_Custom="Yes")) as server:
        response = sent(driver, settings(server.url))
    assert (response.status, response.json()) == (status, {"grüß": "Gott"})
    assert (response.headers["retry-after"], response.headers["x-custom"]) == ("7", "Yes")


def test_an_answer_without_content_is_empty_text(driver: Driver) -> None:
    with serving(lambda _: Reply(204, b"")) as server:
        response = sent(driver, settings(server.url), Request("PATCH", "/flow_runs/x", {"name": "n"}))
    assert (response.status, response.text, response.ok) == (204, "", True)


def test_a_compressed_answer_is_read(driver: Driver) -> None:
    packed = Reply(200, gzip.compress(b'{"a": 1}'), {"Content-Encoding": "gzip"})
    with serving(lambda _: packed) as server:
        assert sent(driver, settings(server.url)).json() == {"a": 1}


def test_bytes_that_are_no_text_do_not_break_anything(driver: Driver) -> None:
    with serving(lambda _: Reply(502, b"\xff\xfe<html>")) as server:
        assert sent(driver, settings(server.url)).text.endswith("<html>")


def test_a_large_body_goes_both_ways(driver: Driver) -> None:
    with serving(lambda seen: Reply(200, seen.body)) as server:
        body = {"text": "x" * 5_000_000}
        assert sent(driver, settings(server.url), Request("POST", "/x", body)).json() == body


def test_one_connection_serves_one_request_after_the_other(driver: Driver) -> None:
    with serving() as server:
        sent(driver, settings(server.url), *[Request("POST", "/x", {})] * 5)
    assert (len(server.seen), server.connections) == (5, 1)


def test_the_connections_own_headers_are_sent_and_win(driver: Driver) -> None:
    own = {"authorization": "Custom t", "CF-Access-Client-Id": "id", "User-Agent": "me", "accept": "text/json"}
    with serving() as server:
        sent(driver, settings(server.url, api_key="k", headers=own))
    headers = server.seen[0].headers
    assert {name: headers[name.lower()] for name in own} == own


def test_user_and_password_are_sent(driver: Driver) -> None:
    with serving() as server:
        sent(driver, settings(server.url, user="admin", password="a:b"))
    assert server.seen[0].headers["authorization"] == "Basic YWRtaW46YTpi"


def test_no_cookie_is_kept(driver: Driver) -> None:
    with serving(lambda _: reply(Set_Cookie="session=1; Path=/")) as server:
        # By name: aiohttp would not keep the cookies of an address anyhow.
        sent(driver, settings(f"http://localhost:{server.port}"), *[Request("GET", "/x")] * 2)
    assert "cookie" not in server.seen[1].headers


@pytest.mark.parametrize("body", [{"n": nan}, {"n": -inf}, {"n": {1, 2}}, {"n": b"x"}])
def test_what_is_no_json_is_refused_before_anything_is_sent(driver: Driver, body: Any) -> None:
    with serving() as server, pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        sent(driver, settings(server.url), Request("POST", "/x", body))
    assert server.seen == []


def test_a_pause_is_slept(driver: Driver) -> None:
    with serving() as server, driver(lambda: settings(server.url)) as http:
        began = time.monotonic()
        http.run(http.transport.sleep(0.05))
        assert time.monotonic() - began >= 0.05


# What is not followed and not used


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(driver: Driver, status: int) -> None:
    with serving() as elsewhere, serving(lambda _: reply(None, status, Location=elsewhere.url)) as server:
        response = sent(driver, settings(server.url, api_key="k"))
    assert response.status == status
    assert response.headers["location"] == elsewhere.url
    assert elsewhere.seen == []


@pytest.mark.parametrize("credentials", [{}, {"api_key": "k"}, {"user": "u", "password": "p"}])
def test_netrc_is_never_used(
    driver: Driver, credentials: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".netrc", "_netrc"):
        (tmp_path / name).write_text("machine 127.0.0.1\nlogin wrong\npassword s3cret\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with serving() as server:
        given = settings(server.url, **credentials)
        sent(driver, given)
    assert server.seen[0].headers.get("authorization") == given.request_headers().get("Authorization")


# CSRF


def csrf_server(seen: Seen, tokens: list[str]) -> Reply:
    """A server that wants the last token that it gave, with every request that is not a GET."""
    if seen.path.startswith("/csrf-token"):
        tokens.append(f"token-{len(tokens)}")
        return reply({"token": tokens[-1], "client": seen.path.partition("=")[2], "expiration": "2026-01-01T00:00:00Z"})
    if seen.method == "GET":
        return reply()
    if "prefect-csrf-token" not in seen.headers:
        return reply({"detail": "Missing CSRF token."}, 403)
    if seen.headers["prefect-csrf-token"] != tokens[-1]:
        return reply({"detail": "Invalid CSRF token or client identifier."}, 403)
    return reply()


def test_a_csrf_token_is_fetched_once_and_sent_with_all_that_is_no_get(driver: Driver) -> None:
    tokens: list[str] = []

    requests = [Request(method, "/x", None if method == "GET" else {}) for method in ("POST", "GET", "PATCH", "POST")]
    with serving(lambda seen: csrf_server(seen, tokens)) as server, driver(lambda: settings(server.url)) as http:
        http.send_until(0, *requests)
    refused, fetch, first, get, patch, last = server.seen
    client = fetch.path.removeprefix("/csrf-token?client=")
    assert client
    assert "prefect-csrf-token" not in refused.headers
    assert "prefect-csrf-token" not in get.headers
    for seen in (first, patch, last):
        assert (seen.headers["prefect-csrf-token"], seen.headers["prefect-csrf-client"]) == ("token-0", client)


def test_a_csrf_token_that_has_run_out_is_replaced(driver: Driver) -> None:
    tokens: list[str] = []

    with serving(lambda seen: csrf_server(seen, tokens)) as server, driver(lambda: settings(server.url)) as http:
        http.send_until(0, Request("POST", "/x", {}))
        tokens.append("another")
        assert http.send_until(0, Request("POST", "/x", {})).ok
    assert server.seen[-1].headers["prefect-csrf-token"] == "token-2"


def test_a_server_that_has_no_csrf_tokens_is_answered_with_what_it_said(driver: Driver) -> None:
    def without_tokens(seen: Seen) -> Reply:
        if seen.method == "GET":
            return reply({"detail": "CSRF protection is disabled."}, 422)
        return reply({"detail": "Missing CSRF token."}, 403)

    with serving(without_tokens) as server, driver(lambda: settings(server.url)) as http:
        assert http.send("POST", "/x", {}).status == 422
        http.send("POST", "/x", {})
    assert not [seen for seen in server.seen if "prefect-csrf-token" in seen.headers]


def test_a_server_that_wants_a_token_and_takes_none_is_asked_a_few_times_only(driver: Driver) -> None:
    def never_content(seen: Seen) -> Reply:
        return reply({"token": "t"}) if seen.method == "GET" else reply({"detail": "Missing CSRF token."}, 403)

    with serving(never_content) as server, driver(lambda: settings(server.url)) as http:
        assert http.send("POST", "/x", {}).status == 403
    assert len(server.seen) == 7


# Trouble


SECRETS: dict[str, Any] = {
    "api_key": "s3cret-key",
    "headers": {"X-Token": "s3cret-header"},
}


def failed(driver: Driver, given: Settings, *requests: Request) -> str:
    """The sentence of the one error that may come out, checked to be free of secrets and of a cause."""
    with pytest.raises(Unreachable) as error:
        sent(driver, given, *requests)
    assert "s3cret" not in everything(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    assert given.api_url in str(error.value)
    return str(error.value)


def test_a_refused_connection_is_a_sentence(driver: Driver) -> None:
    url = f"http://127.0.0.1:{refusing_port()}"
    assert failed(driver, settings(url, **SECRETS)) == f"{url} cannot be reached: Connection refused"


def test_an_unknown_host_is_a_sentence(driver: Driver) -> None:
    assert "cannot be reached: " in failed(driver, settings("http://no-such-host.invalid:4200/api", **SECRETS))


@pytest.mark.parametrize("request_", [Request("GET", "/x"), Request("POST", "/x", {"parameters": "s3cret"})])
def test_no_answer_in_time_is_a_sentence(driver: Driver, request_: Request) -> None:
    answer_at_last = threading.Event()

    def silent(seen: Seen) -> Reply:
        answer_at_last.wait(PATIENCE)
        return reply()

    with serving(silent) as server:
        try:
            text = failed(driver, settings(server.url, timeout=0.1, **SECRETS), request_)
        finally:
            answer_at_last.set()
    assert text.endswith("no answer in time")


def test_an_answer_that_stops_halfway_times_out(driver: Driver) -> None:
    go_on = threading.Event()

    with stalling(go_on) as server:
        try:
            text = failed(driver, settings(server.url, timeout=0.1, **SECRETS))
        finally:
            go_on.set()
    assert text.endswith("no answer in time")


@contextmanager
def stalling(go_on: threading.Event) -> Iterator[Server]:
    """A server that sends the head of an answer and half of its body, and then nothing."""
    server = Server()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                go_on.wait(PATIENCE)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server
        thread.join(PATIENCE)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("length", [0, 20])
def test_an_answer_that_breaks_off_is_a_sentence(driver: Driver, reset: bool, length: int) -> None:
    broken = Reply(200, b'{"key": "value"}' * 10, sent=length, reset=reset)
    with serving(lambda _: broken) as server:
        assert "cannot be reached: " in failed(driver, settings(server.url, **SECRETS))


def hang_up(seen: Seen) -> Reply:
    raise ConnectionAbortedError


@pytest.mark.parametrize("request_", [Request("GET", "/x"), Request("POST", "/x", {"parameters": "s3cret"})])
def test_a_connection_that_ends_without_an_answer_is_a_sentence(driver: Driver, request_: Request) -> None:
    with serving(hang_up) as server:
        assert "cannot be reached: " in failed(driver, settings(server.url, **SECRETS), request_)


def test_something_that_speaks_no_http_is_a_sentence(driver: Driver) -> None:
    with serving() as server:
        given = settings(server.url.replace("http:", "https:"), **SECRETS)
        assert "cannot be reached: " in failed(driver, given)


@pytest.mark.parametrize("first", [Reply(200, b'{"id": '), Reply(200, b'{"id": 1}', sent=4), Reply(200, b"")])
def test_half_an_answer_is_asked_for_again(driver: Driver, first: Reply) -> None:
    replies = iter([first, reply({"id": 1})])

    with serving(lambda _: next(replies)) as server, driver(lambda: settings(server.url)) as http:
        assert http.send_until(60, Request("POST", "/flow_runs/filter", {})).json() == {"id": 1}
    assert len(server.seen) == 2


def test_a_busy_server_that_closes_the_connection_is_asked_again_over_another(driver: Driver) -> None:
    busy = Reply(503, b'{"exception_message": "Service Unavailable"}', {"Connection": "close"})
    replies = iter([reply(), busy, busy, reply("done")])

    with serving(lambda _: next(replies)) as server, driver(lambda: settings(server.url)) as http:
        assert http.send_until(60, *[Request("POST", "/x", {})] * 2).json() == "done"
    assert server.connections == 3


@pytest.mark.parametrize("key", ["s3cret\n", "s3cret\r\nX-Injected: 1", "s3cret\x00", "s3cret\u00a0", "s3cret\u200b"])
@pytest.mark.parametrize("field", ["api_key", "headers"])
def test_a_key_with_an_invisible_character_is_refused_without_being_shown(driver: Driver, field: str, key: str) -> None:
    given: dict[str, Any] = {field: key if field == "api_key" else {"X-Token": key}}
    with serving() as server, pytest.raises(ConfigurationError, match="invisible character") as error:
        sent(driver, settings(server.url, **given))
    assert "s3cret" not in everything(error.value)
    assert server.seen == []


def test_a_key_with_a_character_beyond_latin_1_is_sent_as_utf_8(driver: Driver) -> None:
    with serving() as server:
        sent(driver, settings(server.url, api_key="schlüssel€"))
    assert server.seen[0].headers["authorization"].encode("latin-1").decode() == "Bearer schlüssel€"


# Certificates


@dataclass(frozen=True)
class Pki:
    """Certificates made for a test run: an authority, and files as a connection names them."""

    authority: trustme.CA
    ca_file: str
    client: str
    client_certificate: str
    client_key: str

    def context(self, name: str = "127.0.0.1", *, wants_client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(name).configure_cert(context)
        if wants_client:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    authority = trustme.CA()
    client = authority.issue_cert("airflow@example.com")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    client.cert_chain_pems[0].write_to_path(folder / "client.crt")
    names = ("ca.pem", "client.pem", "client.crt", "client.key")
    ca, both, certificate, key = (str(folder / name) for name in names)
    return Pki(authority, ca, both, certificate, key)


@contextmanager
def serving_tls(context: ssl.SSLContext) -> Iterator[tuple[Server, str]]:
    with serving(tls=context) as server:
        yield server, server.url.replace("http:", "https:")


def test_the_connections_ca_file_is_trusted(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context()) as (server, url):
        assert sent(driver, settings(url, ca_file=pki.ca_file)).ok
    assert len(server.seen) == 1


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environments_ca_file_is_trusted(
    driver: Driver, pki: Pki, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, pki.ca_file)
    with serving_tls(pki.context()) as (_, url):
        assert sent(driver, settings(url)).ok


def test_the_connections_ca_file_counts_and_the_environments_does_not(
    driver: Driver, pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", pki.ca_file)
    with serving_tls(pki.context()) as (_, url):
        assert "not trusted" in failed(driver, settings(url, ca_file=str(other)))


def test_an_untrusted_certificate_is_a_sentence(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context()) as (server, url):
        text = failed(driver, settings(url, **SECRETS))
    assert "its certificate is not trusted (unable to get local issuer certificate)" in text
    assert server.seen == []


def test_a_certificate_of_another_host_is_a_sentence(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context("other.example")) as (server, url):
        text = failed(driver, settings(url, ca_file=pki.ca_file, **SECRETS))
    assert "its certificate is not trusted" in text
    assert "127.0.0.1" in text.partition("(")[2]
    assert server.seen == []


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_without_verification_any_certificate_will_do(
    driver: Driver, pki: Pki, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/does/not/exist")
    with serving_tls(pki.context(name)) as (_, url):
        assert sent(driver, settings(url, verify=False)).ok


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_without_verification_the_ca_file_is_not_read(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context()) as (_, url):
        assert sent(driver, settings(url, verify=False, ca_file="/does/not/exist")).ok


def test_a_client_certificate_is_shown(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context(wants_client=True)) as (server, url):
        trusting = settings(url, ca_file=pki.ca_file)
        assert sent(driver, replace(trusting, client_certificate=pki.client)).ok
        apart = replace(trusting, client_certificate=pki.client_certificate, client_key=pki.client_key)
        assert sent(driver, apart).ok
    assert len(server.seen) == 2


def test_a_client_certificate_that_is_wanted_and_missing_is_a_sentence(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context(wants_client=True)) as (server, url):
        assert "cannot be reached: " in failed(driver, settings(url, ca_file=pki.ca_file, **SECRETS))
    assert server.seen == []


def test_a_ca_file_that_is_not_there_is_named(driver: Driver) -> None:
    with pytest.raises(ConfigurationError, match=r"CA file names '/does/not/exist\.pem'"):
        sent(driver, settings("https://127.0.0.1:1", ca_file="/does/not/exist.pem"))


def test_a_ca_file_of_the_environment_that_is_not_there_is_named(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/does/not/exist.pem")
    with pytest.raises(ConfigurationError, match=r"REQUESTS_CA_BUNDLE names '/does/not/exist\.pem'"):
        sent(driver, settings("https://127.0.0.1:1"))


@pytest.mark.parametrize("field", ["ca_file", "client_certificate"])
def test_a_file_without_a_certificate_in_it_is_a_matter_of_the_connection(
    driver: Driver, field: str, tmp_path: Path, pki: Pki
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing to see here")
    with serving_tls(pki.context()) as (server, url), pytest.raises(ConfigurationError, match="cannot be read"):
        sent(driver, settings(url, **{"ca_file": pki.ca_file, field: str(empty)}))
    assert server.seen == []


def test_a_client_certificate_that_is_not_there_is_a_matter_of_the_connection(driver: Driver, pki: Pki) -> None:
    with (
        serving_tls(pki.context()) as (_, url),
        pytest.raises(ConfigurationError, match="client certificate cannot be read: No such file"),
    ):
        sent(driver, settings(url, ca_file=pki.ca_file, client_certificate="/does/not/exist.pem"))


# Proxies


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_connections_proxy_is_used(driver: Driver, scheme: str) -> None:
    with serving() as server, proxying() as proxy:
        given = settings(server.url, api_key="k", proxy=f"{scheme}127.0.0.1:{proxy.port}")
        assert sent(driver, given, Request("POST", "/x", {"a": 1})).ok
    assert [(seen.method, seen.path) for seen in proxy.seen] == [("POST", f"{server.url}/x")]
    assert "proxy-authorization" not in proxy.seen[0].headers
    assert (server.seen[0].json, server.seen[0].headers["authorization"]) == ({"a": 1}, "Bearer k")


def test_a_proxy_is_shown_no_credentials_of_ours(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context()) as (server, url), proxying() as proxy:
        given = settings(url, ca_file=pki.ca_file, proxy=f"http://127.0.0.1:{proxy.port}", **SECRETS)
        assert sent(driver, given).ok
    (seen,) = proxy.seen
    assert seen.method == "CONNECT"
    assert "s3cret" not in str(seen.headers)
    assert not {"authorization", "proxy-authorization", "x-token"} & set(seen.headers)
    assert server.seen[0].headers["authorization"] == "Bearer s3cret-key"


def test_a_proxys_password_that_cannot_be_sent_is_not_shown(driver: Driver) -> None:
    proxy = f"http://user:s3cret€@127.0.0.1:{refusing_port()}"
    failed(driver, settings("http://127.0.0.1:1", proxy=proxy))


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_proxys_user_and_password_are_for_the_proxy_only(driver: Driver, scheme: str) -> None:
    with serving() as server, proxying() as proxy:
        given = settings(server.url, api_key="k", proxy=f"{scheme}user:p%40ss@127.0.0.1:{proxy.port}")
        assert sent(driver, given).ok
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"
    assert server.seen[0].headers["authorization"] == "Bearer k"


def test_a_tunnel_through_the_proxy_hides_everything_from_it(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context()) as (server, url), proxying() as proxy:
        given = settings(url, api_key="k", ca_file=pki.ca_file, proxy=f"http://user:pass@127.0.0.1:{proxy.port}")
        assert sent(driver, given).ok
    (seen,) = proxy.seen
    assert (seen.method, seen.path) == ("CONNECT", f"127.0.0.1:{server.port}")
    assert seen.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    assert "authorization" not in seen.headers
    assert "proxy-authorization" not in server.seen[0].headers


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_environments_proxy_is_used(
    driver: Driver, name: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server, proxying() as proxy:
        monkeypatch.setenv(name, f"{scheme}127.0.0.1:{proxy.port}")
        assert sent(driver, settings(server.url)).ok
    assert len(proxy.seen) == 1


def test_the_environments_proxy_for_https_is_used_for_https(
    driver: Driver, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_tls(pki.context()) as (_, url), proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{refusing_port()}")
        assert sent(driver, settings(url, ca_file=pki.ca_file)).ok
    assert [seen.method for seen in proxy.seen] == ["CONNECT"]


@pytest.mark.parametrize("exempt", ["127.0.0.1", "localhost,127.0.0.1", "127.0.0.0/8", "*"])
def test_no_proxy_of_the_environment_is_heeded(driver: Driver, exempt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server, proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", exempt)
        assert sent(driver, settings(server.url)).ok
    assert (len(server.seen), proxy.seen) == (1, [])


def test_the_connections_proxy_counts_and_the_environments_does_not(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server, proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{refusing_port()}")
        monkeypatch.setenv("NO_PROXY", "*")
        assert sent(driver, settings(server.url, proxy=f"http://127.0.0.1:{proxy.port}")).ok
    assert len(proxy.seen) == 1


def test_a_proxy_that_is_down_is_a_sentence_without_its_password(driver: Driver) -> None:
    proxy = f"http://user:s3cret@127.0.0.1:{refusing_port()}"
    text = failed(driver, settings("http://127.0.0.1:1", proxy=proxy, **SECRETS))
    assert text.endswith("Connection refused")


def test_a_proxy_that_wants_another_user_is_a_sentence_without_its_password(driver: Driver, pki: Pki) -> None:
    with proxying(refuse=True) as proxy:
        given = settings(
            "https://127.0.0.1:1", proxy=f"http://user:s3cret@127.0.0.1:{proxy.port}", ca_file=pki.ca_file, **SECRETS
        )
        assert "cannot be reached: " in failed(driver, given)


def test_the_own_answer_of_a_proxy_is_passed_through(driver: Driver) -> None:
    with proxying(refuse=True) as proxy:
        response = sent(driver, settings("http://127.0.0.1:1", proxy=f"http://127.0.0.1:{proxy.port}"))
    assert (response.status, response.text) == (407, "<html>who are you?</html>")


@pytest.mark.parametrize("proxy", ["socks5://user:s3cret@127.0.0.1:1", "://s3cret", "http://", "s3cret://host"])
def test_a_proxy_that_is_not_for_http_is_refused_without_being_shown(driver: Driver, proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="such as http://proxy:3128") as error:
        sent(driver, settings("http://127.0.0.1:1", proxy=proxy))
    assert "s3cret" not in everything(error.value)


# Credentials that change


def test_new_credentials_are_used_from_the_renewal_on(driver: Driver) -> None:
    with serving() as server:
        keys = iter(["old", "new"])
        with driver(lambda: settings(server.url, api_key=next(keys))) as http:
            http.send("GET", "/x")
            http.reload()
            http.send("GET", "/x")
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer old", "Bearer new"]


def test_a_renewal_may_lead_to_another_server(driver: Driver) -> None:
    with serving() as first, serving() as second:
        urls = iter([first.url, second.url])
        with driver(lambda: settings(next(urls))) as http:
            http.send("GET", "/x")
            http.reload()
            assert first.wait_until(lambda: first.open == 0)
            http.send("GET", "/x")
    assert (len(first.seen), len(second.seen)) == (1, 1)


def test_a_renewal_that_changes_nothing_keeps_the_connection(driver: Driver) -> None:
    with serving() as server:
        with driver(lambda: settings(server.url, api_key="k")) as http:
            http.send("GET", "/x")
            http.reload()
            http.send("GET", "/x")
        assert server.connections == 1


def test_a_connection_that_cannot_be_read_again_leaves_the_credentials_as_they_are(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    def read() -> Settings:
        if server.seen:
            raise RuntimeError("the metadata database said s3cret")
        return settings(server.url, api_key="k")

    with serving() as server, driver(read) as http:
        http.send("GET", "/x")
        http.reload()
        assert http.send("GET", "/x").ok
    assert "could not be read again (RuntimeError)" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_wait_that_is_refused_goes_on_with_new_credentials(driver: Driver) -> None:
    def guarded(seen: Seen) -> Reply:
        right = seen.headers["authorization"] == "Bearer new"
        return reply(run_json(state_json("COMPLETED"))) if right else reply({"exception_message": "Unauthorized"}, 401)

    keys = iter(["old", "new"])
    with serving(guarded) as server, driver(lambda: settings(server.url, api_key=next(keys))) as http:
        poller = Poller(http.transport, RUN_ID, 0.0, 60, Notes())
        assert http.run(poller.next_state(None, inf)).state.type == "COMPLETED"


# The end


def test_every_socket_is_closed_at_the_end(driver: Driver) -> None:
    with serving() as server:
        sent(driver, settings(server.url))
        assert server.connections == 1
        assert server.wait_until(lambda: server.open == 0)


def test_every_socket_is_closed_after_an_error_too(driver: Driver) -> None:
    with serving() as server:
        with pytest.raises(RuntimeError), driver(lambda: settings(server.url)) as http:
            http.send("GET", "/x")
            raise RuntimeError
        assert server.wait_until(lambda: server.open == 0)


def test_every_socket_of_tls_is_closed_too(driver: Driver, pki: Pki) -> None:
    with serving_tls(pki.context()) as (server, url):
        sent(driver, settings(url, ca_file=pki.ca_file))
        assert server.wait_until(lambda: server.open == 0)


def test_a_driver_that_was_never_used_opens_nothing(driver: Driver) -> None:
    with serving() as server:
        with driver(lambda: settings(server.url)):
            pass
        assert server.connections == 0


# What only the asynchronous driver has: sharing


async def test_all_users_of_one_loop_share_one_driver_per_settings() -> None:
    one, same, other = (Settings("http://a/api", "", api_key=key) for key in ("k", "k", "another"))
    async with shared(one) as first, shared(same) as second, shared(other) as third:
        assert first.watcher is second.watcher
        assert first.watcher is not third.watcher
    async with shared(one) as again:
        assert again.watcher is not first.watcher


async def test_settings_that_differ_in_a_header_only_are_not_shared() -> None:
    one, other = (Settings("http://a/api", "", headers={"X-Token": value}) for value in "ab")
    async with shared(one) as first, shared(other) as second:
        assert first.watcher is not second.watcher


def test_each_loop_has_a_driver_of_its_own() -> None:
    given = Settings("http://a/api", "")

    async def mine() -> Watcher:
        async with shared(given) as connection:
            return connection.watcher

    with asyncio.Runner() as first, asyncio.Runner() as second:
        entered = shared(given)
        held = first.run(entered.__aenter__())
        assert second.run(mine()) is not held.watcher
        first.run(entered.__aexit__(None, None, None))


async def test_a_driver_stays_open_until_its_last_user_leaves() -> None:
    with serving() as server:
        given = settings(server.url)
        async with shared(given) as last:
            async with shared(given) as first:
                await first.send(Request("GET", "/x"))
            await last.send(Request("GET", "/x"))
            assert (server.connections, server.open) == (1, 1)
        assert await asyncio.to_thread(server.wait_until, lambda: server.open == 0)


async def test_a_user_who_renews_leaves_the_others_alone() -> None:
    with serving() as server:
        keys = iter(["old", "old", "new"])

        async def read(refused: Settings | None) -> Settings:
            return settings(server.url, api_key=next(keys))

        async with SharedConnection(read) as stays, SharedConnection(read) as moves:
            await stays.send(Request("GET", "/stays"))
            await moves.reload_settings()
            await asyncio.gather(stays.send(Request("GET", "/stays")), moves.send(Request("GET", "/moves")))
            assert (stays.settings.api_key, moves.settings.api_key) == ("old", "new")
        assert await asyncio.to_thread(server.wait_until, lambda: server.open == 0)
    assert {(seen.path, seen.headers["authorization"]) for seen in server.seen} == {
        ("/stays", "Bearer old"),
        ("/moves", "Bearer new"),
    }


async def test_many_calls_at_once_share_sixteen_connections() -> None:
    full = threading.Barrier(16)

    def crowded(seen: Seen) -> Reply:
        if int(seen.path.removeprefix("/")) >= 0 and not full.broken:
            full.wait(PATIENCE)
        return reply(seen.path)

    with serving(crowded) as server:
        async with shared(settings(server.url)) as http:
            requests = [Request("GET", f"/{number}") for number in range(48)]
            responses = await asyncio.gather(*(http.send(request) for request in requests))
        assert await asyncio.to_thread(server.wait_until, lambda: server.open == 0)
    assert [json.loads(response.text) for response in responses if isinstance(response, Response)] == [
        f"/{number}" for number in range(48)
    ]
    assert server.connections == 16


async def test_a_cancelled_call_leaves_the_driver_usable_for_others() -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def slow(seen: Seen) -> Reply:
        if seen.path == "/slow":
            arrived.set()
            go_on.wait(PATIENCE)
        return reply()

    with serving(slow) as server:
        async with shared(settings(server.url)) as http:
            task = asyncio.create_task(http.send(Request("GET", "/slow")))
            await asyncio.to_thread(arrived.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()
            response = await http.send(Request("GET", "/fast"))
        assert isinstance(response, Response)
        assert response.ok
        assert await asyncio.to_thread(server.wait_until, lambda: server.open == 0)


async def test_the_loop_goes_on_while_certificates_are_read(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    read = common.tls
    threads: list[threading.Thread] = []

    def noted(given: Settings) -> ssl.SSLContext | bool:
        threads.append(threading.current_thread())
        return read(given)

    monkeypatch.setattr(common, "tls", noted)
    with serving_tls(pki.context()) as (_, url):
        async with shared(settings(url, ca_file=pki.ca_file)) as http:
            await asyncio.gather(*(http.send(Request("GET", "/x")) for _ in range(3)))
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_a_body_that_cannot_be_decompressed_is_an_error_of_ours(driver: Driver) -> None:
    garbage = Reply(200, b"\x1f\x8b garbage", {"Content-Encoding": "gzip"})
    with serving(lambda _: garbage) as server, pytest.raises(MalformedAnswer, match="cannot be decompressed"):
        sent(driver, settings(server.url, **SECRETS))


def test_what_is_out_of_reach_is_no_answer_of_prefect() -> None:
    assert issubclass(Unreachable, PrefectError)
    assert not issubclass(Unreachable, ApiError)
