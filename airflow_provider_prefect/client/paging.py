"""Notice a list that does not end: a server that ignores where a page is to begin, or makes rows up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_prefect.client.errors import MalformedAnswer

MAX_ROWS = 1_000_000
"""Rows of one list; the log of a large flow run has some hundred thousand lines."""

_OK = 200


class Pages:
    """Follow the pages of one list.

    :param request: what the pages are the response to, for the message of an error.
    """

    def __init__(self, request: str) -> None:
        self._request = request
        self._last: Sequence[Any] = ()
        self.rows = 0
        """How many rows there were so far: where the next page begins."""

    def add(self, page: Sequence[Any]) -> None:
        """Record the next page.

        :raises MalformedAnswer: it is the same as the one before, or the list has more than :data:`MAX_ROWS` rows.
        """
        if page and page == self._last:
            raise MalformedAnswer(
                f"{self._request} returns the same {len(page)} rows again, whatever the offset: its list never ends.",
                _OK,
            )
        self._last = page
        self.rows += len(page)
        self.check(self.rows)

    def check(self, rows: int) -> None:
        """Check that the list may have so many rows.

        :raises MalformedAnswer: it has more than :data:`MAX_ROWS`.
        """
        if rows > MAX_ROWS:
            raise MalformedAnswer(f"{self._request} returns more than {MAX_ROWS:,} rows: its list never ends.", _OK)
