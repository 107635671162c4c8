"""The operator that fetches what a task run or a flow run has returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_prefect.client.api import check_supported
from airflow_provider_prefect.client.model import ALL, FlowRun
from airflow_provider_prefect.client.results.formats import as_xcom
from airflow_provider_prefect.hooks.prefect import MAX_RESULT_SIZE, MAX_UNREACHABLE, PrefectHook
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.operators.base import CONNECTION, WaitingTask, push_identity, read_existing
from airflow_provider_prefect.utils import arguments
from airflow_provider_prefect.utils.arguments import Field
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood, failing_without_retry

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


_NAME_A_FLOW_RUN = (
    "give the id (UUID) of a flow run. That of the one which the task 'start' has started is flow_run_id=start.output."
)


class PrefectGetTaskRunResultOperator(WaitingTask, BaseOperator):
    """Wait until a flow run has ended, and fetch what one of its tasks has returned, or the flow itself.

    The value is the return value. It is plain data: numbers, text, containers, dates, times and ``Decimal``, and text
    for a ``UUID``; the task or flow has to persist it (``persist_result=True``), best as JSON. Further XComs:
    ``flow_run_id``, ``flow_run_url`` and ``flow_run_name`` before the wait, ``state`` at its end.

    :param flow_run_id: the flow run. (templated)
    :param task_name: the task's name, or the full name of one task run; on Prefect 1 its slug, ``load-1``. By default
        the flow's own result is fetched. (templated)
    :param map_index: which child of a mapped task; -1 for all of them, as a list in the order of the mapping. A task
        that ran once has one value, and no list, with -1 too. Prefect 3 stores no map index: where the order cannot be
        told, the task fails rather than return another child's value. (templated)
    :param artifact_key: instead of a result, read the artifact of the flow run that has this key. (templated)
    :param max_result_size: bytes that the value may have as JSON.
    :param deferrable: wait in the triggerer. By default the value of ``[operators] default_deferrable``.
    :param poll_interval: seconds between two polls of the flow run, at least 3.
    :param timeout: seconds (or a timedelta) within which the flow run has to end. None by default.
    :param max_unreachable: seconds for which the task tolerates that Prefect is not answering.
    :param stream_states: show the flow run's state changes in the task's log.
    :param stream_logs: show the flow run's log lines there too.
    :param fail_on_unsuccessful: whether a flow run that does not complete fails the task; if not, the result is fetched
        all the same, as Prefect 1 did.
    :param skip_on: types of final states that skip the task instead.
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: there is no such task run, or no readable result; no retry is made.
    :raises FlowRunUnsuccessful: the flow run ended FAILED, CRASHED or CANCELLED.
    :raises FlowRunTimeout: the wait ran out of time.
    :raises FlowRunNotFound: Prefect has no such flow run.
    :raises Unreachable: Prefect has not answered for ``max_unreachable``.
    """

    fields: ClassVar[Mapping[str, Field]] = {
        "flow_run_id": Field(arguments.text, way_out=_NAME_A_FLOW_RUN),
        "task_name": Field(arguments.text, otherwise="the result is not that of a task"),
        "map_index": Field(arguments.as_it_is, default=ALL, otherwise="all children of a mapped task are fetched"),
        "artifact_key": Field(arguments.text, otherwise="the result is not an artifact"),
        "prefect_conn_id": CONNECTION,
    }
    template_fields: Sequence[str] = tuple(fields)
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"
    retry_cancelled = False

    def __init__(
        self,
        *,
        flow_run_id: str | None = None,
        task_name: str | None = None,
        map_index: int | str = ALL,
        artifact_key: str | None = None,
        max_result_size: int = MAX_RESULT_SIZE,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 10,
        timeout: float | timedelta | None = None,
        max_unreachable: float = MAX_UNREACHABLE,
        stream_states: bool = True,
        stream_logs: bool = False,
        fail_on_unsuccessful: bool = True,
        skip_on: Sequence[str] | None = None,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if flow_run_id is None:
            raise ConfigurationErrorForGood(f"flow_run_id is missing: {_NAME_A_FLOW_RUN}")
        if task_name is not None and artifact_key is not None:
            raise ConfigurationErrorForGood("Give either task_name or artifact_key; both are given.")
        self.flow_run_id = flow_run_id
        self.task_name = task_name
        self.map_index = map_index
        self.artifact_key = artifact_key
        self.max_result_size = arguments.checked_size("max_result_size", max_result_size)
        self.deferrable = deferrable
        self.poll_interval = arguments.checked_poll_interval("poll_interval", poll_interval)
        self.timeout = arguments.checked_optional_duration("timeout", timeout)
        self.max_unreachable = arguments.checked_duration("max_unreachable", max_unreachable, zero=True)
        self.stream_states = stream_states
        self.stream_logs = stream_logs
        self.fail_on_unsuccessful = fail_on_unsuccessful
        self.skip_on = arguments.checked_skip_on(skip_on)
        self.prefect_conn_id = prefect_conn_id
        self.remember_given()

    def execute(self, context: Context) -> Any:
        """Wait for the flow run, and fetch the value."""
        with failing_without_retry():
            self.read_fields()
            index = self._map_index()
            hook = self.connect()
            check_supported(hook.api, artifact_key=self.artifact_key)
            if not (self.task_name or self.artifact_key):
                check_supported(hook.api, **{"task_name=None": True})
            run = hook.read_flow_run(self.flow_run_id)
            url = hook.flow_run_url(run)
            push_identity(context, run, url)
            deadlines = arguments.deadlines_from_now(self.timeout, None, self.execution_timeout)
            run = self.wait_or_defer(context, hook, run, deadlines, self.poll_interval)
            return self._fetch(hook, context, run, url, index)

    def execute_complete(self, context: Context, event: Any, wait: dict[str, Any] | None = None) -> Any:
        """Fetch the value when the trigger has seen the flow run's end."""
        with failing_without_retry():
            self.read_fields_again("task_name", "map_index", "artifact_key", "prefect_conn_id")
            run, url = self.resumed(event, wait)
            return self._fetch(self.connect(), context, run, url, self._map_index())

    def _fetch(self, hook: PrefectHook, context: Context, run: FlowRun, url: str, index: int) -> Any:
        self.end(hook, context, run, url)
        most = self.max_result_size
        if self.task_name:
            return as_xcom(hook.read_task_run_result(run.id, self.task_name, map_index=index, max_size=most))
        # An event has the state's type and name, but not where its data is stored.
        whole = run if self.artifact_key else read_existing(hook, run)
        return as_xcom(hook.read_result(whole, artifact_key=self.artifact_key, max_size=most))

    def _map_index(self) -> int:
        try:
            index = int(str(self.map_index))
        except ValueError:
            index = ALL - 1
        if index < ALL:
            raise ConfigurationErrorForGood(
                f"map_index={self.map_index!r} is neither -1, for all, nor the index of a child."
            )
        if index != ALL and not self.task_name:
            raise ConfigurationErrorForGood(f"map_index={index} needs task_name: the task whose child it is.")
        return index
