"""The flows that the integration tests start, all served by this one program. Run by Prefect, not by Airflow."""

from __future__ import annotations

import os
import time
from typing import Any

from prefect import flow, serve
from prefect.artifacts import create_table_artifact
from prefect.states import Completed


@flow(name="quick", persist_result=True, result_serializer="json")
def quick(number: int = 1, words: list[str] | None = None) -> dict[str, Any]:
    """Return a mapping, and leave a table."""
    create_table_artifact(key="squares", table=[{"n": n, "square": n * n} for n in range(1, number + 1)])
    return {"number": number, "words": words or [], "nested": {"ünïcode": None, "half": 0.5}}


@flow(name="failing")
def failing() -> None:
    """Fail with a message."""
    raise ValueError("the well is dry")


@flow(name="crashing")
def crashing() -> None:
    """End without a word."""
    os._exit(3)


@flow(name="sleeping")
def sleeping(seconds: float = 60) -> None:
    """Take time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.2)


@flow(name="typed", persist_result=True, result_serializer="json")
def typed(count: int) -> int:
    """Require a number."""
    return count


@flow(name="all-good")
def all_good() -> Any:
    """End in a state with a name of its own."""
    return Completed(name="AllGood", message="nothing to complain of")


@flow(name="none", persist_result=True, result_serializer="json")
def none() -> None:
    """Return None, which is kept."""


@flow(name="forgetful", persist_result=False)
def forgetful() -> str:
    """Return what is not kept."""
    return "gone"


@flow(name="pickling", persist_result=True, result_serializer="pickle")
def pickling() -> set[int]:
    """Return what is kept as a pickle."""
    return {1, 2}


@flow(name="large", persist_result=True, result_serializer="json")
def large(size: int = 2 * 1024 * 1024) -> str:
    """Return a long text."""
    return "x" * size


@flow(name="twofold")
def twofold() -> None:
    """Be deployed twice."""


FLOWS = [quick, failing, crashing, sleeping, typed, all_good, none, forgetful, pickling, large]

if __name__ == "__main__":
    serve(
        *(each.to_deployment("served", tags=["from-the-deployment"]) for each in FLOWS),
        twofold.to_deployment("first"),
        twofold.to_deployment("second"),
        limit=10,
    )
