from __future__ import annotations

import pytest

from airflow_provider_prefect.client import paging
from airflow_provider_prefect.client.errors import MalformedAnswer
from airflow_provider_prefect.client.paging import Pages


def test_each_page_begins_where_the_last_has_ended() -> None:
    pages = Pages("POST /x")
    begins = []
    for page in ([1, 2], [3], []):
        begins.append(pages.rows)
        pages.add(page)
    assert begins == [0, 2, 3]


def test_the_same_page_twice_is_a_list_that_never_ends() -> None:
    pages = Pages("POST /x")
    pages.add([1, 2])
    with pytest.raises(MalformedAnswer, match=r"^POST /x returns the same 2 rows again"):
        pages.add([1, 2])


def test_two_empty_pages_are_no_such_list() -> None:
    pages = Pages("POST /x")
    pages.add([])
    pages.add([])


def test_too_many_rows_are_a_list_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_ROWS", 3)
    pages = Pages("POST /x")
    pages.add([1, 2])
    with pytest.raises(MalformedAnswer, match=r"^POST /x returns more than 3 rows: its list never ends\.$"):
        pages.add([3, 4])
