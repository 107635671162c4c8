"""Start a Prefect flow run, wait for it without holding a worker, and use what it returned.

The flow is ``flows/sales_report.py``; a Prefect server has to serve it as the deployment
"sales-report/demo", and the Airflow connection "prefect_default" has to lead to that server. ``make demo``
does both.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator


@dag(schedule=None, params={"month": "2026-10"}, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_start_flow_run() -> None:
    """Have Prefect total a month's sales, then read the totals in Airflow."""
    # [START start]
    summarise = PrefectStartFlowRunOperator(
        task_id="summarise",
        deployment="sales-report/demo",
        parameters={"month": "{{ params.month }}"},
        fetch_result=True,  # pushes what the flow returned as the XCom "result"
        deferrable=True,  # the triggerer waits, no worker does
    )
    # [END start]

    # [START result]
    @task
    def report(summary: dict[str, Any]) -> str:
        """Say in one line what the flow found."""
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
