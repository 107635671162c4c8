"""The Dags of test_real_scheduler.py that show in Airflow what flow runs log, and stop them."""

from __future__ import annotations

import time

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator


@task
def when_it_runs(flow_run_id: str) -> str:
    """Wait for the start: Prefect 3.8.8 forgets a flow run that is cancelled while its process starts."""
    while PrefectHook().read_flow_run(flow_run_id).state.type in ("SCHEDULED", "PENDING"):
        time.sleep(0.5)
    return flow_run_id


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
        flow_run_id=when_it_runs(start.output),  # type: ignore[arg-type]
        wait_for_completion=True,
        deferrable=True,
        poll_interval=3,
    )
