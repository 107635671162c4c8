"""Wait for a flow run that is started elsewhere, for example by a schedule in Prefect or by another team.

The flow is ``flows/sales_report.py``, served as the deployment "sales-report/demo".
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor


@dag(schedule=None, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_wait_for_deployment() -> None:
    """Read the result of the newest sales report, whoever started it."""
    # Stands for the other team: it gives the sensor a flow run to wait for.
    somebody = PrefectStartFlowRunOperator(
        task_id="somebody_starts_it",
        deployment="sales-report/demo",
        tags=["nightly"],
        wait_for_completion=False,
    )

    # [START wait]
    wait = PrefectFlowRunSensor(
        task_id="wait",
        deployment="sales-report/demo",
        since="{{ dag_run.start_date }}",  # not needed with a schedule: the default is the start of the data interval
        tags=["nightly"],
        timeout=3600,
        deferrable=True,
    )
    # [END wait]

    # [START result]
    summary = PrefectGetTaskRunResultOperator(
        task_id="summary",
        flow_run_id=wait.output["flow_run_id"],
    )
    # [END result]

    @task
    def report(summary: dict[str, Any]) -> str:
        """Return the flow's findings in one line."""
        line = f"{summary['month']}: {summary['orders']:,} orders"
        print(line)
        return line

    somebody >> wait
    report(summary.output)


example_prefect_wait_for_deployment()
