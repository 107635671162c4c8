"""The operator that cancels, renames or resumes many flow runs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_prefect.client.api import check_supported
from airflow_provider_prefect.client.errors import FlowRunNotFound, FlowRunNotPaused
from airflow_provider_prefect.client.model import LIVE, STATE_TYPES, FlowRun, State, is_uuid
from airflow_provider_prefect.client.printable import quoted
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.base import CONNECTION, PrefectTask, selecting
from airflow_provider_prefect.operators.flow_run import NAME_A_DEPLOYMENT
from airflow_provider_prefect.utils import arguments
from airflow_provider_prefect.utils.arguments import Field
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood, failing_without_retry

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_ACTIONS = {"cancel": LIVE, "resume": ("PAUSED",), "rename": STATE_TYPES}
"""What can be done, and in which state types by default."""

_SHOWN = 50
"""Flow runs that the preview names."""


class PrefectBulkFlowRunOperator(PrefectTask, BaseOperator):
    """Cancel, rename or resume all flow runs that meet some criteria. Not on Prefect 1.

    The log shows first which flow runs are meant. If they are more than ``limit``, nothing is done. Runs that Prefect's
    own schedule has created for the future are never cancelled: they would be missing when their time comes.

    The return value is a list of ``{"id", "name", "state"}``, with the name and state type that each flow run has then.
    One that is deleted meanwhile, or is not paused any more when it is to be resumed, is not in the list.

    :param action: ``cancel``, ``rename`` or ``resume``.
    :param limit: the most flow runs that may be changed. It has to be given.
    :param deployment: those of this deployment: ``flow/deployment``, or its id (UUID). (templated)
    :param tags: those that have all these tags. (templated)
    :param names: those with one of these names. (templated)
    :param states: those in one of these state types, such as ``["PAUSED"]``; by default all that the action makes sense
        for. (templated)
    :param new_name: for ``rename``, the new name, in which ``{name}`` and ``{id}`` stand for each flow run's own.
        (templated)
    :param run_input: for ``resume``, the input that all of them get. (templated)
    :param preview_only: only show in the log which flow runs are meant, and return them.
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong, or more flow runs than ``limit`` are meant; no
        retry is made.
    """

    fields: ClassVar[Mapping[str, Field]] = {
        "deployment": Field(arguments.text, way_out=NAME_A_DEPLOYMENT),
        "tags": selecting("tag"),
        "names": selecting("name"),
        "states": selecting("state type"),
        "new_name": Field(arguments.text, way_out="a flow run whose name is empty gets one that Prefect makes up."),
        "run_input": Field(arguments.json_object, otherwise="the flow runs are resumed without input"),
        "prefect_conn_id": CONNECTION,
    }
    template_fields: Sequence[str] = tuple(fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {"run_input": "json"}
    ui_color = "#e3e9ff"

    def __init__(
        self,
        *,
        action: str,
        limit: int,
        deployment: str | None = None,
        tags: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        states: Sequence[str] | None = None,
        new_name: str | None = None,
        run_input: Mapping[str, Any] | str | None = None,
        preview_only: bool = False,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if action not in _ACTIONS:
            raise ConfigurationErrorForGood(f"action={action!r} is none of {', '.join(map(repr, _ACTIONS))}.")
        if (action == "rename") != (new_name is not None):
            raise ConfigurationErrorForGood(
                "action='rename' needs new_name, for example new_name='{name} (old)'."
                if action == "rename"
                else f"new_name goes with action='rename' only, and not with action={action!r}."
            )
        if run_input is not None and action != "resume":
            raise ConfigurationErrorForGood(
                f"run_input goes with action='resume' only, and not with action={action!r}."
            )
        if deployment is None and tags is None and names is None:
            raise ConfigurationErrorForGood(
                "Give deployment, tags or names: without any, all flow runs would be meant."
            )
        self.action = action
        self.limit = arguments.checked_size("limit", limit, "flow runs")
        self.deployment = deployment
        self.tags = tags
        self.names = names
        self.states = states
        self.new_name = new_name
        self.run_input: Any = run_input
        self.preview_only = preview_only
        self.prefect_conn_id = prefect_conn_id
        self.remember_given()

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Change the flow runs, after the log has shown which they are."""
        with failing_without_retry():
            self.read_fields()
            criteria = self._criteria()
            hook = PrefectHook(self.prefect_conn_id)
            check_supported(hook.api, criteria=criteria)
            runs = self._find(hook, criteria)
            self._show(runs)
            if self.preview_only:
                return [_shown(run) for run in runs]
            changed = getattr(self, f"_{self.action}")(hook, runs)
        self.log.info("Changed %d of %d flow runs (action=%r).", len(changed), len(runs), self.action)
        return [_shown(run) for run in changed]

    def _criteria(self) -> dict[str, Any]:
        states = self.states or _ACTIONS[self.action]
        unknown = [state for state in states if state not in STATE_TYPES]
        if unknown:
            raise ConfigurationErrorForGood(
                f"states: {unknown[0]!r} is not a state type of Prefect. Give some of {', '.join(STATE_TYPES)}."
            )
        useless = [state for state in states if state not in _ACTIONS[self.action]]
        if useless:
            raise ConfigurationErrorForGood(
                f"states: a flow run in state {useless[0]} cannot be changed by {self.action}."
            )
        flow_runs: dict[str, Any] = {"state": {"type": {"any_": list(states)}}}
        if self.tags:
            flow_runs["tags"] = {"all_": list(self.tags)}
        if self.names:
            flow_runs["name"] = {"any_": list(self.names)}
        if self.deployment and is_uuid(self.deployment):
            flow_runs["deployment_id"] = {"any_": [self.deployment]}
        elif self.deployment:
            flow_name, slash, name = self.deployment.partition("/")
            if not slash:
                raise ConfigurationErrorForGood(f"deployment={self.deployment!r}: {NAME_A_DEPLOYMENT}")
            of_name = {"flows": {"name": {"any_": [flow_name]}}, "deployments": {"name": {"any_": [name]}}}
            return {"flow_runs": flow_runs, **of_name}
        return {"flow_runs": flow_runs}

    def _find(self, hook: PrefectHook, criteria: dict[str, Any]) -> list[FlowRun]:
        # Of the flow runs to cancel all are read: any number of them may be planned, and those come first.
        limit = None if self.action == "cancel" else self.limit + 1
        found = hook.find_flow_runs(criteria, sort="EXPECTED_START_TIME_DESC", limit=limit)
        if self.action == "cancel":
            found = [run for run in found if not run.is_planned]
        if len(found) > self.limit:
            self._show(found)
            raise ConfigurationErrorForGood(
                f"More than limit={self.limit} flow runs are meant, so none was changed. Give a higher limit, or "
                "narrower criteria."
            )
        return found

    def _show(self, runs: Sequence[FlowRun]) -> None:
        self.log.info("%d flow runs are meant (action=%r):", len(runs), self.action)
        for run in runs[:_SHOWN]:
            self.log.info("  %s %s %s", run.state.type, run.id, quoted(run.name))
        if len(runs) > _SHOWN:
            self.log.info("  … and %d more", len(runs) - _SHOWN)

    def _cancel(self, hook: PrefectHook, runs: Sequence[FlowRun]) -> list[FlowRun]:
        return _with_states(runs, hook.cancel_flow_runs([run.id for run in runs]))

    def _resume(self, hook: PrefectHook, runs: Sequence[FlowRun]) -> list[FlowRun]:
        states = {}
        for run in runs:
            try:
                states[run.id] = hook.resume_flow_run(run.id, self.run_input)
            except (FlowRunNotFound, FlowRunNotPaused) as error:
                self.log.info("%s", error)
        return _with_states(runs, states)

    def _rename(self, hook: PrefectHook, runs: Sequence[FlowRun]) -> list[FlowRun]:
        renamed = []
        for run in runs:
            name = (self.new_name or "").replace("{id}", run.id).replace("{name}", run.name)
            try:
                hook.rename_flow_run(run.id, name)
            except FlowRunNotFound as error:
                self.log.info("%s", error)
                continue
            renamed.append(replace(run, name=name))
        return renamed


def _with_states(runs: Sequence[FlowRun], states: Mapping[str, State]) -> list[FlowRun]:
    return [replace(run, state=states[run.id]) for run in runs if run.id in states]


def _shown(run: FlowRun) -> dict[str, str]:
    return {"id": run.id, "name": run.name, "state": run.state.type}
