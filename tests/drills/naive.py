"""The pattern that most operators follow, to show that the drills see what it does wrong.

No idempotency key, no second try of a request, no way to find a flow run again, and none to stop it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import requests
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator


class NaiveStartFlowRunOperator(BaseOperator):
    template_fields = ("tags",)

    def __init__(self, *, deployment: str, tags: Sequence[str], parameters: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deployment, self.tags, self.parameters = deployment, tags, parameters

    def execute(self, context: Any) -> str:
        api = BaseHook.get_connection("prefect_default").host
        deployment = self._json("GET", f"{api}/deployments/name/{self.deployment}")
        body = {"tags": list(self.tags), "parameters": self.parameters}
        run_id = self._json("POST", f"{api}/deployments/{deployment['id']}/create_flow_run", body)["id"]
        while (state := self._json("GET", f"{api}/flow_runs/{run_id}")["state_type"]) != "COMPLETED":
            if state in ("FAILED", "CRASHED", "CANCELLED"):
                raise RuntimeError(state)
            time.sleep(3)
        return str(run_id)

    def _json(self, method: str, url: str, body: Any = None) -> Any:
        answer = requests.request(method, url, json=body, timeout=10)
        answer.raise_for_status()
        return answer.json()
