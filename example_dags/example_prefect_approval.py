"""Ask a person in Airflow's UI, and let a flow run go on with the answer. It needs Airflow 3.1.

The flow is ``flows/price_list.py``, served as the deployment "price-list/demo". It waits for an answer with Prefect's
``pause_flow_run(wait_for_input=…)``. The answer is given in Airflow, under "Required Actions".
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import dag
from airflow.providers.standard.operators.hitl import ApprovalOperator

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.resume import PrefectResumeFlowRunOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor


@dag(schedule=None, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_approval() -> None:
    """Start the flow, ask, resume it, and wait for its end."""
    start = PrefectStartFlowRunOperator(
        task_id="start",
        deployment="price-list/demo",
        parameters={"season": "winter"},
        wait_for_completion=False,
    )

    # [START approval]
    ask = ApprovalOperator(
        task_id="ask",
        subject="Are the prices of the winter season right?",
        fail_on_reject=True,
    )

    resume = PrefectResumeFlowRunOperator(
        task_id="resume",
        flow_run_id=start.output,
        run_input={"approved": True, "note": "approved in Airflow, run {{ run_id }}"},
        retries=5,  # the flow run may not have come to its question yet
        retry_delay=timedelta(seconds=10),
    )
    # [END approval]

    wait = PrefectFlowRunSensor(task_id="wait", flow_run_id=start.output, deferrable=True)

    start >> ask >> resume >> wait


example_prefect_approval()
