"""Which flow run a try goes on with, and what it asks Prefect for on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_prefect.client import retry
from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.new_flow_run import NewFlowRun, Source
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.recovery import Action, TryOfTask, try_of_task
from airflow_provider_prefect.starting import Starting
from tests.unit.fake_prefect import Answer, Asked, FakePrefect, state

FIRST = TryOfTask("shop", "manual__1", "2026-10-01T12:00:00+00:00", "start", -1, try_number=1, max_tries=2)
SECOND = replace(FIRST, try_number=2)
CREATE = "/deployments/.*/create_flow_run"
SET_STATE = "/flow_runs/.*/set_state"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "backoff", lambda tries, longest=30: 0.0)


def start(
    prefect: FakePrefect,
    this_try: TryOfTask,
    *,
    on_retry: str = "new",
    stop_older: bool = True,
    key: str | None = None,
    deployment_id: str | None = None,
) -> tuple[Action, FlowRun]:
    """What a try does, and the flow run that it goes on with."""
    starting = Starting(PrefectHook(), this_try, logging.getLogger(__name__), on_retry=on_retry, stop_older=stop_older)
    new = NewFlowRun(
        name=this_try.task_name,
        context={"airflow": this_try.context},
        idempotency_key=key or this_try.idempotency_key,
    )
    source_id = deployment_id or next(iter(prefect.deployments))
    run = starting.go(Source(source_id, "demo", lineage=source_id), new, key_is_ours=key is None)
    return starting.action, run


def left_by(prefect: FakePrefect, this_try: TryOfTask, kind: str) -> str:
    """The id of the flow run that an earlier try has started, and that is in this state now."""
    action, run = start(prefect, this_try)
    assert action is Action.CREATE
    prefect.put_into(run.id, state(kind))
    return run.id


def test_the_first_try_creates_without_looking_for_others(prefect: FakePrefect) -> None:
    action, run = start(prefect, FIRST)
    assert action is Action.CREATE
    assert [body["idempotency_key"] for body in prefect.created] == [FIRST.idempotency_key]
    assert prefect.asked("POST", "/flow_runs/filter") == []
    assert list(prefect.flow_runs) == [run.id]


def test_a_later_try_asks_once_for_the_runs_of_all_earlier_ones(prefect: FakePrefect) -> None:
    start(prefect, replace(FIRST, try_number=4))
    asked = prefect.asked("POST", "/flow_runs/filter")
    assert [one.body["offset"] for one in asked] == [0]
    assert len(asked[0].body["flow_runs"]["idempotency_key"]["any_"]) == 3


@pytest.mark.parametrize(
    ("kind", "action"),
    [("SCHEDULED", Action.REATTACH), ("RUNNING", Action.REATTACH), ("COMPLETED", Action.ADOPT)],
)
def test_a_run_that_lives_or_has_completed_is_gone_on_with(prefect: FakePrefect, kind: str, action: Action) -> None:
    earlier = left_by(prefect, FIRST, kind)
    assert start(prefect, SECOND) == (action, PrefectHook().read_flow_run(earlier))
    assert len(prefect.flow_runs) == 1


@pytest.mark.parametrize("kind", ["FAILED", "CRASHED", "CANCELLED", "CANCELLING"])
def test_a_run_that_has_ended_badly_is_followed_by_another(prefect: FakePrefect, kind: str) -> None:
    earlier = left_by(prefect, FIRST, kind)
    action, run = start(prefect, SECOND)
    assert action is Action.CREATE
    assert run.id != earlier
    assert prefect.cancelled == []


def test_a_deleted_run_is_followed_by_another(prefect: FakePrefect) -> None:
    del prefect.flow_runs[left_by(prefect, FIRST, "RUNNING")]
    assert start(prefect, SECOND)[0] is Action.CREATE
    assert len(prefect.flow_runs) == 1


# An answer that gets lost


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_create_that_was_acted_on_and_not_answered_is_sent_again_and_finds_its_run(
    prefect: FakePrefect, status: int
) -> None:
    def acts_and_fails(asked: Asked) -> Answer | None:
        if not asked.path.endswith("create_flow_run") or len(prefect.created) > 1:
            return None
        prefect._route(asked)
        return Answer(status, {"detail": "database is locked"})

    prefect.instead.append(acts_and_fails)
    assert start(prefect, FIRST)[0] is Action.CREATE
    assert len(prefect.created) == 2
    assert len(prefect.flow_runs) == 1


def test_a_run_with_the_key_of_this_try_that_it_has_not_created_is_somebody_elses(prefect: FakePrefect) -> None:
    left_by(prefect, FIRST, "RUNNING")
    with pytest.raises(ConfigurationError, match="has the idempotency key of this try already"):
        start(prefect, FIRST)


# A key of the user's own


@pytest.mark.parametrize("kind", ["RUNNING", "COMPLETED", "FAILED"])
def test_a_key_of_the_users_own_is_used_as_it_stands_and_its_run_in_whatever_state(
    prefect: FakePrefect, kind: str
) -> None:
    action, run = start(prefect, FIRST, key="mine")
    assert action is Action.CREATE
    prefect.put_into(run.id, state(kind))
    action, again = start(prefect, SECOND, key="mine")
    assert (action, again.id) == (Action.ADOPT, run.id)
    assert prefect.asked("POST", "/flow_runs/filter") == []


# What is from before a clear, or of another deployment


def test_what_lives_from_before_a_clear_is_stopped_before_a_new_run_is_created(prefect: FakePrefect) -> None:
    earlier = left_by(prefect, FIRST, "RUNNING")
    action, run = start(prefect, replace(SECOND, max_tries=3))
    assert (action, prefect.cancelled) == (Action.CREATE, [earlier])
    assert run.id != earlier
    paths = [one.path for one in prefect.requests if one.method == "POST"]
    assert paths.index(f"/flow_runs/{earlier}/set_state") < len(paths) - 1
    assert paths[-1].endswith("create_flow_run")


def test_what_lives_from_before_a_clear_goes_on_if_nothing_is_to_be_stopped(prefect: FakePrefect) -> None:
    left_by(prefect, FIRST, "RUNNING")
    assert start(prefect, replace(SECOND, max_tries=3), stop_older=False)[0] is Action.CREATE
    assert prefect.cancelled == []


def test_a_run_of_another_deployment_is_stopped_and_not_gone_on_with(prefect: FakePrefect) -> None:
    earlier = left_by(prefect, FIRST, "RUNNING")
    action, run = start(prefect, SECOND, deployment_id=prefect.add_deployment("sales/other"))
    assert (action, prefect.cancelled) == (Action.CREATE, [earlier])
    assert run.id != earlier


def test_an_older_run_that_cannot_be_stopped_is_told_of_with_its_link_and_holds_nothing_up(
    prefect: FakePrefect, logged: Callable[[], str]
) -> None:
    earlier = left_by(prefect, FIRST, "RUNNING")
    prefect.answer("POST", SET_STATE, 403, {"detail": "not yours"})
    assert start(prefect, replace(SECOND, max_tries=3))[0] is Action.CREATE
    assert f"{prefect.ui_url}/runs/flow-run/{earlier}" in logged()


# Putting a run back to scheduled


def test_an_unsuccessful_run_is_put_back_to_scheduled_and_waited_for_as_it_is_then(prefect: FakePrefect) -> None:
    earlier = left_by(prefect, FIRST, "FAILED")
    action, run = start(prefect, SECOND, on_retry="restart")
    assert (action, run.id, run.state.type) == (Action.RESTART, earlier, "SCHEDULED")
    assert len(prefect.flow_runs) == 1


def test_a_run_that_prefect_does_not_put_back_is_followed_by_another(
    prefect: FakePrefect, logged: Callable[[], str]
) -> None:
    earlier = left_by(prefect, FIRST, "CANCELLED")
    refusal = {"status": "ABORT", "state": None, "details": {"reason": "no"}}
    prefect.answer("POST", SET_STATE, 200, refusal)
    action, run = start(prefect, SECOND, on_retry="restart")
    assert action is Action.CREATE
    assert run.id != earlier
    assert "Prefect does not restart flow run" in logged()


def test_a_restart_whose_answer_got_lost_is_not_asked_for_twice(prefect: FakePrefect) -> None:
    earlier = left_by(prefect, FIRST, "FAILED")

    def acts_and_fails(asked: Asked) -> Answer | None:
        if not asked.path.endswith("set_state"):
            return None
        prefect._route(asked)
        return Answer(500, {"detail": "lost"})

    prefect.instead.append(acts_and_fails)
    action, run = start(prefect, SECOND, on_retry="restart")
    assert (action, run.id, run.state.type) == (Action.RESTART, earlier, "SCHEDULED")
    assert len(prefect.asked("POST", SET_STATE)) == 1


def test_a_restart_that_did_not_reach_prefect_is_asked_for_again(prefect: FakePrefect) -> None:
    earlier = left_by(prefect, FIRST, "FAILED")
    prefect.answer("POST", SET_STATE, 500, {"detail": "lost"}, times=1)
    assert start(prefect, SECOND, on_retry="restart")[1].id == earlier
    assert len(prefect.asked("POST", SET_STATE)) == 2


def test_the_try_is_that_of_airflows_context(prefect: FakePrefect, context: dict[str, Any]) -> None:
    this_try = try_of_task(context)
    start(prefect, this_try)
    assert prefect.created[0]["context"] == {"airflow": this_try.context}
