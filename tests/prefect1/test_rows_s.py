"""Rows S01 to S18 side by side: ``StartFlowRun`` of Prefect 1.4.1 and our operator, against the same server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import FlowRunCancelled, FlowRunFailed
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from tests.prefect1 import scenario
from tests.prefect1.our_side import Done, OurSide
from tests.prefect1.real_client import Outcome, run_real, task
from tests.prefect1.server import RUN_QUERIES, Prefect1Server

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
NAMED = {"flow_name": "etl", "project_name": "main"}
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    return scenario.register_flow(server, "etl", labels=["lab"])


def start(server: Prefect1Server, init: dict[str, Any] | None = None, **arguments: Any) -> Outcome:
    return run_real("StartFlowRun", server, init=NAMED if init is None else init, **arguments)


def created(server: Prefect1Server) -> list[dict[str, Any]]:
    return [dict(row) for row in server.tables.all("flow_run")]


def mirrored(
    server: Prefect1Server, ours: OurSide, state: str, deferrable: bool, **arguments: Any
) -> tuple[Outcome, Done]:
    """Both sides start a run and wait for it, which ends in ``state``."""
    server.meanwhile(mover(server, state), on="flow_run_by_pk")
    real = start(server, {**NAMED, "wait": True})
    server.meanwhile(mover(server, "Running"), on="flow_run", skip=1)
    server.meanwhile(mover(server, state), on="flow_run", skip=2)
    done = ours.start(**NAMED, wait_for_completion=True, deferrable=deferrable, **arguments)
    return real, done


def mover(server: Prefect1Server, state: str) -> Callable[[], Any]:
    return lambda: scenario.move(server, server.tables.all("flow_run")[-1]["id"], state, "so it ended")


@pytest.mark.parametrize("flow_name", [None, ""])
def test_s01_s02_the_flow_has_to_be_named_and_the_project_need_not(
    server: Prefect1Server, ours: OurSide, flow_id: str, flow_name: str | None
) -> None:
    real = start(server, {"flow_name": flow_name, "project_name": "main"})
    assert real.text == ("Must provide a flow name." if flow_name is None else "Flow '' not found.")
    refused = ours.start(flow_name=flow_name)
    if flow_name is None:
        assert "Give exactly one of deployment='flow/deployment' (or its id), flow_name" in refused.text
        assert "none is given" in refused.text
    else:
        assert refused.text == "flow_name rendered to '': give the name of a flow."
    assert refused.requests == ()
    assert start(server, {"flow_name": "etl"}).text == "Must provide a project name."
    assert created(server) == []
    assert ours.start(flow_name="etl").value == created(server)[0]["id"]


def test_s01_a_project_goes_with_a_name_only(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    done = ours.start(flow_id=flow_id, project_name="main")
    assert "project_name='main' goes with flow_name only" in done.text
    assert done.requests == ()


@pytest.mark.parametrize("named", [{"flow_name": "nope"}, {"project_name": "nope"}])
def test_s03_a_flow_that_is_not_found_is_an_error(
    server: Prefect1Server, ours: OurSide, flow_id: str, named: dict[str, str]
) -> None:
    real, done = start(server, {**NAMED, **named}), ours.start(**{**NAMED, **named})
    assert "not found." in str(real.text)
    assert "Prefect has no flow" in done.text
    assert done.for_good
    assert created(server) == []


def test_s04_the_newest_version_that_is_not_archived_is_started(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    middle = scenario.register_flow(server, "etl", keep_older=True)
    newest = scenario.register_flow(server, "etl", keep_older=True)
    for expected in (newest, middle):
        real, done = start(server, idempotency_key="real"), ours.start(**NAMED, idempotency_key="ours")
        for run_id in (real.value, done.value):
            assert scenario.row(server, "flow_run", run_id)["flow_id"] == expected
        scenario.archive(server, newest)


def test_s06_a_short_pause_is_refused_where_it_counts(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    for wait in (True, False):
        assert start(server, {**NAMED, "wait": wait, "poll_interval": timedelta(seconds=2)}).error == "ValueError"
    done = ours.start(**NAMED, wait_for_completion=True, poll_interval=2)
    assert "poll_interval=2 is too short: it is at least 3 seconds" in done.text
    assert done.requests == ()
    assert created(server) == []
    assert ours.start(**NAMED, poll_interval=2).error is None


def test_s07_a_task_among_the_parameters_is_refused_before_any_request(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    real = start(server, {**NAMED, "parameters": {"rows": task("load")}})
    assert (real.error, "An instance of `Task` was passed" in str(real.text)) == ("TypeError", True)
    other = PrefectStartFlowRunOperator(task_id="other", flow_name="etl")
    done = ours.start(**NAMED, parameters={"rows": other})
    assert "parameters['rows'] cannot be sent as JSON: it is the task 'other'. Give what it returned" in done.text
    assert done.for_good
    assert real.requests == done.requests == ()
    assert created(server) == []


def test_s09_every_mapped_task_instance_has_a_run_of_its_own(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    real = [start(server, prefect_context={"task_run_id": "tr", "map_index": index}).value for index in (0, 1)]
    assert len(set(real)) == 1
    values = []
    for index in (0, 1):
        ours.ti.map_index = index
        values.append(ours.start(**NAMED).value)
    assert len({*values, *real}) == 3


def test_s10_name_labels_and_a_timedelta_can_all_be_given(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real = start(server, prefect_context={"flow_run_name": "parent"})
    assert "parent" not in scenario.row(server, "flow_run", real.value)["name"]
    assert start(server, {**NAMED, "scheduled_start_time": timedelta(hours=1)}).error == "AttributeError"
    assert start(server, {**NAMED, "labels": ["x"]}).error == "TypeError"
    done = ours.start(**NAMED, labels=["x"], scheduled_start_time=timedelta(hours=1))
    run = scenario.row(server, "flow_run", done.value)
    assert (run["name"], run["labels"]) == (f"{ours.ti.run_id}-etl", ["x"])
    assert datetime.fromisoformat(run["scheduled_start_time"]) > datetime.now(UTC) + timedelta(minutes=59)


def inside(server: Prefect1Server, flow_id: str, task_run: str | None = None) -> dict[str, Any]:
    """The context of a task that runs in a flow run."""
    parent = scenario.start_run(server, flow_id, "Running")
    found = scenario.task_run_id(server, parent, "work-1")
    return {"running_with_backend": True, "task_run_id": task_run or found}


def test_s11_a_button_opens_the_page_and_no_artifact_is_created(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    real = start(server, prefect_context=inside(server, flow_id))
    [artifact] = server.tables.all("task_run_artifact")
    assert artifact["data"] == {"link": f"/default/flow-run/{real.value}"}
    done = ours.start(**NAMED)
    assert done.xcoms[PrefectFlowRunLink.xcom_key].endswith(f":8080/default/flow-run/{done.value}")
    assert any(isinstance(link, PrefectFlowRunLink) for link in PrefectStartFlowRunOperator.operator_extra_links)
    assert "create_task_run_artifact" not in done.names


def test_s12_nothing_about_the_link_can_fail_the_task(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    context = inside(server, flow_id, NOBODY)
    real = start(server, prefect_context=context, idempotency_key="real")
    assert (real.error, real.slept) == ("ClientError", (1,) * 5)
    assert [run["idempotency_key"] for run in created(server)].count("real") == 1
    done = ours.start(**NAMED)
    assert done.error is None
    assert set(done.names) == {"flow", "create_flow_run", "flow_run"}


def test_s13_without_a_wait_the_id_is_returned(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real, done = start(server), ours.start(**NAMED)
    assert [run["id"] for run in created(server)] == [real.value, done.value]
    assert {run["state"] for run in created(server)} == {"Scheduled"}


@both_modes
def test_s14_it_looks_first_and_pauses_as_long_as_asked(
    server: Prefect1Server, ours: OurSide, flow_id: str, deferrable: bool
) -> None:
    real, done = mirrored(server, ours, "Success", deferrable)
    assert real.slept == (10.0,)
    assert (done.error, done.value) == (None, created(server)[-1]["id"])
    if not deferrable:
        ours.slept.clear()
        server.meanwhile(mover(server, "Success"), on="flow_run", skip=3)
        ours.start(**NAMED, wait_for_completion=True, pause=7, idempotency_key="again")
        assert ours.slept == [7, 7]


@both_modes
def test_s14_the_time_is_limited_if_asked_and_the_run_is_then_asked_to_stop(
    server: Prefect1Server, ours: OurSide, flow_id: str, deferrable: bool
) -> None:
    assert start(server, {**NAMED, "wait": True}, patience=30).error == "PatienceEnded"
    arguments = {**NAMED, "wait_for_completion": True, "timeout": 0.2, "deferrable": deferrable}
    done = ours.start(**arguments)
    assert "WaitTimeout" in done.kinds
    assert "The flow run was asked to stop, and is in state Cancelled" in done.text
    assert created(server)[-1]["state"] == "Cancelled"
    done = ours.start(**arguments, cancel_on_timeout=False, idempotency_key="other")
    assert "The flow run continues (cancel_on_timeout=False)" in done.text
    assert created(server)[-1]["state"] == "Scheduled"


@both_modes
def test_s14_lines_of_the_flow_are_shown_if_asked(
    server: Prefect1Server, ours: OurSide, flow_id: str, deferrable: bool
) -> None:
    server.meanwhile(
        lambda: scenario.write_log(server, created(server)[-1]["id"], "hello from the flow"), on="flow_run", skip=1
    )
    server.meanwhile(mover(server, "Success"), on="flow_run", skip=2)
    assert ours.start(**NAMED, wait_for_completion=True, deferrable=deferrable, stream_logs=True).error is None
    assert "hello from the flow" in ours.logged()


@both_modes
@pytest.mark.parametrize(
    ("state", "signal", "error"),
    [("Success", "SUCCESS", None), ("Skipped", "SKIP", None), ("Failed", "FAIL", FlowRunFailed)],
)
def test_s15_success_is_a_return_and_a_failure_an_error_that_names_state_and_page(
    server: Prefect1Server, ours: OurSide, flow_id: str, state: str, signal: str, error: Any, deferrable: bool
) -> None:
    real, done = mirrored(server, ours, state, deferrable)
    run = created(server)[-1]
    assert (real.error, real.state) == (signal, state)
    if error is None:
        assert done.value == run["id"]
        assert done.xcoms["state"] == "COMPLETED"
    else:
        assert isinstance(done.error, error)
        assert f"Flow run ended in state {state}: so it ended. See http" in done.text
        assert f"({run['name']!r})" in done.text
        assert not done.for_good


@both_modes
@pytest.mark.parametrize(
    ("state", "error", "for_good"), [("Cancelled", FlowRunCancelled, True), ("TimedOut", FlowRunFailed, False)]
)
def test_s16_a_cancelled_or_timed_out_child_is_what_it_is(
    server: Prefect1Server, ours: OurSide, flow_id: str, state: str, error: Any, for_good: bool, deferrable: bool
) -> None:
    real, done = mirrored(server, ours, state, deferrable)
    assert (real.error, "No signal matches the provided state" in str(real.text)) == ("ValueError", True)
    assert isinstance(done.error, error)
    assert done.for_good == for_good
    retried = mirrored(server, ours, state, deferrable, retry_cancelled=True, idempotency_key="other")[1]
    assert isinstance(retried.error, error)
    assert not retried.for_good


@pytest.mark.parametrize(("state", "runs"), [("Running", 1), ("Success", 1), ("Failed", 2), ("Cancelled", 2)])
def test_s17_a_retry_goes_on_with_a_run_that_lives_or_has_completed(
    server: Prefect1Server, ours: OurSide, flow_id: str, state: str, runs: int
) -> None:
    first = ours.start(**NAMED).value
    scenario.move(server, first, state)
    scenario.register_flow(server, "etl")
    ours.ti.try_number = 2
    second = ours.start(**NAMED)
    assert second.error is None
    assert len(created(server)) == runs
    assert (second.value == first) == (runs == 1)
    if runs == 1:
        assert "create_flow_run" not in second.names


def test_s17_the_real_client_mirrors_a_failed_run_again(server: Prefect1Server, flow_id: str) -> None:
    server.meanwhile(mover(server, "Failed"), on="flow_run_by_pk")
    for _ in range(2):
        assert start(server, {**NAMED, "wait": True}, prefect_context={"task_run_id": "tr"}).error == "FAIL"
    assert len(created(server)) == 1


def test_s17_a_run_from_before_a_clear_is_asked_to_stop(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    first = ours.start(**NAMED).value
    scenario.move(server, first, "Running")
    ours.ti.try_number, ours.ti.max_tries = 2, 3
    second = ours.start(**NAMED)
    assert second.value != first
    assert [run["state"] for run in created(server)] == ["Cancelling", "Scheduled"]


@both_modes
def test_s18_a_run_that_vanishes_is_an_error(
    server: Prefect1Server, ours: OurSide, flow_id: str, deferrable: bool
) -> None:
    def vanish() -> None:
        server.tables.delete("flow_run", server.tables.all("flow_run")[-1]["id"])

    server.meanwhile(vanish, on="flow_run_by_pk")
    assert "Flow run ID not found: " in str(start(server, {**NAMED, "wait": True}).text)
    server.meanwhile(vanish, on="flow_run", skip=2)
    done = ours.start(**NAMED, wait_for_completion=True, deferrable=deferrable)
    assert done.for_good
    assert f"Prefect has no flow run {done.xcoms['flow_run_id']}" in done.text
    assert "Its last known state was Scheduled: Flow run scheduled, and" in done.text


def test_s18_a_run_that_is_missing_once_only_has_not_vanished(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    server.fault(on=RUN_QUERIES, skip=2, answer={"data": {"flow_run": []}})
    server.meanwhile(mover(server, "Success"), on="flow_run", skip=4)
    done = ours.start(**NAMED, wait_for_completion=True)
    assert (done.error, done.value) == (None, created(server)[0]["id"])
    assert uuid.UUID(done.value)
