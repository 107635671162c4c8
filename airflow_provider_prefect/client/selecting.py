"""Which task runs of a flow run are meant by a name and a map index. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from airflow_provider_prefect.client import rest_outputs
from airflow_provider_prefect.client.call import Call, Sleep
from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import FINAL, TaskRun

_LOOKS = (0.0, 0.5, 1.0, 2.0)
"""Seconds before each look at the task runs; two that show the same are enough."""

ALL = -1
"""The map index that means all of them, as in Prefect 1."""


def found(flow_run_id: str, name: str) -> Call[list[TaskRun]]:
    """The task runs of a finished flow run that ``name`` means; see :func:`named`.

    On Prefect 3 the last ones are known up to a second after the flow run's end, so there is a second look.

    :raises ResultError: there are none; the message lists what there is.
    """
    task_runs: list[TaskRun] = []
    for pause in _LOOKS:
        yield from Sleep(pause)
        before, task_runs = task_runs, (yield from rest_outputs.read_task_runs(flow_run_id))
        settled = len(task_runs) == len(before) and all(task_run.state.type in FINAL for task_run in task_runs)
        if settled and (matching := named(task_runs, name)):
            return matching
    matching = named(task_runs, name)
    if not matching:
        there = ", ".join(sorted({repr(task_run.name) for task_run in task_runs})[:10]) or "none at all"
        raise ResultError(f"Flow run {flow_run_id} has no task run {name!r}. It has: {there}.")
    return matching


def named(task_runs: Sequence[TaskRun], name: str) -> list[TaskRun]:
    """The task runs whose own name is ``name``; or, if there are none, all those of the task of this name."""
    exactly = [task_run for task_run in task_runs if task_run.name == name]
    return exactly or [task_run for task_run in task_runs if name in _task_names(task_run)]


def in_map_order(task_runs: Sequence[TaskRun], name: str) -> list[TaskRun]:
    """The children of a mapped task by map index.

    Prefect 2 counts them (``dynamic_key``). Prefect 3 keeps no index, and its expected start times are those of the
    threads that the children started in, seen out of order with 200 at once; but their ids (UUID 7) are given in the
    order of the mapping, to the millisecond (prefect 3.8.8).

    :raises ResultError: the order cannot be told; a guess could hand on the wrong child's value.
    """
    if len(task_runs) < 2:
        return list(task_runs)
    if all((task_run.dynamic_key or "").isdecimal() for task_run in task_runs):
        return sorted(task_runs, key=lambda task_run: int(task_run.dynamic_key or 0))
    made = {task_run.id: _made(task_run.id) for task_run in task_runs}
    if None in made.values() or len(set(made.values())) < len(made):
        names = ", ".join(repr(task_run.name) for task_run in task_runs[:3])
        raise ResultError(
            f"Which of the {len(task_runs)} task runs of {name!r} has which map index cannot be told: this Prefect "
            f"keeps none, and some were made in the same millisecond. Name one task run in full ({names}, or what the "
            "task's task_run_name makes of its arguments), or let the flow return the list."
        )
    return sorted(task_runs, key=lambda task_run: made[task_run.id] or 0)


def _task_names(task_run: TaskRun) -> set[str]:
    """The names that the task of a task run may go by: both end in a suffix of Prefect's after a dash."""
    return {text.rpartition("-")[0] for text in (task_run.name, task_run.task_key or "") if "-" in text}


def _made(task_run_id: str) -> int | None:
    """The millisecond in which an id was given, if it tells."""
    identifier = uuid.UUID(task_run_id)
    return identifier.int >> 80 if identifier.version == 7 else None
