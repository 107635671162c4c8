"""Start a flow of a Prefect 1 server, wait for it without holding a worker, and use what one of its tasks returned.

The flow is "sales-report" of the project "demo". Its task ``summarise`` keeps what it returns. The Airflow connection
"prefect_1" has to lead to the server, with ``api: graphql``; an agent of the server has to run the flow.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator


@dag(schedule=None, params={"month": "2026-10"}, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_1() -> None:
    """Have Prefect 1 total a month's sales, then read the totals in Airflow."""
    # [START start]
    start = PrefectStartFlowRunOperator(
        task_id="start",
        prefect_conn_id="prefect_1",  # a connection whose API is Prefect 1's
        flow_name="sales-report",
        project_name="demo",
        parameters={"month": "{{ params.month }}"},
        deferrable=True,  # the triggerer waits, no worker does
    )
    # [END start]

    # [START result]
    summary = PrefectGetTaskRunResultOperator(
        task_id="summary",
        prefect_conn_id="prefect_1",
        flow_run_id=start.output,
        task_name="summarise-1",  # the slug of the task whose result is meant
    )
    # [END result]

    @task
    def report(summary: dict[str, Any]) -> str:
        """Say in one line what the flow found."""
        line = f"{summary['month']}: {summary['orders']:,} orders for {summary['revenue']:,.2f}"
        print(line)
        return line

    report(summary.output)


example_prefect_1()
