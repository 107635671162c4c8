"""The hook: an Airflow connection, and what can be asked of the Prefect API behind it."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_provider_prefect.client import identify, rest, results
from airflow_provider_prefect.client.address import flow_run_url
from airflow_provider_prefect.client.call import Call, Look, T, handled, run
from airflow_provider_prefect.client.errors import ConfigurationError, PrefectError, ResultError
from airflow_provider_prefect.client.model import Artifact, Deployment, FlowRun, LogRecord, State, TaskRun
from airflow_provider_prefect.client.rest import Created, NewFlowRun
from airflow_provider_prefect.client.retry import Patience, retried
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.client.waiting import Deadlines, Looking, wait
from airflow_provider_prefect.hooks.connection import settings_from
from airflow_provider_prefect.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_prefect.storage import read_file

if TYPE_CHECKING:
    from airflow_provider_prefect.client.http import SyncHttp

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds for which a single request is sent again when the API does not answer usefully."""

MAX_UNREACHABLE = 600.0
"""Seconds for which a wait puts up with an API that does not answer usefully."""

MAX_RESULT_SIZE = 1024 * 1024
"""Bytes of JSON that a result may have to become an XCom."""


class PrefectHook(BaseHook):
    """Talks to Prefect Cloud or to a self-hosted Prefect 2 or 3 server through an Airflow connection.

    Nothing is read or opened before the first call.

    :param prefect_conn_id: the connection, of type ``prefect``.
    """

    conn_name_attr = "prefect_conn_id"
    default_conn_name = "prefect_default"
    conn_type = "prefect"
    hook_name = "Prefect"

    def __init__(self, prefect_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefect_conn_id = prefect_conn_id
        self._http: SyncHttp | None = None

    # The connection

    def get_conn(self) -> SyncHttp:
        """The driver that performs this hook's calls; it holds one HTTP session."""
        if self._http is None:
            from airflow_provider_prefect.client.http import SyncHttp

            self._http = SyncHttp(self._read_settings)
        return self._http

    @property
    def settings(self) -> Settings:
        """What the connection says."""
        return self.get_conn().settings

    def _read_settings(self) -> Settings:
        with naming_the_connection(self.prefect_conn_id):
            connection = self.get_connection(self.prefect_conn_id)
        settings = settings_from(connection, connection.extra_dejson)
        for secret in settings.secrets():
            mask_secret(secret)
        return settings

    def test_connection(self) -> tuple[bool, str]:
        """Say in one sentence which server answers and how it is authenticated, or what is wrong.

        :return: whether the connection works, and the sentence. Airflow's UI shows it.
        """
        try:
            settings = self.settings
            server = self._run(identify.server(settings), patience=0)
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

    def find_deployment(self, deployment: str | None = None, *, flow_name: str | None = None) -> Deployment:
        """Find the deployment to start.

        :param deployment: ``flow/deployment``, or the id (UUID) of one.
        :param flow_name: instead of it, a flow that has exactly one deployment.
        :raises ConfigurationError: none or both are given, or the flow has several deployments.
        :raises DeploymentNotFound: there is none; the message lists the nearest names.
        """
        if bool(deployment) == bool(flow_name):
            given = "both are" if deployment else "none is"
            raise ConfigurationError(
                f"Give either deployment='flow/deployment' (or its id) or flow_name; {given} given."
            )
        if deployment:
            call = rest.find_deployment(deployment)
        else:
            assert flow_name
            call = rest.find_deployment_of_flow(flow_name)
        return self._run(identify.explained(call, self.settings))

    def start_flow_run(
        self,
        deployment: str | None = None,
        *,
        flow_name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        run_name: str | None = None,
        tags: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
        job_variables: Mapping[str, Any] | None = None,
        work_queue_name: str | None = None,
        scheduled_start_time: datetime | None = None,
        idempotency_key: str | None = None,
        enforce_parameter_schema: bool | None = None,
    ) -> Created:
        """Create a flow run of a deployment, exactly once however often the request has to be sent.

        :param deployment: ``flow/deployment``, or the id (UUID) of one.
        :param flow_name: instead of it, a flow that has exactly one deployment.
        :param parameters: laid over the deployment's own.
        :param run_name: the flow run's name; Prefect makes one up without.
        :param tags: added to the deployment's own.
        :param labels: kept with the run on Prefect 3; Prefect 2 has none, and gets none.
        :param context: kept with the run.
        :param job_variables: laid over the deployment's own, for the work pool's job template.
        :param work_queue_name: the work queue that the run is put into.
        :param scheduled_start_time: not before this time; at once without.
        :param idempotency_key: if Prefect has a run of this flow with this key, that run is returned and nothing
            created. Without one a fresh key is used, so that only this call's own tries find each other.
        :param enforce_parameter_schema: overrides whether the deployment checks parameters against its schema.
        :return: the flow run, and whether it is new.
        :raises InvalidRequest: Prefect refuses the parameters or another argument.
        """
        found = self.find_deployment(deployment, flow_name=flow_name)
        new = NewFlowRun(
            parameters=parameters,
            name=run_name,
            tags=tuple(tags),
            labels=labels,
            context=context,
            idempotency_key=idempotency_key or uuid.uuid4().hex,
            scheduled_start_time=scheduled_start_time,
            job_variables=job_variables,
            work_queue_name=work_queue_name,
            enforce_parameter_schema=enforce_parameter_schema,
        )
        return self._run(rest.create_flow_run(found.id, new))

    # Waiting

    def wait_for_flow_run(
        self,
        flow_run_id: str,
        *,
        poll_interval: float = 10,
        deadlines: Deadlines | None = None,
        max_unreachable: float = MAX_UNREACHABLE,
        on_change: Callable[[FlowRun], None] = lambda run: None,
    ) -> FlowRun:
        """Wait until the flow run has ended, in whatever state, and return it.

        :param poll_interval: seconds between two looks at it.
        :param deadlines: when to stop waiting; never without.
        :param max_unreachable: seconds for which an API that does not answer usefully is put up with.
        :param on_change: called with the flow run at first sight and whenever its state has changed.
        :raises FlowRunTimeout: a deadline came first.
        :raises FlowRunNotFound: there is no such run (any more).
        :raises Unreachable: the API was out of reach for too long.
        """
        check_flow_run_id(flow_run_id)
        looking = Looking(poll_interval, Patience(max_unreachable, waiting=True))
        return run(handled(wait(flow_run_id, deadlines or Deadlines(), on_change), looking), self.get_conn().perform)

    def see_flow_run(
        self, flow_run_id: str, *, poll_interval: float = 10, max_unreachable: float = MAX_UNREACHABLE
    ) -> FlowRun:
        """The flow run as it is now, read with the patience of a wait: one look of :meth:`wait_for_flow_run`."""
        check_flow_run_id(flow_run_id)
        looking = Looking(poll_interval, Patience(max_unreachable, waiting=True))
        seen = run(handled(iter(Look(flow_run_id, None, math.inf)), looking), self.get_conn().perform)
        assert seen is not None
        return seen

    # Reading and changing a flow run

    def read_flow_run(self, flow_run_id: str) -> FlowRun:
        """The flow run of this id; :class:`FlowRunNotFound` without one."""
        check_flow_run_id(flow_run_id)
        return self._run(rest.read_flow_run(flow_run_id))

    def find_flow_runs(
        self, criteria: Mapping[str, Any], *, sort: str = "ID_DESC", most: int | None = None
    ) -> list[FlowRun]:
        """The flow runs that meet ``criteria``, the body of Prefect's ``/flow_runs/filter``, ``most`` at the most."""
        return self._run(rest.filter_flow_runs(criteria, sort=sort, most=most))

    def rename_flow_run(self, flow_run_id: str, name: str) -> None:
        """Give a flow run another name, in whatever state it is."""
        check_flow_run_id(flow_run_id)
        self._run(rest.rename_flow_run(flow_run_id, name))

    def cancel_flow_run(self, flow_run_id: str) -> State:
        """Ask a flow run to stop; returns the state it is in then, CANCELLING as a rule."""
        check_flow_run_id(flow_run_id)
        return self._run(rest.cancel_flow_run(flow_run_id))

    def read_flow_run_logs(self, flow_run_id: str, *, level: int = 0, most: int | None = None) -> list[LogRecord]:
        """The log lines of a flow run and of its task runs, the oldest first, ``most`` at the most."""
        check_flow_run_id(flow_run_id)
        return self._run(rest.read_logs(flow_run_id, level=level, most=most))

    def read_artifacts(self, flow_run_id: str, key: str) -> list[Artifact]:
        """The artifacts of this key that a flow run has left, the newest first."""
        check_flow_run_id(flow_run_id)
        return self._run(rest.read_artifacts(flow_run_id, key))

    def read_task_runs(self, flow_run_id: str) -> list[TaskRun]:
        """The task runs of a flow run, by expected start time."""
        check_flow_run_id(flow_run_id)
        return self._run(rest.read_task_runs(flow_run_id))

    def read_result(
        self, flow_run: FlowRun, *, artifact_key: str | None = None, max_size: int = MAX_RESULT_SIZE
    ) -> Any:
        """What a finished flow run has left to hand on.

        :param flow_run: the flow run as it ended.
        :param artifact_key: read its artifact of this key, and not what the flow has returned.
        :param max_size: bytes of JSON that the value may have.
        :return: plain JSON values.
        :raises ResultError: there is none, or it cannot be read; the message says how the flow can hand it on.
        """
        if artifact_key:
            artifacts = self._run(rest.read_artifacts(flow_run.id, artifact_key))
            if not artifacts:
                raise ResultError(f"Flow run {flow_run.name!r} has left no artifact with the key {artifact_key!r}.")
            return results.check_size(results.of_artifact(artifacts[0]), max_size)
        found = results.located(flow_run)
        if isinstance(found, results.Literal):
            return found.value
        path = found.key
        if found.block_id:
            base = self._run(rest.read_storage_block(found.block_id))
            if base is None:
                raise ResultError("The result lies in a storage block without a basepath, which is not read.")
            path = f"{base.rstrip('/')}/{found.key}"
        content = read_file(path, self.settings.result_roots, max_size)
        return results.check_size(results.read(found, content), max_size)

    def flow_run_url(self, flow_run: FlowRun) -> str:
        """The page of a flow run in Prefect's UI."""
        return flow_run_url(self.settings.ui_url, flow_run)

    def _run(self, call: Call[T], *, patience: float = PATIENCE) -> T:
        return run(retried(call, Patience(patience)), self.get_conn().perform)


@contextmanager
def naming_the_connection(prefect_conn_id: str) -> Iterator[None]:
    """Say which connection does not exist, and what to do about it."""
    try:
        yield
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"prefect_conn_id={prefect_conn_id!r} is no connection of this Airflow. Create one of type 'prefect' under "
            f"Admin > Connections, or as the environment variable AIRFLOW_CONN_{prefect_conn_id.upper()}."
        ) from None


async def aread_settings(prefect_conn_id: str) -> Settings:
    """What the connection says, read without blocking the event loop."""
    from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
    from asgiref.sync import sync_to_async

    with naming_the_connection(prefect_conn_id):
        connection = await get_async_connection(prefect_conn_id, PrefectHook)
    settings = settings_from(connection, await get_async_extra_dejson(connection))
    for secret in settings.secrets():
        await sync_to_async(mask_secret)(secret)
    return settings


def check_flow_run_id(flow_run_id: str) -> None:
    """Refuse what cannot be the id of a flow run before anything is sent."""
    if not rest.is_uuid(flow_run_id):
        raise ConfigurationError(f"flow_run_id={flow_run_id!r} is not the id (UUID) of a flow run.")


def deadline(seconds: float | None, start: float | None = None) -> float:
    """The epoch second that is ``seconds`` after ``start`` (now); infinite without ``seconds``."""
    return math.inf if seconds is None else (time.time() if start is None else start) + seconds
