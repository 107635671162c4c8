"""Rename and cancel all flow runs with a tag, after a look at which they are.

The flow is ``flows/stock_count.py``, served as the deployment "stock-count/demo".
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag

from airflow_provider_prefect.operators.bulk import PrefectBulkFlowRunOperator
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator


@dag(schedule=None, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_bulk() -> None:
    """Start counts that would take an hour, rename them and cancel them."""
    tag = "{{ dag.dag_id }} {{ run_id }}"
    start = [
        PrefectStartFlowRunOperator(
            task_id=f"start_{warehouse}",
            deployment="stock-count/demo",
            parameters={"warehouse": warehouse, "seconds_per_shelf": 1200},
            tags=[tag],
            wait_for_completion=False,
        )
        for warehouse in ("north", "south", "west")
    ]

    # [START bulk]
    rename = PrefectBulkFlowRunOperator(
        task_id="rename",
        action="rename",
        tags=[tag],
        new_name="{name} (to be cancelled)",
        limit=10,
    )

    cancel = PrefectBulkFlowRunOperator(
        task_id="cancel",
        action="cancel",
        deployment="stock-count/demo",
        tags=[tag],
        limit=10,  # if more flow runs are meant, none is cancelled
    )
    # [END bulk]

    start >> rename >> cancel


example_prefect_bulk()
