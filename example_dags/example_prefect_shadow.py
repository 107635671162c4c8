"""Run the same work on two Prefect servers, and say what differs: a shadow run, for the time of a migration.

Both connections have the deployment "sales-report/demo" (``flows/sales_report.py``). ``prefect_default`` is the server
that still counts, ``prefect_next`` the one that is to replace it. On Prefect 1 the first task would have
``flow_name="sales-report"`` in place of ``deployment``.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator

CONNECTIONS = ("prefect_default", "prefect_next")


@dag(schedule=None, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_shadow() -> None:
    """Start both, wait for both, and compare them."""
    # [START shadow]
    runs = [
        PrefectStartFlowRunOperator(
            task_id=f"run_on_{conn_id}",
            prefect_conn_id=conn_id,
            deployment="sales-report/demo",
            parameters={"month": "2026-10"},
            fetch_result=True,
            fail_on_unsuccessful=False,  # how they end is compared
            deferrable=True,
        )
        for conn_id in CONNECTIONS
    ]

    @task
    def compare(flow_run_ids: list[str], ti: Any = None) -> list[str]:
        """Return what differs between the two, one line each."""
        seen = []
        for conn_id, flow_run_id in zip(CONNECTIONS, flow_run_ids, strict=True):
            hook = PrefectHook(conn_id)
            run = hook.read_flow_run(flow_run_id)
            seconds = (run.end_time - run.start_time).total_seconds() if run.end_time and run.start_time else 0.0
            print(f"{conn_id}: {run.state.type} after {seconds:.1f} s")
            found = {
                "state": run.state.type,
                "result": ti.xcom_pull(task_ids=f"run_on_{conn_id}", key="result"),
                "artifact": [artifact.data for artifact in hook.read_artifacts(flow_run_id, "sales-by-region")],
            }
            seen.append(found)
        before, after = seen
        differences = [f"{name}: {before[name]!r} != {after[name]!r}" for name in before if before[name] != after[name]]
        print("\n".join(differences) or "Both are the same.")
        return differences

    compare([run.output for run in runs])
    # [END shadow]


example_prefect_shadow()
