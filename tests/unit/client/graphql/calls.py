"""Every call of Prefect 1's API that reads something from a response, with the responses that a server gives to it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_provider_prefect.client.graphql import GraphqlApi
from airflow_provider_prefect.client.model import FlowRun, NewFlowRun, Source
from tests.unit.client.graphql.samples import GROUP_ID, NOON, flow, flow_run, line, task_run
from tests.unit.client.samples import FLOW_ID, RUN_ID

Call = Callable[[GraphqlApi], Coroutine[Any, Any, Any]]

TIME = datetime(2026, 1, 2, 12, tzinfo=UTC)
SOURCE = Source(FLOW_ID, "etl", lineage=GROUP_ID)
NEW = NewFlowRun(idempotency_key="k")
FLOW = flow(environment={"labels": ["b"]}, flow_group={"labels": ["x"], "run_config": {"labels": ["y"]}})
RESULT = task_run(serialized_state={"_result": {"type": "S3Result", "bucket": "b", "location": "x"}})
NAMED: dict[str, Any] = {"deployment": None, "flow_id": None, "flow_name": None, "project_name": None}

CALLS: dict[str, tuple[Call, Sequence[dict[str, Any]]]] = {
    "flow of an id": (lambda api: api.find_source(**{**NAMED, "flow_id": FLOW_ID}), [{"flow": [FLOW]}]),
    "flow of a group": (
        lambda api: api.find_source(**{**NAMED, "flow_id": FLOW_ID}),
        [{"flow": []}, {"flow": [flow(archived=True), FLOW]}],
    ),
    "flow of a name": (lambda api: api.find_source(**{**NAMED, "flow_name": "etl"}), [{"flow": [FLOW, flow()]}]),
    "create": (
        lambda api: api.create_flow_run(SOURCE, NEW),
        [{"create_flow_run": {"id": RUN_ID}}, {"flow_run": [flow_run()]}],
    ),
    "read": (lambda api: api.read_flow_run(RUN_ID), [{"flow_run": [flow_run()]}]),
    "poll many": (
        lambda api: api.read_changed([RUN_ID], known_type="PENDING", limit=3),
        [{"flow_run": [flow_run("Mine")]}],
    ),
    "count": (lambda api: api.count_existing([RUN_ID]), [{"flow_run_aggregate": {"aggregate": {"count": 1}}}]),
    "reasons": (
        lambda api: api.reasons_not_started(FlowRun(RUN_ID, "calm-otter")),
        [{"flow_run": [{"labels": ["a"]}], "agent": [{"labels": ["a"], "last_queried": NOON}]}],
    ),
    "rename": (lambda api: api.rename_flow_run(RUN_ID, "n"), [{"set_flow_run_name": {"success": True}}]),
    "cancel": (
        lambda api: api.cancel_flow_run(RUN_ID),
        [{"flow_run": [flow_run()]}, {"cancel_flow_run": {"state": "x"}}, {"flow_run": [flow_run()]}],
    ),
    "server": (lambda api: api.describe_server(), [{"api": {"core_version": "1.4.1"}, "tenant": [{"slug": "x"}]}]),
    "logs": (lambda api: api.read_logs(RUN_ID), [{"log": [line()]}]),
    "page of logs": (lambda api: api.read_log_page(RUN_ID, after=TIME, offset=0), [{"log": [line()]}]),
    "logs of many": (lambda api: api.read_logs_of([RUN_ID], after=TIME, limit=3), [{"log": [line()]}]),
    "number of logs": (lambda api: api.count_logs(RUN_ID), [{"log_aggregate": {"aggregate": {"count": 1}}}]),
    "task runs": (lambda api: api.read_task_runs(RUN_ID), [{"task_run": [task_run()]}]),
    "children": (
        lambda api: api.select_task_runs(RUN_ID, "load-1", -1),
        [{"task_run": [{**RESULT, "state": "Mapped"}]}, {"task_run": [RESULT]}],
    ),
}
