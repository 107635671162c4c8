"""Many read the same: it is asked for once, and all of them are told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import Unreachable
from airflow_provider_prefect.client.transport import Request, Response
from airflow_provider_prefect.client.watcher import shared_reads
from airflow_provider_prefect.client.watcher.shared_reads import SharedReads
from tests.unit.client.driving import REST

POOL, OTHER = Request("GET", "/work_pools/p"), Request("GET", "/work_pools/q")


class Server:
    """Gives these answers, one after the other; an exception is raised."""

    def __init__(self, *answers: Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.settings = REST
        self.reads = SharedReads(self, self.spawn)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def send(self, request: Request) -> Response:
        self.asked.append(request.path)
        await asyncio.sleep(0.01)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


async def test_what_many_ask_for_is_asked_once_and_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_reads, "_KEEP_FOR", 0.1)
    first, second = Response(200, '"a"'), Response(200, '"b"')
    server = Server(first, second)
    assert await asyncio.gather(*(server.reads.send(POOL) for _ in range(50))) == [first] * 50
    assert await server.reads.send(POOL) == first
    assert server.asked == [POOL.path]
    await asyncio.gather(*server.tasks)
    assert await server.reads.send(POOL) == second
    await asyncio.gather(*server.tasks)


async def test_different_things_are_asked_for_apart() -> None:
    server = Server(Response(404, ""), Response(404, ""))
    await asyncio.gather(server.reads.send(POOL), server.reads.send(OTHER))
    assert sorted(server.asked) == [POOL.path, OTHER.path]


@pytest.mark.parametrize("failure", [Response(503, ""), Unreachable("gone")])
async def test_a_failure_is_told_to_all_who_asked_and_not_kept(failure: Response | Exception) -> None:
    good = Response(200, "1")
    server = Server(failure, good)
    told = await asyncio.gather(*(server.reads.send(POOL) for _ in range(30)), return_exceptions=True)
    assert told == [failure] * 30
    assert await server.reads.send(POOL) == good
    for task in server.tasks:
        task.cancel()


async def test_one_who_leaves_takes_nobody_along() -> None:
    good = Response(404, "")
    server = Server(good)
    leaving, staying = (asyncio.create_task(server.reads.send(POOL)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == good


async def test_what_changes_something_is_never_shared() -> None:
    first, second = Response(200, "1"), Response(200, "2")
    server = Server(first, second)
    post = Request("POST", "/flow_runs/filter", {})
    assert [await server.reads.send(post), await server.reads.send(post)] == [first, second]
