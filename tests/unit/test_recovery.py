"""Which task instance a flow run belongs to."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_prefect.client.model import FINAL, LIVE, FlowRun, State
from airflow_provider_prefect.recovery import Action, Decision, TryOfTask, decide, try_of_task

TRY = TryOfTask(
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


# What a later try makes of the runs of earlier ones

THIRD = replace(TRY, try_number=3)


def started_by(this_try: TryOfTask, kind: str, **fields: Any) -> FlowRun:
    """The flow run that a try has left behind."""
    told: dict[str, Any] = {
        "id": f"of try {this_try.try_number}",
        "name": "brave-otter",
        "state": State(id="s", type=kind, name=kind.capitalize()),
        "deployment_id": "d",
        "context": {"airflow": this_try.context},
        "idempotency_key": this_try.idempotency_key,
    }
    return FlowRun(**{**told, **fields})


def decided(*found: FlowRun, this_try: TryOfTask = THIRD, on_retry: str = "new") -> Decision:
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
    assert try_of_task(context) == replace(TRY, url="http://airflow/shop/summarise")


def test_a_context_with_less_in_it_is_enough(context: dict[str, Any], ti: Any) -> None:
    ti.map_index, ti.log_url = None, None
    read = try_of_task({**context, "dag_run": object()})
    assert (read.map_index, read.url, read.dag_run_start) == (-1, "", "")


# The table in the documentation


def cases() -> list[dict[str, str]]:
    """The rows of the table in docs/recovery.rst."""
    text = (Path(__file__).parents[2] / "docs" / "recovery.rst").read_text()
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
