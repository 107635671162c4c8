"""The log lines of flow runs in the task log of Airflow, while the task waits in each of its ways."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.client.wait.logs import MAX_LINES
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from airflow_provider_prefect.utils.task_log import TaskLog
from tests.integration.dag_runs import run_dag
from tools.prefect_stack import PrefectServer

NewDag = Callable[[], DAG]
Logged = Callable[[], str]


def numbers(text: str, kind: str = "flow line") -> list[int]:
    """The numbers of the lines of this kind that were shown, in the order in which they were."""
    return [int(number) for number in re.findall(rf"\] (?:[\w -]+: )?{kind} (\d+)", text)]


def shown_once_and_in_order(text: str, *, least: int) -> None:
    found = numbers(text)
    assert len(found) >= least
    assert found == list(range(len(found)))


# Flows that talk while they run


@pytest.mark.parametrize("deferrable", [False, True], ids=["in its own process", "deferred"])
def test_a_task_shows_each_line_of_its_flow_run_once_and_in_order_at_its_level(
    new_dag: NewDag, outputs: PrefectServer, logged: Logged, deferrable: bool
) -> None:
    with new_dag() as dag:
        PrefectStartFlowRunOperator(
            task_id="start",
            deployment="talking/served",
            parameters={"seconds": 12},
            stream_logs=True,
            deferrable=deferrable,
            poll_interval=3,
        )
    outcome = run_dag(dag)
    text = logged()
    assert outcome.state == "success"
    assert len(outcome.triggers) == deferrable
    shown_once_and_in_order(text, least=13)
    assert len(re.findall(r"last words after \d+ lines", text)) == 1
    tasks = numbers(text, "task line")
    assert tasks == list(range(0, 4 * len(tasks), 4))
    assert len(tasks) >= 3
    assert re.search(r"\] (chatter 0-\w+|task run [\w-]+): task line 0", text)
    for level, line in (("info", 0), ("warning", 1), ("error", 2)):
        [shown] = re.findall(rf".*\] flow line {line}\b.*", text)
        assert level in shown.lower()
    # The last lines come after the end is seen, the others while the flow run goes on.
    assert text.index("is in state Running") < text.index("flow line 0") < text.index("last words")
    assert len(numbers(text[: text.index("is in state Completed")])) >= 5


@pytest.mark.prefect_alone
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param({"mode": "poke", "poke_interval": 3, "deferrable": False}, id="poke", marks=pytest.mark.long),
        pytest.param(
            {"mode": "reschedule", "poke_interval": 10, "deferrable": False}, id="reschedule", marks=pytest.mark.long
        ),
        pytest.param({"poke_interval": 3, "deferrable": True}, id="deferred"),
    ],
)
def test_a_sensor_shows_the_lines_in_every_mode(
    new_dag: NewDag, outputs: PrefectServer, logged: Logged, mode: dict[str, Any]
) -> None:
    run_id = PrefectHook().start_flow_run("talking/served", parameters={"seconds": 2}).run.id
    if "mode" in mode and mode["mode"] == "reschedule":  # which shows them at the end
        PrefectHook().wait_for_flow_run(run_id, poll_interval=3)
    with new_dag() as dag:
        PrefectFlowRunSensor(task_id="wait", flow_run_id=run_id, stream_logs=True, **mode)
    assert run_dag(dag).state == "success"
    text = logged()
    (written,) = re.findall(r"last words after (\d+) lines", text)
    assert numbers(text) == list(range(int(written)))


@pytest.mark.prefect_alone
def test_lines_are_not_shown_unless_asked_for_but_states_are(
    new_dag: NewDag, outputs: PrefectServer, logged: Logged
) -> None:
    with new_dag() as dag:
        PrefectStartFlowRunOperator(
            task_id="start", deployment="talking/served", parameters={"seconds": 1}, poll_interval=3
        )
        PrefectStartFlowRunOperator(
            task_id="quiet",
            deployment="talking/served",
            parameters={"seconds": 1},
            run_name="a quiet run",
            stream_states=False,
            poll_interval=3,
        )
    assert run_dag(dag).state == "success"
    text = logged()
    assert numbers(text) == []
    assert "('a quiet run')" in text
    # Of the two flow runs only one shows its states.
    assert len(re.findall(r"Flow run is in state Completed \(since \d\d:\d\d:\d\d UTC\)", text)) == 1


# Failures


@pytest.mark.parametrize("stream_logs", [False, True])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failure_shows_the_failed_task_runs_and_the_last_lines_once_in_each_log(
    new_dag: NewDag, outputs: PrefectServer, logged: Logged, deferrable: bool, stream_logs: bool
) -> None:
    with new_dag() as dag:
        PrefectStartFlowRunOperator(
            task_id="start",
            deployment="sinking/served",
            stream_logs=stream_logs,
            deferrable=deferrable,
            poll_interval=3,
        )
    outcome = run_dag(dag)
    text = logged()
    # After a deferral the trigger's log may be another one than the task's.
    times = 1 + (deferrable and stream_logs)
    assert outcome["start"].state == "failed"
    assert "the ship has sunk" in str(outcome["start"].error)
    for number in range(2):
        assert len(re.findall(rf"Task run 'leaking {number}-\w+' is in state Failed: .*leak {number}", text)) == 1
        assert len(re.findall(rf"\] (?:[\w -]+: )?water comes in at {number}", text)) == times
    assert numbers(text, "task line") == [0] * times
    assert "Task run 'chatter" not in text
    assert ("The flow run's last log lines:" in text) == (deferrable or not stream_logs)


# Lines that are written by hand, to a flow run that nobody runs


class Writer:
    """A flow run that a test writes the log of."""

    def __init__(self, prefect: PrefectServer, deployment: str) -> None:
        self._prefect = prefect
        self.run_id = PrefectHook().start_flow_run(deployment).run.id
        self._began = datetime.now(UTC)

    def write(self, first: int, beyond: int, *, level: int = 20, every: float = 0.0001) -> None:
        """Log lines that say their numbers, so many seconds apart."""
        for start in range(first, beyond, 500):
            lines = [
                {
                    "name": "prefect.flow_runs",
                    "level": level,
                    "message": f"number {number}",
                    "timestamp": (self._began + timedelta(seconds=number * every)).isoformat(),
                    "flow_run_id": self.run_id,
                }
                for number in range(start, min(start + 500, beyond))
            ]
            self._prefect.request("POST", "/logs/", lines)

    def enter(self, state: str) -> None:
        body = {"state": {"type": state}, "force": True}
        self._prefect.request("POST", f"/flow_runs/{self.run_id}/set_state", body)


@pytest.fixture
def writer(prefect: PrefectServer, unserved: str) -> Writer:
    return Writer(prefect, unserved)


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self.levels: list[int] = []
        self.others: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        _, is_line, number = text.partition("] number ")
        if is_line:
            self.numbers.append(int(number))
            self.levels.append(record.levelno)
        else:
            self.others.append(text)


def followed(run_id: str) -> Lines:
    """What a wait for the flow run logs."""
    lines, log = Lines(), logging.Logger("lines")
    log.addHandler(lines)
    PrefectHook().wait_for_flow_run(run_id, poll_interval=3, observer=TaskLog(log, states=False, logs=True))
    return lines


@pytest.mark.prefect_alone
def test_lines_that_arrive_after_the_end_are_shown(writer: Writer) -> None:
    writer.enter("RUNNING")
    writer.write(0, 5)
    writer.enter("COMPLETED")
    late = threading.Timer(1.2, writer.write, (5, 10))
    late.start()
    lines = followed(writer.run_id)
    late.join()
    assert lines.numbers == list(range(10))


@pytest.mark.prefect_alone
def test_every_level_is_kept_and_those_of_a_flow_s_own_are_rounded_down(writer: Writer) -> None:
    levels = [10, 20, 30, 40, 50, 25, 5]
    for number, level in enumerate(levels):
        writer.write(number, number + 1, level=level)
    writer.enter("COMPLETED")
    assert followed(writer.run_id).levels == [10, 20, 30, 40, 50, 20, 10]


@pytest.mark.prefect_alone
def test_a_flood_is_shown_whole_as_long_as_it_is_not_too_long(writer: Writer) -> None:
    writer.write(0, 3000)
    writer.enter("COMPLETED")
    lines = followed(writer.run_id)
    assert lines.numbers == list(range(3000))
    assert lines.others == []


@pytest.mark.prefect_alone
@pytest.mark.slow
def test_of_a_flood_of_100_000_lines_the_first_are_shown_and_the_rest_counted(writer: Writer) -> None:
    writer.write(0, 100_000)
    writer.enter("COMPLETED")
    lines = followed(writer.run_id)
    assert lines.numbers == list(range(MAX_LINES))
    [rest] = lines.others
    assert f"{100_000 - MAX_LINES:,} more log lines of the flow run are left out" in rest


@pytest.mark.prefect_alone
def test_the_hook_reads_lines_from_a_level_on_and_the_last_ones(writer: Writer) -> None:
    writer.write(0, 250)
    writer.write(250, 260, level=40)
    hook = PrefectHook()
    assert [line.message for line in hook.read_flow_run_logs(writer.run_id, level=40)] == [
        f"number {number}" for number in range(250, 260)
    ]
    assert len(hook.read_flow_run_logs(writer.run_id)) == 260
    assert [line.message for line in run(hook.api.read_last_logs(writer.run_id, 2))] == ["number 258", "number 259"]
