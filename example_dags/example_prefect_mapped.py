"""Start one flow run for each warehouse with dynamic task mapping, and read the results of the flows and their tasks.

The flow is ``flows/stock_count.py``, served as the deployment "stock-count/demo".
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator


@dag(schedule=None, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_mapped() -> None:
    """Count all warehouses in Prefect at the same time."""

    # [START map]
    @task
    def warehouses() -> list[dict[str, Any]]:
        """Return the parameters of each flow run; their number is known only at run time."""
        return [{"warehouse": name} for name in ("north", "south", "west")]

    start = PrefectStartFlowRunOperator.partial(
        task_id="start",
        deployment="stock-count/demo",
        wait_for_completion=False,  # the tasks that read the results wait
    ).expand(parameters=warehouses())
    # [END map]

    # [START flow_result]
    total = PrefectGetTaskRunResultOperator.partial(
        task_id="total",
        deferrable=True,
    ).expand(flow_run_id=start.output)  # without task_name: the result of the flow
    # [END flow_result]

    # [START task_result]
    shelves = PrefectGetTaskRunResultOperator.partial(
        task_id="shelves",
        task_name="count_shelf",  # a task that the flow calls for each shelf: a list of results, in order
        deferrable=True,
    ).expand(flow_run_id=start.output)
    # [END task_result]

    @task
    def report(totals: list[dict[str, Any]], counted: list[list[dict[str, Any]]]) -> str:
        """Return the totals in one line."""
        pieces = sum(total["pieces"] for total in totals)
        line = f"{pieces} pieces on {sum(map(len, counted))} shelves"
        print(line)
        return line

    report(total.output, shelves.output)


example_prefect_mapped()
