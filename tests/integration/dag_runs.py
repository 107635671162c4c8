"""Runs a Dag that a test has just written with ``dag.test()``, on any Airflow, and tells what came of it."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from airflow import __version__
from airflow.providers.common.compat.sdk import DAG

OFTEN, RESCHEDULED = 1.0, 2.0
"""Seconds between two looks of a task that these tests run, and of a sensor in reschedule mode."""

AIRFLOW = tuple(int(part) for part in __version__.split(".")[:3])


@dataclass
class TaskOutcome:
    """How one task instance ended: its state, its XComs by key, and the error that it failed with."""

    state: str | None
    xcoms: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None


@dataclass
class DagOutcome:
    """How a Dag run ended. ``triggers`` are those that tasks have deferred to, in order."""

    run_id: str
    state: str
    tasks: dict[tuple[str, int], TaskOutcome]
    triggers: list[Any]

    def __getitem__(self, task: str | tuple[str, int]) -> TaskOutcome:
        return self.tasks[(task, -1) if isinstance(task, str) else task]

    def mapped(self, task_id: str) -> list[TaskOutcome]:
        """The instances of a mapped task, by map index."""
        return [self.tasks[key] for key in sorted(self.tasks) if key[0] == task_id]


def run_dag(dag: DAG) -> DagOutcome:
    """Run ``dag`` once, every task and trigger in this process."""
    _register(dag)
    errors: dict[tuple[str, int], BaseException] = {}
    triggers: list[Any] = []
    with _noting(errors, triggers):
        dag_run = dag.test()
    xcoms = _xcoms(dag.dag_id, dag_run.run_id)
    tasks = {
        (ti.task_id, ti.map_index): TaskOutcome(
            state=str(getattr(ti.state, "value", ti.state)),
            xcoms=xcoms.get((ti.task_id, ti.map_index), {}),
            error=errors.get((ti.task_id, ti.map_index)),
        )
        for ti in dag_run.get_task_instances()
    }
    return DagOutcome(dag_run.run_id, str(getattr(dag_run.state, "value", dag_run.state)), tasks, triggers)


def dags_in(file: Path) -> list[DAG]:
    """The Dags that Airflow finds in a file."""
    if AIRFLOW < (3, 2):
        from airflow.models.dagbag import DagBag
    else:
        from airflow.dag_processing.dagbag import DagBag
    bag = DagBag(dag_folder=str(file))
    assert not bag.import_errors, bag.import_errors
    return list(bag.dags.values())


def _register(dag: DAG) -> None:
    """Give the Dag the row that Airflow 3 wants every Dag to have; there is no file that it could be read from.

    Airflow 2 wants one for the assets and aliases of its tasks only.
    """
    if AIRFLOW < (3,):
        if any(task.outlets for task in dag.tasks):
            dag.sync_to_db()
        return
    if AIRFLOW < (3, 2):
        from airflow.models.dagbag import DagBag, sync_bag_to_db
    else:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(dag_folder=os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)


@contextmanager
def _noting(errors: dict[tuple[str, int], BaseException], triggers: list[Any]) -> Iterator[None]:
    """Note the errors that tasks fail with and the triggers that are run, which ``dag.test()`` only logs."""
    if AIRFLOW < (3,):
        from airflow.models import dag as runner
        from airflow.models.taskinstance import TaskInstance

        handle_failure = TaskInstance.handle_failure

        def failed(ti: Any, error: Any, *args: Any, **kwargs: Any) -> Any:
            errors[ti.task_id, ti.map_index] = error
            return handle_failure(ti, error, *args, **kwargs)

        noting = mock.patch.object(TaskInstance, "handle_failure", failed)
    else:
        from airflow.sdk.definitions import dag as runner
        from airflow.sdk.execution_time import supervisor

        # Airflow 3.1 and 3.2 build their whole API anew for each task, which takes a second; 3.3 does it once.
        if not hasattr(supervisor.in_process_api_server, "cache_info"):
            supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)
        run_task = supervisor.run_task_in_process

        def ran(ti: Any, task: Any) -> Any:
            result = run_task(ti=ti, task=task)
            if result.error is not None:
                errors[ti.task_id, ti.map_index] = result.error
            return result

        noting = mock.patch.object(supervisor, "run_task_in_process", ran)
    run_trigger = runner._run_inline_trigger

    def triggered(trigger: Any, *args: Any) -> Any:
        triggers.append(trigger)
        return run_trigger(trigger, *args)

    with noting, mock.patch.object(runner, "_run_inline_trigger", triggered):
        yield


def _xcoms(dag_id: str, run_id: str) -> dict[tuple[str, int], dict[str, Any]]:
    """All XComs of a Dag run, as they lie in the database."""
    from airflow.utils.session import create_session

    if AIRFLOW < (3,):
        from airflow.models.xcom import XCom as Model

        value_of = operator.attrgetter("value")  # Airflow 2 deserialises it when it reads the row
    else:
        from airflow.models.xcom import XComModel as Model

        value_of = Model.deserialize_value
    found: dict[tuple[str, int], dict[str, Any]] = {}
    with create_session() as session:
        for row in session.query(Model).filter(Model.dag_id == dag_id, Model.run_id == run_id):
            found.setdefault((row.task_id, row.map_index), {})[row.key] = value_of(row)
    return found


def asset_events(dag_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The URI and the ``extra`` of each asset event of a Dag's tasks."""
    from airflow.utils.session import create_session

    with create_session() as session:
        if AIRFLOW < (3,):
            from airflow.models.dataset import DatasetEvent as Event

            return [(e.dataset.uri, e.extra) for e in session.query(Event).filter_by(source_dag_id=dag_id)]
        from airflow.models.asset import AssetEvent

        return [(e.asset.uri, e.extra) for e in session.query(AssetEvent).filter_by(source_dag_id=dag_id)]
