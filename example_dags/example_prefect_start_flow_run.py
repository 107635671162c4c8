"""Start a Prefect flow run, wait for it in deferrable mode, and read its result.

The flow is ``flows/sales_report.py``. It must be served as the deployment "sales-report/demo", and the Airflow
connection "prefect_default" must point to the Prefect server. ``make demo`` does both.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator


@dag(schedule=None, params={"month": "2026-10"}, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_start_flow_run() -> None:
    """Total a month's sales in Prefect, then read the totals in Airflow."""
    # [START start]
    summarise = PrefectStartFlowRunOperator(
        task_id="summarise",
        deployment="sales-report/demo",
        parameters={"month": "{{ params.month }}"},
        fetch_result=True,  # push the flow's return value as the XCom "result"
        deferrable=True,  # wait in the triggerer, without a worker slot
        timeout=timedelta(hours=1),  # ask the flow run to stop, and fail, if it has not ended by then
    )
    # [END start]

    # [START result]
    @task
    def report(summary: dict[str, Any]) -> str:
        """Return the flow's findings in one line."""
        best = summary["regions"][0]
        line = (
            f"{summary['month']}: {summary['orders']:,} orders for {summary['revenue']:,.2f}; "
            f"{best['region']} sold most ({best['revenue']:,.2f}), the best day was {summary['best_day']}."
        )
        print(line)
        return line

    report(summarise.output["result"])
    # [END result]


example_prefect_start_flow_run()
