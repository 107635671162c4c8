"""A server that lists other flow runs than it is asked for holds no wait up."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable
from typing import Any, cast

import pytest

from airflow_provider_prefect.client.errors import Unreachable
from airflow_provider_prefect.client.http.aio import AioTransport
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.transport import Request, Response
from airflow_provider_prefect.client.watcher.subscription import Subscription
from airflow_provider_prefect.client.watcher.watcher import Watcher
from tests.unit.client.driving import BUSY, REST, Notes, answer
from tests.unit.client.samples import RUN_ID, run_json, state_json

MOST_REQUESTS = 200
PATIENCE = 10.0


class Transport:
    """Answers each poll of many with the next page of ``rows``, and that of one flow run by itself with ``alone``."""

    settings = REST

    def __init__(self, rows: Any, alone: Response = BUSY) -> None:
        self.polls = 0
        self._rows = rows
        self._alone = alone
        self.watcher = Watcher(cast(AioTransport, self))

    async def send(self, request: Request) -> Response:
        if request.path == "/flow_runs/filter":
            self.polls += 1
            if self.polls >= MOST_REQUESTS:
                await asyncio.Event().wait()
            return answer(next(self._rows))
        return self._alone if request.path == f"/flow_runs/{RUN_ID}" else answer("2.20.26")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def reload_settings(self) -> None:
        raise AssertionError("nobody refuses credentials")


def page(ids: Any) -> list[dict[str, Any]]:
    return [run_json(state_json("COMPLETED"), id=next(ids)) for _ in range(200)]


async def waited(connect: Callable[[], Transport], notes: Notes, polls: list[int]) -> FlowRun | None:
    transport = connect()
    with Subscription(transport, RUN_ID, 0.01, 0.2, notes) as subscription:
        try:
            return await asyncio.wait_for(subscription.next_state(None, float("inf")), PATIENCE)
        finally:
            polls.append(transport.polls)
            await transport.watcher.close()


def pages(same: bool) -> Any:
    ids = [str(uuid.uuid4()) for _ in range(200)]
    ever_others = (str(uuid.uuid4()) for _ in itertools.count())
    return (page(iter(ids) if same else ever_others) for _ in itertools.count())


@pytest.mark.parametrize("same", [True, False])
def test_the_flow_run_is_polled_by_itself_instead(same: bool) -> None:
    polls: list[int] = []
    alone = answer(run_json(state_json("COMPLETED")))
    found = asyncio.run(waited(lambda: Transport(pages(same), alone), Notes(), polls))
    assert found is not None
    assert (found.id, found.is_final) == (RUN_ID, True)
    assert polls == [1]


@pytest.mark.parametrize("same", [True, False])
def test_where_that_does_not_help_it_is_trouble_that_ends_with_the_patience(same: bool) -> None:
    notes, polls = Notes(), list[int]()
    with pytest.raises(Unreachable):
        asyncio.run(waited(lambda: Transport(pages(same), BUSY), notes, polls))
    assert len(notes.trouble) == 1
    assert polls[0] < MOST_REQUESTS


def test_a_page_that_has_one_of_those_that_are_asked_for_is_used() -> None:
    ids = iter([*(str(uuid.uuid4()) for _ in range(199)), RUN_ID])
    found = asyncio.run(waited(lambda: Transport(iter([page(ids)])), Notes(), []))
    assert found is not None
    assert (found.id, found.is_final) == (RUN_ID, True)
