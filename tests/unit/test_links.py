"""The button that leads to Prefect's UI."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_prefect import links
from airflow_provider_prefect.links import PrefectFlowRunLink
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor


class XCom:
    """Airflow's XComs: one task has the address of its flow run, and others have none."""

    @staticmethod
    def get_value(*, key: str, ti_key: Any) -> Any:
        return {("flow_run_url", "started"): "http://prefect/runs/flow-run/1"}.get((key, ti_key.task_id))


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> PrefectFlowRunLink:
    monkeypatch.setattr(links, "XCom", XCom)
    return PrefectFlowRunLink()


def test_the_link_is_the_xcom_that_is_pushed_as_soon_as_the_run_exists(link: PrefectFlowRunLink) -> None:
    assert link.get_link(None, ti_key=SimpleNamespace(task_id="started")) == "http://prefect/runs/flow-run/1"


def test_without_a_flow_run_there_is_no_link(link: PrefectFlowRunLink) -> None:
    assert link.get_link(None, ti_key=SimpleNamespace(task_id="waiting")) == ""


def test_airflow_3_reads_the_same_xcom_by_itself() -> None:
    assert PrefectFlowRunLink().xcom_key == "flow_run_url"


@pytest.mark.parametrize("task", [PrefectStartFlowRunOperator, PrefectFlowRunSensor])
def test_every_task_that_knows_a_flow_run_has_the_link(task: Any) -> None:
    assert [type(link) for link in task.operator_extra_links] == [PrefectFlowRunLink]
    assert PrefectFlowRunLink().name == "Prefect flow run"
