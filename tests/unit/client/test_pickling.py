"""Errors are copied and pickled: by executors, by retry policies, by error trackers."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_prefect.client import errors
from airflow_provider_prefect.client.errors import PrefectError
from airflow_provider_prefect.utils.events import FlowRunCancelledForGood
from tests.unit.client.samples import seen

ARGUMENTS = {
    "message": "Flow run ended in state Failed",
    "status": 422,
    "fields": ("name",),
    "text": "<!doctype html><p>Sign in",
    "detail": "Flow run not found",
    "flow_run_id": "6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11",
    "run": seen("FAILED"),
}
KINDS = [
    kind
    for kind in (*vars(errors).values(), FlowRunCancelledForGood)
    if isinstance(kind, type) and issubclass(kind, PrefectError)
]


def example(kind: type[PrefectError]) -> PrefectError:
    """An error of this class, with a value for each of its arguments."""
    if kind.__init__ in (Exception.__init__, ValueError.__init__) or not inspect.isfunction(kind.__init__):
        return kind(ARGUMENTS["message"])
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    return kind(**{name: ARGUMENTS[name] for name in names if name in ARGUMENTS})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "duplicate",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickled", "copied", "deeply copied"],
)
def test_an_error_keeps_its_message_and_its_attributes(
    kind: type[PrefectError], duplicate: Callable[[Any], Any]
) -> None:
    error = example(kind)
    restored = duplicate(error)
    assert type(restored) is kind
    assert (str(restored), vars(restored)) == (str(error), vars(error))
