"""Which task instance a flow run belongs to, and what a try asks Prefect for to start one exactly once."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_prefect.client import retry
from airflow_provider_prefect.client.errors import ConfigurationError, Unreachable
from airflow_provider_prefect.client.model import FINAL, LIVE, FlowRun, NewFlowRun, Source, State
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.utils.recovery import (
    Action,
    Decision,
    FlowRunStarter,
    LoopIteration,
    TaskTry,
    decide,
    task_try,
)
from tests.unit.fake_prefect import Answer, Asked, FakePrefect, state

TRY = TaskTry(
    dag_id="shop",
    run_id="manual__2026-10-01",
    dag_run_start="2026-10-01T12:00:00+00:00",
    task_id="summarise",
    map_index=-1,
    try_number=1,
    max_tries=2,
    url="http://airflow/shop",
)


def test_the_key_of_a_try_is_always_the_same() -> None:
    assert TRY.idempotency_key == replace(TRY).idempotency_key
    # Written down, since a release that computes another would not find the runs of the one before.
    assert TRY.idempotency_key == "airflow-dfea033f438c793c43ca07426ea1ee6aa8db3be2bf6d3aff6407100464c7e94e"


@pytest.mark.parametrize(
    "other",
    [
        {"dag_id": "shop2"},
        {"run_id": "manual__2026-10-02"},
        {"dag_run_start": "2026-10-01T12:00:01+00:00"},
        {"task_id": "summarise2"},
        {"map_index": 0},
        {"try_number": 2},
    ],
)
def test_another_task_instance_or_try_has_another_key(other: dict[str, Any]) -> None:
    assert replace(TRY, **other).idempotency_key != TRY.idempotency_key


def test_names_that_only_meet_when_joined_have_different_keys() -> None:
    one, two = replace(TRY, dag_id="a", run_id="b,c"), replace(TRY, dag_id="a,b", run_id="c")
    assert one.idempotency_key != two.idempotency_key


def test_the_key_does_not_change_when_the_task_is_looked_at_from_elsewhere() -> None:
    assert replace(TRY, url="http://other", max_tries=5).idempotency_key == TRY.idempotency_key


def test_the_run_is_named_after_its_task() -> None:
    assert TRY.task_name == "shop.summarise"


def test_the_run_of_a_mapped_task_is_named_after_its_index_too() -> None:
    assert replace(TRY, map_index=0).task_name == "shop.summarise[0]"


def test_a_run_carries_who_started_it_as_plain_json() -> None:
    assert json.loads(json.dumps(TRY.context)) == {
        "dag_id": "shop",
        "run_id": "manual__2026-10-01",
        "dag_run_start": "2026-10-01T12:00:00+00:00",
        "task_id": "summarise",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 2,
        "url": "http://airflow/shop",
    }


def test_labels_are_texts_that_a_run_is_found_by() -> None:
    assert TRY.labels == {
        "airflow.dag_id": "shop",
        "airflow.run_id": "manual__2026-10-01",
        "airflow.task_id": "summarise",
        "airflow.map_index": "-1",
        "airflow.try_number": "1",
    }


# Loops (Airflow 3.4)

LOOP = LoopIteration(index=2, region_id="0199e1f0-0000-7000-8000-000000000000", region_index=2)


@pytest.mark.parametrize("other", [{"index": 3}, {"region_index": 3}, {"region_id": "another"}, None])
def test_each_iteration_of_a_loop_has_a_key_of_its_own(other: dict[str, Any] | None) -> None:
    iteration = replace(TRY, loop=LOOP)
    elsewhere = replace(TRY, loop=None if other is None else replace(LOOP, **other))
    assert iteration.idempotency_key != elsewhere.idempotency_key
    assert replace(iteration, try_number=2).earlier_keys == [iteration.idempotency_key]


def test_an_iteration_of_a_loop_is_named_and_carried_with_the_flow_run() -> None:
    iteration = replace(TRY, loop=LOOP)
    assert iteration.dag_run_name == "manual__2026-10-01 (iteration 2)"
    assert json.loads(json.dumps(iteration.context))["loop_index"] == 2
    assert iteration.labels["airflow.loop_index"] == "2"


def airflow_3_4(context: dict[str, Any], index: int | None) -> dict[str, Any]:
    """The context of a task of Airflow 3.4, where a mapped task has a region too, in a loop or not."""
    context["ti"].region_id, context["ti"].region_index = LOOP.region_id, 2
    return {**context, "loop": None if index is None else SimpleNamespace(index=index)}


def test_the_iteration_is_that_of_airflows_context(context: dict[str, Any]) -> None:
    assert task_try(airflow_3_4(context, 2)).loop == LOOP


def test_a_mapped_task_outside_of_loops_keeps_the_key_that_it_has_without_regions(context: dict[str, Any]) -> None:
    before = task_try(context).idempotency_key
    assert task_try(airflow_3_4(context, None)).idempotency_key == before


# Which flow run this very try has started


def test_a_try_knows_the_flow_run_that_it_has_started_itself() -> None:
    flow_run = started_by(TRY, "RUNNING")
    assert TRY.has_started(flow_run)
    assert replace(TRY, max_tries=5).has_started(flow_run)


@pytest.mark.parametrize(
    "other", [{"url": "http://copy/shop"}, {"url": ""}, {"try_number": 2}, {"map_index": 1}, {"dag_run_start": "x"}]
)
def test_a_flow_run_that_names_another_try_or_airflow_is_not_its_own(other: dict[str, Any]) -> None:
    assert not TRY.has_started(started_by(replace(TRY, **other), "RUNNING"))
    assert not replace(TRY, **other).has_started(started_by(TRY, "RUNNING"))


@pytest.mark.parametrize("context", [{}, {"airflow": None}, {"airflow": "shop"}, {"airflow": {}}])
def test_a_flow_run_that_does_not_say_who_started_it_is_not_its_own(context: dict[str, Any]) -> None:
    assert not TRY.has_started(started_by(TRY, "RUNNING", context=context))


# What a later try makes of the runs of earlier ones

THIRD = replace(TRY, try_number=3)


def started_by(this_try: TaskTry, kind: str, **fields: Any) -> FlowRun:
    """The flow run that a try has left behind."""
    left: dict[str, Any] = {
        "id": f"of try {this_try.try_number}",
        "name": "brave-otter",
        "state": State(id="s", type=kind, name=kind.capitalize()),
        "deployment_id": "d",
        "context": {"airflow": this_try.context},
        "idempotency_key": this_try.idempotency_key,
    }
    return FlowRun(**{**left, **fields})


def decided(*found: FlowRun, this_try: TaskTry = THIRD, on_retry: str = "new") -> Decision:
    backwards = decide(this_try, found[::-1], "d", on_retry)
    assert decide(this_try, found, "d", on_retry) == backwards  # whatever order the server answers in
    return backwards


def test_a_try_looks_for_all_earlier_ones_and_not_for_itself() -> None:
    assert TRY.earlier_keys == []
    assert THIRD.earlier_keys == [replace(TRY, try_number=2).idempotency_key, TRY.idempotency_key]


def test_with_nothing_found_a_run_is_created() -> None:
    assert decided() == Decision(Action.CREATE)


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("SCHEDULED", Action.REATTACH),
        ("PENDING", Action.REATTACH),
        ("RUNNING", Action.REATTACH),
        ("PAUSED", Action.REATTACH),
        ("COMPLETED", Action.ADOPT),
        ("FAILED", Action.CREATE),
        ("CRASHED", Action.CREATE),
        ("CANCELLED", Action.CREATE),
        ("CANCELLING", Action.CREATE),
    ],
)
def test_the_state_of_the_earlier_run_decides(kind: str, action: Action) -> None:
    run = started_by(TRY, kind)
    assert decided(run) == Decision(action, None if action is Action.CREATE else run)


@pytest.mark.parametrize("kind", ["FAILED", "CRASHED", "CANCELLED"])
def test_an_unsuccessful_run_can_be_put_back_instead(kind: str) -> None:
    run = started_by(TRY, kind)
    assert decided(run, on_retry="restart") == Decision(Action.RESTART, run)


def test_a_run_that_is_being_cancelled_is_not_put_back() -> None:
    assert decided(started_by(TRY, "CANCELLING"), on_retry="restart") == Decision(Action.CREATE)


def test_the_newest_run_decides_and_a_try_without_one_is_skipped() -> None:
    first, second = started_by(TRY, "FAILED"), started_by(replace(TRY, try_number=2), "RUNNING")
    assert decided(first, second) == Decision(Action.REATTACH, second)
    assert decided(second, this_try=replace(TRY, try_number=9)) == Decision(Action.REATTACH, second)


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CANCELLED", "CANCELLING"])
def test_what_was_cleared_away_is_never_gone_on_with(kind: str) -> None:
    assert decided(started_by(TRY, kind), this_try=replace(THIRD, max_tries=4)) == Decision(Action.CREATE)


def test_what_still_runs_from_before_a_clear_is_stopped() -> None:
    old, new = started_by(TRY, "RUNNING"), started_by(replace(TRY, try_number=2, max_tries=4), "RUNNING")
    assert decided(old, this_try=replace(THIRD, max_tries=4)) == Decision(Action.CREATE, stop=(old,))
    assert decided(old, new, this_try=replace(THIRD, max_tries=4)) == Decision(Action.REATTACH, new, (old,))


def test_a_run_of_another_deployment_is_an_older_one() -> None:
    run = started_by(TRY, "RUNNING", deployment_id="another")
    assert decided(run) == Decision(Action.CREATE, stop=(run,))


def test_a_run_that_does_not_tell_its_generation_is_an_older_one() -> None:
    for context in ({}, {"airflow": None}, {"airflow": {"max_tries": "2"}}):
        run = started_by(TRY, "COMPLETED", context=context)
        assert decided(run) == Decision(Action.CREATE)


def test_a_run_that_was_not_asked_for_is_left_alone() -> None:
    assert decided(started_by(TRY, "RUNNING", idempotency_key="another")) == Decision(Action.CREATE)


# From Airflow's context


def test_a_try_is_read_from_airflows_context(context: dict[str, Any]) -> None:
    assert task_try(context) == replace(TRY, url="http://airflow/shop/summarise")


def test_a_context_with_less_in_it_is_enough(context: dict[str, Any], ti: Any) -> None:
    ti.map_index, ti.log_url = None, None
    read = task_try({**context, "dag_run": object()})
    assert (read.map_index, read.url, read.dag_run_start) == (-1, "", "")


# The table in the documentation


def cases() -> list[dict[str, str]]:
    """The rows of the table in docs/recovery.rst."""
    text = (Path(__file__).parents[3] / "docs" / "recovery.rst").read_text()
    lines = text.partition('"The flow run found"')[2].partition("\n\n")[2].partition("\n\n")[0].splitlines()
    names = ("found", "states", "on_retry", "action", "stop")
    return [dict(zip(names, row, strict=True)) for row in csv.reader(map(str.strip, lines), skipinitialspace=True)]


@pytest.mark.parametrize("case", cases(), ids=lambda case: " ".join(case.values()))
def test_the_documentation_says_what_the_code_does(case: dict[str, str]) -> None:
    left: dict[str, Any] = {
        "of this generation": {},
        "from before a clear": {"context": {"airflow": {"max_tries": 0}}},
        "of another deployment": {"deployment_id": "another"},
    }
    for on_retry in case["on_retry"].split(", "):
        if case["found"] == "none":
            assert decided(on_retry=on_retry).action.value == case["action"]
            continue
        for kind in case["states"].split(", "):
            run = started_by(TRY, kind, **left[case["found"]])
            decision = decided(run, on_retry=on_retry)
            assert decision.action.value == case["action"]
            assert decision.run == (None if case["action"] == "created" else run)
            assert decision.stop == ((run,) if case["stop"] == "yes" else ())


def test_the_documentation_leaves_no_case_out() -> None:
    said = [
        (case["found"], kind, on_retry)
        for case in cases()
        for kind in case["states"].split(", ")
        for on_retry in case["on_retry"].split(", ")
    ]
    found = ("of this generation", "from before a clear", "of another deployment")
    every = [
        (where, kind, on) for where in found for kind in (*LIVE, *FINAL, "CANCELLING") for on in ("new", "restart")
    ]
    assert sorted(said) == sorted([*every, ("none", "", "new"), ("none", "", "restart")])


# Starting exactly once


FIRST = TaskTry("shop", "manual__1", "2026-10-01T12:00:00+00:00", "start", -1, try_number=1, max_tries=2)
SECOND = replace(FIRST, try_number=2)
CREATE = "/deployments/.*/create_flow_run"
SET_STATE = "/flow_runs/.*/set_state"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "backoff", lambda tries, longest=30: 0.0)


def start(
    prefect: FakePrefect,
    this_try: TaskTry,
    *,
    on_retry: str = "new",
    stop_older: bool = True,
    key: str | None = None,
    deployment_id: str | None = None,
    patience: float = 60,
) -> tuple[Action, FlowRun]:
    """What a try does, and the flow run that it goes on with."""
    transport, log = PrefectHook().get_conn(), logging.getLogger(__name__)
    starter = FlowRunStarter(transport, patience, this_try, log, on_retry=on_retry, stop_older=stop_older)
    new = NewFlowRun(
        name=this_try.task_name,
        context={"airflow": this_try.context},
        idempotency_key=key or this_try.idempotency_key,
    )
    source_id = deployment_id or next(iter(prefect.deployments))
    source = Source(source_id, "demo", lineage=source_id)
    run = starter.start_flow_run(source, new, is_default_key=key is None)
    return starter.action, run


def left_by(prefect: FakePrefect, this_try: TaskTry, kind: str) -> str:
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
    assert "Prefect does not restart the flow run, which is in state" in logged()


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
    this_try = task_try(context)
    start(prefect, this_try)
    assert prefect.created[0]["context"] == {"airflow": this_try.context}


# A flow run that Prefect cannot list


def cannot_list(prefect: FakePrefect, *poisoned: str) -> None:
    """Let every list that would have one of these flow runs fail, as a number beyond 64 bits in its parameters does."""

    def fails(asked: Asked) -> Answer | None:
        keys = asked.body["flow_runs"].get("idempotency_key", {}) if asked.path == "/flow_runs/filter" else {}
        listed = [run["id"] for run in prefect.flow_runs.values() if run["idempotency_key"] in keys.get("any_", ())]
        return Answer(500, {"exception_message": "Internal Server Error"}) if {*listed} & {*poisoned} else None

    prefect.instead.append(fails)


def test_an_earlier_run_that_prefect_cannot_list_hides_no_later_one(prefect: FakePrefect) -> None:
    oldest = left_by(prefect, FIRST, "FAILED")
    _, latest = start(prefect, SECOND)
    prefect.put_into(latest.id, state("RUNNING"))
    cannot_list(prefect, oldest)
    assert start(prefect, replace(FIRST, try_number=3)) == (Action.REATTACH, PrefectHook().read_flow_run(latest.id))


def test_while_the_latest_run_cannot_be_listed_nothing_is_created(prefect: FakePrefect) -> None:
    left_by(prefect, FIRST, "FAILED")
    cannot_list(prefect, start(prefect, SECOND)[1].id)
    with pytest.raises(Unreachable):
        start(prefect, replace(FIRST, try_number=3), patience=0.5)
    assert len(prefect.flow_runs) == 2
