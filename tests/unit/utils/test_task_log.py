"""What a task's log shows of a flow run, and how a trigger writes to it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_prefect.client.model import FlowRun, LogRecord, RunInput, State, TaskRun
from airflow_provider_prefect.utils.task_log import TaskLog, ThreadedLogger

NOON = datetime(2026, 10, 1, 12, 0, 1, 234567, tzinfo=UTC)


class Log(logging.Logger):
    """Keeps what it is told, as ``LEVEL text``."""

    def __init__(self) -> None:
        super().__init__("log")
        self.told: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.told.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def log() -> Log:
    return Log()


def in_state(type_: str, name: str | None = None, message: str | None = None) -> FlowRun:
    state = State("s", type_, name or type_.capitalize(), message, NOON)
    return FlowRun("r", "calm-otter", state)


def line(message: str = "done", level: int = 20) -> LogRecord:
    return LogRecord("l", level, message, NOON)


# States


def test_a_change_of_state_is_shown_with_its_time_its_name_and_its_message(log: Log) -> None:
    TaskLog(log).on_change(in_state("FAILED", "TimedOut", "too slow"))
    assert log.told == ["INFO Flow run is in state TimedOut (FAILED): too slow (since 12:00:01 UTC)"]


def test_a_state_without_a_time_is_shown_without_one(log: Log) -> None:
    TaskLog(log).on_change(FlowRun("r", "calm-otter", State("", "RUNNING", "Running")))
    assert log.told == ["INFO Flow run is in state Running"]


def test_states_are_not_shown_if_nobody_wants_them(log: Log) -> None:
    for type_ in ("SCHEDULED", "RUNNING", "FAILED", "COMPLETED"):
        TaskLog(log, states=False).on_change(in_state(type_))
    assert log.told == []


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("name", ["Paused", "Suspended"])
def test_that_a_flow_run_waits_for_somebody_is_a_warning_in_any_case(log: Log, states: bool, name: str) -> None:
    shown = TaskLog(log, states=states)
    shown.on_change(in_state("PAUSED", name))
    shown.on_paused(None, "https://prefect.example/run")
    first, second = log.told
    assert first.startswith(f"WARNING Flow run is in state {name}")
    assert first.endswith("It waits until somebody resumes it.")
    assert second == "WARNING It asks for no input. Resume it at https://prefect.example/run"


def test_what_a_paused_flow_run_asks_for_is_shown_with_what_it_says_about_it(log: Log) -> None:
    schema = {"properties": {"note": {"type": "string"}, "approved": {"type": "boolean"}}, "required": ["approved"]}
    TaskLog(log).on_paused(RunInput(schema, "Are the\nprices right?"), "https://prefect.example/run")
    assert log.told == [
        "WARNING It asks for approved (boolean), note (string, optional). Resume it at https://prefect.example/run",
        "INFO The flow says about its input: Are the prices right?",
    ]


def test_a_flow_run_that_has_not_started_is_a_warning_with_the_reasons(log: Log) -> None:
    TaskLog(log).on_not_started(in_state("SCHEDULED"), ["its work pool is paused", "nothing polls"])
    TaskLog(log).on_not_started(in_state("SCHEDULED"), [])
    assert log.told == [
        "WARNING Flow run has not started yet (its work pool is paused; nothing polls). Still waiting for it.",
        "WARNING Flow run has not started yet (Prefect shows no reason). Still waiting for it.",
    ]


# Lines


def test_lines_are_followed_only_if_somebody_wants_them(log: Log) -> None:
    assert not TaskLog(log).follows_logs
    assert TaskLog(log, logs=True).follows_logs


@pytest.mark.parametrize(
    ("level", "name"),
    [(10, "DEBUG"), (20, "INFO"), (30, "WARNING"), (40, "ERROR"), (50, "CRITICAL"), (25, "INFO"), (60, "CRITICAL")],
)
def test_a_line_keeps_its_level_as_far_as_airflow_has_it_and_its_time(log: Log, level: int, name: str) -> None:
    TaskLog(log).on_log_line(line(level=level), None)
    assert log.told == [f"{name} [12:00:01.234] done"]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_line_below_every_level_is_for_debugging(log: Log, level: int) -> None:
    TaskLog(log).on_log_line(line(level=level), None)
    assert log.told[0].startswith("DEBUG")


def test_a_line_of_a_task_run_is_shown_with_its_name(log: Log) -> None:
    TaskLog(log).on_log_line(line(), "load-4d7")
    assert log.told == ["INFO [12:00:01.234] load-4d7: done"]


@pytest.mark.parametrize("message", ["100 %s of %d", "%(x)s", "{0} {x}", "100%"])
def test_a_line_is_text_and_no_format(log: Log, message: str) -> None:
    TaskLog(log).on_log_line(line(message), "load %s")
    assert log.told == [f"INFO [12:00:01.234] load %s: {message}"]


def test_a_message_of_several_lines_is_shown_whole_and_looks_like_no_line_of_airflows_own(log: Log) -> None:
    TaskLog(log).on_log_line(line("two\n[12:00:02.000] lines"), "load-4d7")
    assert log.told == ["INFO [12:00:01.234] load-4d7: two\n    | [12:00:02.000] lines"]


def test_what_is_left_out_is_counted_if_it_can_be(log: Log) -> None:
    TaskLog(log).on_log_lines_left_out(90_000)
    TaskLog(log).on_log_lines_left_out(None)
    assert [told.partition(" more log lines")[0] for told in log.told] == ["WARNING 90,000", "WARNING Some"]


# Failures


def test_a_failure_shows_the_task_runs_that_failed_and_the_last_lines(log: Log) -> None:
    failed = [TaskRun("t", f"load-{number}", "r", State("", "FAILED", "Failed", "boom")) for number in range(2)]
    TaskLog(log, states=False, logs=False).show_failure(failed, [line("one"), line("two", 40)])
    assert log.told == [
        "ERROR Task run 'load-0' is in state Failed: boom",
        "ERROR Task run 'load-1' is in state Failed: boom",
        "INFO The flow run's last log lines:",
        "INFO [12:00:01.234] one",
        "ERROR [12:00:01.234] two",
    ]


def test_without_lines_none_are_announced(log: Log) -> None:
    TaskLog(log).show_failure([], [])
    assert log.told == []


def test_airflow_s_own_logger_takes_all_of_it(logged: Any) -> None:
    from airflow.utils.log.logging_mixin import LoggingMixin

    task_log = TaskLog(LoggingMixin().log, logs=True)
    task_log.on_change(in_state("RUNNING"))
    task_log.on_log_line(line("100 %s", 40), "load-1")
    task_log.on_log_lines_left_out(5)
    text = logged()
    for said in ("Flow run is in state Running", "load-1: 100 %s", "5 more log lines"):
        assert said in text


# Writing to a log that may be slow, from an event loop


task: contextvars.ContextVar[str] = contextvars.ContextVar("task", default="nobody")


class SlowLog:
    """Takes no line before it is let go on; notes which task each is of."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.lines: list[tuple[str, int, str]] = []

    def log(self, level: int, text: str, *args: Any) -> None:
        assert self.go_on.wait(10)
        self.lines.append((task.get(), level, text % args))


async def test_the_loop_goes_on_while_the_log_is_busy_and_the_lines_keep_their_order() -> None:
    log = SlowLog()
    task.set("one")
    lines = ThreadedLogger(log)
    for number in range(3):
        lines.info("line %d", number)
        await asyncio.sleep(0.01)
    lines.warning("the last")
    assert log.lines == []
    log.go_on.set()
    await lines.written()
    assert log.lines == [("one", 20, f"line {number}") for number in range(3)] + [("one", 30, "the last")]


async def test_lines_are_of_the_task_that_they_were_to_be_of_and_not_of_who_wrote_them() -> None:
    log = SlowLog()
    log.go_on.set()
    task.set("one")
    lines = ThreadedLogger(log)

    async def other() -> None:
        task.set("other")
        lines.log(10, "said")

    await asyncio.create_task(other())
    await lines.written()
    assert log.lines == [("one", 10, "said")]


async def test_who_has_said_nothing_waits_for_nothing() -> None:
    await ThreadedLogger(SlowLog()).written()
