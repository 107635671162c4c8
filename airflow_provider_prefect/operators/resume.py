"""The operator that resumes a flow run which waits for a person's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_prefect.client.api import check_supported
from airflow_provider_prefect.client.errors import FlowRunNotPaused
from airflow_provider_prefect.client.model import FINAL
from airflow_provider_prefect.client.printable import line
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.operators.base import CONNECTION, PrefectTask, push_identity
from airflow_provider_prefect.operators.flow_run import missing_flow_run_id
from airflow_provider_prefect.utils import arguments
from airflow_provider_prefect.utils.arguments import Field
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood, failing_without_retry

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class PrefectResumeFlowRunOperator(PrefectTask, BaseOperator):
    """Let a paused or suspended flow run go on, with the input that it asks for. Not on Prefect 1.

    XComs: ``flow_run_id``, ``flow_run_url`` and ``flow_run_name``. The return value is the type of the state that the
    flow run is in then: RUNNING, or SCHEDULED if it was suspended.

    :param flow_run_id: the flow run. (templated)
    :param run_input: what the flow asks for with ``wait_for_input``: a mapping, or its JSON text. Prefect checks it
        against the flow's own schema before the flow run goes on. (templated)
    :param prefect_conn_id: the connection, of type ``prefect``. (templated)
    :raises AirflowFailException: an argument or the connection is wrong, the input is not what the flow asks for, or
        the flow run has ended; no retry is made.
    :raises FlowRunNotPaused: the flow run does not wait to be resumed. With retries, the task asks again.
    :raises FlowRunNotFound: Prefect has no such flow run.
    """

    fields: ClassVar[Mapping[str, Field]] = {
        "flow_run_id": Field(arguments.text, way_out=missing_flow_run_id),
        "run_input": Field(arguments.json_object, otherwise="the flow run is resumed without input"),
        "prefect_conn_id": CONNECTION,
    }
    template_fields: Sequence[str] = tuple(fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {"run_input": "json"}
    operator_extra_links = (PrefectFlowRunLink(),)
    ui_color = "#e3e9ff"

    def __init__(
        self,
        *,
        flow_run_id: str | None = None,
        run_input: Mapping[str, Any] | str | None = None,
        prefect_conn_id: str = PrefectHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.flow_run_id = flow_run_id
        self.run_input: Any = run_input
        self.prefect_conn_id = prefect_conn_id
        self.remember_given()

    def execute(self, context: Context) -> str:
        """Resume the flow run."""
        with failing_without_retry():
            self.read_fields()
            if not self.flow_run_id:
                raise ConfigurationErrorForGood(missing_flow_run_id(self))
            hook = PrefectHook(self.prefect_conn_id)
            check_supported(hook.api, run_input=self.run_input or {})
            run = hook.read_flow_run(self.flow_run_id)
            url = hook.flow_run_url(run)
            push_identity(context, run, url)
            state = str(run.state).rstrip(".")
            if run.state.type in FINAL:
                raise ConfigurationErrorForGood(f"The flow run has ended in state {state}. See {url} ({run.name!r})")
            if run.state.type != "PAUSED":
                raise FlowRunNotPaused(f"The flow run is in state {state}, and not paused. See {url} ({run.name!r})")
            wanted = hook.read_run_input(run.id)
            if wanted is None and self.run_input:
                raise ConfigurationErrorForGood(
                    f"run_input has {', '.join(map(repr, self.run_input))}, but the flow run asks for no input. Resume "
                    f"it without run_input. See {url}"
                )
            self.log.info("State: %s. It asks for %s. See %s", run.state, wanted or "no input", url)
            if wanted and wanted.description:
                self.log.info("The flow says about its input: %s", line(wanted.description))
            resumed = hook.resume_flow_run(run.id, self.run_input)
        self.log.info("Resumed, and in state %s: flow run %r", resumed, run.name)
        return resumed.type
