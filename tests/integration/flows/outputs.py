"""The flows whose logs and results the integration tests read, all served by this one program. Run by Prefect."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, serve, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from prefect.states import Failed

JSON = {"persist_result": True, "result_serializer": "json"}
COMPRESSED = {"persist_result": True, "result_serializer": "compressed/json"}
PICKLE = {"persist_result": True, "result_serializer": "pickle"}

TYPES = {
    "when": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "elsewhere": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "day": date(2026, 1, 2),
    "clock": clock(1, 2, 3),
    "duration": timedelta(days=400, seconds=1.5),
    "exact": Decimal("1.10"),
    "id": UUID("6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11"),
    "some": {1, 2},
}


class Exploit:
    """A pickle that makes a folder when it is read by whoever does not look."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


# Results


@task(**JSON)
def as_json() -> Any:
    return TYPES


@task(**COMPRESSED)
def as_compressed_json() -> Any:
    return {"rows": [1, 2, 3] * 100}


@task(**PICKLE)
def as_pickle() -> Any:
    return {**TYPES, "pair": (1, frozenset({2}))}


@task(persist_result=True, result_serializer="compressed/pickle")
def as_compressed_pickle() -> Any:
    return [None, True, 1.5]


@task(**PICKLE)
def of_a_class() -> Any:
    return PurePosixPath("/x")


@task(**PICKLE)
def exploiting(folder: str) -> Any:
    return Exploit(folder)


@task(**JSON)
def nothing() -> None:
    return None


@task(persist_result=False)
def not_kept() -> str:
    return "gone"


@task(**JSON)
def doubled(number: int) -> int:
    return number * 2


@task(task_run_name="customer-{number}", **JSON)
def customer(number: int) -> str:
    return f"customer {number}"


@task(**JSON)
def breaking() -> None:
    raise ValueError("the rope is torn")


@task(**JSON)
def large() -> str:
    return "x" * 5000


@flow(name="formats", **COMPRESSED)
def formats(folder: str) -> Any:
    """Leave a result in each format."""
    for each in (as_json, as_compressed_json, as_pickle, as_compressed_pickle, of_a_class, nothing, not_kept, large):
        each()
    exploiting(folder)
    breaking(return_state=True)
    for number in range(5):
        doubled(number)
    for number in range(3):
        customer(number)
    create_table_artifact(key="rows", table=[{"n": 1, "t": "ü"}])
    create_markdown_artifact(key="words", markdown="# Words")
    return {"types": TYPES}


@flow(name="pickled", **PICKLE)
def pickled() -> Any:
    """Return plain data as a pickle, which is Prefect's default."""
    return TYPES


@flow(name="kept-nothing", **JSON)
def kept_nothing() -> None:
    """Return None."""


@task(**JSON)
def attempt(number: int, run_count: int) -> str:
    return f"run {run_count}, child {number}"


@flow(name="retrying", retries=1, **JSON)
def retrying() -> None:
    """Fail at first, when half of the tasks have run."""
    for number in range(3):
        attempt(number, flow_run.run_count)  # with other arguments, so that the first result is not used again
        time.sleep(0.005)
    if flow_run.run_count == 1:
        raise ValueError("once more")


@task(task_run_name="number {number}", **JSON)
def numbered(number: int) -> int:
    return number


@flow(name="many")
def many(children: int = 200) -> None:
    """Run many children at once; each is named for its place."""
    numbered.map(range(children)).wait()


# Logs


@task
def chatter(number: int) -> None:
    get_run_logger().info("task line %s", number)


@flow(name="talking")
def talking(seconds: float = 20) -> None:
    """Log at several levels, and from tasks."""
    logger = get_run_logger()
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        logger.log((20, 30, 40)[number % 3], "flow line %s", number)
        if number % 4 == 0:
            chatter.with_options(name=f"chatter {number}")(number)
        number += 1
        time.sleep(0.5)
    logger.info("last words after %s lines", number)


@task
def leaking(number: int) -> None:
    get_run_logger().warning("water comes in at %s", number)
    raise ValueError(f"leak {number}")


@flow(name="sinking")
def sinking() -> Any:
    """Fail because two of its tasks do."""
    for number in range(2):
        leaking.with_options(name=f"leaking {number}")(number, return_state=True)
    chatter(0)
    return Failed(message="the ship has sunk")


FLOWS = [formats, pickled, kept_nothing, retrying, many, talking, sinking]

if __name__ == "__main__":
    serve(*(each.to_deployment("served") for each in FLOWS), limit=10)
