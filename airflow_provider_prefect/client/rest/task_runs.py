"""Which task runs of a flow run are meant by a name and a map index, in the REST API of Prefect 2 and 3."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import ALL, FINAL, Selected, TaskRun, is_uuid
from airflow_provider_prefect.client.rest.outputs import OutputEndpoints

_POLL_INTERVAL = 1.0
"""Seconds between two counts of the task runs."""

_SETTLED, _SETTLED_WITH_GAPS, _STUCK = 2, 8, 60
"""How many counts in a row have to be the same; more of them where some task runs may be, or are, missing."""

_MAX_DIGITS = 18
"""Digits of the number of a task run."""

_MAX_POLLS = 600
"""Counts after which the task runs are given up. Prefect 3.8.8 on SQLite took 4 s for each hundred."""


class TaskRunEndpoints(OutputEndpoints):
    """Select the task runs that a name and a map index mean."""

    async def select_task_runs(self, flow_run_id: str, task_name: str, map_index: int) -> Selected:
        """Return the task run of this name in a finished flow run, or the mapped ones: all in order, or one by index.

        :raises ResultError: there is none, or it cannot be told which are meant.
        """
        task_runs = await self._find(flow_run_id, task_name)
        if map_index != ALL:
            return Selected((child(task_runs, task_name, map_index),), many=False)
        return Selected(tuple(in_map_order(task_runs, task_name)), many=len(task_runs) > 1)

    async def _find(self, flow_run_id: str, name: str) -> list[TaskRun]:
        """Return the task runs of a finished flow run that ``name`` means; see :func:`named`.

        Prefect 3 learns of task runs from events, and processes these one after the other with those of all other flow
        runs, long after this one's end if there are many. So task runs are counted until there are no more of them, and
        as many as there are events of: those are stored by another part of the server, which is faster.

        :raises ResultError: there are none, and the message lists what there is; or it cannot be told which are meant.
        """
        before, unchanged = (-1, -1), 0
        for poll in range(_MAX_POLLS):
            if poll:
                await self.transport.sleep(_POLL_INTERVAL)
            total = await self.count_task_runs(flow_run_id)
            counts = total, await self.count_task_runs(flow_run_id, state_types=FINAL)
            before, unchanged = counts, unchanged + 1 if counts == before else 0
            if unchanged < (_SETTLED if total == counts[1] else _SETTLED_WITH_GAPS):
                continue
            events = await self.read_task_run_events(flow_run_id)
            if events and events.task_runs > total:
                if unchanged >= _STUCK:
                    raise ResultError(
                        f"Prefect has {total} task runs of flow run {flow_run_id}, and events of {events.task_runs}: "
                        "it has lost some, so that it cannot be told which are meant. Let the flow return the value."
                    )
                continue
            if events and not events.ended and unchanged < _SETTLED_WITH_GAPS:
                continue
            task_runs = await self.read_task_runs(flow_run_id)
            if len(task_runs) == total and ((matching := named(task_runs, name)) or unchanged >= _SETTLED_WITH_GAPS):
                break
        else:
            raise ResultError(f"Prefect is still processing the task runs of flow run {flow_run_id}. Try again later.")
        if not matching:
            existing = ", ".join(sorted({repr(task_run.name) for task_run in task_runs})[:10]) or "none at all"
            raise ResultError(f"Flow run {flow_run_id} has no task run {name!r}. It has: {existing}.")
        return of_last_run(matching, name)


def named(task_runs: Sequence[TaskRun], name: str) -> list[TaskRun]:
    """Return the task runs whose own name is ``name``; if there are none, all those of the task of this name.

    Prefect does not store a task's name, but derives two others from it, each with a suffix: the task run's name
    (``load-4d7``), unless the flow sets another one, and the task key (``load-b698dea0``) from the function's name.

    :raises ResultError: the two disagree, so that some may belong to another task.
    """
    if exactly := [task_run for task_run in task_runs if task_run.name == name]:
        return exactly
    by_name = [task_run for task_run in task_runs if _without_suffix(task_run.name) == name]
    by_key = [task_run for task_run in task_runs if _without_suffix(task_run.task_key or "") == name]
    if by_name and by_key and by_name != by_key:
        names = ", ".join(repr(task_run.name) for task_run in [*by_name, *by_key][:5])
        raise ResultError(
            f"{name!r} may mean more than one task: task runs are called so, and others, or more, are of a function of "
            f"this name. Name one task run in full, such as one of {names}."
        )
    return by_name or by_key


def of_last_run(task_runs: Sequence[TaskRun], name: str) -> list[TaskRun]:
    """Return ``task_runs`` without those that earlier runs of a retried flow run have left.

    Prefect 3 runs all tasks again and keeps the old task runs, Prefect 2 reuses them.

    :raises ResultError: some have not begun, and so do not tell which run they belong to.
    """
    last = max(task_run.flow_run_run_count for task_run in task_runs)
    if last < 2 or _are_numbered(task_runs) or len(task_runs) == 1:
        return list(task_runs)
    if not all(task_run.flow_run_run_count for task_run in task_runs):
        raise ResultError(
            f"The flow run was retried, and some task runs of {name!r} never began: which belong to the last retry "
            "cannot be told. Name one task run in full."
        )
    return [task_run for task_run in task_runs if task_run.flow_run_run_count == last]


def in_map_order(task_runs: Sequence[TaskRun], name: str) -> list[TaskRun]:
    """Return the children of a mapped task by map index.

    Prefect 2 numbers them (``dynamic_key``). Prefect 3 stores no index, and its expected start times are those of the
    threads that the children started in, which were out of order with 200 at once; but their ids (UUID 7) are assigned
    in the order of the mapping, to the millisecond (prefect 3.8.8).

    :raises ResultError: the order cannot be told; a guess could return the wrong child's value.
    """
    keys = _sort_keys(task_runs)
    if len(set(keys)) < len(keys):
        raise _ambiguous_order(task_runs, name, "all of them")
    return [task_run for _, task_run in sorted(zip(keys, task_runs, strict=True), key=lambda pair: pair[0])]


def child(task_runs: Sequence[TaskRun], name: str, map_index: int) -> TaskRun:
    """Return the child of this map index, also where the order of others cannot be told.

    :raises ResultError: there is no such child, or it cannot be told which one it is.
    """
    if not 0 <= map_index < len(task_runs):
        raise ResultError(f"map_index={map_index}: task {name!r} has runs 0 to {len(task_runs) - 1} only.")
    keys = _sort_keys(task_runs)
    key = sorted(keys)[map_index]
    if keys.count(key) > 1:
        raise _ambiguous_order(task_runs, name, f"map_index={map_index}")
    return task_runs[keys.index(key)]


def _sort_keys(task_runs: Sequence[TaskRun]) -> list[int]:
    """Return a sort key by map index for each task run; the same for those whose order cannot be told."""
    if _are_numbered(task_runs):
        return [int(task_run.dynamic_key or 0) for task_run in task_runs]
    identifiers = [uuid.UUID(task_run.id) for task_run in task_runs if is_uuid(task_run.id)]
    if len(identifiers) < len(task_runs) or any(identifier.version != 7 for identifier in identifiers):
        return [0] * len(task_runs)
    return [identifier.int >> 80 for identifier in identifiers]


def _ambiguous_order(task_runs: Sequence[TaskRun], name: str, wanted: str) -> ResultError:
    names = ", ".join(repr(task_run.name) for task_run in task_runs[:3])
    return ResultError(
        f"Which of the {len(task_runs)} task runs of {name!r} has which map index cannot be told for {wanted}: this "
        f"Prefect keeps none, and some were made in the same millisecond. Name one task run in full ({names}, or what "
        "the task's task_run_name makes of its arguments), or let the flow return the list."
    )


def _without_suffix(text: str) -> str | None:
    """Return the name without the suffix that Prefect appends after the last dash."""
    return text.rpartition("-")[0] or None


def _are_numbered(task_runs: Sequence[TaskRun]) -> bool:
    """Return whether Prefect has numbered the runs of the task, as Prefect 2 does."""
    keys = [task_run.dynamic_key or "" for task_run in task_runs]
    return all(key.isdecimal() and len(key) <= _MAX_DIGITS for key in keys)
