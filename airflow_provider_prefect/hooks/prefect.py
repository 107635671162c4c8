"""The hook: an Airflow connection, and what can be asked of the Prefect API behind it."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_prefect.client.api import Api, check_supported, make_api
from airflow_provider_prefect.client.errors import ConfigurationError, PrefectError
from airflow_provider_prefect.client.model import (
    ALL,
    Artifact,
    Created,
    FlowRun,
    LogRecord,
    NewFlowRun,
    RunInput,
    State,
    TaskRun,
    is_uuid,
)
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.client.urls import flow_run_url
from airflow_provider_prefect.client.wait.flow_run import Deadlines, Observer, Poller, wait_for_flow_run
from airflow_provider_prefect.hooks.connection import form_widgets, read_settings
from airflow_provider_prefect.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_prefect.utils import arguments, results
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood
from airflow_provider_prefect.utils.task_log import TaskLog

if TYPE_CHECKING:
    from airflow_provider_prefect.client.http.blocking import BlockingTransport

PATIENCE = 60.0
"""Seconds for which a request is sent again while Prefect is not answering."""

MAX_UNREACHABLE = 600.0
"""Seconds for which a wait tolerates that Prefect is not answering."""

MAX_RESULT_SIZE = 1024 * 1024
"""Bytes of JSON that a result may have to become an XCom."""


class PrefectHook(BaseHook):
    """Talk to Prefect Cloud or to a self-hosted Prefect server (1, 2 or 3) through an Airflow connection.

    Nothing is read or opened before the first call. Every call that reaches Prefect may raise

    * :class:`ConfigurationError`: the connection does not exist, or one of its fields is wrong;
    * :class:`AuthenticationError`: the credentials are missing, wrong or not allowed to do this;
    * :class:`Unreachable`: Prefect has not answered for 60 seconds (see :meth:`with_patience`);
    * :class:`ApiError`: Prefect has answered with another failure,

    all of them from :mod:`airflow_provider_prefect.client.errors`. The methods list only what they raise besides.

    :param prefect_conn_id: the connection, of type ``prefect``.
    """

    conn_name_attr = "prefect_conn_id"
    default_conn_name = "prefect_default"
    conn_type = "prefect"
    hook_name = "Prefect"

    def __init__(self, prefect_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefect_conn_id = prefect_conn_id
        self._transport: BlockingTransport | None = None
        self._patience = PATIENCE

    # The connection

    def get_conn(self) -> BlockingTransport:
        """Return the transport of this hook's requests; it holds one HTTP session."""
        if self._transport is None:
            from airflow_provider_prefect.client.http.blocking import BlockingTransport

            self._transport = BlockingTransport(lambda: read_settings(self.prefect_conn_id, type(self)))
        return self._transport

    def with_patience(self, seconds: float) -> Self:
        """Return a copy of this hook with another patience; it shares the session, if that is open.

        :param seconds: how long a request is sent again while Prefect is not answering; 60 by default.
        """
        other = copy.copy(self)
        other._patience = seconds
        return other

    @property
    def settings(self) -> Settings:
        """Return the settings that the connection stands for."""
        return self.get_conn().settings

    @property
    def api(self) -> Api:
        """Return the connection's API. Its calls are coroutines, which :func:`.client.transport.run` runs."""
        return make_api(self.get_conn(), Patience(self._patience))

    def test_connection(self) -> tuple[bool, str]:
        """Say in one sentence which server answers and how it is authenticated, or what is wrong.

        :return: whether the connection works, and the sentence. Airflow's UI shows it.
        """
        try:
            settings = self.settings
            server = run(self.with_patience(0).api.describe_server())
        except PrefectError as error:
            return False, str(error)
        return True, f"{server} at {settings.api_url}, with {settings.authentication}."

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields for Airflow before 3.2; see :mod:`airflow_provider_prefect.provider_info`."""
        return form_widgets(CONN_FIELDS)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form shows the standard fields, for Airflow before 3.2."""
        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    # Starting

    def start_flow_run(
        self,
        deployment: str | None = None,
        *,
        flow_name: str | None = None,
        flow_id: str | None = None,
        project_name: str | None = None,
        parameters: Mapping[str, Any] | str | None = None,
        run_name: str | None = None,
        tags: Sequence[str] = (),
        labels: Mapping[str, Any] | None = None,
        agent_labels: Sequence[str] | None = None,
        context: Mapping[str, Any] | str | None = None,
        job_variables: Mapping[str, Any] | str | None = None,
        run_config: Mapping[str, Any] | str | None = None,
        work_queue_name: str | None = None,
        scheduled_start_time: datetime | timedelta | str | None = None,
        idempotency_key: str | None = None,
        enforce_parameter_schema: bool | None = None,
    ) -> Created:
        """Create a flow run, exactly once however often the request has to be sent.

        Values are taken in the same forms as those of :class:`PrefectStartFlowRunOperator`; ``None``, ``"None"`` and
        an empty text count as not given.

        :param deployment: ``flow/deployment``, or the id (UUID) of a deployment.
        :param flow_name: instead of it, a flow that has exactly one deployment; on Prefect 1 the flow.
        :param flow_id: on Prefect 1, instead of its name, the id of the flow or of its flow group.
        :param project_name: on Prefect 1, the project of ``flow_name``.
        :param parameters: override the deployment's own; a mapping, or its JSON text, as all mappings here.
        :param run_name: the flow run's name; Prefect makes one up by default.
        :param tags: added to the deployment's own.
        :param labels: kept with the run on Prefect 3; the others have none, and get none.
        :param agent_labels: on Prefect 1, the labels that an agent has to have to run it.
        :param context: kept with the run; on Prefect 1 the flow sees it in ``prefect.context``. The key ``airflow`` is
            reserved for operators.
        :param job_variables: override the deployment's own, for the work pool's job template.
        :param run_config: on Prefect 1, the run config to use, as a mapping with its ``type``.
        :param work_queue_name: the work queue that the run is put into.
        :param scheduled_start_time: not before this time (a datetime or ISO 8601 text, UTC without a zone), or a
            duration from now; at once by default.
        :param idempotency_key: if Prefect has a run of this flow with this key, that run is returned and nothing is
            created. By default a fresh key is used, so that only this call's own requests find each other.
        :param enforce_parameter_schema: overrides whether the deployment checks parameters against its schema.
        :return: the flow run, and whether it is new.
        :raises ConfigurationError: not exactly one of ``deployment``, ``flow_name`` and ``flow_id`` is given, or the
            one that is given fits several; or a value cannot be used, which the message names.
        :raises DeploymentNotFound: there is no such deployment or flow; the message lists the nearest names.
        :raises UnsupportedByApi: an argument is not supported by the API of the connection.
        :raises InvalidRequest: Prefect refuses the parameters or another argument.
        """
        source = {
            "deployment": arguments.text("deployment", deployment),
            "flow_name": arguments.text("flow_name", flow_name),
            "flow_id": arguments.text("flow_id", flow_id),
        }
        project_name = arguments.text("project_name", project_name)
        new = NewFlowRun(
            parameters=arguments.json_object("parameters", parameters),
            name=arguments.text("run_name", run_name),
            tags=arguments.string_list("tags", tags),
            labels=arguments.json_object("labels", labels),
            agent_labels=None
            if arguments.is_nothing(agent_labels)
            else arguments.string_list("agent_labels", agent_labels),
            context=arguments.run_context("context", context),
            idempotency_key=arguments.text("idempotency_key", idempotency_key) or uuid.uuid4().hex,
            scheduled_start_time=arguments.start_time("scheduled_start_time", scheduled_start_time),
            job_variables=arguments.json_object("job_variables", job_variables),
            run_config=arguments.json_object("run_config", run_config),
            work_queue_name=arguments.text("work_queue_name", work_queue_name),
            enforce_parameter_schema=enforce_parameter_schema,
        )
        api = self.api
        check_supported(
            api,
            **source,
            project_name=project_name,
            tags=new.tags or None,
            agent_labels=new.agent_labels,
            job_variables=new.job_variables,
            run_config=new.run_config,
            work_queue_name=new.work_queue_name,
            enforce_parameter_schema=enforce_parameter_schema,
        )
        check_one_source(**source)
        return run(api.create_flow_run(run(api.find_source(**source, project_name=project_name)), new))

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

        :param flow_run_id: the id (UUID) of the flow run.
        :param poll_interval: seconds between two polls.
        :param deadlines: when to stop waiting, in epoch seconds; never by default.
        :param max_unreachable: seconds for which the wait tolerates that Prefect is not answering.
        :param observer: is told what happens meanwhile; this hook's log by default.
        :raises FlowRunTimeout: a deadline came first.
        :raises FlowRunNotFound: there is no such flow run (any more).
        :raises Unreachable: Prefect has not answered for ``max_unreachable``.
        """
        check_flow_run_id(flow_run_id)
        observer = observer or TaskLog(self.log)
        poller = Poller(self.get_conn(), flow_run_id, poll_interval, max_unreachable, observer)
        return run(wait_for_flow_run(poller, deadlines or Deadlines(), observer))

    # Reading and changing flow runs

    def read_flow_run(self, flow_run_id: str) -> FlowRun:
        """Return the flow run.

        :param flow_run_id: the id (UUID) of the flow run.
        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        check_flow_run_id(flow_run_id)
        return run(self.api.read_flow_run(flow_run_id))

    def read_flow_runs(self, flow_run_ids: Sequence[str]) -> list[FlowRun]:
        """Return those of the flow runs that Prefect still has, in any order.

        :param flow_run_ids: the ids (UUIDs) of the flow runs.
        """
        return run(self.api.read_flow_runs(flow_run_ids)) if flow_run_ids else []

    def find_flow_runs(
        self, criteria: Mapping[str, Any], *, sort: str = "ID_DESC", limit: int | None = None
    ) -> list[FlowRun]:
        """Return the flow runs that meet ``criteria``. Not on Prefect 1, which has another query language.

        :param criteria: the body of Prefect's ``/flow_runs/filter``.
        :param sort: one of Prefect's sort orders, such as ``EXPECTED_START_TIME_DESC``.
        :param limit: how many to return; all by default.
        :raises UnsupportedByApi: the connection is to Prefect 1.
        :raises InvalidRequest: Prefect refuses the criteria.
        """
        given = arguments.json_object("criteria", criteria) or {}
        return run(self.api.find_flow_runs(given, sort=sort, limit=limit))

    def rename_flow_run(self, flow_run_id: str, name: str) -> None:
        """Give a flow run another name, in whatever state it is.

        :param flow_run_id: the id (UUID) of the flow run.
        :param name: not empty, since Prefect would make a name up.
        :raises ConfigurationError: the name is empty.
        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        check_flow_run_id(flow_run_id)
        run(self.api.rename_flow_run(flow_run_id, arguments.text("name", name) or ""))

    def cancel_flow_run(self, flow_run_id: str) -> State:
        """Ask a flow run to stop.

        :param flow_run_id: the id (UUID) of the flow run.
        :return: the state that it is in then: CANCELLING as a rule, CANCELLED if it has no infrastructure yet, or the
            state in which it had ended already.
        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        check_flow_run_id(flow_run_id)
        return run(self.api.cancel_flow_run(flow_run_id))

    def cancel_flow_runs(self, flow_run_ids: Sequence[str]) -> dict[str, State]:
        """Ask flow runs to stop, 50 with each request from Prefect 3.6.16 on.

        :param flow_run_ids: the ids (UUIDs) of the flow runs.
        :return: the states that they are in then, by their ids; without those that Prefect no longer has.
        """
        for flow_run_id in flow_run_ids:
            check_flow_run_id(flow_run_id)
        return run(self.api.cancel_flow_runs(flow_run_ids))

    def pause_flow_run(self, flow_run_id: str, *, timeout: float | timedelta = 3600) -> State:
        """Suspend a running flow run: it ends its process at its next task, and goes on when it is resumed.

        Not on Prefect 1.

        :param flow_run_id: the id (UUID) of the flow run.
        :param timeout: seconds (or a timedelta) after which Prefect fails it, if nobody has resumed it.
        :return: the state that it is in then, Suspended.
        :raises FlowRunNotFound: Prefect has no such flow run.
        :raises FlowRunNotPaused: it is not running.
        """
        check_flow_run_id(flow_run_id)
        return run(self.api.pause_flow_run(flow_run_id, arguments.checked_duration("timeout", timeout)))

    def resume_flow_run(self, flow_run_id: str, run_input: Mapping[str, Any] | str | None = None) -> State:
        """Let a paused or suspended flow run go on. Not on Prefect 1.

        :param flow_run_id: the id (UUID) of the flow run.
        :param run_input: what the flow asks for with ``wait_for_input``: a mapping, or its JSON text.
        :return: the state that it is in then: RUNNING, or SCHEDULED if it was suspended.
        :raises FlowRunNotFound: Prefect has no such flow run.
        :raises FlowRunNotPaused: it does not wait to be resumed.
        :raises InvalidRequest: the input is not what the flow asks for; the message says what is wrong.
        """
        check_flow_run_id(flow_run_id)
        return run(self.api.resume_flow_run(flow_run_id, arguments.json_object("run_input", run_input)))

    def read_run_input(self, flow_run_id: str) -> RunInput | None:
        """Return what a paused or suspended flow run asks for; ``None`` if it asks for nothing.

        :param flow_run_id: the id (UUID) of the flow run.
        :raises FlowRunNotFound: Prefect has no such flow run.
        """
        check_flow_run_id(flow_run_id)
        return run(self.api.read_run_input(flow_run_id))

    def flow_run_url(self, flow_run: FlowRun) -> str:
        """Return the address of a flow run's page in Prefect's UI."""
        return flow_run_url(self.settings.ui_url, flow_run)

    # What a flow run leaves behind

    def read_flow_run_logs(self, flow_run_id: str, *, level: int = 0, limit: int | None = None) -> list[LogRecord]:
        """Return the log lines of a flow run and of its task runs, the oldest first.

        :param flow_run_id: the id (UUID) of the flow run.
        :param level: Python's number of the lowest level, such as ``logging.WARNING``; 0 for all.
        :param limit: how many lines to return; all by default.
        """
        check_flow_run_id(flow_run_id)
        return run(self.api.read_logs(flow_run_id, level=level, limit=limit))

    def read_artifacts(self, flow_run_id: str, key: str) -> list[Artifact]:
        """Return the artifacts of this key that a flow run has left, the newest first. Not on Prefect 1.

        :param flow_run_id: the id (UUID) of the flow run.
        :param key: the artifacts' key.
        :raises UnsupportedByApi: the connection is to Prefect 1.
        """
        check_flow_run_id(flow_run_id)
        return run(self.api.read_artifacts(flow_run_id, key))

    def read_task_runs(
        self, flow_run_id: str, *, state_types: Sequence[str] = (), limit: int | None = None
    ) -> list[TaskRun]:
        """Return the task runs of a flow run by expected start time.

        :param flow_run_id: the id (UUID) of the flow run.
        :param state_types: only those in a state of these types, such as ``FAILED``; all by default.
        :param limit: how many to return; all by default.
        """
        check_flow_run_id(flow_run_id)
        return run(self.api.read_task_runs(flow_run_id, state_types=state_types, limit=limit))

    def read_result(
        self, flow_run: FlowRun, *, artifact_key: str | None = None, max_size: int = MAX_RESULT_SIZE
    ) -> Any:
        """Return what a finished flow run has returned, or one of its artifacts.

        :param flow_run: the flow run as it ended.
        :param artifact_key: read its artifact of this key, and not what the flow has returned.
        :param max_size: bytes that the value may have as JSON.
        :return: plain data: numbers, text, containers, dates and times, ``Decimal`` and ``UUID``.
        :raises ResultError: there is none, or it cannot be read; the message says how the flow can make it readable.
        :raises UnsupportedByApi: Prefect 1 does not have what is asked for.
        """
        if artifact_key:
            return results.read_artifact_value(self.api, flow_run.id, artifact_key, max_size)
        described_as = f"Flow run {flow_run.name!r}"
        return results.read_state_value(self.api, flow_run.state, described_as, self.settings.result_roots, max_size)

    def read_task_run_result(
        self, flow_run_id: str, task_name: str, *, map_index: int = ALL, max_size: int = MAX_RESULT_SIZE
    ) -> Any:
        """Return what a task run of a finished flow run has returned.

        :param flow_run_id: the id (UUID) of the flow run.
        :param task_name: the task's name, or the full name of one task run; on Prefect 1 the task's slug.
        :param map_index: which child of a mapped task; -1 for all of them, as a list in the order of the mapping. A
            task that ran once has one value, and no list, with -1 too.
        :param max_size: bytes that the value may have as JSON.
        :return: plain data, as :meth:`read_result` returns it.
        :raises ResultError: there is no such task run or no readable result, or the order cannot be told.
        """
        check_flow_run_id(flow_run_id)
        return results.read_task_value(
            self.api, flow_run_id, task_name, map_index, self.settings.result_roots, max_size
        )


def check_flow_run_id(flow_run_id: str) -> None:
    """Refuse what cannot be the id of a flow run, before anything is sent.

    :raises ConfigurationError: it is not a UUID.
    """
    if not is_uuid(flow_run_id):
        raise ConfigurationError(f"flow_run_id={flow_run_id!r} is not the id (UUID) of a flow run.")


def check_one_source(deployment: str | None, flow_name: str | None, flow_id: str | None) -> None:
    """Refuse arguments that do not say, or say twice, what to start.

    :raises ConfigurationError: not exactly one is given.
    """
    given = [name for name, value in locals().items() if value is not None]
    if len(given) != 1:
        raise ConfigurationErrorForGood(
            "Give exactly one of deployment='flow/deployment' (or its id), flow_name, and on Prefect 1 flow_id; "
            f"{' and '.join(given) or 'none'} {'are' if len(given) > 1 else 'is'} given."
        )
