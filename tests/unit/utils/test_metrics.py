from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.jobs import triggerer_job_runner

from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.utils import metrics


class Recorder:
    """Stands in for Airflow's ``Stats`` and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def incr(self, name: str, *, tags: dict[str, str]) -> None:
        self.told.append(("incr", name, tags))

    def gauge(self, name: str, value: float, *, tags: dict[str, str]) -> None:
        self.told.append(("gauge", name, value, tags))

    def timing(self, name: str, took: timedelta, *, tags: dict[str, str]) -> None:
        self.told.append(("timing", name, took, tags))


def test_each_metric_has_a_prefix_and_tells_the_api_without_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(metrics, "_stats", lambda: recorder)
    settings = Settings(
        api_url="https://user:hidden@prefect.example.com:4200/api", ui_url="https://prefect.example.com:4200"
    )
    emitted = metrics.AirflowMetrics(settings)
    emitted.incr("polls")
    emitted.gauge("waits", 12)
    emitted.timing("detection_delay", 1.5)
    tags = {"api": "prefect.example.com:4200"}
    assert recorder.told == [
        ("incr", "prefect.polls", tags),
        ("gauge", "prefect.waits", 12, tags),
        ("timing", "prefect.detection_delay", timedelta(seconds=1.5), tags),
    ]


def test_metrics_go_where_the_triggerer_sends_its_own() -> None:
    of_triggerer = getattr(triggerer_job_runner, "stats", triggerer_job_runner)
    assert metrics._stats() is of_triggerer.Stats


def test_without_a_receiver_nothing_happens() -> None:
    emitted = metrics.AirflowMetrics(Settings(api_url="http://prefect:4200/api", ui_url="http://prefect:4200"))
    emitted.incr("polls")
    emitted.gauge("waits", 0)
    emitted.timing("detection_delay", 0.1)
