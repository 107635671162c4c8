"""A Dag from which a test takes a task, while the task waits."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator

with DAG("leaving", schedule=None):
    for task_id in ("start", "stays"):
        PrefectStartFlowRunOperator(
            task_id=task_id,
            deployment="unserved/by-nobody",
            tags=["{{ run_id }}", "{{ ti.task_id }}"],
            deferrable=True,
            poll_interval=3,
        )
