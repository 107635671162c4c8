"""Reading pages as long as the server allows."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import InvalidRequest
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.client.watcher.pages import PageReader
from tests.unit.client.driving import Script, answer
from tests.unit.client.samples import run_json, state_json


def rows(*ids: str) -> Any:
    return answer([run_json(state_json("COMPLETED"), id=one) for one in ids])


def read(script: Script, ids: list[str], pages: PageReader | None = None) -> tuple[list[str], bool]:
    """The ids on one page, and whether there may be more."""
    read_page = partial(script.api().read_changed, ids, known_type="RUNNING")
    found, more = run((pages or PageReader()).read(read_page))
    return [flow_run.id for flow_run in found], more


def test_a_page_that_is_not_full_is_the_last_one() -> None:
    script = Script([rows("a")])
    assert read(script, ["a", "b"]) == (["a"], False)
    assert [request.body["limit"] for request in script.requests] == [200]


def test_a_full_page_may_be_followed_by_another() -> None:
    pages = PageReader()
    pages.limit = 2
    assert read(Script([rows("a", "b")]), ["a", "b", "c"], pages) == (["a", "b"], True)


def test_a_page_that_the_server_finds_too_long_is_made_shorter_once_and_for_all() -> None:
    too_long = answer({"detail": "Invalid limit: must be less than or equal to 50."}, 422)
    pages, script = PageReader(), Script([too_long, too_long, rows("a"), answer([])])
    assert read(script, ["a", "b"], pages) == (["a"], False)
    assert read(script, ["a", "b"], pages) == ([], False)
    assert [request.body["limit"] for request in script.requests] == [200, 100, 50, 50]


def test_any_other_refusal_is_an_error() -> None:
    with pytest.raises(InvalidRequest):
        read(Script([answer({"detail": "no"}, 422)]), ["a"])
