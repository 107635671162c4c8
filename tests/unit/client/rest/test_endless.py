"""Lists without an end, from a server that ignores where a page is to begin, come to an end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from airflow_provider_prefect.client import paging
from airflow_provider_prefect.client.errors import MalformedAnswer
from airflow_provider_prefect.client.rest import RestApi
from airflow_provider_prefect.client.transport import Request, run
from tests.unit.client.driving import Again, Script, answer
from tests.unit.client.rest.asking import rest
from tests.unit.client.samples import DEPLOYMENT_ID, RUN_ID, run_json, state_json


def line(number: int) -> dict[str, Any]:
    return {"id": f"line-{number}", "level": 20, "message": "m", "timestamp": "2026-01-02T12:00:00Z"}


TASK_RUN = {"id": RUN_ID, "name": "load-0", "state": state_json()}
LISTS: dict[str, tuple[Callable[[RestApi], Coroutine[Any, Any, Any]], list[dict[str, Any]]]] = {
    "logs": (lambda api: api.read_logs(RUN_ID), [line(1), line(2)]),
    "logs up to a number": (lambda api: api.read_logs(RUN_ID, limit=1000), [line(1), line(2)]),
    "flow runs": (lambda api: api.find_flow_runs({}), [run_json()]),
    "flow runs by key": (lambda api: api.find_by_keys(["k"]), [run_json()]),
    "live flow runs": (lambda api: api.find_live_flow_runs(DEPLOYMENT_ID, ()), [run_json()]),
    "task runs": (lambda api: api.read_task_runs(RUN_ID), [TASK_RUN]),
    "artifacts": (lambda api: api.read_artifacts(RUN_ID, "k"), [{"id": "a"}]),
    "number of logs": (lambda api: api.count_logs(RUN_ID), [line(1)]),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_server_that_ignores_the_offset_is_noticed_at_the_second_page(name: str) -> None:
    call, page = LISTS[name]
    script = Script([Again(answer(page))])
    with pytest.raises(MalformedAnswer, match=r"^POST /\w+/filter returns the same \d rows again, whatever the offset"):
        run(call(rest(script)))
    assert len(script.requests) == 2


def test_a_server_that_makes_rows_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_ROWS", 500)
    numbers = itertools.count()

    def another_page(request: Request) -> Any:
        return answer([line(next(numbers)) for _ in range(200)])

    script = Script([Again(another_page)])
    with pytest.raises(MalformedAnswer, match="more than 500 rows"):
        run(rest(script).read_logs(RUN_ID))
    assert len(script.requests) == 3


def test_counting_lines_ends_though_there_is_another_one_wherever_it_is_looked_for() -> None:
    script = Script([Again(lambda request: answer([line(request.body["offset"])]))])
    with pytest.raises(MalformedAnswer, match="more than 1,000,000 rows"):
        run(rest(script).count_logs(RUN_ID))
    assert len(script.requests) < 30


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 200, 1023, 1024, 1025])
def test_lines_are_counted(lines: int) -> None:
    script = Script([Again(lambda request: answer([line(request.body["offset"])][: request.body["offset"] < lines]))])
    assert run(rest(script).count_logs(RUN_ID)) == lines


def test_the_largest_number_of_rows_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_ROWS", 4)
    pages = [[line(1), line(2)], [line(3), line(4)], []]
    assert len(run(rest(Script(map(answer, pages))).read_logs(RUN_ID))) == 4
