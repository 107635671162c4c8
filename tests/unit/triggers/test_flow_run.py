"""The trigger: what is kept of it, what it sends, and when."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_provider_prefect.hooks import connection
from airflow_provider_prefect.hooks.prefect import MAX_UNREACHABLE
from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger
from tests.unit.fake_prefect import FakePrefect, state
from tests.unit.running import Through, event_of, events, restored

RUN = "00000000-0000-4000-8000-000000000001"

LONG = 100_000.0
"""Seconds that no test waits."""


def trigger(flow_run_id: str, **arguments: Any) -> PrefectFlowRunTrigger:
    return PrefectFlowRunTrigger(flow_run_id, "prefect_default", **{"poll_interval": 0, **arguments})


def polls(prefect: FakePrefect) -> int:
    """How often it was asked for flow runs."""
    return len(prefect.asked("POST", "/flow_runs/filter"))


async def polled(prefect: FakePrefect, times: int) -> None:
    """Comes back when so many polls were made; the server's thread knows nothing of this loop's events."""
    while polls(prefect) < times:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_everything_it_is_made_with_is_kept_and_is_json(through_airflow: Through) -> None:
    made = {
        "flow_run_id": RUN,
        "prefect_conn_id": "prefect_other",
        "poll_interval": 7.5,
        "deadline": 1.5,
        "start_deadline": 2.5,
        "max_unreachable": 3.5,
        "not_before": 4.5,
    }
    one = PrefectFlowRunTrigger(**made)
    path, kept = one.serialize()
    assert path == "airflow_provider_prefect.triggers.flow_run.PrefectFlowRunTrigger"
    assert kept.items() >= made.items()
    assert json.loads(json.dumps(kept)) == through_airflow(kept) == kept
    assert restored(one, through_airflow).serialize() == (path, kept)


def test_every_argument_of_its_is_kept() -> None:
    code = PrefectFlowRunTrigger.__init__.__code__
    arguments = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    assert set(trigger(RUN).serialize()[1]) == set(arguments)


def test_it_can_be_made_with_what_an_older_version_has_kept(prefect: FakePrefect) -> None:
    one = PrefectFlowRunTrigger(flow_run_id=RUN, prefect_conn_id="prefect_default")
    assert (one.deadline, one.max_unreachable, one.not_before) == (None, MAX_UNREACHABLE, 0)


def test_it_opens_and_reads_nothing_before_it_runs() -> None:
    assert PrefectFlowRunTrigger("no id", "there_is_none").serialize()


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_it_sends_one_event_when_the_run_has_ended(prefect: FakePrefect, kind: str) -> None:
    run_id = prefect.add_flow_run("SCHEDULED", "PENDING", "RUNNING", state(kind, "Odd", "message"))
    event = event_of(trigger(run_id))
    assert json.loads(json.dumps(event)) == event
    assert (event["flow_run_id"], event["error"]) == (run_id, None)
    assert event["flow_run"] == {
        "id": run_id,
        "name": "brave-otter",
        "state_type": kind,
        "state_name": "Odd",
        "state_message": "message",
        "start_time": None,
        "end_time": None,
        "url": f"{prefect.ui_url}/runs/flow-run/{run_id}",
    }


def test_it_is_an_event_of_airflows() -> None:
    async def first() -> TriggerEvent:
        return await anext(trigger(RUN, prefect_conn_id="there_is_none").run())

    def trigger(flow_run_id: str, prefect_conn_id: str) -> PrefectFlowRunTrigger:
        return PrefectFlowRunTrigger(flow_run_id, prefect_conn_id)

    assert isinstance(asyncio.run(first()), TriggerEvent)


@pytest.mark.parametrize("kind", ["PAUSED", "CANCELLING", "RUNNING", "PENDING", "SCHEDULED"])
def test_it_waits_on_while_the_run_has_not_ended(prefect: FakePrefect, kind: str) -> None:
    run_id = prefect.add_flow_run(kind, kind, kind, "COMPLETED")
    assert event_of(trigger(run_id))["flow_run"]["state_type"] == "COMPLETED"


def test_it_tells_the_tasks_log_of_every_state_once(prefect: FakePrefect, logged: Callable[[], str]) -> None:
    running = state("RUNNING")
    event_of(trigger(prefect.add_flow_run("PENDING", running, running, state("COMPLETED", message="as ever"))))
    shown = [line for line in logged().splitlines() if "is in state" in line]
    for text in ("in state Pending", "in state Running", "in state Completed: as ever"):
        assert any(text in line for line in shown)
    assert logged().count("in state Running") == logged().count("in state Pending")


def test_started_again_it_goes_on_with_the_same_wait(prefect: FakePrefect, through_airflow: Through) -> None:
    run_id = prefect.add_flow_run("RUNNING")
    one = trigger(run_id, poll_interval=LONG)

    async def stopped_after_a_poll() -> None:
        running = asyncio.create_task(events(one))
        await polled(prefect, 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(stopped_after_a_poll())
    assert prefect.cancelled == []
    prefect.put_into(run_id, state("COMPLETED"))
    again, once_more = (event_of(restored(one, through_airflow)) for _ in range(2))
    assert again == once_more
    assert again["flow_run"]["state_type"] == "COMPLETED"
    assert {one.path for one in prefect.requests if one.method != "GET"} == {"/flow_runs/filter"}  # it only ever polls


def test_a_deadline_in_the_past_still_sees_a_run_that_has_ended(prefect: FakePrefect) -> None:
    """The triggerer was down when the time was up, and the run has ended meanwhile."""
    event = event_of(trigger(prefect.add_flow_run("COMPLETED"), deadline=time.time() - LONG))
    assert event["flow_run"]["state_type"] == "COMPLETED"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"deadline": 1.0}, "WaitTimeout"),
        ({"start_deadline": 1.0}, "StartTimeout"),
        ({"deadline": 1.0, "start_deadline": LONG**2}, "WaitTimeout"),
        ({"deadline": LONG**2, "start_deadline": 1.0}, "StartTimeout"),
    ],
)
def test_it_owns_the_deadlines(prefect: FakePrefect, arguments: dict[str, Any], kind: str) -> None:
    run_id = prefect.add_flow_run("PENDING")
    event = event_of(trigger(run_id, poll_interval=LONG, **arguments))
    assert (event["flow_run_id"], event["flow_run"], event["error"]["kind"]) == (run_id, None, kind)
    assert "Pending" in event["error"]["message"]


def test_the_time_to_start_does_not_end_a_run_that_has_started(prefect: FakePrefect) -> None:
    run_id = prefect.add_flow_run("RUNNING", "RUNNING", "COMPLETED")
    assert event_of(trigger(run_id, start_deadline=1.0))["error"] is None


@pytest.mark.parametrize("status", [500, 502, 503, 429, 401, 403, 404])
def test_api_trouble_is_waited_out(prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.retry.backoff", lambda tries, longest=30: 0.01)
    prefect.answer("POST", ".*", status, b"<html>a proxy", times=2)
    assert event_of(trigger(prefect.add_flow_run("COMPLETED")))["error"] is None


def test_a_key_that_was_changed_meanwhile_is_read_again(
    prefect: FakePrefect, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_prefect.client.retry.backoff", lambda tries, longest=30: 0.01)
    prefect.authorization = "Bearer new-key-1"
    connect(host=prefect.api_url, password="old-key-1")
    refused = prefect.reply

    def changes_the_key(asked: Any) -> Any:
        answer = refused(asked)
        connect(host=prefect.api_url, password="new-key-1")
        return answer

    prefect.reply = changes_the_key  # type: ignore[method-assign]
    assert event_of(trigger(prefect.add_flow_run("COMPLETED")))["error"] is None


@pytest.mark.parametrize("status", [503, 401, 404])
def test_an_api_that_stays_away_too_long_ends_the_wait(prefect: FakePrefect, status: int) -> None:
    prefect.answer("POST", ".*", status, {"detail": "away"})
    event = event_of(trigger(prefect.add_flow_run("RUNNING"), max_unreachable=0))
    assert event["error"]["kind"] == "Unreachable"


def test_a_run_that_is_gone_ends_the_wait(prefect: FakePrefect) -> None:
    assert event_of(trigger(RUN))["error"]["kind"] == "FlowRunDeleted"


def test_a_connection_that_only_the_worker_has_ends_the_wait_and_says_who_has_none() -> None:
    event = event_of(PrefectFlowRunTrigger(RUN, "there_is_none"))
    assert event["error"]["kind"] == "ConfigurationError"
    assert event["error"]["message"].startswith("The triggerer has no connection prefect_conn_id='there_is_none'")
    assert event["flow_run_id"] == RUN


class Backend:
    """A secrets backend that fails some times before it is well again."""

    def __init__(self, failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = failures
        self._read = connection.aread_settings
        monkeypatch.setattr(connection, "aread_settings", self.read)
        monkeypatch.setattr("airflow_provider_prefect.triggers.flow_run.backoff", lambda tries: 0.01)

    async def read(self, *asked: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise OSError("vault said no to token s3cr3t")
        return await self._read(*asked)


def test_a_secrets_backend_that_fails_for_a_moment_is_waited_out(
    prefect: FakePrefect, logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Backend(3, monkeypatch)
    assert event_of(trigger(prefect.add_flow_run("COMPLETED")))["error"] is None
    told = "The triggerer cannot read the connection 'prefect_default': its secrets backend fails with OSError."
    assert told in logged()
    assert "s3cr3t" not in logged()


def test_a_secrets_backend_that_stays_away_too_long_ends_the_wait_as_an_api_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Backend(10_000, monkeypatch)
    error = event_of(trigger(RUN, max_unreachable=0.1))["error"]
    assert error["kind"] == "Unreachable"
    assert "secrets backend fails with OSError" in error["message"]
    assert "s3cr3t" not in error["message"]


def test_a_secrets_backend_that_still_fails_at_the_deadline_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    Backend(10_000, monkeypatch)
    assert event_of(trigger(RUN, deadline=time.time() + 0.1))["error"]["kind"] == "WaitTimeout"


def test_arguments_of_another_version_are_ignored_with_a_warning(
    prefect: FakePrefect, logged: Callable[[], str]
) -> None:
    newer = trigger(prefect.add_flow_run("COMPLETED"), of_tomorrow="x", another=1)
    assert event_of(newer)["error"] is None
    assert "does not have the trigger's arguments another, of_tomorrow" in logged()
    assert not {"another", "of_tomorrow"} & set(newer.serialize()[1])


def test_a_response_of_another_shape_is_trouble_like_any_other_and_is_named(prefect: FakePrefect) -> None:
    prefect.answer("GET|POST", "/flow_runs/.*", 200, ["not", "a", "flow run"])
    event = event_of(trigger(RUN, max_unreachable=0))
    assert event["error"]["kind"] == "Unreachable"
    assert f"The response to GET /flow_runs/{RUN} is not what Prefect sends" in event["error"]["message"]
    assert (event["flow_run_id"], event["flow_run"]) == (RUN, None)


def test_a_response_that_nobody_foresaw_is_trouble_like_any_other_and_in_the_log(
    prefect: FakePrefect, logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    for call in ("read_changed", "read_flow_run"):
        monkeypatch.setattr(f"airflow_provider_prefect.client.rest.RestApi.{call}", fail)
    event = event_of(trigger(prefect.add_flow_run("RUNNING"), max_unreachable=0))
    assert event["error"]["kind"] == "Unreachable"
    assert "Traceback" in logged()


def test_an_error_that_nobody_foresaw_ends_the_wait_and_is_in_the_log(
    prefect: FakePrefect, logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_prefect.utils.task_log.TaskLog.on_change", lambda *_: 1 / 0)
    event = event_of(trigger(prefect.add_flow_run("RUNNING")))
    assert event["error"]["kind"] not in ("WaitTimeout", "StartTimeout")
    assert "ZeroDivisionError" in logged()


# Holding the event back


def a_task_instance() -> Any:
    """What a triggerer gives to the trigger of a task that has really deferred."""
    return SimpleNamespace(dag_id="shop", run_id="r", task_id="wait", map_index=-1, try_number=1)


def test_an_event_is_held_back_until_the_worker_has_reported(prefect: FakePrefect) -> None:
    not_before = time.time() + 0.7
    one = trigger(prefect.add_flow_run("COMPLETED"), not_before=not_before)
    one.task_instance = a_task_instance()
    assert event_of(one)["error"] is None
    assert time.time() >= not_before - 0.01
    assert polls(prefect) == 1


def test_an_event_that_tells_of_an_error_is_held_back_too() -> None:
    not_before = time.time() + 0.7
    one = PrefectFlowRunTrigger(RUN, "there_is_none", not_before=not_before)
    one.task_instance = a_task_instance()
    assert event_of(one)["error"]
    assert time.time() >= not_before - 0.01


def test_the_run_is_polled_while_the_event_is_held_back(prefect: FakePrefect) -> None:
    one = trigger(prefect.add_flow_run("RUNNING", "COMPLETED"), not_before=time.time() + LONG)
    one.task_instance = a_task_instance()

    async def until_it_has_seen_the_end() -> None:
        running = asyncio.create_task(events(one))
        await polled(prefect, 2)
        await asyncio.sleep(0.05)
        assert not running.done()
        running.cancel()

    asyncio.run(until_it_has_seen_the_end())


def test_an_event_is_not_held_back_for_longer_than_that(prefect: FakePrefect) -> None:
    one = trigger(prefect.add_flow_run("COMPLETED"), not_before=time.time() - LONG)
    one.task_instance = a_task_instance()
    assert event_of(one)["error"] is None


def test_in_a_dag_test_no_event_is_held_back(prefect: FakePrefect) -> None:
    """It runs the trigger itself, without a task instance, and no worker reports anything."""
    assert event_of(trigger(prefect.add_flow_run("COMPLETED"), not_before=time.time() + LONG))["error"] is None
