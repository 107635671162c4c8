"""Cancelling the runs of a deployment ends, also where there are always new ones."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import PrefectError
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator
from tests.unit.fake_prefect import Answer, Asked, FakePrefect, state


def serve_new_runs(prefect: FakePrefect, rounds: Any) -> None:
    """Have the deployment another live run each time it is asked for them, for so many rounds."""

    def instead(asked: Asked) -> Answer | None:
        if asked.path.endswith("/set_state"):
            return Answer(201, {"status": "ACCEPT", "state": state("CANCELLING")})
        if asked.path != "/flow_runs/filter":
            return None
        if asked.body["offset"] or next(rounds, None) is None:
            return Answer(200, [])
        return Answer(200, [{"id": str(uuid.uuid4()), "name": "calm-otter", "state": state("RUNNING")}])

    prefect.instead.append(instead)


def cancel() -> PrefectCancelFlowRunOperator:
    return PrefectCancelFlowRunOperator(task_id="cancel", deployment="sales/demo")


def test_it_is_an_error_that_says_what_to_do(prefect: FakePrefect, context: dict[str, Any]) -> None:
    serve_new_runs(prefect, itertools.count())
    with pytest.raises(PrefectError, match=r"'sales/demo' gets new runs faster than they are cancelled: 20 were asked"):
        cancel().execute(context)


def test_runs_that_appear_meanwhile_are_cancelled_too(prefect: FakePrefect, context: dict[str, Any]) -> None:
    serve_new_runs(prefect, iter(range(3)))
    assert [each["state"] for each in cancel().execute(context)] == ["CANCELLING"] * 3
