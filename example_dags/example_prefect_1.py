"""Start a flow on a Prefect 1 server, wait for it in deferrable mode, and read the result of one of its tasks.

The flow is "sales-report" in the project "demo". Its task ``summarise`` must store its result. The Airflow connection
"prefect_1" must point to the server, with ``api: graphql``, and an agent must be running to execute the flow.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator


@dag(schedule=None, params={"month": "2026-10"}, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_1() -> None:
    """Total a month's sales in Prefect 1, then read the totals in Airflow."""
    # [START start]
    start = PrefectStartFlowRunOperator(
        task_id="start",
        prefect_conn_id="prefect_1",  # a connection with the API of Prefect 1
        flow_name="sales-report",
        project_name="demo",
        parameters={"month": "{{ params.month }}"},
        deferrable=True,  # wait in the triggerer, without a worker slot
    )
    # [END start]

    # [START result]
    summary = PrefectGetTaskRunResultOperator(
        task_id="summary",
        prefect_conn_id="prefect_1",
        flow_run_id=start.output,
        task_name="summarise-1",  # the slug of the task
    )
    # [END result]

    @task
    def report(summary: dict[str, Any]) -> str:
        """Return the flow's findings in one line."""
        line = f"{summary['month']}: {summary['orders']:,} orders for {summary['revenue']:,.2f}"
        print(line)
        return line

    report(summary.output)


example_prefect_1()
