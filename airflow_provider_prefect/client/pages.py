"""Reading lists of the REST API page by page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_prefect.client.call import Call, Request


def pages(path: str, body: Mapping[str, Any], most: int | None) -> Call[list[Any]]:
    """All rows, or the first ``most``. No limit is sent: more than the server's own, 200 or lower, is refused."""
    rows: list[Any] = []
    while most is None or len(rows) < most:
        page = (yield from Request("POST", path, {**body, "offset": len(rows)})).json()
        rows += page
        if not page:
            break
    return rows[:most]
