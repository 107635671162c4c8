"""Find the flow run that belongs to a task instance, and start one exactly once.

Theory of operation
-------------------

Every flow run is created with an idempotency key, so that a request whose response was lost can be sent again. The
default key names the task instance and the *try*; so the keys of all earlier tries are known, and a retry asks Prefect
for their flow runs in one request before it creates anything. :func:`decide` then says what to do.

A retry leaves ``max_tries`` of the task instance as it is, a clear raises it. So flow runs whose context has the same
``max_tries`` as now are of this *generation*, and may be continued with. Older ones are what the user has cleared away:
they are never adopted, and live ones are asked to stop. (``task.retries`` is never read: it is today's value, not the
one that the task instance started with.)

Prefect may return a flow run for the key of *this* try, although no earlier request of this process explains it. If
its context names this very try in this very Airflow, Airflow has lost the task instance and made it anew: the task
reattaches to the flow run, and says so. Otherwise it belongs to somebody else, and starting fails.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from airflow_provider_prefect.client.api import make_api
from airflow_provider_prefect.client.errors import ApiError, ConfigurationError, PrefectError, Unreachable
from airflow_provider_prefect.client.model import LIVE, FlowRun, NewFlowRun, Source
from airflow_provider_prefect.client.printable import quoted
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.transport import Transport, run
from airflow_provider_prefect.client.urls import flow_run_url

_MAX_RESTARTS = 3
"""How often a flow run is put back to scheduled if the responses to that get lost."""


@dataclass(frozen=True)
class LoopIteration:
    """Identify one iteration of a loop (Airflow 3.4).

    :param index: counted from 1.
    :param region_id: what Airflow calls the loop's region: another one after the loop was cleared; of a mapped task the
        region of its expansion.
    :param region_index: the place within the region.
    """

    index: int
    region_id: str
    region_index: int | None


@dataclass(frozen=True)
class TaskTry:
    """Identify one try of one task instance.

    :param dag_run_start: when the Dag run started, ISO 8601. It keeps two Airflow deployments on one Prefect server
        apart, and a recreated Dag run from its predecessor of the same name.
    :param max_tries: as the task instance records it; a retry leaves it as it is, a clear raises it.
    :param url: the task instance's page in Airflow.
    :param loop: which iteration of a loop it is (Airflow 3.4); ``None`` outside of loops. Iterations share the map
        index and the try number.
    """

    dag_id: str
    run_id: str
    dag_run_start: str
    task_id: str
    map_index: int
    try_number: int
    max_tries: int
    url: str = ""
    loop: LoopIteration | None = None

    @property
    def idempotency_key(self) -> str:
        """Return the key of this very try. The deployment is not part of it, since Prefect scopes keys by flow."""
        return self._key(self.try_number)

    @property
    def earlier_keys(self) -> list[str]:
        """Return the keys of all earlier tries, the latest first."""
        return [self._key(number) for number in range(self.try_number - 1, 0, -1)]

    def _key(self, try_number: int) -> str:
        parts = [self.dag_id, self.run_id, self.dag_run_start, self.task_id, self.map_index, try_number]
        if self.loop:
            parts += [self.loop.index, self.loop.region_id, self.loop.region_index]
        return f"airflow-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"

    @property
    def task_name(self) -> str:
        """Return Dag, task and, if it is mapped, map index."""
        task = self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"
        return f"{self.dag_id}.{task}"

    @property
    def dag_run_name(self) -> str:
        """Return the Dag run's id, and in a loop the iteration: what the default name of the flow run ends with."""
        return f"{self.run_id} (iteration {self.loop.index})" if self.loop else self.run_id

    @property
    def context(self) -> dict[str, Any]:
        """Return what the flow run's context has under ``airflow``."""
        return {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "dag_run_start": self.dag_run_start,
            "task_id": self.task_id,
            "map_index": self.map_index,
            "try_number": self.try_number,
            "max_tries": self.max_tries,
            "url": self.url,
            **({f"loop_{name}": value for name, value in asdict(self.loop).items()} if self.loop else {}),
        }

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of the flow run on Prefect 3: what is useful for finding a run."""
        found_by = ("dag_id", "run_id", "task_id", "map_index", "try_number", "loop_index")
        return {f"airflow.{name}": str(value) for name, value in self.context.items() if name in found_by}

    def has_started(self, flow_run: FlowRun) -> bool:
        """Return whether the flow run's context names this very try, in this very Airflow.

        The URL tells two Airflow deployments apart, one of which may be a copy of the other.
        """
        found = flow_run.context.get("airflow")
        if not isinstance(found, Mapping) or not self.url:
            return False
        return all(found.get(name) == value for name, value in self.context.items() if name != "max_tries")


class Action(Enum):
    """Name what a try does about its flow run."""

    CREATE = "created"
    REATTACH = "reattached to"
    ADOPT = "adopted"
    RESTART = "restarted"


@dataclass(frozen=True)
class Decision:
    """Say what a try does: ``run`` is the flow run to continue with, ``stop`` are those to cancel first."""

    action: Action
    run: FlowRun | None = None
    stop: tuple[FlowRun, ...] = ()


def decide(this_try: TaskTry, found: Sequence[FlowRun], lineage: str, on_retry: str) -> Decision:
    """Decide what this try does, given the flow runs that Prefect has for the keys of the earlier ones.

    :param found: in any order; a try that has created none is absent.
    :param lineage: of what the task starts now. A run of another deployment (flow group) is treated as an older one.
    :param on_retry: what follows a run of this generation that did not complete: ``new`` or ``restart``.
    """
    order = {key: position for position, key in enumerate(this_try.earlier_keys)}
    ours = [run for run in found if run.idempotency_key in order]
    ours.sort(key=lambda run: order[run.idempotency_key or ""])
    current = [run for run in ours if _generation(run) == this_try.max_tries and run.deployment_id == lineage]
    stop = tuple(run for run in ours if run not in current and run.state.type in LIVE)
    newest = current[0] if current else None
    if newest is None or newest.state.type == "CANCELLING":
        return Decision(Action.CREATE, stop=stop)
    if newest.state.type == "COMPLETED":
        return Decision(Action.ADOPT, newest, stop)
    if not newest.is_final:
        return Decision(Action.REATTACH, newest, stop)
    if on_retry == "restart":
        return Decision(Action.RESTART, newest, stop)
    return Decision(Action.CREATE, stop=stop)


def _generation(run: FlowRun) -> int | None:
    """Return the ``max_tries`` that the run was started with, if its context has it."""
    found = run.context.get("airflow")
    value = found.get("max_tries") if isinstance(found, Mapping) else None
    return value if isinstance(value, int) else None


def task_try(context: Mapping[str, Any]) -> TaskTry:
    """Return which try of which task instance runs now, from Airflow's context."""
    ti, dag_run = context["ti"], context["dag_run"]
    started = getattr(dag_run, "start_date", None)
    return TaskTry(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        dag_run_start=started.isoformat() if started else "",
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        max_tries=ti.max_tries,
        url=getattr(ti, "log_url", None) or "",
        loop=_loop_iteration(context),
    )


