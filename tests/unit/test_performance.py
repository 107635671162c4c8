"""The page on performance says what the committed results say; the measuring itself counts and reckons right."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web

from benchmarks import pages, report
from benchmarks.bounds import bounds
from benchmarks.counting import CountingProxy
from benchmarks.plans import FEED, PLANS, POLLING, TEN
from benchmarks.tables import Table, number
from benchmarks.waiting import quantile

REST = "the rest is what each of our waits keeps"
ID = "e1dbe583-0000-4000-8000-000000000001"


def test_the_page_says_what_the_committed_results_say() -> None:
    results = pages.shown()
    assert results is not None
    page = pages.PAGE.read_text()
    assert pages.written(page, results) == page
    assert "Not measured yet." not in page
    assert pages.PLOT.exists()


def test_every_table_has_its_place_on_the_page() -> None:
    results = pages.shown()
    assert results is not None
    page = pages.PAGE.read_text()
    assert [f".. BEGIN {table.name}\n" in page for table in report.tables(results)].count(False) == 0


def test_no_result_names_a_folder_of_the_machine() -> None:
    for file in pages.RESULTS.glob("*.json"):
        assert str(Path.home()) not in file.read_text()


def test_the_default_plan_has_what_the_promises_are_about() -> None:
    for name in ("bench", "bench-full"):
        heats = {(heat.contender.name, heat.waiting): heat for heat in PLANS[name].heats}
        assert TEN in heats[FEED.name, 1000].shares
        assert (POLLING.name, 1000) in heats
        assert ("httpx", 1000) in heats


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3.0], 0.99, 3.0), ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0), ([1.0, 2.0], 1.0, 2.0)],
)
def test_a_quantile(values: list[float], share: float, expected: float | None) -> None:
    assert quantile(values, share) == expected


def test_the_99th_percentile_of_200_leaves_two_out() -> None:
    assert quantile([float(value) for value in range(200)], 0.99) == 197.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (3, "3"), (12345, "12,345"), (0.064, "0.06"), (1.26, "1.3"), (99.6, "100"), (0.0, "0")],
)
def test_a_number(value: float | None, text: str) -> None:
    assert number(value) == text


def heat(contender: str, **changes: Any) -> dict[str, Any]:
    ending = {"share": TEN, "ended": 100, "noticed": 100, "stale": 0, "median": 0.05, "p99": 0.4, "max": 0.6}
    return {
        "contender": contender,
        "title": contender,
        "waiting": 1000,
        "interval": 10.0,
        "memory_per_run": 3000.0,
        "idle": {"requests": 2.0},
        "endings": [ending],
        **changes,
    }


def verdicts(*heats: dict[str, Any], **more: Any) -> dict[str, bool]:
    return {bound.name: bound.met for bound in bounds({"waiting": heats, **more})}


def test_what_is_promised_is_compared_with_what_is_found() -> None:
    field = heat("aiohttp", memory_per_run=31000.0, idle={"requests": 5900.0}, endings=[])
    httpx = heat("httpx", memory_per_run=290000.0)
    late = heat("polling", idle={"requests": 11.0}, endings=[{"max": 11.2}])
    assert verdicts(field, httpx, late, heat("feed")) == {
        "requests-polling": True,
        "requests-feed": True,
        "memory-aiohttp": True,
        "memory-httpx": False,
        "median": True,
        "p99": True,
        "polling": False,
    }
    sleeping = heat("sleeping", memory_per_run=4000.0, endings=[])
    said = {
        bound.name: bound.verdict for bound in bounds({"waiting": [field, sleeping, heat("feed", memory_per_run=7e3)]})
    }
    assert said["memory-aiohttp"] == "falls short: a trigger that only sleeps takes 4.0 kB, which is 1/7.8; " + REST
    assert verdicts(tasks={"tasks": 200, "blocked_warnings": 1}) == {"blocked": False}
    assert verdicts(plug={"kill_every": 3.0, "endings": [{"ended": 3, "noticed": 2}]}) == {"plug": False}
    assert verdicts() == {}


def test_a_table_is_the_same_on_the_screen_and_on_the_page() -> None:
    table = Table("some", "Some figures", ("what", "how much"), [("this", "1"), ("word " * 20, "")])
    assert table.text().splitlines()[2:5] == [
        f"{'what':44}  how much",
        f"{'-' * 44}  --------",
        f"{'this':44}  1",
    ]
    assert table.rst().splitlines()[:7] == [
        ".. list-table:: Some figures",
        "   :header-rows: 1",
        "",
        "   * - what",
        "     - how much",
        "   * - this",
        "     - 1",
    ]


async def serve() -> tuple[web.AppRunner, int]:
    """A server that answers everything, and echoes on its event feed."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/events/out"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data)
            return socket
        return web.json_response(json.loads(await request.text() or "{}"))

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


