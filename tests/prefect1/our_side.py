"""Our operators, sensor and hook against the double, and what came of it: the counterpart of ``run_real``.

done = ours.start(flow_name="etl", project_name="main")
done.value, done.error, done.text, done.requests, done.xcoms
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import (
    PrefectCancelFlowRunOperator,
    PrefectRenameFlowRunOperator,
    PrefectStartFlowRunOperator,
)
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.prefect1.calls import Call, Request
from tests.prefect1.server import Prefect1Server
from tests.unit.conftest import TaskInstance
from tests.unit.running import carried_out


@dataclass(frozen=True)
class Done:
    """What a task returned or raised, and all that could be seen of it."""

    value: Any
    error: BaseException | None
    requests: tuple[Request, ...]
    xcoms: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return str(self.error)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the class of what was raised and of those above it."""
        return tuple(kind.__name__ for kind in type(self.error).__mro__) if self.error else ()

    @property
    def for_good(self) -> bool:
        """Whether Airflow makes no retry."""
        return "AirflowFailException" in self.kinds

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(call for request in self.requests for call in request.calls)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(call.name for call in self.calls)


class OurSide:
    """This provider on an Airflow with one connection, to one double."""

    def __init__(
        self,
        server: Prefect1Server,
        context: dict[str, Any],
        ti: TaskInstance,
        through_airflow: Callable[[Any], Any],
        connect: Callable[..., None],
        logged: Callable[[], str],
        slept: list[float],
    ) -> None:
        self.server = server
        self.context = context
        self.ti = ti
        self.logged = logged
        self.slept = slept
        self._through_airflow = through_airflow
        self._connect = connect
        # What Airflow keeps of a task while it is deferred.
        ti.xcom_pull = lambda *, task_ids, key, map_indexes: ti.xcoms[key]  # type: ignore[attr-defined]
        self.connect()

    def connect(self, password: str | None = None, path: str = "", **extra: Any) -> None:
        """Make the connection anew."""
        self._connect(host=self.server.url + path, password=password, extra={"api": "graphql", **extra})

    @property
    def hook(self) -> PrefectHook:
        """A hook that makes no second try."""
        return PrefectHook().with_patience(0)

    def start(self, *, pause: float = 0, **arguments: Any) -> Done:
        """Start a flow run, and wait for it only if that is asked for."""
        given = {"task_id": "start", "wait_for_completion": False, "deferrable": False, **arguments}
        if not {"flow_name", "flow_id", "deployment"} & arguments.keys():
            given["flow_name"] = "etl"
        return self.done(lambda: self._paused(PrefectStartFlowRunOperator(**given), pause))

    def wait(self, flow_run_id: str, *, pause: float = 0, **arguments: Any) -> Done:
        """Wait for a flow run."""
        given = {"task_id": "wait", "flow_run_id": flow_run_id, "deferrable": False, **arguments}
        return self.done(lambda: self._paused(PrefectFlowRunSensor(**given), pause))

    def get(self, flow_run_id: str, task_name: str | None = "load-1", *, pause: float = 0, **arguments: Any) -> Done:
        """Fetch the result of a task run."""
        given = {"task_id": "get", "flow_run_id": flow_run_id, "task_name": task_name, "deferrable": False, **arguments}
        return self.done(lambda: self._paused(PrefectGetTaskRunResultOperator(**given), pause))

    def rename(self, **arguments: Any) -> Done:
        """Rename a flow run."""
        given = {"task_id": "rename", "dag": DAG("shop", schedule=None), **arguments}
        return self.done(lambda: PrefectRenameFlowRunOperator(**given))

    def cancel(self, *, pause: float = 0, **arguments: Any) -> Done:
        """Cancel a flow run."""
        given = {"task_id": "cancel", "dag": DAG("shop", schedule=None), "deferrable": False, **arguments}
        return self.done(lambda: self._paused(PrefectCancelFlowRunOperator(**given), pause))

    def done(self, make: Callable[[], Any]) -> Done:
        """Make a task and run it, with the triggerer's part if it defers."""
        before = len(self.server.requests)
        self.ti.xcoms = {}
        value, error = None, None
        try:
            value = carried_out(make(), self.context, self._through_airflow)
        except Exception as raised:
            error = raised
        return Done(value, error, tuple(self.server.requests[before:]), self.ti.xcoms)

    def tried(self, call: Callable[[PrefectHook], Any]) -> Done:
        """Call the hook."""
        before = len(self.server.requests)
        value, error = None, None
        try:
            value = call(self.hook)
        except Exception as raised:
            error = raised
        return Done(value, error, tuple(self.server.requests[before:]))

    @staticmethod
    def _paused(task: Any, seconds: float) -> Any:
        """``task`` with a pause that no user can give it."""
        setattr(task, "poke_interval" if hasattr(task, "poke_interval") else "poll_interval", seconds)
        return task
