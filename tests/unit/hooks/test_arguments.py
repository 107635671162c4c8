"""What the hook makes of the values that it is given: the same as the operators."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.hooks.prefect import PrefectHook
from tests.unit.fake_prefect import FakePrefect


def test_values_are_taken_in_every_form_in_which_operators_take_them(prefect: FakePrefect) -> None:
    PrefectHook().start_flow_run(
        "sales/demo",
        parameters={"day": date(2026, 10, 1), "rows": range(2), "path": PurePosixPath("/data")},
        run_name=5,  # type: ignore[arg-type]
        tags=("a", 7),  # type: ignore[arg-type]
        labels={"rows": range(1)},
        job_variables='{"cpu": 2}',
        work_queue_name=UUID(int=1),  # type: ignore[arg-type]
        scheduled_start_time="2026-10-01T14:00:00+02:00",
        idempotency_key=1.5,  # type: ignore[arg-type]
    )
    (body,) = prefect.created
    scheduled = body.pop("state")["state_details"]["scheduled_time"]
    assert datetime.fromisoformat(scheduled) == datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert body == {
        "parameters": {"day": "2026-10-01", "rows": [0, 1], "path": "/data"},
        "name": "5",
        "tags": ["a", "7"],
        "labels": {"rows": [0]},
        "job_variables": {"cpu": 2},
        "work_queue_name": "00000000-0000-0000-0000-000000000001",
        "idempotency_key": "1.5",
    }


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_nothing_counts_as_not_given(prefect: FakePrefect, nothing: Any) -> None:
    names = ("parameters", "run_name", "tags", "context", "job_variables", "work_queue_name", "idempotency_key")
    others = ("flow_name", "flow_id", "project_name", "agent_labels", "run_config", "labels", "scheduled_start_time")
    PrefectHook().start_flow_run("sales/demo", **dict.fromkeys((*names, *others), nothing))
    (body,) = prefect.created
    assert body.keys() == {"idempotency_key"}
    assert len(body["idempotency_key"]) == 32


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"parameters": {"n": [2**64]}}, r"^parameters\['n'\]\[0\] cannot be sent as JSON"),
        ({"labels": {"n": b""}}, r"^labels\['n'\] cannot be sent as JSON"),
        ({"job_variables": "{'a': 1}"}, "^job_variables is text, but not JSON"),
        ({"context": {"airflow": 5}}, "^context has the key 'airflow'"),
        ({"tags": "nightly"}, "^tags='nightly' is not a list"),
        ({"run_name": True}, "^run_name=True"),
        ({"scheduled_start_time": timedelta(days=-1)}, "^scheduled_start_time="),
        ({"flow_name": "sales"}, "^Give exactly one of"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_sent(
    prefect: FakePrefect, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        PrefectHook().start_flow_run("sales/demo", **arguments)
    assert isinstance(raised.value, AirflowFailException)
    assert prefect.requests == []


def test_a_flow_run_is_renamed_to_a_number(prefect: FakePrefect) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    prefect.answer("PATCH", "/flow_runs/.*", 204)
    PrefectHook().rename_flow_run(run_id, 5)  # type: ignore[arg-type]
    assert prefect.asked("PATCH", ".*")[0].body == {"name": "5"}


def test_criteria_are_sent_as_json(prefect: FakePrefect) -> None:
    after = datetime(2026, 10, 1, tzinfo=UTC)
    PrefectHook().find_flow_runs({"flow_runs": {"start_time": {"after_": after}, "id": {"any_": range(0)}}})
    assert prefect.requests[0].body["flow_runs"]["start_time"] == {"after_": "2026-10-01T00:00:00+00:00"}
    with pytest.raises(ConfigurationError, match=r"^criteria\['flow_runs'\]\['id'\] cannot be sent as JSON"):
        PrefectHook().find_flow_runs({"flow_runs": {"id": object()}})
