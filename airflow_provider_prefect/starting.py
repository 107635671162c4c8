"""Starting a flow run exactly once, whatever became of the earlier tries of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_prefect.client.errors import ApiError, ConfigurationError, PrefectError, Unreachable
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.new_flow_run import NewFlowRun, Source
from airflow_provider_prefect.recovery import Action, TryOfTask, decide

if TYPE_CHECKING:
    from airflow_provider_prefect.hooks.prefect import PrefectHook

_RESTARTS = 3
"""How often a flow run is put back to scheduled if the answers to that get lost."""


class Starting:
    """One try's way to its flow run; ``action`` says what it was.

    :param on_retry: what follows a flow run that has ended unsuccessful: ``new`` or ``restart``.
    :param stop_older: whether live flow runs from before the task was cleared are asked to stop.
    """

    def __init__(self, hook: PrefectHook, this_try: TryOfTask, log: Any, *, on_retry: str, stop_older: bool) -> None:
        self._hook = hook
        self._this_try = this_try
        self._log = log
        self._on_retry = on_retry
        self._stop_older = stop_older
        self.action = Action.CREATE

    def go(self, source: Source, new: NewFlowRun, *, key_is_ours: bool) -> FlowRun:
        """The flow run to wait for.

        :param key_is_ours: the idempotency key is that of this try; one that the user gives is used as it stands, and
            the run that it finds, in whatever state.
        :raises ConfigurationError: somebody else's flow run has the key of this try.
        """
        if not key_is_ours:
            created = self._hook.create_flow_run(source, new)
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
            self._log.warning("Prefect does not restart flow run %r (%s).", decision.run.name, decision.run.state)
            self.action = Action.CREATE
        created = self._hook.create_flow_run(source, new)
        if not created.is_new and not created.resent:
            raise ConfigurationError(
                f"Flow run {created.run.name!r} ({created.run.id}) has the idempotency key of this try already, and "
                "this task has not created it: Airflow's database may have been set back, or another Airflow has a Dag "
                "run of the same name and start. Give idempotency_key, or delete that flow run."
            )
        return created.run

    def _restart(self, run: FlowRun) -> FlowRun | None:
        """The flow run as it is when it was put back to scheduled; ``None`` if Prefect does not put it back.

        The request is never sent twice without a look in between, since a run may start, and end, right after it.
        """
        for _ in range(_RESTARTS):
            try:
                accepted = self._hook.restart_flow_run(run.id)
            except (Unreachable, ApiError):
                accepted = True  # perhaps; a look will tell
            now = self._hook.read_flow_run(run.id)
            if now.state.id != run.state.id:
                return now
            if not accepted:
                break
        return None

    def _earlier_runs(self) -> Sequence[FlowRun]:
        return self._hook.find_by_keys(self._this_try.earlier_keys)

    def _stop(self, runs: Sequence[FlowRun]) -> None:
        for run in runs if self._stop_older else ():
            try:
                state = self._hook.cancel_flow_run(run.id)
                self._log.info("Flow run %r, from before this task was cleared, was asked to stop: %s", run.name, state)
            except PrefectError as error:
                url = self._hook.flow_run_url(run)
                self._log.warning("Flow run %r could not be asked to stop (%s): %s", run.name, error, url)
