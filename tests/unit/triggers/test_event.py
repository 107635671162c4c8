"""The trigger of an asset watcher: what it refuses, what it asks, and that each thing that happens is sent once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from airflow.triggers import base

from airflow_provider_prefect.client.errors import PrefectError, Unreachable
from airflow_provider_prefect.client.model import RESOURCE_PREFIX, FlowRun, State
from airflow_provider_prefect.client.rest import RestApi
from airflow_provider_prefect.client.watcher.events import Event
from airflow_provider_prefect.triggers import event
from airflow_provider_prefect.triggers.event import PrefectEventTrigger
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood
from tests.unit.fake_prefect import FakePrefect

if not hasattr(base, "BaseEventTrigger"):

    def test_airflow_2_is_told_which_version_can() -> None:
        with pytest.raises(ConfigurationErrorForGood, match="needs Airflow 3"):
            PrefectEventTrigger(deployment="sales/demo")

    pytest.skip("Airflow 2 starts no Dags on events", allow_module_level=True)


class Store:
    """Keeps what Airflow 3.3 keeps beside an asset."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def aget(self, key: str) -> Any:
        return self.kept.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self.kept[key] = value


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event, "_STORED_AFTER", 0.05)


def ended(run_id: str, at: str, state_id: str = "") -> dict[str, Any]:
    """A flow run as Prefect lists it."""
    state = {"id": state_id or f"state-of-{run_id[:8]}", "type": "COMPLETED", "name": "Completed", "timestamp": at}
    return {
        "id": run_id,
        "name": f"run-{run_id[:4]}",
        "state": state,
        "state_type": "COMPLETED",
        "end_time": at,
        "start_time": at,
        "tags": ["nightly"],
        "labels": {},
        "parameters": {"token": "hush-hush", "day": 1},
    }


async def sent(trigger: PrefectEventTrigger, number: int, within: float = 5.0) -> list[dict[str, Any]]:
    """The payloads of the first events; fewer, if there are no more in time."""
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(within), aclosing(trigger.run()) as events:  # type: ignore[type-var]
            async for one in events:
                found.append(one.payload)
                if len(found) == number:
                    await asyncio.sleep(0)
                    break
    except TimeoutError:
        pass
    return found


class Polls:
    """Answers each poll with the next list of flow runs, and all later ones with the last list."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lists: list[dict[str, Any]] | PrefectError) -> None:
        self._lists = list(lists)
        monkeypatch.setattr(RestApi, "find_reached", self._find)

    async def _find(self, *_: Any) -> list[FlowRun]:
        found = self._lists[0] if len(self._lists) == 1 else self._lists.pop(0)
        if isinstance(found, PrefectError):
            raise found
        return [FlowRun.from_json(run) for run in found]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Nothing is to be watched"),
        ({"deployment": "demo"}, "deployment='demo' is neither 'flow/deployment' nor the id"),
        ({"deployment": "a/b", "states": ["LATE"]}, "'LATE' is not a state type that can be watched"),
        ({"deployment": "a/b", "states": []}, "nothing"),
        ({"deployment": "a/b", "asset_key": "s3://x"}, "asset_key does not go with"),
        ({"deployment": "a/b", "poll_interval": 1}, "poll_interval"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_read(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationErrorForGood, match=message):
        PrefectEventTrigger(**arguments)


def test_it_is_made_again_from_what_it_is_stored_as() -> None:
    for arguments in ({"deployment": "a/b", "tags": ["x"], "states": ["FAILED", "PAUSED"]}, {"asset_key": "s3://x/y"}):
        path, stored = PrefectEventTrigger(**arguments).serialize()
        assert path == "airflow_provider_prefect.triggers.event.PrefectEventTrigger"
        assert PrefectEventTrigger(**stored).serialize() == (path, stored)


def heard(trigger: PrefectEventTrigger, type_: str, *related: dict[str, str]) -> bool:
    run = FlowRun(id=RESOURCE_PREFIX + "1", name="r", state=State("s", type_, type_.capitalize()))
    trigger._due = []
    trigger._heard(Event(run, related))
    return bool(trigger._due)


def test_only_an_event_of_a_wanted_flow_run_and_state_makes_it_poll_at_once() -> None:
    flow = {"prefect.resource.id": "prefect.flow.1", "prefect.resource.name": "sales"}
    demo = {"prefect.resource.id": "prefect.deployment.2", "prefect.resource.name": "demo"}
    tag = {"prefect.resource.id": "prefect.tag.nightly"}

    async def check() -> None:
        trigger = PrefectEventTrigger(deployment="sales/demo", tags=["nightly"])
        assert heard(trigger, "COMPLETED", flow, demo, tag)
        assert not heard(trigger, "FAILED", flow, demo, tag)
        assert not heard(trigger, "COMPLETED", flow, demo)
        assert not heard(trigger, "COMPLETED", flow, tag)
        assert not heard(PrefectEventTrigger(asset_key="s3://x/y"), "COMPLETED", flow, demo, tag)

    asyncio.run(check())


def test_what_happened_before_starts_nothing_and_what_happens_then_is_sent_once(
    prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefect.add_deployment("sales/demo")
    first, second, third = (f"{number}f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11" for number in (1, 2, 3))
    old, new = ended(first, "2026-01-01T00:00:00Z"), ended(second, "2026-01-01T00:00:30Z")
    trigger = PrefectEventTrigger(deployment="sales/demo", poll_interval=3)
    trigger.poll_interval = 0.01
    trigger.asset_state_store = store = Store()  # type: ignore[assignment]
    Polls(monkeypatch, [old], [old], [old], [new, old])
    [payload] = asyncio.run(sent(trigger, 2, within=1))
    assert payload["flow_run_id"] == second
    assert payload["key"] == f"{second}/{new['state']['id']}"
    assert payload["parameter_names"] == ["day", "token"]
    assert "hush-hush" not in str(payload)
    assert payload["flow_run_url"] == f"{prefect.ui_url}/runs/flow-run/{second}"
    assert payload["key"] in store.kept["prefect_cursor"]["seen"]

    again = PrefectEventTrigger(deployment="sales/demo", poll_interval=3)
    again.poll_interval = 0.01
    again.asset_state_store = store  # type: ignore[assignment]
    meanwhile, restarted = ended(third, "2026-01-01T00:00:40Z"), ended(second, "2026-01-01T00:00:50Z", "later-state")
    Polls(monkeypatch, [meanwhile, new, old], [restarted, meanwhile, old])
    found = asyncio.run(sent(again, 3, within=1))
    assert [one["key"] for one in found] == [f"{third}/{meanwhile['state']['id']}", f"{second}/later-state"]


def test_trouble_is_waited_out_and_a_wrong_connection_is_tried_again(
    prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event, "_RECONNECT_AFTER", 0.01)
    new = ended("1f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11", "2026-01-01T00:00:30Z")
    Polls(monkeypatch, Unreachable("away"), [], [], [], [new])
    trigger = PrefectEventTrigger(tags=["nightly"], poll_interval=3)
    trigger.poll_interval = 0.01
    assert [one["flow_run_id"] for one in asyncio.run(sent(trigger, 1, within=10))] == [new["id"]]

    monkeypatch.setenv("AIRFLOW_CONN_PREFECT_WRONG", "generic://")
    wrong = PrefectEventTrigger(tags=["nightly"], prefect_conn_id="prefect_wrong")
    assert asyncio.run(sent(wrong, 1, within=0.5)) == []
