"""Doubles for one test each, and our side of what is compared with the real client."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow import __version__

from tests.prefect1.our_side import OurSide
from tests.prefect1.server import Prefect1Server
from tests.unit.conftest import (  # noqa: F401 - fixtures
    TaskInstance,
    connect,
    context,
    no_proxy_from_outside,
    prefect,
    through_airflow,
    ti,
)

AIRFLOW_2 = __version__.startswith("2.")
KEY = "key-of-the-default-tenant"


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Gives what has been logged so far, each line once. Airflow 3 writes it to the output, Airflow 2 does so twice."""
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    def logged() -> str:
        seen.extend(capfd.readouterr())
        return caplog.text if AIRFLOW_2 else "".join([*seen, caplog.text])

    return logged


@pytest.fixture
def server() -> Iterator[Prefect1Server]:
    """A Core server: nobody has to say who they are."""
    with Prefect1Server() as double:
        yield double


@pytest.fixture
def cloud() -> Iterator[Prefect1Server]:
    """A server like Prefect Cloud, which knows ``KEY``."""
    with Prefect1Server(api_keys={KEY: None}) as double:
        yield double


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long our side would have slept, each time: next to no time passes when it sleeps."""
    pauses: list[float] = []
    nap, anap = time.sleep, asyncio.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            nap(seconds)  # the double's own
            return
        pauses.append(seconds)
        nap(min(seconds, 0.001))

    async def asleep(seconds: float, result: Any = None) -> Any:
        if seconds:
            pauses.append(seconds)
        return await anap(min(seconds, 0.001), result)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(asyncio, "sleep", asleep)
    return pauses


@pytest.fixture
def ours(
    server: Prefect1Server,
    context: dict[str, Any],  # noqa: F811
    ti: TaskInstance,  # noqa: F811
    through_airflow: Callable[[Any], Any],  # noqa: F811
    connect: Callable[..., None],  # noqa: F811
    logged: Callable[[], str],
    slept: list[float],
) -> OurSide:
    """This provider, connected to the Core server."""
    return OurSide(server, context, ti, through_airflow, connect, logged, slept)


@pytest.fixture
def ours_on_cloud(
    cloud: Prefect1Server,
    context: dict[str, Any],  # noqa: F811
    ti: TaskInstance,  # noqa: F811
    through_airflow: Callable[[Any], Any],  # noqa: F811
    connect: Callable[..., None],  # noqa: F811
    logged: Callable[[], str],
    slept: list[float],
) -> OurSide:
    """This provider, connected to the server like Prefect Cloud with its key."""
    side = OurSide(cloud, context, ti, through_airflow, connect, logged, slept)
    side.connect(password=KEY)
    return side
