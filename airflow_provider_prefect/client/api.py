"""Which of Prefect's two APIs a connection speaks, and what both of them offer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from airflow_provider_prefect.client import graphql, rest
from airflow_provider_prefect.client.call import Call
from airflow_provider_prefect.client.errors import UnsupportedByApi
from airflow_provider_prefect.client.model import FlowRun, LogRecord, Selected, State, TaskRun
from airflow_provider_prefect.client.new_flow_run import Created, NewFlowRun, Source
from airflow_provider_prefect.client.results import Literal, Record
from airflow_provider_prefect.client.settings import Settings


class Api(Protocol):
    """What can be asked of Prefect, whichever API it has. The modules :mod:`.rest` and :mod:`.graphql` are such."""

    NAME: str
    """How the API's servers are called in a sentence."""

    LACKS: Mapping[str, str]
    """The arguments that it has no use for, and for each the one that takes its place."""

    LOGS_LATE: int
    """Seconds after a flow run's end in which log lines may still arrive."""

    def find_source(
        self, *, deployment: str | None, flow_id: str | None, flow_name: str | None, project_name: str | None
    ) -> Call[Source]:
        """What to start; exactly one of the first three is given."""

    def default_run_name(self, source: Source, task_name: str, dag_run_id: str) -> str:
        """How a flow run is called that an Airflow task starts without giving a name."""

    def create_flow_run(self, source: Source, new: NewFlowRun) -> Call[Created]:
        """Create a flow run, or find the one that was created with its idempotency key."""

    def read_flow_run(self, flow_run_id: str) -> Call[FlowRun]:
        """The flow run of this id; :class:`FlowRunNotFound` without one."""

    def read_flow_runs(self, flow_run_ids: Sequence[str]) -> Call[list[FlowRun]]:
        """The flow runs of these ids that there are."""

    def find_by_keys(self, idempotency_keys: Sequence[str]) -> Call[list[FlowRun]]:
        """The flow runs that were created with one of these keys."""

    def read_changed(self, ids: Sequence[str], *, known: str | None, limit: int) -> Call[list[FlowRun]]:
        """One page of those of these flow runs whose state is not of the type ``known``."""

    def count_existing(self, ids: Sequence[str]) -> Call[int]:
        """How many of these flow runs there are."""

    def has_event_feed(self) -> Call[bool]:
        """Whether the server tells of events over a websocket: Prefect 3 and Prefect Cloud do."""

    def reasons_not_started(self, run: FlowRun) -> Call[list[str]]:
        """What may keep a scheduled flow run from starting, as far as Prefect shows it."""

    def rename_flow_run(self, flow_run_id: str, name: str) -> Call[None]:
        """Give the flow run another name."""

    def cancel_flow_run(self, flow_run_id: str) -> Call[State]:
        """Ask the flow run to stop, and return the state that it is in then."""

    def read_logs(self, flow_run_id: str, *, level: int, most: int | None) -> Call[list[LogRecord]]:
        """The log lines of this level and above, the oldest first."""

    def read_log_page(self, flow_run_id: str, *, after: datetime | None, offset: int) -> Call[list[LogRecord]]:
        """One page of the log lines after a time, the oldest first."""

    def read_logs_of(self, ids: Sequence[str], *, after: datetime, limit: int) -> Call[list[LogRecord]]:
        """One page of the log lines of these flow runs from a time on, the oldest first."""

    def read_last_logs(self, flow_run_id: str, number: int) -> Call[list[LogRecord]]:
        """The last log lines, the oldest of them first."""

    def count_logs(self, flow_run_id: str) -> Call[int]:
        """How many log lines there are."""

    def read_task_runs(
        self, flow_run_id: str, *, ids: Sequence[str] = (), state_types: Sequence[str] = (), most: int | None = None
    ) -> Call[list[TaskRun]]:
        """The task runs of the flow run; those of ``ids`` or in ``state_types`` only, if given."""

    def select_task_runs(self, flow_run_id: str, task_name: str, map_index: int) -> Call[Selected]:
        """The task runs of a finished flow run whose results are meant."""

    def located(self, state: State, whose: str) -> Literal | Record:
        """Where the result is that a run has ended with."""


def api_of(settings: Settings) -> Api:
    """The API that the connection says."""
    return graphql if settings.api == "graphql" else rest


def check_supported(api: Api, given: Mapping[str, Any]) -> None:
    """Refuse arguments that this API has no use for, before anything is sent.

    :raises UnsupportedByApi: the message says what to give instead.
    """
    for name, value in given.items():
        if name in api.LACKS and value is not None:
            shown = f"{name}={value!r}" if isinstance(value, str) else name
            raise UnsupportedByApi(f"{shown} is not for {api.NAME}: {api.LACKS[name]}")
