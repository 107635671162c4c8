"""Start a Prefect flow run in one task and wait for it in another, with other work in between.

The flow is ``flows/stock_count.py``, served as the deployment "stock-count/demo".
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor


@dag(schedule=None, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_sensor() -> None:
    """Count a warehouse in Prefect while Airflow does other work."""
    # [START start]
    start = PrefectStartFlowRunOperator(
        task_id="start",
        deployment="stock-count/demo",
        parameters={"warehouse": "west", "seconds_per_shelf": 1},
        wait_for_completion=False,  # the task ends as soon as the flow run exists
    )
    # [END start]

    @task
    def meanwhile() -> str:
        """Do work that does not depend on Prefect."""
        return "the delivery notes are printed"

    # [START wait]
    wait = PrefectFlowRunSensor(
        task_id="wait",
        flow_run_id=start.output,
        stream_logs=True,  # the flow's log lines appear in this task's log
        deferrable=True,
    )
    # [END wait]

    # [START view]
    @task
    def report(run: dict[str, Any]) -> str:
        """Return the final state of the flow run in one line."""
        line = f"{run['name']} ended {run['state_name']} at {run['end_time']}: {run['url']}"
        print(line)
        return line

    report(wait.output)
    # [END view]

    # [START hook]
    @task
    def counted(flow_run_id: str) -> list[str]:
        """Return the flow run's log lines about shelves, read with the hook."""
        lines = PrefectHook().read_flow_run_logs(flow_run_id, level=logging.INFO)
        return [line.message for line in lines if line.message.startswith("Shelf ")]

    counted(wait.output["flow_run_id"])
    # [END hook]
    start >> meanwhile() >> wait


example_prefect_sensor()
