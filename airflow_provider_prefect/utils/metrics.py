"""Emit metrics through Airflow's ``Stats``, which sends them to StatsD, Datadog or OpenTelemetry, or to nobody."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.watcher.metrics import Metrics

_PREFIX = "prefect."


class AirflowMetrics(Metrics):
    """Emit metrics of one API, named ``prefect.…``, with the tag ``api``: the host and the port.

    :param settings: those of the connection.
    """

    def __init__(self, settings: Settings) -> None:
        self._tags = {"api": urlsplit(settings.api_url).netloc.rpartition("@")[2]}

    def incr(self, name: str) -> None:
        _stats().incr(_PREFIX + name, tags=self._tags)

    def gauge(self, name: str, value: float) -> None:
        _stats().gauge(_PREFIX + name, value, tags=self._tags)

    def timing(self, name: str, seconds: float) -> None:
        _stats().timing(_PREFIX + name, timedelta(seconds=seconds), tags=self._tags)


@cache
def _stats() -> Any:
    """Return the ``Stats`` that is set up in a triggerer: in Airflow 3.2 and 3.3, that of its SDK is not (3.3.2)."""
    try:
        return import_module("airflow.observability.stats").Stats
    except ImportError:
        return import_module("airflow.stats").Stats
