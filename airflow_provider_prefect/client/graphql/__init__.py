"""The GraphQL API of Prefect 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from airflow_provider_prefect.client import printable, responses
from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    InvalidRequest,
    Unreachable,
    UnsupportedByApi,
)
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.graphql.flow_runs import FlowRunQueries
from airflow_provider_prefect.client.graphql.outputs import OutputQueries
from airflow_provider_prefect.client.model import Artifact, FlowRun, Materialization, RunInput, Source, State
from airflow_provider_prefect.client.results.blocks import StorageBlock

_SERVER = "query server { api { core_version } tenant { slug } }"
_TENANT_OF_KEY = "query key { auth_info { tenant_id } }"

_NO_DEPLOYMENTS = "there are no deployments."


class GraphqlApi(FlowRunQueries, OutputQueries):
    """Call the GraphQL API; see :class:`..api.Api`."""

    name = "Prefect 1"

    unsupported = {  # noqa: RUF012 - constant
        "deployment": (
            f"{_NO_DEPLOYMENTS} Name the flow: flow_name (with project_name), or flow_id; or a flow_run_id."
        ),
        "tags": "it has no tags. Agents are chosen by labels.",
        "job_variables": "give run_config, a mapping with its type: {'type': 'KubernetesRun', …}.",
        "work_queue_name": "it has no work queues. Agents are chosen by labels.",
        "enforce_parameter_schema": "a flow says itself which of its parameters are required.",
        "on_retry": "a run that has ended is not put back to scheduled. Leave it at on_retry='new'.",
        "fetch_result": (
            "a flow's own result is not kept. PrefectGetTaskRunResultOperator fetches a task's, by its slug."
        ),
        "artifact_key": "artifacts have no keys. Name the task whose result is meant: task_name='<slug>'.",
        "task_name=None": "a flow's own result is not kept. Name a task by its slug, such as 'load-1'.",
        "states": "it has no events that a Dag could start on. Start the Dag from the flow, with Airflow's REST API.",
        "asset_key": "it has no assets.",
        "run_input": "it has no inputs. Resume the flow run in its UI.",
        "criteria": (
            "they are the body of a request that it does not have. read_flow_runs finds flow runs by their ids."
        ),
    }

    async def find_source(
        self, *, deployment: str | None, flow_id: str | None, flow_name: str | None, project_name: str | None
    ) -> Source:
        try:
            return await super().find_source(
                deployment=deployment, flow_id=flow_id, flow_name=flow_name, project_name=project_name
            )
        except ApiError as error:
            if responses.may_be_wrong_url(error):
                await self.describe_server()
            raise

    async def describe_server(self) -> str:
        """Return ``Prefect 1 server 1.4.1 (tenant 'default')``.

        :raises ConfigurationError: something else answers.
        """
        settings = self.transport.settings
        try:
            version, slugs = await self.query(_SERVER, _version_and_slugs)
            tenant_id = settings.tenant_id
            if settings.api_key and not tenant_id:
                tenant_id = await self._read_tenant_of_key()
        except (AuthenticationError, Unreachable):
            raise
        except ApiError as error:
            raise ConfigurationError(
                f"There is no GraphQL API of Prefect 1 at {settings.api_url}: {error}. For a server of Prefect 2 or "
                "3 choose the REST API as the connection's API."
            ) from None
        if tenant_id:
            tenant = f"tenant {tenant_id}"
        else:
            tenant = f"tenant {', '.join(map(repr, slugs))}" if slugs else "no tenant yet"
        return f"Prefect 1 server {version} ({tenant})"

    async def _read_tenant_of_key(self) -> str | None:
        """Return the tenant of the API key; ``None`` on a server without keys, behind a proxy that asks for one."""
        try:
            return await self.query(_TENANT_OF_KEY, _tenant_id)
        except InvalidRequest:
            return None

    async def has_event_feed(self) -> bool:
        """Return whether the server has a websocket of events: Prefect 1 has none."""
        return False

    async def read_end_from_events(self, flow_run_id: str) -> FlowRun | None:
        """Return how a deleted flow run has ended: Prefect 1 has no event log, so ``None``."""
        return None

    # What Prefect 1 does not have

    async def find_reached(
        self, state_types: Sequence[str], deployment: str | None, tags: Sequence[str], since: datetime | None
    ) -> list[FlowRun]:
        self._refuse("states", state_types)

    async def pause_flow_run(self, flow_run_id: str, seconds: float) -> State:
        self._refuse("run_input", flow_run_id)

    async def resume_flow_run(self, flow_run_id: str, run_input: Mapping[str, Any] | None) -> State:
        self._refuse("run_input", run_input)

    async def read_run_input(self, flow_run_id: str) -> RunInput | None:
        return None

    async def cancel_flow_runs(self, flow_run_ids: Sequence[str]) -> dict[str, State]:
        return {flow_run_id: await self.cancel_flow_run(flow_run_id) for flow_run_id in flow_run_ids}

    async def read_materializations(
        self, *, asset_key: str | None = None, flow_run_id: str | None = None, since: datetime | None = None
    ) -> list[Materialization]:
        self._refuse("asset_key", asset_key)

    async def find_flow_runs(
        self, criteria: Mapping[str, Any], *, sort: str = "ID_DESC", limit: int | None = None
    ) -> list[FlowRun]:
        self._refuse("criteria", criteria)

    async def find_live_flow_runs(self, deployment_id: str, tags: Sequence[str]) -> list[FlowRun]:
        self._refuse("deployment", deployment_id)

    async def find_newest(
        self, deployment_id: str, tags: Sequence[str], since: datetime, until: datetime
    ) -> FlowRun | None:
        self._refuse("deployment", deployment_id)

    async def restart_flow_run(self, flow_run_id: str) -> bool:
        self._refuse("on_retry", "restart")

    async def read_artifacts(self, flow_run_id: str, key: str) -> list[Artifact]:
        self._refuse("artifact_key", key)

    async def read_storage_block(self, block_id: str) -> StorageBlock | None:
        raise UnsupportedByApi.naming("block_id", block_id, self.name, "results are not stored in blocks.")

    def _refuse(self, argument: str, value: Any) -> NoReturn:
        raise UnsupportedByApi.naming(argument, value, self.name, self.unsupported[argument])


def _version_and_slugs(data: Fields) -> tuple[str, list[str]]:
    version = data.part("api", lambda api: Fields(api).optional_text("core_version"))
    return printable.line(version or ""), data.rows("tenant", lambda tenant: Fields(tenant).identifier("slug"))


def _tenant_id(data: Fields) -> str | None:
    return data.optional_part("auth_info", lambda found: Fields(found).optional_identifier("tenant_id"))
