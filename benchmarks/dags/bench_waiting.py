"""The Dag of the benchmark: one mapped task, each instance of which starts a flow run and waits for it deferred."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator

NUMBER = int(os.environ["BENCH_TASKS"])

with DAG("bench_waiting", schedule=None, max_active_tasks=NUMBER):
    PrefectStartFlowRunOperator.partial(
        task_id="wait",
        deployment="bench/nobody",
        tags=["{{ run_id }}"],
        deferrable=True,
        prefect_conn_id="bench",
        retries=2,
    ).expand(parameters=[{"number": number} for number in range(NUMBER)])
