"""The Dags of test_real_scheduler.py that show in Airflow what flow runs log, and stop them."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator

with DAG("streaming", schedule=None):
    PrefectStartFlowRunOperator(
        task_id="start",
        deployment="talking/served",
        parameters={"seconds": 30},
        stream_logs=True,
        deferrable=True,
        poll_interval=3,
    )

with DAG("cancelling", schedule=None):
    start = PrefectStartFlowRunOperator(
        task_id="start", deployment="sleeping/served", parameters={"seconds": 300}, wait_for_completion=False
    )
    PrefectCancelFlowRunOperator(
        task_id="cancel",
        flow_run_id=start.output,  # type: ignore[arg-type]
        wait_for_completion=True,
        deferrable=True,
        poll_interval=3,
    )
