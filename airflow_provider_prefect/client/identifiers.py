"""What Prefect's ids look like. Pure."""

from __future__ import annotations

import uuid


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID, as all ids of Prefect are."""
    try:
        uuid.UUID(text)
    except (ValueError, AttributeError, TypeError):
        return False
    return True