async def test_the_proxy_counts_requests_and_bytes_and_who_was_looked_at() -> None:
    runner, port = await serve()
    ids = [f"{ID[:-6]}{index:06}" for index in range(2000)]
    try:
        with CountingProxy(port) as proxy:
            proxy.note_looks()
            async with ClientSession() as session:
                for _ in range(3):
                    async with session.get(f"{proxy.api_url}/flow_runs/{ID}") as answer:
                        await answer.read()
                async with session.post(f"{proxy.api_url}/flow_runs/filter", json={"any_": ids}) as answer:
                    assert (await answer.json())["any_"] == ids
            first, last = await asyncio.to_thread(proxy.wait_for_looks, [ID, *ids], 5)
            assert first <= last
            assert proxy.counted.requests == 4
            assert proxy.counted.connections == 1
            assert proxy.counted.asked > 40 * 2000
            assert proxy.counted.answered > 40 * 2000
            before = proxy.counted
            assert proxy.counted.since(before).requests == 0
    finally:
        await runner.cleanup()


async def test_only_batches_are_noted_where_only_they_are_of_interest() -> None:
    runner, port = await serve()
    other = f"{ID[:-1]}2"
    try:
        with CountingProxy(port) as proxy:
            proxy.note_looks(batches_only=True)
            async with ClientSession() as session:
                async with session.get(f"{proxy.api_url}/flow_runs/{ID}") as answer:
                    await answer.read()
                async with session.post(f"{proxy.api_url}/flow_runs/filter", json={"any_": [other]}) as answer:
                    await answer.read()
            assert set(proxy.looked or {}) == {other.encode()}
    finally:
        await runner.cleanup()


async def test_the_plug_of_the_feed_is_pulled_and_put_in_again() -> None:
    runner, port = await serve()
    try:
        with CountingProxy(port) as proxy:
            async with ClientSession() as session:
                for _ in range(2):
                    async with session.ws_connect(f"{proxy.api_url}/events/out") as socket:
                        await socket.send_str("hello")
                        assert (await socket.receive()).data == "hello"
                        proxy.kill_feeds()
                        assert (await socket.receive()).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
            assert (proxy.counted.feeds, proxy.counted.kills) == (2, 2)
    finally:
        await runner.cleanup()


async def test_the_feed_is_refused_and_nothing_else() -> None:
    runner, port = await serve()
    try:
        with CountingProxy(port, refuse_events=True) as proxy:
            async with ClientSession() as session:
                async with session.get(f"{proxy.api_url}/events/out") as answer:
                    assert answer.status == 403
                async with session.get(f"{proxy.api_url}/health") as answer:
                    assert answer.status == 200
            assert proxy.counted.requests == 2
            assert proxy.counted.feeds == 0
    finally:
        await runner.cleanup()


def test_the_page_takes_from_each_run_what_it_has_measured(tmp_path: Path) -> None:
    assert pages.shown(tmp_path) is None
    run = {"when": "2026-11-25", "minutes": 14.0, "machine": {}}
    small = run | {"command": "make bench", "waiting": [heat("feed")], "tasks": {"tasks": 200}}
    (tmp_path / "bench.json").write_text(json.dumps(small))
    assert pages.shown(tmp_path) == small | {"runs": [{key: small[key] for key in ("command", "when", "minutes")}]}
    full = run | {
        "command": "make bench-full",
        "waiting": [heat("feed", memory_per_run=1.0), heat("feed", waiting=10000)],
        "tasks": {"tasks": 1000},
    }
    (tmp_path / "bench-full.json").write_text(json.dumps(full))
    both = pages.shown(tmp_path)
    assert both is not None
    assert [one["command"] for one in both["runs"]] == ["make bench", "make bench-full"]
    assert [(one["waiting"], one["memory_per_run"]) for one in both["waiting"]] == [(1000, 3000.0), (10000, 3000.0)]
    assert (both["tasks"], both["fewer_tasks"]) == ({"tasks": 1000}, {"tasks": 200})
