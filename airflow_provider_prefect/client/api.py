"""What both of Prefect's APIs offer, and which of them a connection uses. Nothing goes around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from airflow_provider_prefect.client.errors import UnsupportedByApi
from airflow_provider_prefect.client.graphql import GraphqlApi
from airflow_provider_prefect.client.graphql.query import GraphqlTransport
from airflow_provider_prefect.client.model import (
    Artifact,
    Created,
    FlowRun,
    LogRecord,
    Materialization,
    NewFlowRun,
    RunInput,
    Selected,
    Source,
    State,
    TaskRun,
)
from airflow_provider_prefect.client.rest import RestApi
from airflow_provider_prefect.client.results.blocks import StorageBlock
from airflow_provider_prefect.client.results.formats import Literal, Record
from airflow_provider_prefect.client.retry import Patience, RetryingTransport
from airflow_provider_prefect.client.transport import Transport


class Api(Protocol):
    """Call Prefect, whichever API the connection has: :class:`.rest.RestApi` or :class:`.graphql.GraphqlApi`.

    Every call may raise :class:`AuthenticationError`, :class:`MalformedAnswer` or another :class:`ApiError`, and
    :class:`Unreachable` when the patience is over; only other errors are listed. What an API does not have raises
    :class:`UnsupportedByApi`.
    """

    @property
    def name(self) -> str:
        """Return the name of the API's servers in a sentence."""

    @property
    def unsupported(self) -> Mapping[str, str]:
        """Return the arguments that the API has no use for, each with the sentence on what takes its place."""

    @property
    def late_log_seconds(self) -> int:
        """Return how many seconds after a flow run's end log lines may still arrive."""

    async def describe_server(self) -> str:
        """Return the kind and version of the server; raise :class:`ConfigurationError` if it is not Prefect's."""

    async def has_event_feed(self) -> bool:
        """Return whether the server sends events over a websocket: Prefect 3 and Prefect Cloud do."""

    # Starting

    async def find_source(
        self, *, deployment: str | None, flow_id: str | None, flow_name: str | None, project_name: str | None
    ) -> Source:
        """Return what to start; exactly one of the first three is given."""

    def default_run_name(self, source: Source, task_name: str, dag_run_id: str) -> str:
        """Return the name of a flow run that an Airflow task starts without giving one."""

    async def create_flow_run(self, source: Source, new: NewFlowRun) -> Created:
        """Create a flow run, or find the one that was created with its idempotency key."""

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        """Return what may keep a scheduled flow run from starting, as far as Prefect shows it."""

    # Flow runs

    async def read_flow_run(self, flow_run_id: str) -> FlowRun:
        """Return the flow run; raise :class:`FlowRunNotFound` if there is none."""

    async def read_flow_runs(self, flow_run_ids: Sequence[str]) -> list[FlowRun]:
        """Return those of the flow runs that Prefect still has."""

    async def read_end_from_events(self, flow_run_id: str) -> FlowRun | None:
        """Return a flow run as its last event shows its end; ``None`` if there is none, or no event log to ask."""

    async def find_by_keys(self, idempotency_keys: Sequence[str]) -> list[FlowRun]:
        """Return the flow runs that were created with one of these keys."""

    async def find_flow_runs(
        self, criteria: Mapping[str, Any], *, sort: str = "ID_DESC", limit: int | None = None
    ) -> list[FlowRun]:
        """Return the flow runs that meet the body of ``/flow_runs/filter``. Not on Prefect 1."""

    async def find_live_flow_runs(self, deployment_id: str, tags: Sequence[str]) -> list[FlowRun]:
        """Return the runs of a deployment that may be asked to stop. Not on Prefect 1."""

    async def find_newest(
        self, deployment_id: str, tags: Sequence[str], since: datetime, until: datetime
    ) -> FlowRun | None:
        """Return the newest run of a deployment that was to start between two times. Not on Prefect 1."""

    async def find_reached(
        self, state_types: Sequence[str], deployment: str | None, tags: Sequence[str], since: datetime | None
    ) -> list[FlowRun]:
        """Return the flow runs in one of these states, of those that have ended only the later ones. Not on Prefect 1.

        Without ``since`` the last one that has ended.
        """

    async def read_changed(self, ids: Sequence[str], *, known_type: str | None, limit: int) -> list[FlowRun]:
        """Return one page of those of these flow runs whose state is not of the type ``known_type``."""

    async def count_existing(self, ids: Sequence[str]) -> int:
        """Return how many of these flow runs Prefect still has."""

    async def rename_flow_run(self, flow_run_id: str, name: str) -> None:
        """Give the flow run another name."""

    async def cancel_flow_run(self, flow_run_id: str) -> State:
        """Ask the flow run to stop, and return the state that it is in then."""

    async def cancel_flow_runs(self, flow_run_ids: Sequence[str]) -> dict[str, State]:
        """Ask flow runs to stop; return the states of those that Prefect still has."""

    async def pause_flow_run(self, flow_run_id: str, seconds: float) -> State:
        """Suspend a running flow run, and return the state that it is in then. Not on Prefect 1."""

    async def resume_flow_run(self, flow_run_id: str, run_input: Mapping[str, Any] | None) -> State:
        """Let a paused or suspended flow run go on, and return its state then. Not on Prefect 1."""

    async def read_run_input(self, flow_run_id: str) -> RunInput | None:
        """Return what a paused flow run wants to be told; ``None`` if that is nothing."""

    async def restart_flow_run(self, flow_run_id: str) -> bool:
        """Put a flow run that has ended back to scheduled; return whether Prefect did it. Not on Prefect 1."""

    # What a flow run leaves behind

    async def read_logs(self, flow_run_id: str, *, level: int = 0, limit: int | None = None) -> list[LogRecord]:
        """Return the log lines of this level and above, the oldest first."""

    async def read_log_page(self, flow_run_id: str, *, after: datetime | None, offset: int) -> list[LogRecord]:
        """Return one page of the log lines after a time, the oldest first."""

    async def read_logs_of(self, ids: Sequence[str], *, after: datetime, limit: int) -> list[LogRecord]:
        """Return one page of the log lines of these flow runs from a time on, the oldest first."""

    async def read_last_logs(self, flow_run_id: str, number: int) -> list[LogRecord]:
        """Return the last log lines, the oldest of them first."""

    async def count_logs(self, flow_run_id: str) -> int:
        """Return how many log lines there are."""

    async def read_artifacts(self, flow_run_id: str, key: str) -> list[Artifact]:
        """Return the artifacts of this key, the newest first. Not on Prefect 1."""

    async def read_materializations(
        self, *, asset_key: str | None = None, flow_run_id: str | None = None, since: datetime | None = None
    ) -> list[Materialization]:
        """Return the later materializations of an asset or by a flow run, or the last one. Prefect 3.4 and newer."""

    async def read_task_runs(
        self, flow_run_id: str, *, ids: Sequence[str] = (), state_types: Sequence[str] = (), limit: int | None = None
    ) -> list[TaskRun]:
        """Return the task runs of the flow run; only those of ``ids`` or in ``state_types``, if given."""

    async def select_task_runs(self, flow_run_id: str, task_name: str, map_index: int) -> Selected:
        """Return the task runs of a finished flow run whose results are meant."""

    def find_result(self, state: State, described_as: str) -> Literal | Record:
        """Return where the result is that a run has ended with; raise :class:`ResultError` if there is none."""

    async def read_storage_block(self, block_id: str) -> StorageBlock | None:
        """Return where a block stores data; ``None`` if that is not known. Not on Prefect 1."""


def make_api(transport: Transport, patience: Patience) -> Api:
    """Return the API that the connection has.

    :param transport: carries the requests, and knows the connection's settings.
    :param patience: for how long requests are sent again.
    """
    if transport.settings.api == "graphql":
        return GraphqlApi(RetryingTransport(GraphqlTransport(transport), patience))
    return RestApi(RetryingTransport(transport, patience))


def check_supported(api: Api, **given: Any) -> None:
    """Refuse arguments that are not ``None`` and that the API has no use for, before anything is sent.

    :raises UnsupportedByApi: the message says what to use instead.
    """
    for argument, value in given.items():
        if argument in api.unsupported and value is not None:
            raise UnsupportedByApi.naming(argument, value, api.name, api.unsupported[argument])
