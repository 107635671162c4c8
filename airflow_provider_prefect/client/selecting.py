"""Which task runs of a flow run are meant by a name and a map index. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from airflow_provider_prefect.client import rest_outputs
from airflow_provider_prefect.client.call import Call, Sleep
from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import ALL, FINAL, Selected, TaskRun

_EVERY = 1.0
"""Seconds between two looks at how many task runs there are."""

_SETTLED, _SETTLED_WITH_GAPS, _STUCK = 2, 8, 60
"""How many looks in a row have to show the same; more of them where what is there need not be all, or cannot be."""

_LONGEST = 600
"""Looks after which the task runs are given up. Prefect 3.8.8 on SQLite took 4 s for each hundred."""


def select_task_runs(flow_run_id: str, task_name: str, map_index: int) -> Call[Selected]:
    """The task run of this name in a finished flow run, or the mapped ones, all in their order or one by its index.

    :raises ResultError: there is none, or it cannot be told which are meant.
    """
    task_runs = yield from found(flow_run_id, task_name)
    if map_index != ALL:
        return Selected((child(task_runs, task_name, map_index),), many=False)
    return Selected(tuple(in_map_order(task_runs, task_name)), many=len(task_runs) > 1)


def found(flow_run_id: str, name: str) -> Call[list[TaskRun]]:
    """The task runs of a finished flow run that ``name`` means; see :func:`named`.

    Prefect 3 learns of task runs from events, and works these off one after the other with those of all other flow
    runs, long after this one's end if there are many. So they are counted until there are no more of them, and as many
    as there are events of: those are kept by another part of the server, which is faster.

    :raises ResultError: there are none, and the message lists what there is; or it cannot be told which are meant.
    """
    before, same = (-1, -1), 0
    for look in range(_LONGEST):
        if look:
            yield from Sleep(_EVERY)
        total = yield from rest_outputs.count_task_runs(flow_run_id)
        counts = total, (yield from rest_outputs.count_task_runs(flow_run_id, state_types=FINAL))
        before, same = counts, same + 1 if counts == before else 0
        if same < (_SETTLED if total == counts[1] else _SETTLED_WITH_GAPS):
            continue
        traces = yield from rest_outputs.read_traces(flow_run_id)
        if traces and traces.task_runs > total:
            if same >= _STUCK:
                raise ResultError(
                    f"Prefect has {total} task runs of flow run {flow_run_id}, and events of {traces.task_runs}: it "
                    "has lost some, so that it cannot be told which are meant. Let the flow return the value."
                )
            continue
        if traces and not traces.ended and same < _SETTLED_WITH_GAPS:
            continue
        task_runs = yield from rest_outputs.read_task_runs(flow_run_id)
        if len(task_runs) == total and ((matching := named(task_runs, name)) or same >= _SETTLED_WITH_GAPS):
            break
    else:
        raise ResultError(f"Prefect is still taking in the task runs of flow run {flow_run_id}. Try again later.")
    if not matching:
        there = ", ".join(sorted({repr(task_run.name) for task_run in task_runs})[:10]) or "none at all"
        raise ResultError(f"Flow run {flow_run_id} has no task run {name!r}. It has: {there}.")
    return of_last_run(matching, name)


def named(task_runs: Sequence[TaskRun], name: str) -> list[TaskRun]:
    """The task runs whose own name is ``name``; or, if there are none, all those of the task of this name.

    Prefect does not keep a task's name, but makes two others from it, each with a suffix: the task run's name
    (``load-4d7``), if the flow gives no other one, and the task key (``load-b698dea0``) from the function's name.

    :raises ResultError: the two disagree, so that some may belong to another task.
    """
    if exactly := [task_run for task_run in task_runs if task_run.name == name]:
        return exactly
    by_name = [task_run for task_run in task_runs if _stem(task_run.name) == name]
    by_key = [task_run for task_run in task_runs if _stem(task_run.task_key or "") == name]
    if by_name and by_key and by_name != by_key:
        names = ", ".join(repr(task_run.name) for task_run in [*by_name, *by_key][:5])
        raise ResultError(
            f"{name!r} may mean more than one task: task runs are called so, and others, or more, are of a function of "
            f"this name. Name one task run in full, such as one of {names}."
        )
    return by_name or by_key


def of_last_run(task_runs: Sequence[TaskRun], name: str) -> list[TaskRun]:
    """Without what earlier runs of a flow run that was retried have left.

    Prefect 3 runs all tasks anew and keeps the old task runs, Prefect 2 uses them again.

    :raises ResultError: some have not begun, and so do not tell which run they belong to.
    """
    last = max(task_run.flow_run_run_count for task_run in task_runs)
    if last < 2 or _are_counted(task_runs) or len(task_runs) == 1:
        return list(task_runs)
    if not all(task_run.flow_run_run_count for task_run in task_runs):
        raise ResultError(
            f"The flow run was retried, and some task runs of {name!r} never began: which belong to the last retry "
            "cannot be told. Name one task run in full."
        )
    return [task_run for task_run in task_runs if task_run.flow_run_run_count == last]


def in_map_order(task_runs: Sequence[TaskRun], name: str) -> list[TaskRun]:
    """The children of a mapped task by map index.

    Prefect 2 counts them (``dynamic_key``). Prefect 3 keeps no index, and its expected start times are those of the
    threads that the children started in, seen out of order with 200 at once; but their ids (UUID 7) are given in the
    order of the mapping, to the millisecond (prefect 3.8.8).

    :raises ResultError: the order cannot be told; a guess could hand on the wrong child's value.
    """
    places = _places(task_runs)
    if len(set(places)) < len(places):
        raise _untold(task_runs, name, "all of them")
    return [task_run for _, task_run in sorted(zip(places, task_runs, strict=True), key=lambda pair: pair[0])]


def child(task_runs: Sequence[TaskRun], name: str, map_index: int) -> TaskRun:
    """The child of this map index, also where the order of others cannot be told.

    :raises ResultError: there is no such child, or it cannot be told which one it is.
    """
    if not 0 <= map_index < len(task_runs):
        raise ResultError(f"map_index={map_index}: task {name!r} has runs 0 to {len(task_runs) - 1} only.")
    places = _places(task_runs)
    place = sorted(places)[map_index]
    if places.count(place) > 1:
        raise _untold(task_runs, name, f"map_index={map_index}")
    return task_runs[places.index(place)]


def _places(task_runs: Sequence[TaskRun]) -> list[int]:
    """What the order of the mapping can be told by, of each task run; the same for those of which it cannot be told."""
    if _are_counted(task_runs):
        return [int(task_run.dynamic_key or 0) for task_run in task_runs]
    identifiers = [uuid.UUID(task_run.id) for task_run in task_runs]
    if any(identifier.version != 7 for identifier in identifiers):
        return [0] * len(task_runs)
    return [identifier.int >> 80 for identifier in identifiers]


def _untold(task_runs: Sequence[TaskRun], name: str, wanted: str) -> ResultError:
    names = ", ".join(repr(task_run.name) for task_run in task_runs[:3])
    return ResultError(
        f"Which of the {len(task_runs)} task runs of {name!r} has which map index cannot be told for {wanted}: this "
        f"Prefect keeps none, and some were made in the same millisecond. Name one task run in full ({names}, or what "
        "the task's task_run_name makes of its arguments), or let the flow return the list."
    )


def _stem(text: str) -> str | None:
    """What is before the suffix that Prefect has put behind the last dash."""
    return text.rpartition("-")[0] or None


def _are_counted(task_runs: Sequence[TaskRun]) -> bool:
    """Whether Prefect has counted the runs of the task, as Prefect 2 does."""
    return all((task_run.dynamic_key or "").isdecimal() for task_run in task_runs)
