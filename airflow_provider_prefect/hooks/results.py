"""Fetching what a run has returned: from its artifact, or from the file that it was stored in."""

from __future__ import annotations

from typing import Any

from airflow_provider_prefect.client import rest_outputs, results
from airflow_provider_prefect.client.api import Api
from airflow_provider_prefect.client.call import Call
from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import State


def of_artifact(flow_run_id: str, key: str, most: int) -> Call[Any]:
    """The value of the newest artifact of this key that the flow run has left."""
    artifacts = yield from rest_outputs.read_artifacts(flow_run_id, key)
    if not artifacts:
        raise ResultError(f"Flow run {flow_run_id} has left no artifact with the key {key!r}.")
    return results.checked(results.of_artifact(artifacts[0]), most)


def of_state(api: Api, state: State, whose: str, roots: tuple[str, ...], most: int) -> Call[Any]:
    """The value that a run has ended with.

    :param whose: which run, in words.
    :param roots: where files may be read.
    :param most: bytes that the value may have as JSON.
    """
    from airflow_provider_prefect.storage import read_file

    if state.type != "COMPLETED":
        # What a failed run keeps is its exception, which would pass for a value where it is JSON.
        raise ResultError(f"{whose} has returned nothing: it is in state {str(state).rstrip('.')}.")
    found = api.located(state, whose)
    if isinstance(found, results.Literal):
        return results.checked(found.value, most)
    path = found.key
    if found.block_id:
        base = yield from rest_outputs.read_storage_block(found.block_id)
        if base is None:
            raise ResultError(
                f"{whose} has its result in a block of a kind that is not read; file systems, S3, GCS and Azure are."
            )
        path = f"{base.rstrip('/')}/{found.key}"
    # What is stored is longer than the value: compressed and pickled results are in base64, and wrapped.
    return results.checked(results.read(found, read_file(path, roots, 4 * most), most), most)


def of_task(api: Api, flow_run_id: str, task_name: str, map_index: int, roots: tuple[str, ...], most: int) -> Call[Any]:
    """The value that a task run of a finished flow run has returned, or the list of all its mapped children's."""
    selected = yield from api.select_task_runs(flow_run_id, task_name, map_index)
    values = []
    for task_run in selected.task_runs:
        values.append((yield from of_state(api, task_run.state, f"Task run {task_run.name!r}", roots, most)))
    return results.checked(values, most) if selected.many else values[0]
