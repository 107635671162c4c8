from __future__ import annotations

import pytest

from airflow_provider_prefect.client.pages import pages
from tests.unit.client.driving import Script, answer


def test_pages_are_read_until_one_is_empty_each_from_where_the_last_has_ended() -> None:
    script = Script([answer([1, 2]), answer([3]), answer([])])
    assert script.run(pages("/logs/filter", {"sort": "X"}, None)) == [1, 2, 3]
    assert script.sent == ["POST /logs/filter"] * 3
    assert [request.body for request in script.requests] == [{"sort": "X", "offset": offset} for offset in (0, 2, 3)]


def test_no_limit_is_sent_since_the_servers_own_is_not_known() -> None:
    script = Script([answer([])])
    script.run(pages("/x", {}, 3))
    assert "limit" not in script.requests[0].body


@pytest.mark.parametrize(("most", "rows", "asked"), [(3, [1, 2, 3], 2), (2, [1, 2], 1), (1, [1], 1), (0, [], 0)])
def test_no_more_is_read_or_returned_than_is_wanted(most: int, rows: list[int], asked: int) -> None:
    script = Script([answer([1, 2]), answer([3, 4])])
    assert script.run(pages("/x", {}, most)) == rows
    assert len(script.requests) == asked


def test_what_is_asked_for_is_left_as_it_is() -> None:
    body = {"sort": "X"}
    Script([answer([])]).run(pages("/x", body, None))
    assert body == {"sort": "X"}
