"""Dags of test_real_scheduler.py that start on what happens in Prefect. They need Airflow 3."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_prefect.triggers.event import PrefectEventTrigger

completed = Asset(
    "completed",
    watchers=[
        AssetWatcher(
            name="completed",
            trigger=PrefectEventTrigger(deployment="quick/served", tags=["watched"], states=["COMPLETED"]),
        )
    ],
)
written = Asset(
    "written",
    watchers=[AssetWatcher(name="written", trigger=PrefectEventTrigger(asset_key="s3://lake/orders.parquet"))],
)


@task
def report(triggering_asset_events: Any = None) -> list[Any]:
    """Return what has started this Dag run."""
    return [event.extra["payload"] for events in triggering_asset_events.values() for event in events]


with DAG("on_flow_run", schedule=[completed]):
    report()

with DAG("on_asset", schedule=[written]):
    report()
