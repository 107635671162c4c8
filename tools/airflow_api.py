"""The few calls of Airflow's REST API that the demo and the tests make, for Airflow 3 (v2) and 2.11 (v1)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tools import web
from tools.processes import StackError

FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class AirflowApi:
    """Airflow seen from outside. Dag runs and task instances are named by their ids."""

    def __init__(self, base_url: str, major: int) -> None:
        self.base_url = base_url
        self.major = major
        self._root = f"{base_url}/api/v{2 if major >= 3 else 1}"
        self._headers: dict[str, str] = {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call. Airflow 3 wants a token, and gives one to whoever asks when all are admins."""
        if self.major >= 3 and not self._headers:
            answer = web.request("POST", f"{self.base_url}/auth/token", {"username": "admin", "password": "admin"})
            self._headers["Authorization"] = f"Bearer {answer['access_token']}"
        return web.request(method, f"{self._root}{path}", body, self._headers)

    def healthy(self) -> bool:
        """Whether the server answers and the scheduler and triggerer (and Dag processor) have reported."""
        path = "/api/v2/monitor/health" if self.major >= 3 else "/health"
        try:
            parts = web.request("GET", f"{self.base_url}{path}", timeout=5)
        except (web.HttpError, OSError):
            return False
        needed = ["metadatabase", "scheduler", "triggerer", *(["dag_processor"] if self.major >= 3 else [])]
        return all(parts.get(part, {}).get("status") == "healthy" for part in needed)

    def dag_known(self, dag_id: str) -> bool:
        """Whether the Dag was read and can be run; raises the reason when it cannot be imported."""
        for error in self.call("GET", "/importErrors")["import_errors"]:
            raise StackError(f"Airflow cannot import {error['filename']}:\n{error['stack_trace']}")
        try:
            return not self.call("GET", f"/dags/{quote(dag_id)}").get("is_paused", True)
        except web.HttpError as error:
            if error.status == 404:
                return False
            raise

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> None:
        """Start a Dag run."""
        body: dict[str, Any] = {"dag_run_id": run_id, "conf": dict(conf or {})}
        if self.major >= 3:
            body["logical_date"] = None
        self.call("POST", f"/dags/{quote(dag_id)}/dagRuns", body)

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """A Dag run; its ``state`` among other things."""
        found: dict[str, Any] = self.call("GET", _run(dag_id, run_id))
        return found

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a Dag run, mapped ones included."""
        found: list[dict[str, Any]] = self.call("GET", f"{_run(dag_id, run_id)}/taskInstances")["task_instances"]
        return found

    def task_state(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str | None:
        """The state of one task instance; None where it has none yet."""
        for instance in self.task_instances(dag_id, run_id):
            if instance["task_id"] == task_id and instance["map_index"] == map_index:
                state: str | None = instance["state"]
                return state
        return None

    def xcoms(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """All XComs of one task instance."""
        path = f"{_task(dag_id, run_id, task_id)}/xcomEntries"
        entries = self.call("GET", f"{path}?map_index={map_index}")["xcom_entries"]
        return {
            entry["key"]: self.call("GET", f"{path}/{quote(entry['key'])}?map_index={map_index}&stringify=false")[
                "value"
            ]
            for entry in entries
        }

    def links(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, str | None]:
        """The extra links of one task instance, as the UI shows them."""
        answer = self.call("GET", f"{_task(dag_id, run_id, task_id)}/links?map_index={map_index}")
        links: dict[str, str | None] = answer.get("extra_links", answer)
        return links

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """The log of one try, one line a record."""
        path = f"{_task(dag_id, run_id, task_id)}/logs/{try_number}?full_content=true&map_index={map_index}"
        if self.major < 3:
            return str(web.request("GET", f"{self._root}{path}", headers={"Accept": "text/plain"}))
        return "\n".join(_log_line(record) for record in self.call("GET", path)["content"])

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task instance as a person does in the UI: "success" or "failed"."""
        path = _task(dag_id, run_id, task_id)
        if map_index >= 0:
            path += f"/{map_index}"
        body = {"new_state": state} if self.major >= 3 else {"new_state": state, "dry_run": False}
        self.call("PATCH", path, body)

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task, so that it runs again."""
        body = {"dag_run_id": run_id, "task_ids": [task_id], "dry_run": False, "only_failed": False}
        self.call("POST", f"/dags/{quote(dag_id)}/clearTaskInstances", body)

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float) -> str:
        """Wait until a Dag run has ended and return its state."""
        deadline = time.monotonic() + timeout
        while (state := str(self.dag_run(dag_id, run_id)["state"])) not in FINISHED:
            if time.monotonic() > deadline:
                tasks = {task["task_id"]: task["state"] for task in self.task_instances(dag_id, run_id)}
                raise StackError(f"{dag_id} {run_id} is still {state} after {timeout:.0f} seconds: {tasks}")
            time.sleep(0.5)
        return state


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}"


def _task(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}"


def _log_line(record: dict[str, Any]) -> str:
    """A structured record as a line: time, level, message, and the error's text where there is one."""
    details = [f"{error.get('exc_type')}: {error.get('exc_value')}" for error in record.get("error_detail") or []]
    parts = [record.get("timestamp"), record.get("level"), record.get("event"), *details]
    return " ".join(str(part) for part in parts if part)
