"""What people write in arguments that only Prefect 1 has: labels, run config, context, flow and project."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import ConfigurationError
from tests.prefect1 import scenario
from tests.prefect1.our_side import OurSide
from tests.prefect1.server import Prefect1Server

pytestmark = pytest.mark.usefixtures("flow_id")

LABELS = ["of-the-flow"]


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    """The flow ``etl``, whose runs need an agent of their own."""
    return scenario.register_flow(server, "etl", run_config=scenario.local_run(LABELS))


def created(ours: OurSide, server: Prefect1Server, **arguments: Any) -> Any:
    """The flow run that a task has started."""
    done = ours.start(**arguments)
    assert done.error is None, done.text
    return next(run for run in server.tables.all("flow_run") if run["id"] == done.value)


@pytest.mark.parametrize("nothing", ["None", "", " None ", None])
def test_what_rendered_to_nothing_is_as_if_it_had_not_been_given(
    ours: OurSide, server: Prefect1Server, nothing: Any
) -> None:
    names = ("labels", "run_config", "context", "parameters", "project_name", "run_name", "idempotency_key", "tags")
    run = created(ours, server, flow_name="etl", **dict.fromkeys(names, nothing))
    assert run["labels"] == LABELS
    assert run["name"].endswith("-etl")
    assert run["idempotency_key"].startswith("airflow-")
    if nothing is not None:
        for name in names:
            assert f"{name} rendered to " in ours.logged(), name


def test_labels_of_which_nothing_is_left_are_the_flows_and_an_empty_list_is_none(
    ours: OurSide, server: Prefect1Server
) -> None:
    assert created(ours, server, labels=["None", ""], idempotency_key="a")["labels"] == LABELS
    assert created(ours, server, labels=["None", 5], idempotency_key="b")["labels"] == ["5"]
    assert created(ours, server, labels=[], idempotency_key="c")["labels"] == []


@pytest.mark.parametrize("name", ["flow_name", "flow_id"])
def test_a_flow_that_rendered_to_nothing_is_refused_by_name(ours: OurSide, name: str) -> None:
    done = ours.start(**{name: "None"})
    assert done.text.startswith(f"{name} rendered to None: give the ")
    assert done.for_good
    assert done.requests == ()


def test_values_of_a_context_and_a_run_config_are_sent_as_json(ours: OurSide, server: Prefect1Server) -> None:
    run = created(
        ours,
        server,
        context={"day": date(2026, 10, 1), "rows": range(2)},
        run_config={"type": "UniversalRun", "env": {"ROWS": range(1)}},
    )
    assert {name: run["context"][name] for name in ("day", "rows")} == {"day": "2026-10-01", "rows": [0, 1]}
    assert run["run_config"]["env"] == {"ROWS": [0]}


@pytest.mark.parametrize("context", [{"airflow": 5}, {"airflow": {"dag_id": "mine"}}, '{"airflow": null}'])
def test_a_key_airflow_of_the_users_own_is_refused_and_never_replaced(ours: OurSide, context: Any) -> None:
    done = ours.start(context=context)
    assert "context has the key 'airflow'" in done.text
    assert done.for_good
    assert done.requests == ()
    with pytest.raises(ConfigurationError, match="context has the key 'airflow'"):
        ours.hook.start_flow_run(flow_name="etl", context=context)


@pytest.mark.parametrize("name", ["parameters", "context", "run_config"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"type": "UniversalRun", "n": [0, 2**64]}, "['n'][1] cannot be sent as JSON: it is an integer beyond 64 bits"),
        ({"type": "UniversalRun", "n": {"a": b""}}, "['n']['a'] cannot be sent as JSON: it is of type bytes"),
        ("{'type': 'UniversalRun'}", " is text, but not JSON"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path_before_anything_is_sent(
    ours: OurSide, name: str, value: Any, said: str
) -> None:
    done = ours.start(**{name: value})
    assert done.text.startswith(f"{name}{said}")
    assert done.for_good
    assert done.requests == ()


def test_a_flow_run_is_renamed_to_a_number(ours: OurSide, server: Prefect1Server) -> None:
    run = created(ours, server)
    assert ours.rename(flow_run_id=run["id"], name=5).error is None
    assert scenario.row(server, "flow_run", run["id"])["name"] == "5"
