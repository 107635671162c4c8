"""Rename a flow run, cancel it, and cancel all other flow runs that this Dag run started.

The flow is ``flows/stock_count.py``, served as the deployment "stock-count/demo".
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.operators.flow_run import (
    PrefectCancelFlowRunOperator,
    PrefectRenameFlowRunOperator,
    PrefectStartFlowRunOperator,
)


@dag(schedule=None, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_rename_and_cancel() -> None:
    """Start counts that would take an hour, and cancel them."""
    tag = "{{ dag.dag_id }} {{ run_id }}"
    hours = {"warehouse": "north", "seconds_per_shelf": 1200}

    start, other = (
        PrefectStartFlowRunOperator(
            task_id=task_id,
            deployment="stock-count/demo",
            parameters=hours,
            tags=[tag],
            wait_for_completion=False,
        )
        for task_id in ("start", "start_another")
    )

    # [START rename]
    rename = PrefectRenameFlowRunOperator(
        task_id="rename",
        flow_run_id=start.output,
        name="count of the north, for {{ run_id }}",
    )
    # [END rename]

    # [START cancel]
    cancel = PrefectCancelFlowRunOperator(
        task_id="cancel",
        flow_run_id=start.output,
        wait_for_completion=True,  # wait until the flow run has finished
        deferrable=True,
    )
    # [END cancel]

    # [START cancel_all]
    cancel_the_rest = PrefectCancelFlowRunOperator(
        task_id="cancel_the_rest",
        deployment="stock-count/demo",
        tags=[tag],  # only flow runs that this Dag run started
    )
    # [END cancel_all]

    @task
    def report(state: str, others: list[dict[str, Any]]) -> str:
        """Return the final states in one line."""
        line = f"{state}; of the rest: {', '.join(run['state'] for run in others)}"
        print(line)
        return line

    [start, other] >> rename >> cancel >> cancel_the_rest
    report(cancel.output, cancel_the_rest.output)


example_prefect_rename_and_cancel()
