"""What every part of the REST API needs: sending a request and reading a list page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from airflow_provider_prefect.client import fields
from airflow_provider_prefect.client.paging import Pages
from airflow_provider_prefect.client.transport import Request, Transport

T = TypeVar("T")


class RestEndpoints:
    """Send requests to the REST API of Prefect 2 and 3. Its parts are subclasses, which :class:`..RestApi` joins.

    :param transport: raises an error for a response that is not a success.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def get(self, path: str, read: Callable[[Any], T]) -> T:
        """Return what ``read`` makes of the parsed response to a GET request."""
        return (await self.transport.send(Request("GET", path))).read(read)

    async def post(self, path: str, body: Any, read: Callable[[Any], T], *, repeatable: bool = True) -> T:
        """Return what ``read`` makes of the parsed response to a POST request."""
        return (await self.transport.send(Request("POST", path, body, repeatable))).read(read)

    async def post_for_rows(self, path: str, body: Any, read: Callable[[Any], T]) -> list[T]:
        """Return the rows of a list, or of one page of it, with what ``read`` makes of each."""
        return await self.post(path, body, lambda parsed: fields.rows(parsed, read))

    async def paginate(
        self, path: str, body: Mapping[str, Any], limit: int | None, read: Callable[[Any], T]
    ) -> list[T]:
        """Return all rows of a list, or the first ``limit``, with what ``read`` makes of each.

        No page size is sent: more than the server's own limit, 200 or lower, is refused.

        :raises MalformedAnswer: the list does not end.
        """
        rows: list[T] = []
        pages = Pages(f"POST {path}")
        while limit is None or len(rows) < limit:
            page = await self.post_for_rows(path, {**body, "offset": pages.rows}, read)
            pages.add(page)
            rows += page
            if not page:
                break
        return rows[:limit]
