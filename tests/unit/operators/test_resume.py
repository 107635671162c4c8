"""Resuming a flow run that waits for an answer, through the real hook."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_prefect.client.errors import FlowRunNotFound, FlowRunNotPaused
from airflow_provider_prefect.operators.resume import PrefectResumeFlowRunOperator
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import FakePrefect
from tests.unit.running import refusal

NOWHERE = "00000000-0000-4000-8000-000000000000"


def resume(**arguments: Any) -> PrefectResumeFlowRunOperator:
    return PrefectResumeFlowRunOperator(task_id="resume", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "flow_run_id is missing"),
        ({"flow_run_id": "{{ none }}"}, "flow_run_id is missing"),
        ({"flow_run_id": NOWHERE, "run_input": "approved"}, "run_input"),
        ({"flow_run_id": NOWHERE, "run_input": "[true]"}, "run_input"),
        ({"flow_run_id": NOWHERE, "run_input": {"rows": 2**70}}, "run_input['rows']"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(
    prefect: FakePrefect, context: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    assert message in refusal(prefect, context, lambda: resume(**arguments))


def test_a_flow_run_that_has_ended_is_not_asked_again(prefect: FakePrefect, context: dict[str, Any]) -> None:
    run_id = prefect.add_flow_run("FAILED")
    with pytest.raises(AirflowFailException, match="The flow run has ended in state Failed"):
        resume(flow_run_id=run_id).execute(context)


def test_a_flow_run_that_is_not_paused_yet_is_left_to_retries(
    prefect: FakePrefect, context: dict[str, Any], ti: TaskInstance
) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    with pytest.raises(FlowRunNotPaused, match="and not paused") as waits:
        resume(flow_run_id=run_id).execute(context)
    assert not isinstance(waits.value, AirflowFailException)
    assert ti.xcoms["flow_run_id"] == run_id
    assert ti.xcoms["flow_run_url"].endswith(run_id)


def test_an_unknown_flow_run_is_named(prefect: FakePrefect, context: dict[str, Any]) -> None:
    with pytest.raises(FlowRunNotFound, match=NOWHERE):
        resume(flow_run_id=NOWHERE).execute(context)
