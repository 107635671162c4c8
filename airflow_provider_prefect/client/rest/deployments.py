"""Deployments in the REST API of Prefect 2 and 3: find them, and what may keep their runs from starting."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow_provider_prefect.client.errors import ConfigurationError, DeploymentNotFound, NotFound
from airflow_provider_prefect.client.fields import Fields
from airflow_provider_prefect.client.model import Deployment, FlowRun, Source, is_uuid
from airflow_provider_prefect.client.rest.base import RestEndpoints


class DeploymentEndpoints(RestEndpoints):
    """Find deployments, and the reasons why their runs do not start."""

    async def find_deployment(self, reference: str) -> Source:
        """Return the deployment of this id, or of this ``flow/deployment``.

        :raises DeploymentNotFound: there is none; the message lists the nearest names.
        :raises ConfigurationError: ``reference`` is neither an id nor ``flow/deployment``.
        """
        deployment = await self._read_deployment(reference)
        return Source(deployment.id, deployment.name, lineage=deployment.id)

    async def find_deployment_of_flow(self, flow_name: str) -> Source:
        """Return the only deployment of the flow of this name.

        :raises DeploymentNotFound: the flow has none, or there is no such flow; the message lists the nearest names.
        :raises ConfigurationError: it has several; the message lists them.
        """
        found = await self._filter_deployments({"flows": {"name": {"any_": [flow_name]}}, "sort": "NAME_ASC"})
        if not found:
            hint = await self._nearest(flow_name)
            raise DeploymentNotFound(f"Prefect has no deployment of a flow {flow_name!r}. {hint}")
        if len(found) > 1:
            names = ", ".join(repr(f"{flow_name}/{deployment.name}") for deployment in found)
            raise ConfigurationError(
                f"flow_name={flow_name!r} has {len(found)} deployments. Start one of them by name, deployment=…: "
                f"{names}."
            )
        return Source(found[0].id, found[0].name, lineage=found[0].id)

    async def reasons_not_started(self, run: FlowRun) -> list[str]:
        """Return what Prefect shows that may keep a scheduled flow run from starting."""
        reasons = []
        if run.state.name not in ("Scheduled", "Late", "Pending"):
            reasons.append(f"its state is {run.state}")
        if run.deployment_id and (await self._read_deployment(run.deployment_id)).status == "NOT_READY":
            reasons.append("its deployment is not ready: no worker and no serving process has polled for it lately")
        if run.work_pool_name:
            path = f"/work_pools/{quote(run.work_pool_name, safe='')}"
            is_paused, status = await self.get(path, _is_paused_and_status)
            if is_paused or status == "PAUSED":
                reasons.append(f"its work pool {run.work_pool_name!r} is paused")
            elif status == "NOT_READY":
                reasons.append(f"no worker of its work pool {run.work_pool_name!r} is online")
            if run.work_queue_name:
                queue_path = f"{path}/queues/{quote(run.work_queue_name, safe='')}"
                if (await self.get(queue_path, _is_paused_and_status))[0]:
                    reasons.append(f"its work queue {run.work_queue_name!r} is paused")
        return reasons

    async def _read_deployment(self, reference: str) -> Deployment:
        if is_uuid(reference):
            path = f"/deployments/{reference}"
        else:
            flow, slash, name = reference.partition("/")
            if not (flow and slash and name) or "/" in name:
                raise ConfigurationError(
                    f"deployment={reference!r} is neither 'flow/deployment' nor the id (UUID) of a deployment."
                )
            path = f"/deployments/name/{quote(flow, safe='')}/{quote(name, safe='')}"
        try:
            return await self.get(path, Deployment.from_json)
        except NotFound as error:
            if "deployment" not in error.detail.lower():
                raise
            hint = await self._nearest(reference)
            raise DeploymentNotFound(f"Prefect has no deployment {reference!r}. {hint}", detail=error.detail) from None

    async def _filter_deployments(self, criteria: Mapping[str, Any]) -> list[Deployment]:
        return await self.post_for_rows("/deployments/filter", criteria, Deployment.from_json)

    async def _nearest(self, reference: str) -> str:
        """Return a sentence that names the deployments closest to ``reference``."""
        deployments = await self._filter_deployments({"sort": "UPDATED_DESC"})
        if not deployments:
            return "It has no deployments at all."
        flow_ids = sorted({deployment.flow_id for deployment in deployments})
        flows = dict(await self.post_for_rows("/flows/filter", {"flows": {"id": {"any_": flow_ids}}}, _id_and_name))
        names = sorted(
            f"{flows[deployment.flow_id]}/{deployment.name}"
            for deployment in deployments
            if deployment.flow_id in flows
        )
        near = difflib.get_close_matches(reference, names, n=5, cutoff=0.4) or names[:5]
        return f"The nearest it has: {', '.join(map(repr, near))}."


def _is_paused_and_status(record: Any) -> tuple[bool, str | None]:
    """Return what a work pool or a work queue says of itself."""
    pool = Fields(record)
    return pool.flag("is_paused"), pool.optional_text("status")


def _id_and_name(record: Any) -> tuple[str, str]:
    flow = Fields(record)
    return flow.identifier("id"), flow.name("name")
