"""Rows C01 to C38 side by side: ``create_flow_run`` of Prefect 1.4.1 and our operator, against the same server."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_prefect.client.urls import graphql_ui_url
from tests.prefect1 import scenario
from tests.prefect1.conftest import KEY
from tests.prefect1.our_side import Done, OurSide
from tests.prefect1.real_client import Outcome, duration, not_json, run_config, run_real
from tests.prefect1.server import Prefect1Server
from tests.prefect1.tables import Row

PARENT = "manual__2026-10-01"
"""The name of the run that creates the child: that of the Dag run on our side."""


@pytest.fixture
def flow_id(server: Prefect1Server) -> str:
    return scenario.register_flow(server, "etl", tasks=["extract", "load"], labels=["lab"])


def create(server: Prefect1Server, **arguments: Any) -> Outcome:
    return run_real("create_flow_run", server, **arguments)


def row_of(server: Prefect1Server, created: Outcome | Done) -> Row:
    """The row of the run that was created."""
    assert created.error is None, created.text
    return scenario.row(server, "flow_run", created.value)


def sent(created: Outcome | Done) -> dict[str, Any]:
    """What the mutation was given."""
    [call] = [call for call in created.calls if call.name == "create_flow_run"]
    return dict(call.input)


def nothing_created(server: Prefect1Server, *created: Outcome | Done) -> None:
    assert server.tables.all("flow_run") == []
    for each in created:
        assert each.error is not None


def without_ours(given: dict[str, Any]) -> dict[str, Any]:
    """What was sent, without what is our own: the key, the name and the mark in the context."""
    context = {name: value for name, value in (given.get("context") or {}).items() if name != "airflow"}
    rest = {name: value for name, value in given.items() if name not in ("idempotency_key", "flow_run_name", "context")}
    return rest | ({"context": context} if context else {})


# Which flow


def test_c01_an_id_and_a_name_together_are_refused_before_any_request(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    real, done = create(server, flow_id=flow_id, flow_name="etl"), ours.start(flow_id=flow_id, flow_name="etl")
    assert "Only one flow identifier" in str(real.text)
    assert "flow_name and flow_id are given" in done.text
    assert real.requests == done.requests == ()
    nothing_created(server, real, done)


@pytest.mark.parametrize("name", [None, ""])
def test_c02_neither_an_id_nor_a_name_is_refused_before_any_request(
    server: Prefect1Server, ours: OurSide, flow_id: str, name: str | None
) -> None:
    real, done = create(server, flow_name=name), ours.start(flow_name=name)
    assert "You must pass a flow identifier" in str(real.text)
    if name is None:
        assert "Give exactly one of" in done.text
        assert "none is given" in done.text
    else:
        assert done.text == "flow_name rendered to '': give the name of a flow."
    assert real.requests == done.requests == ()
    nothing_created(server, real, done)


def test_c03_an_id_is_that_of_a_flow_or_of_a_flow_group_whose_newest_version_is_started(
    server: Prefect1Server, ours: OurSide
) -> None:
    older = scenario.register_flow(server, "etl")
    newer = scenario.register_flow(server, "etl", keep_older=True)
    for flow_id, started in ((older, older), (scenario.group_id(server, older), newer)):
        real, done = create(server, flow_id=flow_id), ours.start(flow_id=flow_id)
        assert row_of(server, real)["flow_id"] == row_of(server, done)["flow_id"] == started
        assert real.names.count("flow") == done.names.count("flow")


def test_c04_an_unknown_id_is_an_error_that_names_it(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    unknown = str(uuid.uuid4())
    real, done = create(server, flow_id=unknown), ours.start(flow_id=unknown)
    assert f"Given id '{unknown}' is not an existing flow or flow group id." == real.text
    assert f"flow_id='{unknown}': Prefect has no flow and no flow group of this id." == done.text
    assert done.for_good
    nothing_created(server, real, done)


def test_c05_an_id_that_is_a_uuid_is_taken_as_its_text(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real, done = create(server, flow_id=uuid.UUID(flow_id)), ours.start(flow_id=uuid.UUID(flow_id))
    assert real.error == "TypeError"
    assert row_of(server, done)["flow_id"] == flow_id


def test_c05_an_id_that_is_no_text_is_refused_before_any_request(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    real, done = create(server, flow_id=[flow_id]), ours.start(flow_id=[flow_id])
    assert real.error == "TypeError"
    assert f"flow_id={[flow_id]!r} (list) is neither text nor what is taken as text" in done.text
    assert done.for_good
    assert real.requests == done.requests == ()
    nothing_created(server, real, done)


def test_c06_an_id_that_is_no_uuid_is_refused_without_asking_the_server(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    real, done = create(server, flow_id="x"), ours.start(flow_id="x")
    assert (real.error, real.names) == ("ClientError", ("flow",))
    assert "flow_id='x' is not the id (UUID) of a flow or of a flow group" in done.text
    assert done.for_good
    assert done.requests == ()
    nothing_created(server, real, done)


def test_c07_an_archived_version_is_not_started_by_its_id(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    newer = scenario.register_flow(server, "etl")
    real, done = create(server, flow_id=flow_id), ours.start(flow_id=flow_id)
    assert f"Flow {flow_id} is archived." in str(real.text)
    assert "is an archived version of flow 'etl'" in done.text
    group = scenario.group_id(server, flow_id)
    assert f"flow_id={group!r}" in done.text
    assert "create_flow_run" not in done.names
    nothing_created(server, real, done)
    assert row_of(server, ours.start(flow_id=group))["flow_id"] == newer


def test_c08_a_name_is_looked_for_in_all_projects_and_among_what_is_not_archived(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    newer = scenario.register_flow(server, "etl")
    real, done = create(server, flow_name="etl"), ours.start(flow_name="etl")
    assert row_of(server, real)["flow_id"] == row_of(server, done)["flow_id"] == newer
    assert real.calls[0].arguments["where"] == done.calls[0].arguments["where"]
    scenario.archive(server, newer)
    real, done = create(server, flow_name="etl"), ours.start(flow_name="etl")
    assert (real.names, done.names) == (("flow",), ("flow",))
    assert None not in (real.error, done.error)


def test_c09_several_projects_are_an_error_that_lists_them(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    scenario.register_flow(server, "etl", project="other")
    real, done = create(server, flow_name="etl"), ours.start(flow_name="etl")
    assert "Found multiple flows matching" in str(real.text)
    assert "flow_name='etl' is the name of several flows" in done.text
    assert "project_name='main', project_name='other'; or give flow_id" in done.text
    assert done.for_good
    nothing_created(server, real, done)


def test_c09_several_versions_of_one_flow_are_no_several_flows(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    newer = scenario.register_flow(server, "etl", keep_older=True)
    real, done = create(server, flow_name="etl"), ours.start(flow_name="etl")
    assert "Found multiple flows matching" in str(real.text)
    assert row_of(server, done)["flow_id"] == newer


@pytest.mark.parametrize("project", ["main", "other"])
def test_c10_project_name_tells_flows_of_one_name_apart(
    server: Prefect1Server, ours: OurSide, flow_id: str, project: str
) -> None:
    flows = {"main": flow_id, "other": scenario.register_flow(server, "etl", project="other")}
    named = {"flow_name": "etl", "project_name": project}
    real, done = create(server, **named), ours.start(**named)
    assert row_of(server, real)["flow_id"] == row_of(server, done)["flow_id"] == flows[project]
    assert real.calls[0].arguments["where"] == done.calls[0].arguments["where"]


def test_c10_no_project_is_any_project_and_not_none(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    named = {"flow_name": "etl", "project_name": None}
    real, done = create(server, **named), ours.start(**named)
    assert "No results found" in str(real.text)
    assert row_of(server, done)["flow_id"] == flow_id


@pytest.mark.parametrize("named", [{"flow_name": "nope"}, {"flow_name": "etl", "project_name": "nope"}])
def test_c11_a_name_that_is_not_found_is_an_error(
    server: Prefect1Server, ours: OurSide, flow_id: str, named: dict[str, Any]
) -> None:
    real, done = create(server, **named), ours.start(**named)
    assert "No results found while querying for flows" in str(real.text)
    where = " in project 'nope'" if "project_name" in named else ""
    assert f"Prefect has no flow {named['flow_name']!r}{where} that is not archived." == done.text
    assert done.for_good
    nothing_created(server, real, done)


@pytest.mark.parametrize("data", [{"flow": None}, {}])
def test_c12_an_answer_without_flows_is_asked_for_again(
    server: Prefect1Server, ours: OurSide, flow_id: str, data: Any
) -> None:
    server.fault(answer={"data": data}, times=1)
    real = create(server, flow_name="etl")
    assert "Received bad result while querying for flows" in str(real.text)
    nothing_created(server, real)
    server.fault(on="flow", answer={"data": data}, times=None)
    done = ours.start(max_unreachable=0)
    assert "PrefectError" in done.kinds
    assert not done.for_good
    nothing_created(server, done)
    server.healthy()
    server.fault(answer={"data": data}, times=2)
    assert row_of(server, ours.start())["flow_id"] == flow_id


@pytest.mark.parametrize("given", ["storage", "run_config"])
def test_c13_a_storage_or_run_config_of_an_unknown_type_is_not_in_the_way(
    server: Prefect1Server, ours: OurSide, given: str
) -> None:
    flow_id = scenario.register_flow(server, "odd", **{given: {"type": "Odd", "__version__": "9"}})  # type: ignore[arg-type]
    real, done = create(server, flow_name="odd"), ours.start(flow_name="odd")
    assert (real.error is not None, real.names) == (True, ("flow",))
    assert row_of(server, done)["flow_id"] == flow_id
    assert not {"storage", "serialized_flow", "core_version"} & done.calls[0].fields.keys()


# How it is called


@pytest.mark.parametrize("run_name", [None, ""])
def test_c14_a_child_is_named_after_the_current_run_and_the_flow(
    server: Prefect1Server, ours: OurSide, flow_id: str, run_name: str | None
) -> None:
    ours.ti.run_id = PARENT
    real = create(server, flow_id=flow_id, run_name=run_name, prefect_context={"flow_run_name": PARENT})
    done = ours.start(flow_id=flow_id, run_name=run_name)
    assert row_of(server, real)["name"] == row_of(server, done)["name"] == f"{PARENT}-etl"
    mine = {"flow_id": flow_id, "run_name": "mine"}
    assert row_of(server, create(server, **mine))["name"] == "mine"
    ours.ti.try_number = 2
    ours.ti.max_tries = 3
    assert row_of(server, ours.start(**mine))["name"] == "mine"


def test_c15_outside_a_run_the_server_makes_a_name(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real, done = create(server, flow_id=flow_id), ours.tried(lambda hook: hook.start_flow_run(flow_id=flow_id))
    assert "flow_run_name" not in sent(real) | sent(done)
    assert done.value.run.name == scenario.row(server, "flow_run", done.value.run.id)["name"] != ""


def test_c16_outside_a_run_an_empty_name_is_none(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real = create(server, flow_id=flow_id, run_name="")
    done = ours.tried(lambda hook: hook.start_flow_run(flow_id=flow_id, run_name=""))
    for run_id in (real.value, done.value.run.id):
        assert "-" in scenario.row(server, "flow_run", run_id)["name"]


def test_c18_one_line_of_the_log_has_name_and_url(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real, done = create(server, flow_id=flow_id, run_name="mine"), ours.start(flow_id=flow_id, run_name="mine")
    assert [text.startswith(("Creating flow run", "Created flow run")) for text in real.messages].count(True) == 2
    assert f"Created flow run: {done.xcoms['flow_run_url']} ('mine')" in ours.logged()
    assert "Creating flow run" not in ours.logged()


# The idempotency key


def test_c19_the_key_is_that_of_the_task_instance_with_its_map_index_and_its_try(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    keys = {
        sent(create(server, flow_id=flow_id, prefect_context={"task_run_id": "tr", **index}))["idempotency_key"]
        for index in ({}, {"map_index": 0}, {"map_index": 1})
    }
    assert keys == {"tr", "tr-0", "tr-1"}
    our_keys, ours_started = set(), []
    for map_index, try_number in ((-1, 1), (0, 1), (1, 1), (1, 2)):
        ours.ti.map_index, ours.ti.try_number = map_index, try_number
        for run in server.tables.all("flow_run"):
            scenario.move(server, run["id"], "Failed")
        done = ours.start(flow_id=flow_id)
        our_keys.add(sent(done)["idempotency_key"])
        ours_started.append(done.value)
    assert len(our_keys) == len(set(ours_started)) == 4
    ours.ti.map_index, ours.ti.try_number = -1, 1
    again = ours.start(flow_id=flow_id)
    assert sent(again)["idempotency_key"] in our_keys
    assert again.value == ours_started[0]
    assert "was started by this very try before, which Airflow has forgotten" in ours.logged()


@pytest.mark.parametrize("key", [None, ""])
def test_c20_without_a_key_the_operator_has_its_own_and_the_hook_draws_one(
    server: Prefect1Server, ours: OurSide, flow_id: str, key: str | None
) -> None:
    real = [sent(create(server, flow_id=flow_id, idempotency_key=key))["idempotency_key"] for _ in range(2)]
    drawn = [
        sent(ours.tried(lambda hook: hook.start_flow_run(flow_id=flow_id, idempotency_key=key)))["idempotency_key"]
        for _ in range(2)
    ]
    assert len({*real, *drawn}) == 4
    assert sent(ours.start(flow_id=flow_id, idempotency_key=key))["idempotency_key"].startswith("airflow-")


def test_c21_the_same_key_finds_the_same_run_other_parameters_or_not(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    first = create(server, flow_id=flow_id, idempotency_key="k", parameters={"a": 1})
    again = create(server, flow_id=flow_id, idempotency_key="k", parameters={"a": 2})
    done = ours.start(flow_id=flow_id, idempotency_key="k", parameters={"a": 3})
    assert first.value == again.value == done.value
    assert row_of(server, done)["parameters"] == {"a": 1}
    assert "Adopted flow run" in ours.logged()
    assert ours.start(flow_id=flow_id, idempotency_key="l").value != first.value
    assert "Created flow run" in ours.logged()


def test_c22_a_key_counts_for_one_version_of_a_flow(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    first = create(server, flow_name="etl", idempotency_key="k")
    assert ours.start(flow_name="etl", idempotency_key="k").value == first.value
    newer = scenario.register_flow(server, "etl")
    done = ours.start(flow_name="etl", idempotency_key="k")
    assert row_of(server, done)["flow_id"] == newer
    assert create(server, flow_name="etl", idempotency_key="k").value == done.value


# When


@pytest.mark.parametrize("as_duration", [False, True])
def test_c23_a_timedelta_or_duration_counts_from_now(
    server: Prefect1Server, ours: OurSide, flow_id: str, as_duration: bool
) -> None:
    import pendulum

    real = create(server, flow_id=flow_id, scheduled_start_time=duration(3600) if as_duration else timedelta(hours=1))
    delta = pendulum.duration(seconds=3600) if as_duration else timedelta(hours=1)
    done = ours.start(flow_id=flow_id, scheduled_start_time=delta)
    for created in (real, done):
        planned = datetime.fromisoformat(row_of(server, created)["scheduled_start_time"])
        assert abs(planned - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "when", [datetime(2031, 1, 2, 3, 4), datetime(2031, 1, 2, 3, 4, tzinfo=UTC)], ids=["naive", "utc"]
)
def test_c24_a_time_without_a_zone_is_in_utc(
    server: Prefect1Server, ours: OurSide, flow_id: str, when: datetime
) -> None:
    given = {"flow_id": flow_id, "scheduled_start_time": when}
    real, done = create(server, **given), ours.start(**given)
    expected = "2031-01-02T03:04:00.000000+00:00"
    assert row_of(server, real)["scheduled_start_time"] == row_of(server, done)["scheduled_start_time"] == expected


def test_c25_a_text_is_a_time_if_it_is_one(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    given = {"flow_id": flow_id, "scheduled_start_time": "2031-01-02T03:04:00+02:00"}
    real, refused = create(server, **given), ours.start(flow_id=flow_id, scheduled_start_time="soon")
    assert real.error == "AttributeError"
    assert (
        "scheduled_start_time='soon' is neither a datetime, nor a timedelta, nor the ISO 8601 text of one"
        in refused.text
    )
    assert refused.for_good
    assert refused.requests == ()
    nothing_created(server, real, refused)
    assert row_of(server, ours.start(**given))["scheduled_start_time"] == "2031-01-02T01:04:00.000000+00:00"


def test_c26_without_a_time_a_run_is_due_now(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real, done = create(server, flow_id=flow_id), ours.start(flow_id=flow_id)
    for created in (real, done):
        assert "scheduled_start_time" not in sent(created)
        age = datetime.now(UTC) - datetime.fromisoformat(row_of(server, created)["scheduled_start_time"])
        assert timedelta(0) <= age < timedelta(minutes=1)


# Labels and run configs

LABELLED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "group": ({"group_labels": ["b", "a"], "labels": ["no"]}, ["a", "b"]),
    "group, empty": ({"group_labels": [], "labels": ["no"]}, []),
    "group's run config": ({"group_run_config": scenario.local_run(["g"]), "labels": ["no"]}, ["g"]),
    "group's run config without": ({"group_run_config": {"type": "LocalRun"}, "labels": ["no"]}, []),
    "run config": ({"labels": ["lab"]}, ["lab"]),
    "environment": ({"environment": {"type": "LocalEnvironment", "labels": ["e"], "__version__": "0.12"}}, ["e"]),
    "none": ({}, []),
}
labelled = pytest.mark.parametrize(("registered", "expected"), LABELLED.values(), ids=LABELLED.keys())


@labelled
def test_c27_without_labels_those_of_the_flow_group_or_flow_count(
    server: Prefect1Server, ours: OurSide, registered: dict[str, Any], expected: list[str]
) -> None:
    scenario.register_flow(server, "labelled", **registered)
    real, done = create(server, flow_name="labelled"), ours.start(flow_name="labelled")
    assert row_of(server, real)["labels"] == row_of(server, done)["labels"] == expected
    assert "labels" not in sent(real) | sent(done)


@pytest.mark.parametrize("labels", [[], ["b", "a"], ("b", "a")], ids=["none", "list", "tuple"])
def test_c28_c31_labels_replace_those_of_the_flow_and_leave_the_run_config_alone(
    server: Prefect1Server, ours: OurSide, flow_id: str, labels: Any
) -> None:
    real, done = create(server, flow_id=flow_id, labels=labels), ours.start(flow_id=flow_id, labels=labels)
    assert row_of(server, real)["labels"] == row_of(server, done)["labels"] == sorted(labels)
    assert row_of(server, real)["run_config"]["labels"] == row_of(server, done)["run_config"]["labels"] == ["lab"]


def test_c28_a_set_of_labels_is_taken_and_one_text_refused(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real, refused = create(server, flow_id=flow_id, labels={"a"}), ours.start(flow_id=flow_id, labels="lab")
    assert real.error == "TypeError"
    assert "labels='lab' is not a list of strings" in refused.text
    assert refused.for_good
    nothing_created(server, real, refused)
    assert row_of(server, ours.start(flow_id=flow_id, labels={"b", "a"}))["labels"] == ["a", "b"]


@labelled
def test_c29_a_run_config_without_labels_keeps_those_of_the_flow(
    server: Prefect1Server, ours: OurSide, registered: dict[str, Any], expected: list[str]
) -> None:
    scenario.register_flow(server, "labelled", **registered)
    real = create(server, flow_name="labelled", run_config=run_config(env={"A": "1"}))
    done = ours.start(flow_name="labelled", run_config={"type": "LocalRun", "env": {"A": "1"}})
    assert row_of(server, real)["labels"] == []
    assert row_of(server, done)["labels"] == expected
    assert row_of(server, done)["run_config"] == {"type": "LocalRun", "env": {"A": "1"}}


def test_c29_labels_that_are_given_win_and_an_empty_list_is_given_too(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    config = {"type": "LocalRun"}
    for number, (given, expected) in enumerate(
        [
            ({"run_config": {**config, "labels": []}}, []),
            ({"run_config": {**config, "labels": ["mine"]}}, ["mine"]),
            ({"run_config": config, "labels": []}, []),
            ({"run_config": config, "labels": ["other"]}, ["other"]),
        ]
    ):
        done = ours.start(flow_id=flow_id, idempotency_key=f"{number}", **given)
        assert row_of(server, done)["labels"] == expected


def test_c30_a_run_config_is_a_mapping_that_says_its_type(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    real = create(server, flow_id=flow_id, run_config=run_config("KubernetesRun", image="busybox", labels=["b", "a"]))
    written = row_of(server, real)["run_config"]
    done = ours.start(flow_id=flow_id, run_config=written)
    assert row_of(server, done)["run_config"] == written
    assert without_ours(sent(real)) == without_ours(sent(done))
    plain = {"type": "KubernetesRun", "image": "busybox"}
    assert create(server, flow_id=flow_id, run_config=plain).error == "AttributeError"
    done = ours.start(
        flow_id=flow_id, idempotency_key="text", run_config='{"type": "KubernetesRun", "image": "busybox"}'
    )
    assert row_of(server, done)["run_config"] == plain


@pytest.mark.parametrize("config", [{"image": "busybox"}, {"type": ""}, {}, "[]", "KubernetesRun"])
def test_c30_a_run_config_without_a_type_is_refused_before_anything_is_created(
    server: Prefect1Server, ours: OurSide, flow_id: str, config: Any
) -> None:
    done = ours.start(flow_id=flow_id, run_config=config)
    assert done.text.startswith("run_config ")
    assert done.for_good
    nothing_created(server, done)


# Parameters and context


def test_c32_parameters_are_laid_over_the_groups_and_the_flows(server: Prefect1Server, ours: OurSide) -> None:
    parameters = [scenario.parameter(name, default) for name, default in (("a", 1), ("b", 1), ("c", 1), ("zero", 0))]
    scenario.register_flow(server, "etl", parameters=parameters, default_parameters={"b": 2, "c": 2})
    given = {"flow_name": "etl", "parameters": {"c": 3, "unknown": 3}}
    real, done = create(server, **given), ours.start(**given)
    expected = {"a": 1, "b": 2, "c": 3, "unknown": 3}
    assert row_of(server, real)["parameters"] == row_of(server, done)["parameters"] == expected
    assert without_ours(sent(real)) == without_ours(sent(done))


def test_c33_a_required_parameter_that_is_missing_is_refused_by_its_name(server: Prefect1Server, ours: OurSide) -> None:
    scenario.register_flow(server, "etl", parameters=[scenario.parameter("must", required=True)])
    real, done = create(server, flow_name="etl"), ours.start(flow_name="etl")
    reason = "Required parameters were not supplied: {'must'}"
    assert reason in str(real.text)
    assert reason in done.text
    assert done.for_good
    assert done.names.count("create_flow_run") == 1
    nothing_created(server, real, done)


def test_c34_a_parameter_that_is_no_json_is_refused_before_any_request(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    real = create(server, flow_id=flow_id, parameters={"at": not_json()})
    done = ours.start(flow_id=flow_id, parameters={"at": object()})
    assert (real.error, "create_flow_run" in real.names) == ("TypeError", False)
    assert done.text == "parameters['at'] cannot be sent as JSON: it is of type object, which has no form in JSON."
    assert done.for_good
    assert done.requests == ()
    nothing_created(server, real, done)


@pytest.mark.parametrize("given", [{"note": "hello", "nothing": None, "nested": {"a": [1]}}, {}])
def test_c35_the_context_is_kept_as_given_beside_our_own_mark(
    server: Prefect1Server, ours: OurSide, flow_id: str, given: dict[str, Any]
) -> None:
    real, done = create(server, flow_id=flow_id, context=given), ours.start(flow_id=flow_id, context=given)
    assert row_of(server, real)["context"] == given
    kept = dict(row_of(server, done)["context"])
    mark = kept.pop("airflow")
    assert kept == given
    assert (mark["dag_id"], mark["task_id"], mark["try_number"]) == ("shop", "summarise", 1)


# After the creation


def test_c36_nothing_that_is_asked_after_the_creation_can_hide_the_run(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    server.fault(on="tenant", status=403, times=None)
    real = create(server, flow_id=flow_id)
    assert real.error == "HTTPError"
    assert len(server.tables.all("flow_run")) == 1
    done = ours.start(flow_id=flow_id)
    assert isinstance(done.value, str)
    assert row_of(server, done)["id"] == done.xcoms["flow_run_id"] == done.value
    assert "tenant" not in done.names


def test_c36_without_a_key_nothing_is_created_on_a_server_that_wants_one(
    cloud: Prefect1Server, ours_on_cloud: OurSide
) -> None:
    flow_id = scenario.register_flow(cloud, "etl")
    ours_on_cloud.connect()
    done = ours_on_cloud.start(flow_id=flow_id)
    assert "401" in done.text
    assert done.for_good
    nothing_created(cloud, done)
    ours_on_cloud.connect(password=KEY)
    assert ours_on_cloud.start(flow_id=flow_id).value == cloud.tables.all("flow_run")[0]["id"]


def test_c37_the_url_is_that_of_the_run_in_the_ui(server: Prefect1Server, ours: OurSide, flow_id: str) -> None:
    ours.connect(ui_url="http://localhost:8080/")
    real, done = create(server, flow_id=flow_id), ours.start(flow_id=flow_id)
    assert f"http://localhost:8080/default/flow-run/{real.value}" in str(real.messages)
    assert done.xcoms["flow_run_url"] == f"http://localhost:8080/default/flow-run/{done.value}"
    ours.connect()
    done = ours.start(flow_id=flow_id, idempotency_key="other")
    assert done.xcoms["flow_run_url"] == f"http://127.0.0.1:8080/default/flow-run/{done.value}"


@pytest.mark.parametrize("api", ["https://api.prefect.io", "https://api-hybrid.prefect.io"])
def test_c37_the_ui_of_a_hosted_api_is_derived_from_its_name(server: Prefect1Server, api: str) -> None:
    arguments = {"method": "get_cloud_url", "init": {"api_server": server.url}, "subdirectory": "flow-run", "id": "1"}
    real = run_real("Client", server, settings={"cloud.api": api}, **arguments)
    assert real.value == f"{graphql_ui_url(api)}/default/flow-run/1"


def test_c37_the_url_names_the_tenant_of_the_run(cloud: Prefect1Server, ours_on_cloud: OurSide) -> None:
    tenant = scenario.add_tenant(cloud, "other")
    scenario.register_flow(cloud, "etl", tenant_id=tenant)
    ours_on_cloud.connect(password=KEY, tenant_id=tenant)
    done = ours_on_cloud.start()
    assert done.xcoms["flow_run_url"].endswith(f":8080/other/flow-run/{done.value}")


def test_c38_a_run_begins_scheduled_with_a_pending_task_run_for_each_task(
    server: Prefect1Server, ours: OurSide, flow_id: str
) -> None:
    for created in (create(server, flow_id=flow_id), ours.start(flow_id=flow_id)):
        run = row_of(server, created)
        task_runs = server.tables.referring("task_run", "flow_run_id", run["id"])
        assert (run["state"], run["state_message"]) == ("Scheduled", "Flow run scheduled.")
        assert [task_run["state"] for task_run in task_runs] == ["Pending", "Pending"]
