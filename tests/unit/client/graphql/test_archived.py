"""Which version of a flow is started where the newest one is archived."""

from __future__ import annotations

import pytest

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.model import Source
from airflow_provider_prefect.client.transport import Response
from tests.unit.client.graphql.asking import answered
from tests.unit.client.graphql.samples import GROUP_ID, data, flow
from tests.unit.client.samples import FLOW_ID

OTHER_ID = "9a0f0a57-2f4f-4d0c-9c6b-1de0a7a7b9a1"


def source(*found: Response) -> Source:
    return answered(
        lambda api: api.find_source(deployment=None, flow_id=GROUP_ID, flow_name=None, project_name=None), *found
    )


def test_a_flow_group_starts_its_newest_version() -> None:
    assert source(data(flow=[]), data(flow=[flow(version=3), flow(id=OTHER_ID, archived=True)])).id == FLOW_ID


def test_a_flow_group_whose_newest_version_is_archived_names_the_live_one() -> None:
    versions = [
        flow(archived=True, version=5),
        flow(archived=True, version=4),
        flow(id=OTHER_ID, version=3),
        flow(version=2),
    ]
    with pytest.raises(ConfigurationError) as error:
        source(data(flow=[]), data(flow=versions))
    assert str(error.value) == (
        f"The newest version of flow group flow_id={GROUP_ID!r} (flow 'etl', version 5) is archived and cannot be "
        f"started. The newest version that is not archived is 3: give flow_id={OTHER_ID!r}, or flow_name='etl'."
    )


def test_a_flow_group_without_a_live_version_says_so_and_does_not_name_itself_as_the_way_out() -> None:
    with pytest.raises(ConfigurationError) as error:
        source(data(flow=[]), data(flow=[flow(archived=True)]))
    assert "All versions" in str(error.value)
    assert "flow_name='etl' starts" in str(error.value)
    assert str(error.value).count(GROUP_ID) == 1
