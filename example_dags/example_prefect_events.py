"""Start a Dag whenever a flow run completes in Prefect, whoever has started it. It needs Airflow 3.0.

The flow is ``flows/stock_count.py``, served as the deployment "stock-count/demo".
"""

# [START event_trigger]
from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_provider_prefect.triggers.event import PrefectEventTrigger

counted = Asset(
    "stock_counted",
    watchers=[
        AssetWatcher(
            name="stock_count_completes",
            trigger=PrefectEventTrigger(deployment="stock-count/demo", states=["COMPLETED"]),
        )
    ],
)


@dag(schedule=[counted], tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_events() -> None:
    """Say which flow runs have completed."""

    @task
    def report(triggering_asset_events: Any = None) -> list[str]:
        """Return the names of the flow runs that have started this Dag run."""
        payloads = [event.extra["payload"] for event in triggering_asset_events[counted]]
        return [f"{payload['flow_run_name']}: {payload['state_name']}" for payload in payloads]

    report()


example_prefect_events()
# [END event_trigger]
