"""One answer for many who read the same: all runs of a deployment that do not start ask what may keep them from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from airflow_provider_prefect.client.call import Request, Response

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
        self._answers: dict[str, asyncio.Future[Response]] = {}

    async def get(self, request: Request) -> Response:
        answer = self._answers.get(request.path)
        if answer is None:
            answer = self._answers[request.path] = asyncio.get_running_loop().create_future()
            self._spawn(self._answer(request, answer))
        return await asyncio.shield(answer)

    async def _answer(self, request: Request, answer: asyncio.Future[Response]) -> None:
        try:
            response = await self._perform(request)
            assert isinstance(response, Response)
            answer.set_result(response)
            if response.ok:
                await asyncio.sleep(_KEPT)
        except Exception as error:
            answer.set_exception(error)
            answer.exception()  # whoever asked may have left
        finally:
            answer.cancel()
            del self._answers[request.path]
