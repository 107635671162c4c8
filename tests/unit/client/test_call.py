from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from airflow_provider_prefect.client.call import (
    Call,
    Effect,
    FetchCsrfToken,
    Look,
    Renew,
    Request,
    Response,
    Sleep,
    arun,
    handled,
    run,
)
from airflow_provider_prefect.client.errors import MalformedAnswer, Unreachable
from tests.unit.client.samples import seen


def ask(path: str) -> Call[str]:
    response = yield from Request("GET", path)
    return response.text


def ask_twice() -> Call[list[str]]:
    return [(yield from ask("/a")), (yield from ask("/b"))]


def ask_and_forgive() -> Call[str]:
    try:
        return (yield from ask("/a"))
    except Unreachable as error:
        return f"forgiven: {error}"


def ask_and_note(notes: list[str]) -> Call[str]:
    try:
        return (yield from ask("/a"))
    finally:
        notes.append("closed")


def echo(effect: Effect) -> object:
    assert isinstance(effect, Request)
    return Response(200, effect.path)


async def aecho(effect: Effect) -> object:
    await asyncio.sleep(0)
    return echo(effect)


def test_a_call_does_nothing_but_yield_its_effects() -> None:
    call = ask_twice()
    assert next(call) == Request("GET", "/a")
    assert call.send(Response(200, "first")) == Request("GET", "/b")
    with pytest.raises(StopIteration) as stop:
        call.send(Response(200, "second"))
    assert stop.value.value == ["first", "second"]


@pytest.mark.parametrize(
    ("effect", "reply"),
    [
        (Request("GET", "/"), Response(200, "")),
        (FetchCsrfToken(), Response(200, "")),
        (Look("id", None, 0.0), seen("RUNNING")),
        (Look("id", None, 0.0), None),
        (Sleep(1.0), None),
        (Renew(), None),
    ],
)
def test_each_effect_returns_the_answer_that_it_was_sent(effect: Effect, reply: object) -> None:
    call = iter(effect)
    assert next(call) == effect
    with pytest.raises(StopIteration) as stop:
        call.send(reply)
    assert stop.value.value == reply


def test_run_returns_what_the_call_returns() -> None:
    assert run(ask_twice(), echo) == ["/a", "/b"]


async def test_arun_returns_what_the_call_returns() -> None:
    assert await arun(ask_twice(), aecho) == ["/a", "/b"]


def test_an_error_of_the_performer_is_thrown_into_the_call_which_may_handle_it() -> None:
    def unreachable(effect: Effect) -> object:
        raise Unreachable("no route")

    assert run(ask_and_forgive(), unreachable) == "forgiven: no route"


async def test_an_error_of_an_asynchronous_performer_is_thrown_into_the_call_too() -> None:
    async def unreachable(effect: Effect) -> object:
        await asyncio.sleep(0)
        raise Unreachable("no route")

    assert await arun(ask_and_forgive(), unreachable) == "forgiven: no route"


def test_an_error_that_the_call_does_not_handle_comes_out() -> None:
    def unreachable(effect: Effect) -> object:
        raise Unreachable("no route")

    with pytest.raises(Unreachable, match="no route"):
        run(ask("/a"), unreachable)


def test_a_handler_may_yield_effects_of_its_own_before_it_answers() -> None:
    def cautious(effect: Effect) -> Call[object]:
        yield from Sleep(1.0)
        return (yield effect)

    performed: list[Effect] = []

    def perform(effect: Effect) -> object:
        performed.append(effect)
        return None if isinstance(effect, Sleep) else echo(effect)

    assert run(handled(ask_twice(), cautious), perform) == ["/a", "/b"]
    assert performed == [Sleep(1.0), Request("GET", "/a"), Sleep(1.0), Request("GET", "/b")]


def test_a_call_is_closed_when_whoever_handles_it_stops() -> None:
    notes: list[str] = []
    outer = handled(ask_and_note(notes), lambda effect: iter(effect))  # type: ignore[arg-type, return-value]
    next(outer)
    outer.close()
    assert notes == ["closed"]


def test_an_interrupt_closes_the_call_which_cannot_answer_it() -> None:
    raised: list[type[BaseException]] = []

    def noting() -> Call[str]:
        try:
            return (yield from ask("/a"))
        except BaseException as error:
            raised.append(type(error))
            raise

    def interrupted(effect: Effect) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(noting(), interrupted)
    assert raised == [GeneratorExit]


async def test_a_cancelled_task_closes_its_call_and_cannot_be_forgiven() -> None:
    notes: list[str] = []
    waiting = asyncio.Event()

    def forgiving() -> Call[str]:
        try:
            return (yield from ask_and_note(notes))
        except Exception:
            return "forgiven"

    async def never(effect: Effect) -> object:
        waiting.set()
        await asyncio.Event().wait()
        return None

    task = asyncio.ensure_future(arun(forgiving(), never))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert notes == ["closed"]


async def test_calls_of_one_loop_take_turns() -> None:
    order: list[str] = []

    async def perform(effect: Effect) -> object:
        assert isinstance(effect, Request)
        order.append(effect.path)
        await asyncio.sleep(0)
        return Response(200, effect.path)

    await asyncio.gather(arun(ask_twice(), perform), arun(ask_twice(), perform))
    assert order == ["/a", "/a", "/b", "/b"]


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (299, True), (199, False), (300, False)])
def test_only_a_2xx_is_a_success(status: int, ok: bool) -> None:
    assert Response(status, "").ok is ok


@pytest.mark.parametrize("text", ["<html>Sign in</html>", '{"id": ', ""])
def test_what_is_no_json_is_a_malformed_answer(text: str) -> None:
    with pytest.raises(MalformedAnswer, match="HTTP 200"):
        Response(200, text).json()


def test_a_request_may_be_repeated_unless_it_says_otherwise() -> None:
    assert Request("GET", "/").repeatable
    assert not Request("POST", "/", repeatable=False).repeatable


def test_a_call_that_needs_no_effect_returns_at_once() -> None:
    def nothing() -> Iterator[Effect]:
        yield from ()
        return 7

    assert run(nothing(), echo) == 7  # type: ignore[arg-type]
