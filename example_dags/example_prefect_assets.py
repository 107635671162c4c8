"""Tell Airflow which assets a flow run has materialized in Prefect (3.4 and newer).

The flow is ``flows/order_lake.py``, served as the deployment "order-lake/demo".
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AssetAlias, dag

from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator


@dag(schedule=None, tags=["example", "prefect"], doc_md=__doc__)
def example_prefect_assets() -> None:
    """Write the lake; a Dag with ``schedule=[AssetAlias("order-lake")]`` starts for each asset that was written."""
    # [START assets]
    PrefectStartFlowRunOperator(
        task_id="write",
        deployment="order-lake/demo",
        outlets=[AssetAlias("order-lake")],
        emit_assets=True,
        deferrable=True,
    )
    # [END assets]


example_prefect_assets()
