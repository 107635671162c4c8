"""The Dags of the benchmark: a mapped task, each instance of which starts a flow run and waits for it deferred."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator


def ignore(context: Any) -> None:
    """Do nothing; a task that has such a callback ends in a worker."""


def waiting(dag_id: str, number: int, **arguments: Any) -> None:
    with DAG(dag_id, schedule=None, max_active_tasks=number):
        PrefectStartFlowRunOperator.partial(
            task_id="wait",
            deployment="bench/nobody",
            tags=["{{ run_id }}"],
            deferrable=True,
            prefect_conn_id="bench",
            retries=2,
            **arguments,
        ).expand(parameters=[{"number": number} for number in range(number)])


waiting("bench_waiting", int(os.environ["BENCH_TASKS"]))
waiting("bench_ended_in_the_triggerer", int(os.environ["BENCH_ENDS"]))
waiting("bench_ended_by_workers", int(os.environ["BENCH_ENDS"]), on_success_callback=ignore)
