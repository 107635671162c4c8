"""The Dags of the drills: one mapped task each, whose flow runs carry the Dag run and the map index as tags."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator

sys.path.append(os.environ["DRILLS_ROOT"])
from tests.drills.naive import NaiveStartFlowRunOperator

COMMON: dict[str, Any] = {
    "task_id": "start",
    "deployment": "drill/nobody",
    "tags": ["{{ run_id }}", "map-{{ ti.map_index }}"],
    "retries": 12,
    "retry_delay": timedelta(seconds=1),
}
OURS = {**COMMON, "poll_interval": 3}
TIMES: dict[str, dict[str, Any]] = {
    "timeout": {"timeout": 10},
    "start": {"start_timeout": 10},
    "execution": {"execution_timeout": timedelta(seconds=20)},
}
KINDS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "sync": (PrefectStartFlowRunOperator, {**OURS, "deferrable": False, "fetch_result": "drill"}),
    "deferred": (PrefectStartFlowRunOperator, {**OURS, "deferrable": True, "fetch_result": "drill"}),
    "deferred_plain": (PrefectStartFlowRunOperator, {**OURS, "deferrable": True}),
    "sync_restart": (PrefectStartFlowRunOperator, {**OURS, "deferrable": False, "on_retry": "restart"}),
    "deferred_restart": (PrefectStartFlowRunOperator, {**OURS, "deferrable": True, "on_retry": "restart"}),
    **{
        f"{mode}_{name}": (
            PrefectStartFlowRunOperator,
            {**OURS, **times, "deferrable": mode == "deferred", "retries": 0},
        )
        for mode in ("sync", "deferred")
        for name, times in TIMES.items()
    },
    "naive": (NaiveStartFlowRunOperator, COMMON),
}

for kind, (operator, arguments) in KINDS.items():
    for number in map(int, os.environ["DRILLS_NUMBERS"].split(",")):
        with DAG(f"{kind}_{number}", schedule=None, max_active_tasks=64) as dag:
            if number:
                operator.partial(**arguments).expand(parameters=[{"number": index} for index in range(number)])
            else:
                operator(**arguments, parameters={})
        globals()[dag.dag_id] = dag
