"""The hook: an Airflow connection, and what can be asked of the Prefect API behind it."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_prefect.client import identify, rest
from airflow_provider_prefect.client.address import flow_run_url
from airflow_provider_prefect.client.call import Look, handled, run
from airflow_provider_prefect.client.errors import ConfigurationError, PrefectError
from airflow_provider_prefect.client.model import FlowRun, State
from airflow_provider_prefect.client.new_flow_run import Created, NewFlowRun, Source
from airflow_provider_prefect.client.newest import NewestRun
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.waiting import Deadlines, Looking, Observer, wait
from airflow_provider_prefect.hooks._base import PATIENCE, check_flow_run_id
from airflow_provider_prefect.hooks._outputs import MAX_RESULT_SIZE, ReadingHook
from airflow_provider_prefect.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_prefect.streaming import TaskLog

__all__ = ["MAX_RESULT_SIZE", "MAX_UNREACHABLE", "PATIENCE", "PrefectHook", "check_flow_run_id", "check_one_source"]

MAX_UNREACHABLE = 600.0
"""Seconds for which a wait puts up with an API that does not answer usefully."""


class PrefectHook(ReadingHook):
    """Talks to Prefect Cloud or to a self-hosted Prefect server (1, 2 or 3) through an Airflow connection.

    Nothing is read or opened before the first call.

    :param prefect_conn_id: the connection, of type ``prefect``.
    """

    def test_connection(self) -> tuple[bool, str]:
        """Say in one sentence which server answers and how it is authenticated, or what is wrong.

        :return: whether the connection works, and the sentence. Airflow's UI shows it.
        """
        try:
            settings = self.settings
            server = self.with_patience(0)._run(identify.server(settings))
        except PrefectError as error:
            return False, str(error)
        return True, f"{server} at {settings.api_url}, with {settings.authentication}."

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The form's own fields for Airflow before 3.2; see :mod:`airflow_provider_prefect.provider_info`."""
        from airflow_provider_prefect.hooks.form import widgets

        return widgets(CONN_FIELDS)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The form's standard fields for Airflow before 3.2."""
        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    # Starting

    def find_source(
        self,
        deployment: str | None = None,
        *,
        flow_name: str | None = None,
        flow_id: str | None = None,
        project_name: str | None = None,
    ) -> Source:
        """Find what to start: a deployment, or on Prefect 1 a flow.

        :param deployment: ``flow/deployment``, or the id (UUID) of one.
        :param flow_name: instead of it, a flow that has exactly one deployment; on Prefect 1 the flow.
        :param flow_id: on Prefect 1, instead of its name, the id of the flow or of its flow group.
        :param project_name: on Prefect 1, the project of ``flow_name``.
        :raises ConfigurationError: not exactly one of the first three is given, or it fits several.
        :raises DeploymentNotFound: there is none; the message lists the nearest names.
        """
        wanted = {"deployment": deployment or None, "flow_name": flow_name or None, "flow_id": flow_id or None}
        self.check_supported(**wanted, project_name=project_name)
        check_one_source(**wanted)
        call = self.api.find_source(**wanted, project_name=project_name)
        return self._run(identify.explained(call, self.settings))

    def start_flow_run(
        self,
        deployment: str | None = None,
        *,
        flow_name: str | None = None,
        flow_id: str | None = None,
        project_name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        run_name: str | None = None,
        tags: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        agent_labels: Sequence[str] | None = None,
        context: Mapping[str, Any] | None = None,
        job_variables: Mapping[str, Any] | None = None,
        run_config: Mapping[str, Any] | None = None,
        work_queue_name: str | None = None,
        scheduled_start_time: datetime | None = None,
        idempotency_key: str | None = None,
        enforce_parameter_schema: bool | None = None,
    ) -> Created:
        """Create a flow run, exactly once however often the request has to be sent.

        :param deployment: ``flow/deployment``, or the id (UUID) of one.
        :param flow_name: instead of it, a flow that has exactly one deployment; on Prefect 1 the flow.
        :param flow_id: on Prefect 1, instead of its name, the id of the flow or of its flow group.
        :param project_name: on Prefect 1, the project of ``flow_name``.
        :param parameters: laid over the deployment's own.
        :param run_name: the flow run's name; Prefect makes one up without.
        :param tags: added to the deployment's own.
        :param labels: kept with the run on Prefect 3; the others have none, and get none.
        :param agent_labels: on Prefect 1, the labels that an agent has to have to run it.
        :param context: kept with the run; on Prefect 1 the flow sees it in ``prefect.context``.
        :param job_variables: laid over the deployment's own, for the work pool's job template.
        :param run_config: on Prefect 1, the run config to use, as a mapping with its ``type``.
        :param work_queue_name: the work queue that the run is put into.
        :param scheduled_start_time: not before this time; at once without.
        :param idempotency_key: if Prefect has a run of this flow with this key, that run is returned and nothing
            created. Without one a fresh key is used, so that only this call's own tries find each other.
        :param enforce_parameter_schema: overrides whether the deployment checks parameters against its schema.
        :return: the flow run, and whether it is new.
        :raises UnsupportedByApi: an argument is not for the API that the connection has.
        :raises InvalidRequest: Prefect refuses the parameters or another argument.
        """
        self.check_supported(
            tags=tags or None,
            labels=agent_labels,
            job_variables=job_variables,
            run_config=run_config,
            work_queue_name=work_queue_name,
            enforce_parameter_schema=enforce_parameter_schema,
        )
        source = self.find_source(deployment, flow_name=flow_name, flow_id=flow_id, project_name=project_name)
        new = NewFlowRun(
            parameters=parameters,
            name=run_name,
            tags=tuple(tags),
            labels=labels,
            agent_labels=None if agent_labels is None else tuple(agent_labels),
            context=context,
            idempotency_key=idempotency_key or uuid.uuid4().hex,
            scheduled_start_time=scheduled_start_time,
            job_variables=job_variables,
            run_config=run_config,
            work_queue_name=work_queue_name,
            enforce_parameter_schema=enforce_parameter_schema,
        )
        return self.create_flow_run(source, new)

    def create_flow_run(self, source: Source, new: NewFlowRun) -> Created:
        """Create a flow run of what :meth:`find_source` has found, as :meth:`start_flow_run` does."""
        return self._run(self.api.create_flow_run(source, new))

    # Waiting

    def wait_for_flow_run(
        self,
        flow_run_id: str,
        *,
        poll_interval: float = 10,
        deadlines: Deadlines | None = None,
        max_unreachable: float = MAX_UNREACHABLE,
        observer: Observer | None = None,
    ) -> FlowRun:
        """Wait until the flow run has ended, in whatever state, and return it.

        :param poll_interval: seconds between two looks at it.
        :param deadlines: when to stop waiting; never without.
        :param max_unreachable: seconds for which an API that does not answer usefully is put up with.
        :param observer: is told what happens meanwhile; this hook's log by default.
        :raises FlowRunTimeout: a deadline came first.
        :raises FlowRunNotFound: there is no such run (any more).
        :raises Unreachable: the API was out of reach for too long.
        """
        check_flow_run_id(flow_run_id)
        looking = Looking(self.api, poll_interval, Patience(max_unreachable, waiting=True))
        call = wait(self.api, flow_run_id, deadlines or Deadlines(), observer or TaskLog(self.log))
        return run(handled(call, looking), self.get_conn().perform)

    def find_newest(self, newest: NewestRun) -> FlowRun | None:
        """The newest run of a deployment, if there is one by now. Not on Prefect 1."""
        self.check_supported(deployment=newest.deployment_id)
        return self._run(newest.find(time.time()))

    def wait_for_newest(
        self, newest: NewestRun, poll_interval: float, deadlines: Deadlines, max_unreachable: float = MAX_UNREACHABLE
    ) -> FlowRun:
        """The newest run of a deployment as soon as there is one; it is not waited for itself. Not on Prefect 1."""
        self.check_supported(deployment=newest.deployment_id)
        patience = Patience(max_unreachable, waiting=True)
        told = TaskLog(self.log).on_none_yet
        return run(newest.wait(poll_interval, deadlines.finished, patience, told), self.get_conn().perform)

    def see_flow_run(
        self, flow_run_id: str, *, poll_interval: float = 10, max_unreachable: float = MAX_UNREACHABLE
    ) -> FlowRun:
        """The flow run as it is now, read with the patience of a wait: one look of :meth:`wait_for_flow_run`."""
        check_flow_run_id(flow_run_id)
        looking = Looking(self.api, poll_interval, Patience(max_unreachable, waiting=True))
        seen = run(handled(iter(Look(flow_run_id, None, math.inf)), looking), self.get_conn().perform)
        assert seen is not None
        return seen

    # Reading and changing a flow run

    def read_flow_run(self, flow_run_id: str) -> FlowRun:
        """The flow run of this id; :class:`FlowRunNotFound` without one."""
        check_flow_run_id(flow_run_id)
        return self._run(self.api.read_flow_run(flow_run_id))

    def read_flow_runs(self, flow_run_ids: Sequence[str]) -> list[FlowRun]:
        """The flow runs of these ids, as far as Prefect still has them."""
        return self._run(self.api.read_flow_runs(flow_run_ids)) if flow_run_ids else []

    def find_by_keys(self, idempotency_keys: Sequence[str]) -> list[FlowRun]:
        """The flow runs that were created with one of these idempotency keys."""
        return self._run(self.api.find_by_keys(idempotency_keys)) if idempotency_keys else []

    def find_live_flow_runs(self, deployment_id: str, tags: Sequence[str] = ()) -> list[FlowRun]:
        """The runs of a deployment that may be asked to stop.

        Those that have ended, are stopping, or were made for the future by Prefect's own schedule are none. Not on
        Prefect 1, which has no deployments.
        """
        self.check_supported(deployment=deployment_id)
        return self._run(rest.find_live_flow_runs(deployment_id, tags))

    def find_flow_runs(
        self, criteria: Mapping[str, Any], *, sort: str = "ID_DESC", most: int | None = None
    ) -> list[FlowRun]:
        """The flow runs that meet ``criteria``, the body of Prefect's ``/flow_runs/filter``, ``most`` at the most.

        Not on Prefect 1, which has another language for it.
        """
        self.check_supported(criteria=criteria)
        return self._run(rest.filter_flow_runs(criteria, sort=sort, most=most))

    def rename_flow_run(self, flow_run_id: str, name: str) -> None:
        """Give a flow run another name, in whatever state it is."""
        check_flow_run_id(flow_run_id)
        self._run(self.api.rename_flow_run(flow_run_id, name))

    def cancel_flow_run(self, flow_run_id: str) -> State:
        """Ask a flow run to stop; returns the state it is in then, CANCELLING as a rule."""
        check_flow_run_id(flow_run_id)
        return self._run(self.api.cancel_flow_run(flow_run_id))

    def restart_flow_run(self, flow_run_id: str) -> bool:
        """Put a flow run that has ended back to scheduled; returns whether Prefect did it. Not on Prefect 1."""
        check_flow_run_id(flow_run_id)
        self.check_supported(on_retry="restart")
        return self._run(rest.restart_flow_run(flow_run_id))

    def flow_run_url(self, flow_run: FlowRun) -> str:
        """The page of a flow run in Prefect's UI."""
        return flow_run_url(self.settings.ui_url, flow_run)


def check_one_source(deployment: str | None, flow_name: str | None, flow_id: str | None) -> None:
    """Refuse what does not say, or says twice, what to start."""
    given = [name for name, value in locals().items() if value is not None]
    if len(given) != 1:
        raise ConfigurationError(
            "Give exactly one of deployment='flow/deployment' (or its id), flow_name, and on Prefect 1 flow_id; "
            f"{' and '.join(given) or 'none'} {'are' if len(given) > 1 else 'is'} given."
        )
