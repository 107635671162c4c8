"""Prefect 1.4.1's own tasks, run one by one as they are told on standard input: a JSON line in, a JSON line out.

This runs in the environment of Prefect 1.4.1, so it imports nothing of this project. ``real_client.py`` is the
other end.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Callable
from typing import Any

warnings.simplefilter("ignore")

import pendulum  # noqa: E402
import prefect  # noqa: E402
from prefect import run_configs  # noqa: E402
from prefect.backend import FlowRunView, TaskRunView  # noqa: E402
from prefect.backend.execution import execute_flow_run  # noqa: E402
from prefect.client import Client  # noqa: E402
from prefect.engine.results import LocalResult, PrefectResult  # noqa: E402
from prefect.engine.state import State  # noqa: E402
from prefect.exceptions import PrefectSignal  # noqa: E402
from prefect.tasks.prefect import (  # noqa: E402
    CancelFlowRun,
    RenameFlowRun,
    StartFlowRun,
    create_flow_run,
    get_task_run_result,
    wait_for_flow_run,
)
from prefect.utilities.configuration import set_temporary_config  # noqa: E402
from prefect.utilities.logging import LOG_MANAGER  # noqa: E402

REAL_SLEEP = time.sleep
WATCHED: dict[str, Any] = {"slept": [], "patience": 200}


class PatienceEnded(Exception):
    """The task slept more often than the test wants to see."""


def sleep(seconds: float) -> None:
    """No time passes: it is the number and the length of the sleeps that matter."""
    if threading.current_thread() is not threading.main_thread():
        REAL_SLEEP(seconds)
        return
    WATCHED["slept"].append(seconds)
    if len(WATCHED["slept"]) > WATCHED["patience"]:
        raise PatienceEnded(f"slept {WATCHED['patience']} times")


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[list[str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append([record.levelname, record.getMessage()])


READERS: dict[str, Callable[[Any], Any]] = {
    "$datetime": datetime.datetime.fromisoformat,
    "$duration": lambda seconds: pendulum.duration(seconds=seconds),
    "$object": lambda _: object(),
    "$run_config": lambda given: getattr(run_configs, given["type"])(**given["fields"]),
    "$set": set,
    "$task": lambda name: prefect.Task(name=name),
    "$timedelta": lambda seconds: datetime.timedelta(seconds=seconds),
    "$tuple": tuple,
    "$uuid": uuid.UUID,
}


def read(value: Any) -> Any:
    """A value that JSON has no word for was sent as an object with one key that begins with "$"."""
    if isinstance(value, list):
        return [read(each) for each in value]
    if isinstance(value, dict):
        if len(value) == 1 and (name := next(iter(value))) in READERS:
            return READERS[name](read(value[name]))
        return {key: read(each) for key, each in value.items()}
    return value


def write(value: Any) -> Any:
    """A result as JSON; a view of a run is reduced to what a test asks about."""
    if isinstance(value, FlowRunView):
        state = {"state": type(value.state).__name__, "message": value.state.message}
        return {"flow_run_id": value.flow_run_id, "name": value.name, **state}
    if isinstance(value, TaskRunView):
        return {"task_run_id": value.task_run_id, "state": type(value.state).__name__}
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return {"repr": repr(value), "type": type(value).__name__}


def constructed(kind: Any, given: dict[str, Any]) -> Any:
    """A task class is made with ``init`` and then run with the rest."""
    return kind(**given.pop("init", {})).run(**given)


def bound(given: dict[str, Any]) -> None:
    """A task class is used in a flow, with nothing but what its constructor was given."""
    with prefect.Flow("around"):
        globals()[given["task"]](**given["init"])()


def name(given: dict[str, Any]) -> list[str]:
    """The name and the slug of a task in a flow."""
    with prefect.Flow("around") as flow:
        made = globals()[given["task"]](**given["init"])
        flow.add_task(made)
    return [made.name, flow.slugs[made]]


def state(given: dict[str, Any]) -> dict[str, Any]:
    """The state of a flow run, and whether Prefect writes it down with the same fields as it was read from."""
    read_from = Client().graphql(
        "query($id: uuid!) { flow_run_by_pk(id: $id) { serialized_state } }", variables={"id": given["flow_run_id"]}
    )
    serialized = read_from.data.flow_run_by_pk.serialized_state.to_dict()
    found = State.deserialize(serialized)
    same = found.serialize().keys() == serialized.keys()
    about = {"state": type(found).__name__, "message": found.message, "finished": found.is_finished()}
    return {**about, "same": same}


def client(given: dict[str, Any]) -> Any:
    """A method of the client: ``method`` with the other arguments."""
    method = given.pop("method")
    made = Client(**given.pop("init", {}))
    found = getattr(made, method)
    return found(**given) if callable(found) else found


def register(given: dict[str, Any]) -> str:
    """Register a small flow that counts, and squares each number; its id.

    The counts travel as PrefectResult and the squares too, unless a folder for them is given as ``results``.
    ``slow`` squares take longer than anybody waits.
    """
    results, slow = given.get("results"), given.get("slow", False)

    @prefect.task(result=PrefectResult())
    def count(numbers: int) -> list[int]:
        prefect.context.logger.info("counting to %s", numbers)
        return list(range(numbers))

    @prefect.task(result=LocalResult(dir=results) if results else PrefectResult())
    def square(number: int) -> int:
        if slow:
            threading.Event().wait(600)
        return number * number

    with prefect.Flow(given["name"], run_config=run_configs.LocalRun(labels=given.get("labels", []))) as flow:
        squares = square.map(count(prefect.Parameter("numbers", default=3)))
    flow.set_reference_tasks([squares])
    flow.storage = prefect.storage.Local(directory=given["directory"], add_default_labels=False)
    return str(flow.register(project_name=given["project"], no_url=True))


def execute(given: dict[str, Any]) -> Any:
    """Run a flow run here, as the process that an agent starts does; what became of it."""
    try:
        return execute_flow_run(given["flow_run_id"])
    finally:
        # The next scenario may be about another server.
        LOG_MANAGER.stop()
        LOG_MANAGER._stopped.clear()


SCENARIOS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "CancelFlowRun": lambda given: constructed(CancelFlowRun, given),
    "Client": client,
    "RenameFlowRun": lambda given: constructed(RenameFlowRun, given),
    "StartFlowRun": lambda given: constructed(StartFlowRun, given),
    "bound": bound,
    "create_flow_run": lambda given: create_flow_run.run(**given),
    "execute": execute,
    "get_task_run_result": lambda given: get_task_run_result.run(**given),
    "name": name,
    "register": register,
    "state": state,
    "wait_for_flow_run": lambda given: wait_for_flow_run.run(**given),
}


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Run one scenario: what it returned or raised, what it logged, and how long it would have slept."""
    WATCHED.update(slept=[], patience=order["patience"])
    logger = logging.getLogger(f"scenario.{uuid.uuid4()}")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(kept := Kept())
    below = logging.getLogger("urllib3")
    below.addHandler(retried := Kept())
    answer: dict[str, Any] = {"value": None, "error": None, "text": None, "kinds": [], "state": None}
    try:
        with set_temporary_config(order["settings"]), prefect.context(logger=logger, **read(order["context"])):
            answer["value"] = write(SCENARIOS[order["scenario"]](read(order["arguments"])))
    except (Exception, PrefectSignal) as error:
        answer["error"] = type(error).__name__
        answer["text"] = str(error)
        answer["kinds"] = [kind.__name__ for kind in type(error).__mro__]
        answer["traceback"] = traceback.format_exc()
        if isinstance(error, prefect.engine.signals.PrefectStateSignal):
            answer["state"] = type(error.state).__name__
    below.removeHandler(retried)
    again = [message for level, message in retried.lines if level == "WARNING"]
    return {**answer, "logs": kept.lines, "slept": WATCHED["slept"], "retried": again}


def main() -> None:
    """Answer until the input ends. What the client prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    time.sleep = sleep
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
