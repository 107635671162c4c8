"""The Dags of test_real_scheduler.py: tasks that wait deferred for flow runs of every kind."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator


@task
def take(value: Any) -> Any:
    """Use what the task before has left."""
    return {"taken": value}


COMMON: dict[str, Any] = {"deferrable": True, "poll_interval": 3}

with DAG("waiting", schedule=None, params={"seconds": 10}):
    waiting = PrefectStartFlowRunOperator(
        task_id="start",
        deployment="sleeping/served",
        parameters='{"seconds": {{ params.seconds }}}',
        tags=["{{ run_id }}"],
        **COMMON,
    )
    take(waiting.output["state"])

with DAG("mapped", schedule=None):
    PrefectStartFlowRunOperator.partial(task_id="start", deployment="sleeping/served", **COMMON).expand(
        parameters=[{"seconds": 20}, {"seconds": 21}]
    )

with DAG("failing", schedule=None):
    PrefectStartFlowRunOperator(task_id="start", deployment="failing/served", **COMMON)

with DAG("sync", schedule=None):
    PrefectStartFlowRunOperator(
        task_id="start", deployment="sleeping/served", parameters={"seconds": 20}, deferrable=False, poll_interval=3
    )

with DAG("refused", schedule=None):
    PrefectStartFlowRunOperator(task_id="start", deployment="quick/served", prefect_conn_id="prefect_wrong", **COMMON)
