from __future__ import annotations

import uuid
from typing import Any

import pytest

from airflow_provider_prefect.client.identifiers import is_uuid


@pytest.mark.parametrize("text", [str(uuid.uuid4()), uuid.uuid4().hex, str(uuid.uuid4()).upper()])
def test_a_uuid_is_one_in_every_form(text: str) -> None:
    assert is_uuid(text)


@pytest.mark.parametrize("text", ["", "x", "flow/deployment", str(uuid.uuid4())[:-1], None, 3, [], uuid.uuid4()])
def test_nothing_else_is_one(text: Any) -> None:
    assert not is_uuid(text)