def _loop_iteration(context: Mapping[str, Any]) -> LoopIteration | None:
    # Airflow 3.4 gives mapped tasks a region too: only the loop in the context says that there is one.
    loop = context.get("loop")
    index = getattr(loop, "index", None)
    if index is None:
        return None
    ti = context["ti"]
    region_id, region_index = getattr(ti, "region_id", None), getattr(ti, "region_index", None)
    return LoopIteration(int(index), "" if region_id is None else str(region_id), region_index)


class FlowRunStarter:
    """Find or create the flow run of one try. Afterwards ``action`` says which of it was done.

    :param transport: carries the requests.
    :param patience: seconds for which each request is sent again while Prefect is not answering.
    :param on_retry: what follows a flow run that did not complete: ``new`` or ``restart``.
    :param stop_older: whether live flow runs from before the task was cleared are asked to stop.
    """

    def __init__(
        self,
        transport: Transport,
        patience: float,
        this_try: TaskTry,
        log: Any,
        *,
        on_retry: str,
        stop_older: bool,
    ) -> None:
        self._transport = transport
        self._api = make_api(transport, Patience(patience))
        self._this_try = this_try
        self._log = log
        self._on_retry = on_retry
        self._stop_older = stop_older
        self.action = Action.CREATE

    def start_flow_run(self, source: Source, new: NewFlowRun, *, is_default_key: bool) -> FlowRun:
        """Return the flow run to wait for.

        :param is_default_key: whether the idempotency key is that of this try. One that the user gives is used as it
            stands, and so is the run that it finds, in whatever state.
        :raises ConfigurationError: another task's flow run has the key of this try.
        """
        if not is_default_key:
            created = run(self._api.create_flow_run(source, new))
            self.action = Action.CREATE if created.is_new else Action.ADOPT
            return created.run
        decision = decide(self._this_try, self._earlier_runs(), source.lineage, self._on_retry)
        self._stop(decision.stop)
        self.action = decision.action
        if decision.run is not None:
            if decision.action is not Action.RESTART:
                return decision.run
            if restarted := self._restart(decision.run):
                return restarted
            self._log.warning("Prefect does not restart the flow run, which is in state %s.", decision.run.state)
            self.action = Action.CREATE
        created = run(self._api.create_flow_run(source, new))
        if not created.is_new and not created.resent:
            if self._this_try.has_started(created.run):
                self._log.warning(
                    "The flow run was started by this very try before, which Airflow has forgotten: its database may "
                    "have lost the task instance. The task reattaches to it."
                )
                self.action = Action.ADOPT if created.run.is_final else Action.REATTACH
                return created.run
            raise ConfigurationError(
                "A flow run has the idempotency key of this try already, and this task has not created it: Airflow's "
                "database may have been restored to an earlier state, or another Airflow has a Dag run of the same "
                f"name and start. Give idempotency_key, or delete that flow run. See {self._shown(created.run)}"
            )
        return created.run

    def _restart(self, failed: FlowRun) -> FlowRun | None:
        """Return the flow run after it was put back to scheduled; ``None`` if Prefect does not put it back.

        The flow run is read before the request is sent again, since it may start, and end, right after the first one.
        """
        for _ in range(_MAX_RESTARTS):
            try:
                accepted = run(self._api.restart_flow_run(failed.id))
            except (Unreachable, ApiError):
                accepted = True  # possibly; the next read shows it
            now = run(self._api.read_flow_run(failed.id))
            if now.state.id != failed.state.id:
                return now
            if not accepted:
                break
        return None

    def _earlier_runs(self) -> Sequence[FlowRun]:
        keys = self._this_try.earlier_keys
        if not keys:
            return ()
        try:
            return run(make_api(self._transport, Patience(0)).find_by_keys(keys))
        except ApiError as error:
            if error.status == 500 and (found := self._find_one_by_one(keys)):
                return found
        except Unreachable:
            pass
        return run(self._api.find_by_keys(keys))

    def _find_one_by_one(self, keys: Sequence[str]) -> Sequence[FlowRun]:
        """Return the flow runs of the keys that Prefect can list, if the latest is among them.

        Prefect 3 cannot list a flow run with a number beyond 64 bits in its parameters, and then lists no other one in
        the same response (3.8.8).
        """
        found: list[FlowRun] = []
        for key in keys:
            try:
                found += run(make_api(self._transport, Patience(0)).find_by_keys([key]))
            except (ApiError, Unreachable) as error:
                if not found:
                    return ()
                self._log.warning("The flow run of an earlier try cannot be read from Prefect: %s", error)
        return found

    def _stop(self, older: Sequence[FlowRun]) -> None:
        for flow_run in older if self._stop_older else ():
            try:
                state = run(self._api.cancel_flow_run(flow_run.id))
                self._log.info(
                    "A flow run from before this task was cleared was asked to stop, and is in state %s. See %s",
                    state,
                    self._shown(flow_run),
                )
            except PrefectError as error:
                self._log.warning(
                    "A flow run from before this task was cleared could not be asked to stop (%s). See %s",
                    error,
                    self._shown(flow_run),
                )

    def _shown(self, flow_run: FlowRun) -> str:
        return f"{flow_run_url(self._transport.settings.ui_url, flow_run)} ({quoted(flow_run.name)})"
