"""A message of the event feed that is not an event is dropped, and one that is too large makes the feed anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from airflow_provider_prefect.client.http.aio import AioTransport
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.watcher.events import Event, EventFeed, parse_event
from tests.unit.client.samples import RUN_ID
from tests.unit.client.spoiling import spoiled

GOOD = {
    "type": "event",
    "event": {
        "occurred": "2026-01-02T12:00:00Z",
        "resource": {
            "prefect.resource.id": f"prefect.flow-run.{RUN_ID}",
            "prefect.resource.name": "calm-otter",
            "prefect.state-type": "COMPLETED",
            "prefect.state-name": "Completed",
            "prefect.state-message": "",
            "prefect.state-timestamp": "2026-01-02T12:00:00Z",
        },
    },
}
PATIENCE = 30.0


def test_a_message_of_any_shape_is_an_event_or_is_dropped() -> None:
    for what, other in spoiled(GOOD):
        try:
            event = parse_event(json.dumps(other))
        except Exception as error:
            pytest.fail(f"{what}: {error!r}")
        assert event is None or (event.flow_run_id and isinstance(event.is_final, bool))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"event":' * 100_000, "null", '"x"', "1" * 5000])
def test_what_is_not_an_event_is_dropped(text: str) -> None:
    assert parse_event(text) is None


@pytest.mark.parametrize("type_", ["FINISHED", "", "completed"])
def test_an_event_of_a_state_that_is_not_known_is_dropped(type_: str) -> None:
    event = {**GOOD["event"], "resource": {**GOOD["event"]["resource"], "prefect.state-type": type_}}  # type: ignore[index]
    assert parse_event(json.dumps({"event": event})) is None


class Listener:
    """Counts what the feed reports."""

    def __init__(self) -> None:
        self.opened = 0
        self.lost = 0
        self.events: list[str] = []
        self.told = asyncio.Event()

    def on_event(self, event: Event) -> None:
        self.events.append(event.flow_run_id)
        self.told.set()

    def on_feed_opened(self) -> None:
        self.opened += 1

    def on_feed_lost(self) -> None:
        self.lost += 1


async def fed(*messages: Sequence[str | bytes]) -> Listener:
    """What a listener is told when each socket that is opened brings these messages, and stays open."""
    connections = iter(messages)

    async def out(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("prefect",))
        await socket.prepare(request)
        await socket.receive()
        await socket.send_json({"type": "auth_success"})
        await socket.receive()
        for message in next(connections):
            await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
        while (await socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR):
            pass
        return socket

    app = web.Application()
    app.router.add_get("/api/events/out", out)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    transport, listener = AioTransport(Settings(f"{host}/api", host)), Listener()
    feed = asyncio.create_task(EventFeed(transport, listener).run())
    try:
        await asyncio.wait_for(listener.told.wait(), PATIENCE)
    finally:
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)
        await transport.close()
        await runner.cleanup()
    return listener


@pytest.mark.parametrize("bad", ["no JSON", "[" * 10_000, "null", '{"event": {"resource": 5}}', b"\x00\x01", "{}"])
def test_only_that_message_is_dropped(bad: Any) -> None:
    listener = asyncio.run(fed([bad, bad, json.dumps(GOOD)]))
    assert (listener.opened, listener.lost, listener.events) == (1, 0, [RUN_ID])


def test_a_large_event_that_prefect_allows_is_read() -> None:
    padded = {**GOOD, "event": {**GOOD["event"], "payload": {"x": "y" * 1_500_000}}}  # type: ignore[dict-item]
    listener = asyncio.run(fed([json.dumps(padded)]))
    assert listener.events == [RUN_ID]


def test_a_message_that_is_too_large_loses_the_feed_which_is_opened_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.retry.backoff", lambda *_: 0.0)
    listener = asyncio.run(fed(["x" * (4 * 1024 * 1024 + 1)], [json.dumps(GOOD)]))
    assert (listener.opened, listener.events) == (2, [RUN_ID])
    assert "a message that is too large for an event" in caplog.text
