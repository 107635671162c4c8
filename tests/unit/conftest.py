"""What the unit tests share: a fake Prefect, a connection to it, and the pieces of Airflow that run a task."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow import __version__ as airflow_version

from tests.unit.fake_prefect import FakePrefect

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are on this machine, whatever it reaches others through."""
    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the connection ``prefect_default`` as Airflow reads it from the environment: a URI, or JSON's fields."""

    def connect(uri: str | None = None, **fields: Any) -> None:
        value = uri or json.dumps({"conn_type": "prefect", **fields})
        monkeypatch.setenv("AIRFLOW_CONN_PREFECT_DEFAULT", value)

    return connect


@pytest.fixture
def prefect(connect: Callable[..., None]) -> Iterator[FakePrefect]:
    """A server that serves ``sales/demo``, and a connection to it."""
    with FakePrefect() as server:
        server.add_deployment("sales/demo")
        connect(host=server.api_url)
        yield server


@pytest.fixture(autouse=True)
def events_are_stored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event of the end of a deleted flow run is not waited for."""
    monkeypatch.setattr("airflow_provider_prefect.client.wait.flow_run.EVENT_DELAY", 0.0)


class TaskInstance:
    """What our code asks of a task instance. ``xcoms`` is what was pushed, in this order."""

    dag_id = "shop"
    run_id = "manual__2026-10-01"
    task_id = "summarise"
    map_index = -1
    try_number = 1
    max_tries = 2
    log_url = "http://airflow/shop/summarise"

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.on_push: Callable[[str, Any], None] = lambda key, value: None

    def xcom_push(self, key: str, value: Any) -> None:
        self.on_push(key, value)
        self.xcoms[key] = value

    def xcom_pull(self, *, task_ids: Any, key: str, map_indexes: Any) -> Any:
        return self.xcoms[key]

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        return None


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def context(ti: TaskInstance) -> dict[str, Any]:
    """A task's context, as far as our code looks into it."""
    started = datetime(2026, 10, 1, 12, tzinfo=UTC)
    return {"ti": ti, "task_instance": ti, "dag_run": SimpleNamespace(start_date=started), "params": {"month": "10"}}


@pytest.fixture
def through_airflow() -> Callable[[Any], Any]:
    """Takes a value the way of a trigger's arguments and events: into Airflow's database and out again."""
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:
        try:
            import airflow.sdk  # noqa: F401
            from airflow.serialization.serde import deserialize, serialize
        except ImportError:  # Airflow 2
            from airflow.serialization.serialized_objects import BaseSerialization

            serialize, deserialize = BaseSerialization.serialize, BaseSerialization.deserialize
    return lambda value: deserialize(json.loads(json.dumps(serialize(value))))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Gives everything that has been logged so far, once.

    Airflow 3 writes a task's log to the output by itself. Airflow 2 writes there what pytest has captured already.
    """
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    def logged() -> str:
        if airflow_version.startswith("3."):
            seen.extend(capfd.readouterr())
        return "".join([*seen, caplog.text])

    return logged
