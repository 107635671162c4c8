"""What a flow logs, how it is called and what its states say forges nothing in Airflow's own log."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import FlowRunUnsuccessful, PrefectError
from airflow_provider_prefect.client.model import FlowRun, LogRecord, State, TaskRun
from airflow_provider_prefect.client.wait.flow_run import unsuccessful
from airflow_provider_prefect.utils import events
from airflow_provider_prefect.utils.task_log import TaskLog
from tests.unit.client.samples import run_json, state_json

NOON = datetime(2026, 10, 1, 12, 0, 1, 234567, tzinfo=UTC)
FORGED = "[2026-10-01T12:00:00.000+0000] {taskinstance.py:1225} INFO - Marking task as SUCCESS."
HOSTILE = (
    f"harmless\n{FORGED}\r{FORGED}\r\n{FORGED}\x0b{FORGED}\x85{FORGED}\u2028{FORGED}"
    "\x1b[2K\x1b[1A\x1b]0;title\x07\x1b[31m\x00\x08\u202e\ud800 INFO - ::group::all of it ::endgroup:: ##[group]more"
)
VERY_LONG = "x" * 5_000_000


class Log(logging.Logger):
    """Keeps the text that it is given."""

    def __init__(self) -> None:
        super().__init__("log")
        self.told: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


def run_called(name: str, state: State | None = None) -> FlowRun:
    return FlowRun("r", name, state or State("s", "FAILED", name, name, NOON))


def line(message: str) -> LogRecord:
    return LogRecord("l", 20, message, NOON)


def check(text: str) -> None:
    """That nothing in ``text`` looks like a line, or like the beginning of a group, of Airflow's own."""
    assert not re.search(r"^\[2026", text, re.MULTILINE)
    assert all(part.startswith("    | ") for part in text.split("\n")[1:])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e\ud800]", text)
    for mark in ("::group::", "::endgroup::", "##[group]", "##[endgroup]"):
        assert mark not in text
    text.encode()


SHOWN: dict[str, Callable[[TaskLog, str], object]] = {
    "a line": lambda log, text: log.on_log_line(line(text), None),
    "the task run of a line": lambda log, text: log.on_log_line(line("m"), text),
    "the flow run": lambda log, text: log.show_flow_run(run_called(text), "http://prefect.test/x"),
    "a change": lambda log, text: log.on_change(run_called(text)),
    "a pause": lambda log, text: log.on_change(run_called(text, State("s", "PAUSED", text, text))),
    "a late start": lambda log, text: log.on_not_started(run_called(text), [text, text]),
    "a deleted one": lambda log, text: log.on_deleted(run_called(text)),
    "trouble": lambda log, text: log.on_trouble(PrefectError(text)),
    "a failure": lambda log, text: log.show_failure(
        [TaskRun("t", text, "r", State("", "FAILED", text, text))], [line(text)]
    ),
    "an unknown failure": lambda log, text: log.show_unknown_failure(PrefectError(text)),
}


@pytest.mark.parametrize("name", SHOWN)
def test_nothing_in_the_task_log_looks_like_airflows_own(name: str) -> None:
    log = Log()
    SHOWN[name](TaskLog(log), HOSTILE)
    assert log.told
    for told in log.told:
        check(told)
        assert "harmless" in told or name in ("the task run of a line", "a failure")


@pytest.mark.parametrize("name", SHOWN)
def test_nothing_in_the_task_log_is_endless_and_what_is_missing_is_counted(name: str) -> None:
    log = Log()
    SHOWN[name](TaskLog(log), VERY_LONG)
    assert any("more characters are left out)" in told for told in log.told)
    assert max(map(len, log.told)) < 40_000


def test_a_line_of_5_mb_says_how_much_of_it_is_missing() -> None:
    log = Log()
    TaskLog(log).on_log_line(line(VERY_LONG), None)
    [told] = log.told
    assert told == f"[12:00:01.234] {'x' * 16_384}… (4,983,616 more characters are left out)"


def test_a_traceback_stays_readable() -> None:
    log = Log()
    traceback = 'Oh no:\nTraceback (most recent call last):\n  File "flow.py", line 1\n\tx = 1/0\nZeroDivisionError\n'
    TaskLog(log).on_log_line(line(traceback), "load-4d7")
    assert log.told == [
        "[12:00:01.234] load-4d7: Oh no:\n"
        "    | Traceback (most recent call last):\n"
        '    |   File "flow.py", line 1\n'
        "    | \tx = 1/0\n"
        "    | ZeroDivisionError"
    ]


def test_names_that_prefect_gives_are_shown_as_they_are() -> None:
    log = Log()
    run = run_called('größe 5\' "x" → 日本', State("s", "RUNNING", "Läuft", "50 %\tdone"))
    TaskLog(log).show_flow_run(run, "http://prefect.test/x")
    TaskLog(log).on_change(run)
    assert log.told == [
        "Waiting for flow run: http://prefect.test/x ('größe 5\\' \"x\" → 日本')",
        "Flow run is in state Läuft (RUNNING): 50 %\tdone",
    ]


def test_the_message_of_an_exception_looks_like_one_exception() -> None:
    error = unsuccessful(run_called(HOSTILE), "http://prefect.test/x")
    assert isinstance(error, FlowRunUnsuccessful)
    check(str(error))
    assert re.search(r"See http://prefect\.test/x \('harmless .*'\)$", str(error))
    assert len(str(unsuccessful(run_called(VERY_LONG), "http://prefect.test/x"))) < 40_000


def test_names_are_made_harmless_where_they_are_read() -> None:
    run = FlowRun.from_json(run_json(state_json("FAILED", HOSTILE), name=HOSTILE))
    task_run = TaskRun.from_json({"id": "t", "name": HOSTILE})
    for name in (run.name, run.state.name, task_run.name):
        assert "\n" not in name
        check(name)


def test_an_event_and_the_value_of_a_sensor_hold_no_endless_message() -> None:
    state = State("s", "FAILED", "Failed", VERY_LONG)
    event: dict[str, Any] = events.ended_event(run_called("calm-otter", state), "http://prefect.test/x")
    assert len(event["flow_run"]["state_message"]) < 17_000
    assert event["flow_run"]["state_message"].endswith("more characters are left out)")
    for message in (None, "", "short\nand as it is"):
        view = events.view(run_called("calm-otter", State("s", "FAILED", "Failed", message)), "u")
        assert view["state_message"] == message
