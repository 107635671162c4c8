"""One answer for many who read the same: all runs of a deployment that do not start ask what may keep them from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from airflow_provider_prefect.client.call import Request, Response
from airflow_provider_prefect.client.turns import in_turns, settle

_KEPT = 30.0
"""Seconds for which an answer serves others."""


class SharedReads:
    """Sends each GET request once, whoever asks for it, and keeps the answer for a while if it is a success.

    :param perform: sends a request.
    :param spawn: runs a coroutine in the background.
    """

    def __init__(
        self, perform: Callable[[Request], Awaitable[object]], spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._perform = perform
        self._spawn = spawn
        self._kept: dict[str, Response] = {}
        self._asked: dict[str, list[asyncio.Future[Response]]] = {}

    async def get(self, request: Request) -> Response:
        if kept := self._kept.get(request.path):
            return kept
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        if request.path not in self._asked:
            self._asked[request.path] = []
            self._spawn(self._answer(request))
        self._asked[request.path].append(answer)
        return await answer

    async def _answer(self, request: Request) -> None:
        answer: Response | Exception
        try:
            performed = await self._perform(request)
            assert isinstance(performed, Response)
            answer = performed
        except Exception as error:
            answer = error
        good = answer if isinstance(answer, Response) and answer.ok else None
        if good:
            self._kept[request.path] = good
        await in_turns(self._asked.pop(request.path), lambda one: settle(one, answer))
        if good:
            await asyncio.sleep(_KEPT)
            del self._kept[request.path]
