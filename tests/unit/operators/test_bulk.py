"""Changing many flow runs at once, through the real hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.operators.bulk import PrefectBulkFlowRunOperator
from tests.unit.fake_prefect import Answer, Asked, FakePrefect
from tests.unit.running import refusal


@pytest.fixture
def searches(prefect: FakePrefect) -> list[dict[str, Any]]:
    """What flow runs are searched by. The server answers with all that it has, two on a page."""
    criteria: list[dict[str, Any]] = []

    def found(asked: Asked) -> Answer | None:
        if (asked.method, asked.path) != ("POST", "/flow_runs/filter"):
            return None
        criteria.append(asked.body)
        return Answer(200, list(prefect.flow_runs.values())[asked.body["offset"] :][:2])

    prefect.instead.append(found)
    return criteria


def bulk(**arguments: Any) -> PrefectBulkFlowRunOperator:
    return PrefectBulkFlowRunOperator(**{"task_id": "bulk", "action": "cancel", "limit": 10, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tags": ["x"], "action": "delete"}, "action='delete' is none of 'cancel', 'resume', 'rename'"),
        ({"tags": ["x"], "action": "rename"}, "action='rename' needs new_name"),
        ({"tags": ["x"], "new_name": "x"}, "new_name goes with action='rename' only"),
        ({"tags": ["x"], "run_input": {"x": 1}}, "run_input goes with action='resume' only"),
        ({}, "Give deployment, tags or names"),
        ({"tags": ["x"], "limit": 0}, "limit=0 is not a number of flow runs above 0"),
        ({"tags": ["x"], "limit": "many"}, "limit='many'"),
    ],
)
def test_wrong_arguments_are_refused_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        bulk(**arguments)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tags": []}, "tags rendered to []: give at least one tag"),
        ({"deployment": "sales/demo", "tags": []}, "tags rendered to []"),
        ({"deployment": "sales/demo", "names": ()}, "names rendered to ()"),
        ({"tags": ["nightly", "{{ none }}"]}, "tags rendered to ['nightly', 'None']"),
        ({"deployment": "sales/demo", "names": ["{{ '' }}"]}, "names rendered to ['']"),
        ({"tags": ["x"], "states": []}, "states rendered to []: give at least one state type"),
        ({"tags": ["x"], "states": ["RUNNING", "{{ none }}"]}, "states rendered to ['RUNNING', 'None']"),
        ({"tags": "{{ none }}"}, "tags rendered to None"),
        ({"names": "{{ '' }}"}, "names rendered to"),
        ({"deployment": "{{ none }}"}, "deployment rendered to None"),
        ({"deployment": "demo"}, "deployment='demo'"),
        ({"tags": ["x"], "states": ["DONE"]}, "'DONE' is not a state type of Prefect"),
        ({"tags": ["x"], "states": ["COMPLETED"]}, "a flow run in state COMPLETED cannot be changed by cancel"),
    ],
)
def test_what_would_mean_other_flow_runs_is_refused_before_anything_is_sent(
    prefect: FakePrefect, context: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    assert message in refusal(prefect, context, lambda: bulk(**arguments))


def test_more_flow_runs_than_the_limit_are_shown_and_not_changed(
    prefect: FakePrefect, searches: list[dict[str, Any]], context: dict[str, Any], logged: Callable[[], str]
) -> None:
    runs = [prefect.add_flow_run("RUNNING", name=f"run {number}") for number in range(3)]
    with pytest.raises(AirflowFailException, match="More than limit=2 flow runs are meant, so none was changed"):
        bulk(tags=["x"], limit=2).execute(context)
    assert prefect.cancelled == []
    assert all(run_id in logged() for run_id in runs)


def test_a_preview_changes_nothing(
    prefect: FakePrefect, searches: list[dict[str, Any]], context: dict[str, Any]
) -> None:
    runs = [prefect.add_flow_run("RUNNING") for _ in range(2)]
    shown = bulk(tags=["x"], preview_only=True).execute(context)
    assert [one["id"] for one in shown] == runs
    assert prefect.cancelled == []


def test_flow_runs_that_prefects_schedule_has_planned_are_not_cancelled(
    prefect: FakePrefect, searches: list[dict[str, Any]], context: dict[str, Any]
) -> None:
    prefect.add_flow_run("SCHEDULED", auto_scheduled=True)
    late = prefect.add_flow_run("SCHEDULED", auto_scheduled=False)
    assert [one["id"] for one in bulk(tags=["x"]).execute(context)] == [late]
    assert prefect.cancelled == [late]


def test_planned_flow_runs_do_not_count_towards_the_limit(
    prefect: FakePrefect, searches: list[dict[str, Any]], context: dict[str, Any]
) -> None:
    for _ in range(5):
        prefect.add_flow_run("SCHEDULED", auto_scheduled=True)
    running = [prefect.add_flow_run("RUNNING") for _ in range(2)]
    assert [one["id"] for one in bulk(tags=["x"], limit=2).execute(context)] == running
    assert prefect.cancelled == running


def test_the_criteria_are_those_that_were_given(
    prefect: FakePrefect, searches: list[dict[str, Any]], context: dict[str, Any]
) -> None:
    bulk(tags=["a", "b"], names=["n"], states=["PAUSED"], deployment="sales/demo").execute(context)
    assert searches[0]["flow_runs"] == {
        "state": {"type": {"any_": ["PAUSED"]}},
        "tags": {"all_": ["a", "b"]},
        "name": {"any_": ["n"]},
    }
    assert searches[0]["flows"] == {"name": {"any_": ["sales"]}}
    assert searches[0]["deployments"] == {"name": {"any_": ["demo"]}}
