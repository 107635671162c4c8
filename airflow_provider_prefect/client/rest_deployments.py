"""Finding what can be started, in the REST API of Prefect 2 and 3: deployments. Pure."""

from __future__ import annotations

import difflib
from urllib.parse import quote

from airflow_provider_prefect.client.call import Call, Request
from airflow_provider_prefect.client.errors import ConfigurationError, DeploymentNotFound, NotFound
from airflow_provider_prefect.client.identifiers import is_uuid
from airflow_provider_prefect.client.model import Deployment
from airflow_provider_prefect.client.new_flow_run import Source


def find_deployment(reference: str) -> Call[Deployment]:
    """The deployment of this id, or of this ``flow/deployment``.

    :raises DeploymentNotFound: there is none; the message lists the nearest names.
    :raises ConfigurationError: ``reference`` is neither an id nor ``flow/deployment``.
    """
    if is_uuid(reference):
        path = f"/deployments/{reference}"
    else:
        flow, slash, name = reference.partition("/")
        if not (flow and slash and name) or "/" in name:
            raise ConfigurationError(f"deployment={reference!r} is neither 'flow/deployment' nor the id (UUID) of one.")
        path = f"/deployments/name/{quote(flow, safe='')}/{quote(name, safe='')}"
    try:
        response = yield from Request("GET", path)
    except NotFound as error:
        if "deployment" not in error.detail.lower():
            raise
        hint = yield from _nearest(reference)
        raise DeploymentNotFound(f"Prefect has no deployment {reference!r}. {hint}", detail=error.detail) from None
    return Deployment.from_json(response.json())


def find_deployment_of_flow(flow_name: str) -> Call[Deployment]:
    """The only deployment of the flow of this name.

    :raises DeploymentNotFound: the flow has none, or there is no such flow; the message lists the nearest names.
    :raises ConfigurationError: it has several; the message lists them.
    """
    response = yield from Request(
        "POST", "/deployments/filter", {"flows": {"name": {"any_": [flow_name]}}, "sort": "NAME_ASC"}
    )
    found = [Deployment.from_json(record) for record in response.json()]
    if not found:
        hint = yield from _nearest(flow_name)
        raise DeploymentNotFound(f"Prefect has no deployment of a flow {flow_name!r}. {hint}")
    if len(found) > 1:
        names = ", ".join(repr(f"{flow_name}/{deployment.name}") for deployment in found)
        raise ConfigurationError(
            f"flow_name={flow_name!r} has {len(found)} deployments. Start one of them by name, deployment=…: {names}."
        )
    return found[0]


def find_source(
    *, deployment: str | None, flow_id: str | None, flow_name: str | None, project_name: str | None
) -> Call[Source]:
    """The deployment to start, by its id, as ``flow/deployment``, or as the only one of a flow."""
    assert not (flow_id or project_name), "refused as not supported"
    found = yield from (find_deployment(deployment) if deployment else find_deployment_of_flow(flow_name or ""))
    return Source(found.id, found.name, lineage=found.id)


def _nearest(reference: str) -> Call[str]:
    """A sentence that names the deployments closest to ``reference``."""
    response = yield from Request("POST", "/deployments/filter", {"sort": "UPDATED_DESC"})
    deployments = [Deployment.from_json(record) for record in response.json()]
    if not deployments:
        return "It has no deployments at all."
    flow_ids = sorted({deployment.flow_id for deployment in deployments})
    response = yield from Request("POST", "/flows/filter", {"flows": {"id": {"any_": flow_ids}}})
    flows = {record["id"]: record["name"] for record in response.json()}
    names = sorted(
        f"{flows[deployment.flow_id]}/{deployment.name}" for deployment in deployments if deployment.flow_id in flows
    )
    near = difflib.get_close_matches(reference, names, n=5, cutoff=0.4) or names[:5]
    return f"The nearest it has: {', '.join(map(repr, near))}."
