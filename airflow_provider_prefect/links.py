"""The button that opens the flow run in Prefect's UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class PrefectFlowRunLink(BaseOperatorLink):
    """Link a task instance to its flow run in Prefect's UI.

    The address is the XCom ``flow_run_url``, which is there as soon as the flow run is: while the task still waits,
    in either mode, for mapped tasks, and after a failure.
    """

    name = "Prefect flow run"

    # Airflow 3's API server shows the XCom of this key. With the default key it would exist only after the task's
    # process has ended, so not while a task that does not defer waits.
    xcom_key = "flow_run_url"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the flow run's address, empty as long as there is none. Airflow 2 calls this for every click."""
        return XCom.get_value(key=self.xcom_key, ti_key=ti_key) or ""
