"""A small Prefect 3 in the test's own event loop, with an event feed and many flow runs; its faults are the test's."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from airflow_provider_prefect.client.settings import Settings
from tests.unit.client.samples import run_json, state_json


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    body: Any

    @property
    def ids(self) -> list[str]:
        found: list[str] = self.body["flow_runs"]["id"]["any_"]
        return found


Instead = Callable[[Asked], web.Response | None]


@dataclass
class BusyPrefect:
    """What it knows, what it was asked, and how it misbehaves."""

    version: str = "3.8.8"
    limit: int = 200
    key: str | None = None
    feed: int | None = None
    """The status with which it refuses its event feed, if it does."""
    silent: bool = False
    """It takes the socket and says nothing."""
    slow: float = 0.0
    """Seconds that it takes to answer a look."""
    lives: float | None = None
    """Seconds after which it ends a socket."""
    instead: Instead = lambda asked: None
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    sockets_ever: int = 0
    first_messages: list[Any] = field(default_factory=list)
    url: str = ""

    @property
    def settings(self) -> Settings:
        return Settings(self.url, self.url, api_key=self.key, timeout=5)

    def add(self, number: int = 1, type_: str = "RUNNING") -> list[str]:
        """So many more flow runs; their ids."""
        ids = [str(uuid.uuid4()) for _ in range(number)]
        for one in ids:
            self.runs[one] = run_json(state_json(type_), id=one)
        return ids

    def put(self, run_id: str, type_: str = "COMPLETED") -> None:
        """The flow run is in another state, and the feed says nothing of it."""
        self.runs[run_id] |= {"state": state_json(type_, id=str(uuid.uuid4()))}

    async def tell(self, run_id: str, type_: str = "COMPLETED") -> None:
        """The feed says that the flow run is in another state, whether it is or not."""
        resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.state-type": type_}
        message = {"type": "event", "event": {"event": f"prefect.flow-run.{type_.capitalize()}", "resource": resource}}
        for socket in list(self.sockets):
            with suppress(ConnectionError):
                await socket.send_json(message)

    async def finish(self, run_ids: Sequence[str]) -> None:
        for one in run_ids:
            await self.tell(one)
            self.put(one)

    def polls(self) -> list[Asked]:
        return [one for one in self.asked if one.path == "/flow_runs/filter"]

    async def has(self, sockets: int) -> None:
        """Comes back when so many sockets are open."""
        while len(self.sockets) != sockets:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    # Its answers

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/events/out":
            return await self._events(request)
        text = await request.text()
        asked = Asked(request.method, request.path, json.loads(text) if text else None)
        self.asked.append(asked)
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"exception_message": "Unauthorized"}, status=401)
        if self.slow and asked.path == "/flow_runs/filter":
            await asyncio.sleep(self.slow)
        instead = self.instead(asked)
        return instead if instead is not None else self._answer(asked)

    def _answer(self, asked: Asked) -> web.Response:
        if asked.path == "/admin/version":
            return web.json_response(self.version)
        if asked.method == "GET":
            found = self.runs.get(asked.path.removeprefix("/flow_runs/"))
            return web.json_response(found or {"detail": "Flow run not found"}, status=200 if found else 404)
        if asked.body.get("limit", 0) > self.limit:
            detail = f"Invalid limit: must be less than or equal to {self.limit}."
            return web.json_response({"detail": detail}, status=422)
        if asked.path == "/flow_runs/count":
            return web.json_response(sum(one in self.runs for one in asked.ids))
        if asked.path == "/flow_runs/filter":
            types = asked.body["flow_runs"].get("state", {}).get("type", {}).get("any_")
            found_ = [self.runs[one] for one in asked.ids if one in self.runs]
            rows = [run for run in found_ if types is None or run["state"]["type"] in types]
            return web.json_response(rows[: asked.body["limit"]])
        if asked.path == "/logs/filter":
            criteria = asked.body["logs"]
            after = criteria.get("timestamp", {}).get("after_", "")
            lines = [
                line
                for line in sorted(self.lines, key=lambda line: str(line["timestamp"]))
                if line["flow_run_id"] in criteria["flow_run_id"]["any_"] and line["timestamp"] >= after
            ]
            offset = asked.body.get("offset", 0)
            return web.json_response(lines[offset : offset + asked.body.get("limit", self.limit)])
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.sockets_ever += 1
        if self.feed is not None:
            return web.Response(status=self.feed)
        socket = web.WebSocketResponse(protocols=("prefect",))
        await socket.prepare(request)
        self.first_messages.append(await socket.receive_json())
        if self.first_messages[-1]["token"] != self.key:
            await socket.close(code=1008, message=b"Invalid token")
            return socket
        await socket.send_json({"type": "auth_success"})
        self.first_messages.append(await socket.receive_json())
        if not self.silent:
            self.sockets.append(socket)
        try:
            async with asyncio.timeout(self.lives):
                async for message in socket:
                    assert message.type is not WSMsgType.TEXT, "nothing is to be said any more"
        except TimeoutError:
            await socket.close()
        finally:
            if not self.silent:
                self.sockets.remove(socket)
        return socket


@asynccontextmanager
async def busy_prefect(**faults: Any) -> AsyncIterator[BusyPrefect]:
    """Such a server, while the context lasts."""
    server = BusyPrefect(**faults)
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
