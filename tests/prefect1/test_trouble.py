"""What is behind Apollo fails for a while: every task waits until it is back, and no flow run is started twice."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client import errors
from tests.prefect1 import scenario
from tests.prefect1.our_side import OurSide
from tests.prefect1.server import Prefect1Server

AT = "http://graphql:4201/graphql/"
TEXTS = [
    f"request to {AT} failed, reason: connect ECONNREFUSED 10.0.0.7:4201",
    f"invalid json response body at {AT} reason: Unexpected token < in JSON at position 0",
    "socket hang up",
    "Cannot return null for non-nullable field Mutation.create_flow_run.",
    "Unable to complete operation. An internal API error occurred.",
]


def trouble(message: str = TEXTS[0], code: str = "INTERNAL_SERVER_ERROR") -> list[dict[str, Any]]:
    return [{"message": message, "path": ["create_flow_run"], "extensions": {"code": code}}]


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    return scenario.register_flow(server, "etl")


@pytest.fixture
def run_id(server: Prefect1Server, flow_id: str) -> str:
    return scenario.start_run(server, flow_id, "Running")


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_a_create_is_sent_again_with_the_same_key_and_makes_one_flow_run(
    server: Prefect1Server, ours: OurSide, flow_id: str, text: str, acted: bool
) -> None:
    server.fault(on="create_flow_run", errors=trouble(text), acted=acted, times=2)
    done = ours.start(flow_id=flow_id)
    assert done.error is None
    assert done.names.count("create_flow_run") == 3
    [run] = server.tables.all("flow_run")
    assert run["id"] == done.value
    assert "Created flow run" in ours.logged()


def test_a_create_that_is_refused_is_final_at_once(server: Prefect1Server, ours: OurSide) -> None:
    scenario.register_flow(server, "needy", parameters=[scenario.parameter("postgres", required=True)])
    done = ours.start(flow_name="needy")
    assert "Required parameters were not supplied: {'postgres'}" in done.text
    assert done.for_good
    assert ours.slept == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_waits_it_out(server: Prefect1Server, ours: OurSide, run_id: str, deferrable: bool) -> None:
    server.fault(on="flow_run", skip=1, errors=trouble("database query error", "unexpected"), times=2)
    server.meanwhile(lambda: scenario.move(server, run_id, "Success"), on="flow_run", skip=3)
    done = ours.wait(run_id, deferrable=deferrable)
    assert done.error is None
    assert done.value["state_type"] == "COMPLETED"


def test_a_wait_gives_up_after_its_patience_and_not_for_good(
    server: Prefect1Server, ours: OurSide, run_id: str
) -> None:
    server.fault(on="flow_run", skip=1, errors=trouble(), times=None)
    done = ours.wait(run_id, max_unreachable=0)
    assert isinstance(done.error, errors.Unreachable)
    assert "ECONNREFUSED" in done.text
    assert not done.for_good


@pytest.mark.parametrize("what", ["rename", "cancel"])
def test_a_rename_and_a_cancel_are_sent_again(server: Prefect1Server, ours: OurSide, run_id: str, what: str) -> None:
    server.fault(on=("set_flow_run_name", "cancel_flow_run"), errors=trouble())
    done = ours.rename(flow_run_id=run_id, name="new") if what == "rename" else ours.cancel(flow_run_id=run_id)
    assert done.error is None


def test_an_archived_flow_group_names_the_version_that_can_be_started(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    newest = scenario.register_flow(server, "etl", keep_older=True)
    scenario.archive(server, newest)
    group = scenario.group_id(server, flow_id)
    done = ours.start(flow_id=group)
    assert done.for_good
    assert f"The newest version that is not archived is 1: give flow_id={flow_id!r}" in done.text
    assert ours.start(flow_id=flow_id).error is None
    scenario.archive(server, flow_id)
    assert "All versions of flow group" in ours.start(flow_id=group).text
