"""Lineage and traces: what a flow run is told of the Airflow task that has started it, and what OpenLineage is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_prefect.client.model import FlowRun, Materialization

_log = logging.getLogger(__name__)

_TRACEPARENT_LABEL = "__OTEL_TRACEPARENT"
"""The label that Prefect 3 continues a trace from."""


def is_on() -> bool:
    """Return whether Airflow sends OpenLineage events."""
    try:
        from airflow.providers.openlineage.conf import is_disabled
    except ImportError:
        return False
    return not is_disabled()


def parents(ti: Any) -> dict[str, str]:
    """Return the task's run and the root run of its Dag, as environment variables of OpenLineage's integrations.

    Empty where OpenLineage is off. Nothing that goes wrong here stops a task.
    """
    if not is_on():
        return {}
    try:
        from airflow.providers.openlineage.plugins import macros

        return {
            "OPENLINEAGE_PARENT_ID": macros.lineage_parent_id(ti),
            "OPENLINEAGE_ROOT_PARENT_ID": macros.lineage_root_parent_id(ti),
        }
    except Exception as trouble:
        _log.warning("Prefect is not told of OpenLineage's parent run: %s.", type(trouble).__name__)
        return {}


def traceparent() -> str | None:
    """Return the W3C ``traceparent`` of the task's span; ``None`` if it is not recorded.

    With that of a span which is not recorded, nothing of the flow run would be recorded either.
    """
    try:
        from opentelemetry import propagate, trace
    except ImportError:
        return None
    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        return None
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


def environment(ti: Any) -> dict[str, str]:
    """Return the environment variables that tell a flow run which task has started it."""
    found = traceparent()
    return {**parents(ti), **({"TRACEPARENT": found} if found else {})}


def labels(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the same for the labels of a flow run in Prefect 3."""
    shown = {
        "OPENLINEAGE_PARENT_ID": "openlineage.parent",
        "OPENLINEAGE_ROOT_PARENT_ID": "openlineage.root_parent",
        "TRACEPARENT": _TRACEPARENT_LABEL,
    }
    return {shown[name]: value for name, value in variables.items()}


def with_environment(job_variables: Mapping[str, Any] | None, variables: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Return job variables with these environment variables; what the user has given wins."""
    given = (job_variables or {}).get("env", {})
    if not variables or not isinstance(given, Mapping):
        return job_variables
    return {**(job_variables or {}), "env": {**variables, **given}}


def facets(run: FlowRun, url: str, materialized: Sequence[Materialization]) -> Any:
    """Return what OpenLineage shows of a flow run: its facet, and what it has materialized as output datasets."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    facet = _facet_class()(
        id=run.id,
        name=run.name,
        url=url,
        state=run.state.type,
        flowId=run.flow_id,
        deploymentId=run.deployment_id,
    )
    datasets = [Dataset(namespace=namespace, name=name) for namespace, name in map(_dataset, materialized)]
    return OperatorLineage(outputs=datasets, run_facets={"prefectFlowRun": facet})


def _dataset(one: Materialization) -> tuple[str, str]:
    parts = urlsplit(one.asset_key)
    return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/") or "/"


@cache
def _facet_class() -> Any:
    from airflow.providers.common.compat.openlineage.facet import RunFacet
    from attrs import define

    @define
    class PrefectFlowRunFacet(RunFacet):
        id: str
        name: str
        url: str
        state: str
        flowId: str | None  # noqa: N815 (OpenLineage writes its fields like this)
        deploymentId: str | None  # noqa: N815

    return PrefectFlowRunFacet
