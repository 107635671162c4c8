"""What a flow run is made from, what it is made with, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_prefect.client.model import FlowRun


@dataclass(frozen=True)
class Source:
    """What can be started: a deployment on Prefect 2 and 3, a version of a flow on Prefect 1.

    :param id: what a flow run is created with.
    :param name: the deployment's, or the flow's.
    :param lineage: what :attr:`FlowRun.deployment_id` of its runs tells.
    :param agent_labels: the labels of its runs on Prefect 1, if none are given.
    """

    id: str
    name: str
    lineage: str
    agent_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewFlowRun:
    """What a flow run is created with; ``None`` leaves it to the deployment or the flow.

    :param labels: kept with the run on Prefect 3.
    :param agent_labels: which agents may run it on Prefect 1; an empty tuple is none at all.
    """

    parameters: Mapping[str, Any] | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    agent_labels: tuple[str, ...] | None = None
    context: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    scheduled_start_time: datetime | None = None
    job_variables: Mapping[str, Any] | None = None
    run_config: Mapping[str, Any] | None = None
    work_queue_name: str | None = None
    enforce_parameter_schema: bool | None = None


@dataclass(frozen=True)
class Created:
    """The answer to a create: the flow run, and whether it is new or was found by its idempotency key.

    ``resent`` says that the request was sent more than once, so that a run that is found may be its own.
    """

    run: FlowRun
    is_new: bool
    resent: bool = False
