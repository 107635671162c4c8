"""Every call of the REST API that reads something from a response, with the responses that a server gives to it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_provider_prefect.client.model import FlowRun, NewFlowRun, Source
from airflow_provider_prefect.client.rest import RestApi
from tests.unit.client.samples import DEPLOYMENT_ID, FLOW_ID, RUN_ID, deployment_json, run_json, state_json

Call = Callable[[RestApi], Coroutine[Any, Any, Any]]

NOON = "2026-01-02T12:00:00Z"
TIME = datetime(2026, 1, 2, 12, tzinfo=UTC)
SOURCE = Source(DEPLOYMENT_ID, "nightly", lineage=DEPLOYMENT_ID)
NEW = NewFlowRun(idempotency_key="k")
IN_POOL = FlowRun.from_json(run_json(work_pool_name="pool", work_queue_name="queue"))
LINE = {"id": "line-1", "level": 20, "message": "m", "timestamp": NOON, "name": "n", "flow_run_id": RUN_ID}
CHILDREN = [
    {
        "id": f"6f1f8a3c-3a{number}-7f4b-9d65-0d4f0e6f0c12",
        "name": f"load-{number}",
        "flow_run_id": RUN_ID,
        "task_key": "load-abc",
        "dynamic_key": "0",
        "flow_run_run_count": 2,
        "state": state_json("COMPLETED"),
    }
    for number in (29, 30)
]
RESOURCE = {"prefect.resource.id": f"prefect.flow-run.{RUN_ID}", "prefect.state-type": "COMPLETED"}
END = {"events": [{"occurred": NOON, "resource": {**RESOURCE, "prefect.state-timestamp": NOON}}]}
NAMED: dict[str, Any] = {"flow_id": None, "flow_name": None, "project_name": None}

CALLS: dict[str, tuple[Call, Sequence[Any]]] = {
    "read": (lambda api: api.read_flow_run(RUN_ID), [run_json()]),
    "create": (lambda api: api.create_flow_run(SOURCE, NEW), [run_json()]),
    "find by keys": (lambda api: api.find_by_keys(["k"]), [[run_json()], []]),
    "poll many": (lambda api: api.read_changed([RUN_ID], known_type="RUNNING", limit=200), [[run_json()]]),
    "count": (lambda api: api.count_existing([RUN_ID]), [1]),
    "cancel": (lambda api: api.cancel_flow_run(RUN_ID), [{"status": "ABORT", "state": state_json()}, run_json()]),
    "restart": (lambda api: api.restart_flow_run(RUN_ID), [{"status": "ACCEPT", "state": state_json("SCHEDULED")}]),
    "deployment": (lambda api: api.find_source(deployment="a/b", **NAMED), [deployment_json()]),
    "nearest": (
        lambda api: api.find_source(deployment=None, **{**NAMED, "flow_name": "f"}),
        [[], [deployment_json()], [{"id": FLOW_ID, "name": "n"}]],
    ),
    "reasons": (
        lambda api: api.reasons_not_started(IN_POOL),
        [deployment_json(), {"is_paused": False, "status": "READY"}, {"is_paused": True}],
    ),
    "version": (lambda api: api.describe_server(), ["3.8.8"]),
    "feed": (lambda api: api.has_event_feed(), ["3.8.8"]),
    "logs": (lambda api: api.read_logs(RUN_ID), [[LINE], []]),
    "page of logs": (lambda api: api.read_log_page(RUN_ID, after=TIME, offset=0), [[LINE]]),
    "logs of many": (lambda api: api.read_logs_of([RUN_ID], after=TIME, limit=3), [[LINE]]),
    "last logs": (lambda api: api.read_last_logs(RUN_ID, 3), [[LINE]]),
    "number of logs": (lambda api: api.count_logs(RUN_ID), [[LINE], [], [LINE]]),
    "artifacts": (lambda api: api.read_artifacts(RUN_ID, "k"), [[{"id": "a", "key": "k", "type": "table"}], []]),
    "task runs": (lambda api: api.read_task_runs(RUN_ID), [CHILDREN, []]),
    "children": (
        lambda api: api.select_task_runs(RUN_ID, "load", -1),
        [2, 2, 2, 2, 2, 2, [{"value": "x"}], [{"value": "x"}, {"value": "y"}], CHILDREN, []],
    ),
    "end of a deleted one": (lambda api: api.read_end_from_events(RUN_ID), [END]),
    "block": (lambda api: api.read_storage_block("b"), [{"data": {"bucket_name": "b", "bucket_folder": "f"}}]),
    "file system": (lambda api: api.read_storage_block("b"), [{"data": {"basepath": "/results"}}]),
}
