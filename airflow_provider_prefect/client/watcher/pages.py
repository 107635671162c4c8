"""Read lists that may be longer than a page, with the page size that the server allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from airflow_provider_prefect.client.errors import InvalidRequest

T = TypeVar("T")

_DEFAULT_LIMIT = 200
"""Rows; the default of ``PREFECT_SERVER_API_DEFAULT_LIMIT``."""


class PageReader:
    """Read pages, and remember how many rows this server allows in one."""

    def __init__(self) -> None:
        self.limit = _DEFAULT_LIMIT

    async def read(self, read_page: Callable[..., Awaitable[list[T]]]) -> tuple[list[T], bool]:
        """Return the rows of one page, and whether there may be more.

        :param read_page: takes the limit as a keyword.
        """
        while True:
            try:
                rows = await read_page(limit=self.limit)
            except InvalidRequest as error:
                if "limit" not in str(error).lower() or self.limit == 1:
                    raise
                self.limit //= 2
            else:
                return rows, len(rows) >= self.limit
