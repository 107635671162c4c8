"""The Dags of test_operations.py. Nobody runs their flow runs: the tests put them into states."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, TriggerRule, task, task_group

from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator


def start(task_id: str, **arguments: Any) -> PrefectStartFlowRunOperator:
    """A task whose flow runs have the Dag run's id and the task's as tags."""
    return PrefectStartFlowRunOperator(
        task_id=task_id,
        deployment="unserved/by-nobody",
        tags=["{{ run_id }}", "{{ ti.task_id }}"],
        **{"deferrable": True, "poll_interval": 3, **arguments},
    )


@task
def take(value: Any) -> Any:
    """Use what the task before has left."""
    return value


@task
def fail() -> None:
    """Fail."""
    raise ValueError("the work between has failed")


@task
def done() -> None:
    """Do nothing."""


@task_group
def of_month(month: str) -> None:
    """One flow run and what comes after it, for each month."""
    take(start("start", run_name=month).output)


with DAG("grouped", schedule=None):
    of_month.expand(month=["10", "11"])

with DAG("surrounded", schedule=None):
    create = start("create", wait_for_completion=False).as_setup()
    cancel = PrefectCancelFlowRunOperator(task_id="cancel", flow_run_id=create.output).as_teardown(setups=create)
    create >> fail() >> cancel

with DAG("ruled", schedule=None):
    fails, skips = start("fails"), start("skips", skip_on=["CANCELLED"])
    [fails, skips] >> done.override(task_id="if_one_failed", trigger_rule=TriggerRule.ONE_FAILED)()
    [fails, skips] >> done.override(task_id="if_all_done", trigger_rule=TriggerRule.ALL_DONE)()
    skips >> done.override(task_id="if_none_failed", trigger_rule=TriggerRule.NONE_FAILED)()
    fails >> done.override(task_id="if_success")()

with DAG("one_at_a_time", schedule=None):
    PrefectStartFlowRunOperator.partial(
        task_id="start",
        deployment="unserved/by-nobody",
        tags=["{{ run_id }}"],
        deferrable=True,
        poll_interval=3,
        max_active_tis_per_dagrun=1,
    ).expand(run_name=["first", "second"])

with DAG("daily", schedule="@daily", start_date=datetime(2026, 10, 1), catchup=False, end_date=datetime(2026, 10, 3)):
    start("start")

with DAG("patient", schedule=None):
    start("start", timeout=20)

with DAG("tried_by_hand", schedule=None):
    start("start") >> start("not_waited_for", wait_for_completion=False)
