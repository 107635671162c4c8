from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from airflow_provider_prefect.client.errors import MalformedAnswer, Unreachable
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.transport import Request, Response, Transport, run
from tests.unit.client.driving import REST, Script


class Echo:
    """A blocking transport that answers each request with its path."""

    settings = REST

    async def send(self, request: Request) -> Response:
        return Response(200, request.path)

    async def sleep(self, seconds: float) -> None:
        """Not used."""


class AsynchronousEcho(Echo):
    """The same for an event loop, and the paths that it was asked for."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def send(self, request: Request) -> Response:
        self.paths.append(request.path)
        await asyncio.sleep(0)
        return await super().send(request)


async def ask(transport: Transport, path: str) -> str:
    return (await transport.send(Request("GET", path))).text


async def ask_twice(transport: Transport) -> list[str]:
    return [await ask(transport, "/a"), await ask(transport, "/b")]


async def ask_and_forgive(transport: Transport) -> str:
    try:
        return await ask(transport, "/a")
    except Unreachable as error:
        return f"forgiven: {error}"


async def ask_and_note(transport: Transport, notes: list[str]) -> str:
    try:
        return await ask(transport, "/a")
    finally:
        notes.append("closed")


# Running a call


def test_a_call_does_nothing_before_it_is_run() -> None:
    script = Script([Response(200, "")])
    call = ask(script, "/a")
    assert script.requests == []
    run(call)
    assert script.requests == [Request("GET", "/a")]


def test_run_returns_what_the_call_returns() -> None:
    assert run(ask_twice(Echo())) == ["/a", "/b"]


async def test_await_returns_what_the_call_returns() -> None:
    assert await ask_twice(AsynchronousEcho()) == ["/a", "/b"]


def test_a_call_that_sends_nothing_returns_at_once() -> None:
    async def nothing() -> int:
        return 7

    assert run(nothing()) == 7


def test_run_needs_no_event_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    assert run(ask(Echo(), "/a")) == "/a"


async def test_a_call_can_be_run_while_an_event_loop_is_running() -> None:
    assert run(ask_twice(Echo())) == ["/a", "/b"]
    await asyncio.sleep(0)


async def test_a_call_can_be_run_in_a_thread_beside_an_event_loop() -> None:
    assert await asyncio.to_thread(lambda: run(ask_twice(Echo()))) == ["/a", "/b"]


def test_a_call_can_be_run_in_a_thread() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(run(ask_twice(Echo()))))
    thread.start()
    thread.join()
    assert found == ["/a", "/b"]


def test_an_error_of_the_transport_is_raised_in_the_call_which_may_handle_it() -> None:
    assert run(ask_and_forgive(Script([Unreachable("no route")]))) == "forgiven: no route"


async def test_an_error_of_an_asynchronous_transport_is_raised_in_the_call_too() -> None:
    class Lost(AsynchronousEcho):
        async def send(self, request: Request) -> Response:
            await super().send(request)
            raise Unreachable("no route")

    assert await ask_and_forgive(Lost()) == "forgiven: no route"


def test_an_error_that_the_call_does_not_handle_comes_out() -> None:
    with pytest.raises(Unreachable, match="no route"):
        run(ask(Script([Unreachable("no route")]), "/a"))


def test_an_interrupt_comes_out_of_the_call_which_is_closed() -> None:
    class Interrupted(Echo):
        async def send(self, request: Request) -> Response:
            raise KeyboardInterrupt

    notes: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(ask_and_note(Interrupted(), notes))
    assert notes == ["closed"]


async def test_a_cancelled_task_closes_its_call_and_cannot_be_forgiven() -> None:
    notes: list[str] = []
    waiting = asyncio.Event()

    class Silent(Echo):
        async def send(self, request: Request) -> Response:
            waiting.set()
            await asyncio.Event().wait()
            return Response(200, "")

    async def forgiving() -> str:
        try:
            return await ask_and_note(Silent(), notes)
        except Exception:
            return "forgiven"

    task = asyncio.ensure_future(forgiving())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert notes == ["closed"]


async def test_calls_of_one_loop_take_turns() -> None:
    transport = AsynchronousEcho()
    await asyncio.gather(ask_twice(transport), ask_twice(transport))
    assert transport.paths == ["/a", "/a", "/b", "/b"]


# What must not be run so


@pytest.mark.parametrize("first", [True, False], ids=["at once", "after a blocking one"])
def test_a_call_that_waits_for_an_event_loop_is_closed_and_said_loudly(first: bool) -> None:
    notes: list[str] = []

    async def call() -> str:
        if not first:
            await ask(Echo(), "/a")
        return await ask_and_note(AsynchronousEcho(), notes)

    with pytest.raises(RuntimeError, match=r"call.* waits for an event loop: run\(\) needs a blocking transport"):
        run(call())
    assert notes == ["closed"]


async def test_it_is_said_where_a_loop_is_running_too() -> None:
    with pytest.raises(RuntimeError, match="waits for an event loop"):
        run(ask(AsynchronousEcho(), "/a"))


def test_a_call_that_somebody_forgets_to_run_is_an_error(request: pytest.FixtureRequest) -> None:
    assert "error:coroutine .* was never awaited:RuntimeWarning" in request.config.getini("filterwarnings")
    with pytest.warns(RuntimeWarning, match="coroutine 'ask' was never awaited"):
        ask(Echo(), "/a")  # type: ignore[unused-coroutine]
        gc.collect()


# Requests and responses


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (299, True), (199, False), (300, False)])
def test_only_a_2xx_is_a_success(status: int, ok: bool) -> None:
    assert Response(status, "").ok is ok


@pytest.mark.parametrize("text", ["<html>Sign in</html>", '{"id": ', ""])
def test_what_is_no_json_is_a_malformed_answer(text: str) -> None:
    with pytest.raises(MalformedAnswer, match="HTTP 200"):
        Response(200, text).json()


@pytest.mark.parametrize(("text", "shown"), [("", "an empty body"), (" \n ", "an empty body"), ("a\n  b", "a b")])
def test_a_malformed_answer_is_quoted_on_one_line(text: str, shown: str) -> None:
    error = Response(502, text).not_json()
    assert str(error) == f"HTTP 502 with something that is not Prefect's JSON: {shown}"
    assert (error.status, error.is_page) == (502, False)


def test_a_malformed_answer_names_its_request_where_that_is_known() -> None:
    assert str(Response(502, "no", request="GET /x").not_json()).startswith("GET /x: HTTP 502 with something")


def test_a_response_is_read_as_json() -> None:
    assert Response(200, '{"a": [1, null]}').json() == {"a": [1, None]}


def test_a_response_is_read_by_a_function() -> None:
    assert Response(200, '{"name": "a"}').read(lambda body: Fields(body).text("name")) == "a"


@pytest.mark.parametrize(
    ("request_", "asked"), [("", "A response"), ("GET /flow_runs/x", "The response to GET /flow_runs/x")]
)
def test_a_response_of_another_shape_is_malformed_and_the_field_is_named(request_: str, asked: str) -> None:
    response = Response(200, '{"state": {"name": 3}}', request=request_)
    with pytest.raises(MalformedAnswer) as error:
        response.read(lambda body: Fields(body).part("state", lambda state: Fields(state).text("name")))
    assert str(error.value) == f"{asked} is not what Prefect sends: state.name is a number and not text."
    assert (error.value.status, error.value.is_page) == (200, False)


def test_a_response_that_is_nested_too_deeply_is_malformed() -> None:
    with pytest.raises(MalformedAnswer):
        Response(200, "[" * 100_000 + "]" * 100_000).json()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (Request("GET", "/flow_runs/x"), "GET /flow_runs/x"),
        (Request("GET", "/csrf-token?client=hush-hush"), "GET /csrf-token"),
        (Request("POST", ""), "POST"),
        (Request("POST", "", operation="GraphQL query flows"), "GraphQL query flows"),
    ],
)
def test_a_request_is_called_by_what_it_asks_for(given: Request, name: str) -> None:
    assert str(given) == name


def test_a_response_is_the_same_however_often_its_request_was_sent() -> None:
    assert Response(200, "", resent=True) == Response(200, "")


def test_a_request_may_be_repeated_unless_it_says_otherwise() -> None:
    assert Request("GET", "/").repeatable
    assert not Request("POST", "/", repeatable=False).repeatable
