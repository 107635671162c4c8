"""The part of the hook that reads what a flow run leaves behind: logs, artifacts, task runs, results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_prefect.client import rest_outputs
from airflow_provider_prefect.client.model import ALL, Artifact, FlowRun, LogRecord, TaskRun
from airflow_provider_prefect.hooks import results
from airflow_provider_prefect.hooks._base import ConnectedHook, check_flow_run_id

MAX_RESULT_SIZE = 1024 * 1024
"""Bytes of JSON that a result may have to become an XCom."""


class ReadingHook(ConnectedHook):
    """Reads what a flow run leaves behind."""

    def read_flow_run_logs(self, flow_run_id: str, *, level: int = 0, most: int | None = None) -> list[LogRecord]:
        """The log lines of a flow run and of its task runs, the oldest first, ``most`` at the most."""
        check_flow_run_id(flow_run_id)
        return self._run(self.api.read_logs(flow_run_id, level=level, most=most))

    def read_last_logs(self, flow_run_id: str, number: int = 20) -> list[LogRecord]:
        """The last log lines of a flow run and its task runs, the oldest of them first."""
        check_flow_run_id(flow_run_id)
        return self._run(self.api.read_last_logs(flow_run_id, number))

    def read_artifacts(self, flow_run_id: str, key: str) -> list[Artifact]:
        """The artifacts of this key that a flow run has left, the newest first. Not on Prefect 1."""
        check_flow_run_id(flow_run_id)
        self.check_supported(artifact_key=key)
        return self._run(rest_outputs.read_artifacts(flow_run_id, key))

    def read_task_runs(
        self, flow_run_id: str, *, state_types: Sequence[str] = (), most: int | None = None
    ) -> list[TaskRun]:
        """The task runs of a flow run by expected start time; those in ``state_types`` only, ``most`` at the most."""
        check_flow_run_id(flow_run_id)
        return self._run(self.api.read_task_runs(flow_run_id, state_types=state_types, most=most))

    def read_result(
        self, flow_run: FlowRun, *, artifact_key: str | None = None, max_size: int = MAX_RESULT_SIZE
    ) -> Any:
        """What a finished flow run has left to hand on.

        :param flow_run: the flow run as it ended.
        :param artifact_key: read its artifact of this key, and not what the flow has returned.
        :param max_size: bytes that the value may have as JSON.
        :return: plain data: numbers, text, containers, dates and times, ``Decimal`` and ``UUID``.
        :raises ResultError: there is none, or it cannot be read; the message says how the flow can hand it on.
        """
        if artifact_key:
            self.check_supported(artifact_key=artifact_key)
            return self._run(results.of_artifact(flow_run.id, artifact_key, max_size))
        whose = f"Flow run {flow_run.name!r}"
        return self._run(results.of_state(self.api, flow_run.state, whose, self.settings.result_roots, max_size))

    def read_task_run_result(
        self, flow_run_id: str, task_name: str, *, map_index: int = ALL, max_size: int = MAX_RESULT_SIZE
    ) -> Any:
        """What a task run of a finished flow run has returned.

        :param task_name: the task's name, or the full name of one task run; on Prefect 1 the task's slug.
        :param map_index: which child of a mapped task; -1 for all of them, as a list in the order of the mapping. A
            task that ran once has one value, and no list, with -1 too.
        :param max_size: bytes that the value may have as JSON.
        :raises ResultError: there is no such task run or no readable result, or the order cannot be told.
        """
        check_flow_run_id(flow_run_id)
        return self._run(
            results.of_task(self.api, flow_run_id, task_name, map_index, self.settings.result_roots, max_size)
        )
