"""The REST API of Prefect 2, Prefect 3 and Prefect Cloud. Each endpoint's path is spelled once."""

from __future__ import annotations

from airflow_provider_prefect.client import fields, printable, responses
from airflow_provider_prefect.client.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    MalformedAnswer,
    NotFound,
    Unreachable,
)
from airflow_provider_prefect.client.model import Source
from airflow_provider_prefect.client.rest.deployments import DeploymentEndpoints
from airflow_provider_prefect.client.rest.flow_runs import FlowRunEndpoints
from airflow_provider_prefect.client.rest.task_runs import TaskRunEndpoints
from airflow_provider_prefect.client.transport import Request


class RestApi(FlowRunEndpoints, DeploymentEndpoints, TaskRunEndpoints):
    """Call the REST API; see :class:`..api.Api`."""

    name = "Prefect 2 and 3"

    unsupported = {  # noqa: RUF012 - constant
        "flow_id": "a flow is started through a deployment, deployment='flow/deployment' or its id.",
        "project_name": "there are no projects, deployment='flow/deployment' is enough.",
        "labels": "give work_queue_name, if the deployment's is not the right one; what only marks a run are tags.",
        "agent_labels": "there are no agents. Give work_queue_name, if the deployment's is not the right one.",
        "run_config": "give job_variables, for the job template of the work pool.",
        "context": "it would not reach the flow. Give parameters, or job_variables={'env': {…}}.",
    }

    async def find_source(
        self, *, deployment: str | None, flow_id: str | None, flow_name: str | None, project_name: str | None
    ) -> Source:
        """Return the deployment to start: by its id, as ``flow/deployment``, or as the only one of a flow."""
        assert not (flow_id or project_name), "refused as unsupported"
        try:
            if deployment:
                return await self.find_deployment(deployment)
            return await self.find_deployment_of_flow(flow_name or "")
        except ApiError as error:
            if responses.may_be_wrong_url(error):
                await self.describe_server()
            raise

    async def describe_server(self) -> str:
        """Return ``Prefect 3 server 3.8.8`` or ``Prefect Cloud``.

        :raises ConfigurationError: something else answers; the message says what, as far as it can be told.
        """
        try:
            if self.transport.settings.is_cloud:
                await self.count_flow_runs({})
                return "Prefect Cloud"
            version = await self._read_version()
        except (AuthenticationError, Unreachable):
            raise
        except ApiError as error:
            raise await self._explain(error) from None
        return f"Prefect {version.partition('.')[0]} server {version}"

    async def has_event_feed(self) -> bool:
        """Return whether the server has a websocket of events: Prefect 2's does not notice clients that have left."""
        try:
            version = await self._read_version()
        except NotFound:  # Prefect Cloud, or a server that refuses the websocket
            return True
        return not version.startswith(("0.", "1.", "2."))

    async def _read_version(self) -> str:
        """Return the version of the server, such as ``3.8.8``. Prefect Cloud has no such endpoint."""
        return printable.line(await self.get("/admin/version", fields.text))

    async def _explain(self, error: ApiError) -> ConfigurationError:
        """Return what answers at the API URL in place of Prefect."""
        url = self.transport.settings.api_url
        if await self._is_graphql():
            return ConfigurationError(
                f"There is a Prefect 1 server (GraphQL) at {url}, and not the REST API of Prefect 2 or 3. Choose "
                "Prefect 1 (GraphQL) as the connection's API."
            )
        if isinstance(error, MalformedAnswer) and error.is_page:
            return ConfigurationError(
                f"There is a web page at {url}: Prefect's UI, or a proxy's login page. The API URL of a self-hosted "
                "server is that of its UI with /api behind it."
            )
        return ConfigurationError(f"There is no Prefect API at {url}: {error}. Its API URL ends in /api.")

    async def _is_graphql(self) -> bool:
        try:
            response = await self.transport.send(Request("POST", "", {"query": "query { __typename }"}))
            body = response.json()
        except (ApiError, Unreachable):
            return False
        return isinstance(body, dict) and isinstance(body.get("data"), dict) and "__typename" in body["data"]
