"""What templates render to, in all operators and the sensor: nothing, numbers, lazy sequences, the text of a dict."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.model import ALL
from airflow_provider_prefect.operators.base import PrefectTask
from airflow_provider_prefect.operators.bulk import PrefectBulkFlowRunOperator
from airflow_provider_prefect.operators.flow_run import (
    PrefectCancelFlowRunOperator,
    PrefectRenameFlowRunOperator,
    PrefectStartFlowRunOperator,
)
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.operators.resume import PrefectResumeFlowRunOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import Answer, Asked, FakePrefect, state
from tests.unit.running import Through, carried_out, refusal, rendered

NOWHERE = "00000000-0000-4000-8000-000000000000"
NOTHING = {
    "None": "{{ none }}",
    "an empty text": "{{ '' }}",
    "spaces": " {{ none }}\n",
    "no template": "",
}
"""Templates that render to nothing."""

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True},
}

OPERATORS: dict[Any, dict[str, Any]] = {
    PrefectStartFlowRunOperator: {"deployment": "sales/demo"},
    PrefectRenameFlowRunOperator: {"flow_run_id": NOWHERE, "name": "x"},
    PrefectCancelFlowRunOperator: {"deployment": "sales/demo"},
    PrefectGetTaskRunResultOperator: {"flow_run_id": NOWHERE, "artifact_key": "rows"},
    PrefectFlowRunSensor: {"deployment": "sales/demo"},
    PrefectResumeFlowRunOperator: {"flow_run_id": NOWHERE},
    PrefectBulkFlowRunOperator: {"deployment": "sales/demo", "action": "cancel", "limit": 1},
}
all_operators = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
natively = pytest.mark.parametrize("native", [False, True], ids=["text", "native"])


def start(**arguments: Any) -> PrefectStartFlowRunOperator:
    given = {"task_id": "start", "wait_for_completion": False, "deferrable": False, **arguments}
    if not {"flow_name", "flow_id"} & arguments.keys():
        given.setdefault("deployment", "sales/demo")
    return PrefectStartFlowRunOperator(**given)


@pytest.fixture
def created(prefect: FakePrefect, context: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """Starts a flow run with templates, and gives what Prefect was asked to create."""

    def created(native: bool = False, **arguments: Any) -> dict[str, Any]:
        rendered(context, lambda: start(**arguments), native=native).execute(context)
        body: dict[str, Any] = prefect.created[-1]
        return body

    return created


# The mechanism


@all_operators
def test_every_templated_field_is_read_in_one_place(operator: Any) -> None:
    assert issubclass(operator, PrefectTask)
    assert tuple(operator.fields) == operator.template_fields


@all_operators
@natively
def test_a_connection_that_rendered_to_nothing_is_the_default_one(
    prefect: FakePrefect, context: dict[str, Any], logged: Callable[[], str], operator: Any, native: bool
) -> None:
    task = rendered(
        context,
        lambda: operator(task_id="it", **OPERATORS[operator], prefect_conn_id="{{ none }}"),
        native=native,
    )
    task.read_fields()
    assert task.prefect_conn_id == "prefect_default"
    assert "prefect_conn_id rendered to None and is ignored: the connection 'prefect_default' is used." in logged()


@all_operators
def test_the_log_does_not_name_a_field_that_was_not_given(
    prefect: FakePrefect, context: dict[str, Any], logged: Callable[[], str], operator: Any
) -> None:
    rendered(context, lambda: operator(task_id="it", **OPERATORS[operator])).read_fields()
    assert "rendered to" not in logged()


# An optional field that rendered to nothing: start

OPTIONAL = {
    "idempotency_key",
    "run_name",
    "work_queue_name",
    "parameters",
    "job_variables",
    "scheduled_start_time",
    "tags",
}


@natively
@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_an_optional_field_that_rendered_to_nothing_is_as_if_it_had_not_been_given(
    created: Callable[..., dict[str, Any]],
    ti: TaskInstance,
    logged: Callable[[], str],
    name: str,
    nothing: str,
    native: bool,
) -> None:
    without = created(native)
    ti.map_index = 7  # so that another flow run is created
    body = created(native, **{name: NOTHING[nothing]})
    varies = ("idempotency_key", "context", "labels", "name")
    assert {key: value for key, value in body.items() if key not in varies} == {
        key: value for key, value in without.items() if key not in varies
    }
    assert body.keys() == without.keys()
    assert body["idempotency_key"].startswith("airflow-")
    assert body["name"] == "shop.summarise[7] manual__2026-10-01"
    shown = "None" if "none" in NOTHING[nothing] else "''"
    assert logged().count(f"{name} rendered to {shown} and is ignored: ") == 1


@natively
@pytest.mark.parametrize("nothing", ["None", "an empty text", "no template"])
def test_an_idempotency_key_that_rendered_to_nothing_is_the_default_one(
    prefect: FakePrefect,
    context: dict[str, Any],
    ti: TaskInstance,
    logged: Callable[[], str],
    nothing: str,
    native: bool,
) -> None:
    for run_id in ("first", "second"):
        ti.run_id = run_id
        rendered(context, lambda: start(idempotency_key=NOTHING[nothing]), native=native).execute(context)
    assert len(prefect.flow_runs) == 2
    assert len({body["idempotency_key"] for body in prefect.created}) == 2
    assert "and is ignored: the default key, that of this try, is used." in logged()


@natively
def test_elements_of_a_list_that_rendered_to_nothing_are_left_out_and_named(
    created: Callable[..., dict[str, Any]], logged: Callable[[], str], native: bool
) -> None:
    body = created(native, tags=["nightly", "{{ none }}", "{{ params.month }}", ""])
    assert body["tags"] == ["nightly", "10"]
    log = logged()
    assert "tags[1] rendered to None and is left out." in log
    # An empty text is None where templates are rendered natively.
    assert f"tags[3] rendered to {None if native else repr('')} and is left out." in log
    assert "is ignored" not in log


@natively
def test_a_list_of_which_nothing_is_left_counts_as_not_given(
    created: Callable[..., dict[str, Any]], logged: Callable[[], str], native: bool
) -> None:
    assert "tags" not in created(native, tags=["{{ none }}", ""])
    assert "tags rendered to None and is ignored" in logged()


def test_fields_that_are_for_another_api_are_not_missed_if_they_rendered_to_nothing(
    created: Callable[..., dict[str, Any]],
) -> None:
    nothing = dict.fromkeys(("labels", "run_config", "context"), "{{ none }}")
    assert created(**nothing)["context"].keys() == {"airflow"}


@natively
def test_what_is_templated_in_a_mapping_is_sent_as_it_rendered(
    created: Callable[..., dict[str, Any]], native: bool
) -> None:
    body = created(native, parameters={"month": "{{ params.month }}", "none": "{{ none }}"})
    assert body["parameters"] == ({"month": 10, "none": None} if native else {"month": "10", "none": "None"})


# A field that is needed

WANTED: list[tuple[Callable[..., Any], str, dict[str, Any], str]] = [
    (start, "deployment", {}, "give 'flow/deployment', or the id"),
    (start, "flow_name", {}, "give the name of a flow"),
    (start, "flow_id", {}, "give the id (UUID) of a flow"),
    (PrefectRenameFlowRunOperator, "flow_run_id", {"task_id": "it", "name": "x"}, "flow_run_id=start.output"),
    (PrefectRenameFlowRunOperator, "name", {"task_id": "it", "flow_run_id": NOWHERE}, "name is empty"),
    (PrefectCancelFlowRunOperator, "flow_run_id", {"task_id": "it"}, "flow_run_id=start.output"),
    (PrefectCancelFlowRunOperator, "deployment", {"task_id": "it"}, "give 'flow/deployment', or the id"),
    (PrefectGetTaskRunResultOperator, "flow_run_id", {"task_id": "it"}, "flow_run_id=start.output"),
    *(
        (PrefectFlowRunSensor, name, {"task_id": "it", **mode}, way_out)
        for mode in MODES.values()
        for name, way_out in (("flow_run_id", "give the id (UUID)"), ("deployment", "give 'flow/deployment'"))
    ),
]


@natively
@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize(("operator", "name", "others", "way_out"), WANTED)
def test_a_field_that_the_task_needs_is_refused_by_name_before_anything_is_sent(
    prefect: FakePrefect,
    context: dict[str, Any],
    operator: Callable[..., Any],
    name: str,
    others: dict[str, Any],
    way_out: str,
    nothing: str,
    native: bool,
) -> None:
    task = rendered(context, lambda: operator(**others, **{name: NOTHING[nothing]}), native=native)
    shown = "None" if "none" in NOTHING[nothing] else "''"
    with pytest.raises(AirflowFailException, match=rf"^{name} rendered to {shown}: .*{re.escape(way_out)}") as raised:
        task.execute(context)
    assert isinstance(raised.value, ConfigurationError)
    assert prefect.requests == []


# The others: optional fields


SELECTING: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (PrefectCancelFlowRunOperator, {}),
    *((PrefectFlowRunSensor, mode) for mode in MODES.values()),
]


@natively
@pytest.mark.parametrize("tags", ["{{ none }}", [], ["{{ none }}"], ["nightly", "{{ none }}"], ["nightly", ""]])
@pytest.mark.parametrize(("operator", "others"), SELECTING)
def test_tags_that_select_flow_runs_are_never_ignored(
    prefect: FakePrefect,
    context: dict[str, Any],
    operator: Callable[..., Any],
    others: dict[str, Any],
    tags: Any,
    native: bool,
) -> None:
    make = lambda: operator(task_id="it", deployment="sales/demo", tags=tags, **others)  # noqa: E731
    said = refusal(prefect, context, make, native=native)
    assert said.startswith("tags rendered to ")
    assert "give at least one tag and no empty one, or leave the argument out" in said


def lists(prefect: FakePrefect) -> Callable[[Asked], Answer | None]:
    """Answer a list of the flow runs of a deployment."""

    def answer(asked: Asked) -> Answer | None:
        if asked.path != "/flow_runs/filter" or "deployment_id" not in asked.body["flow_runs"]:
            return None
        live = [run for run in prefect.flow_runs.values() if run["state"]["type"] in ("RUNNING", "COMPLETED")]
        return Answer(200, live[asked.body.get("offset", 0) :])

    return answer


@natively
@pytest.mark.parametrize("mode", ["poke", "deferred"])
def test_a_sensor_whose_since_rendered_to_nothing_uses_the_default(
    prefect: FakePrefect,
    context: dict[str, Any],
    through_airflow: Through,
    logged: Callable[[], str],
    mode: str,
    native: bool,
) -> None:
    (deployment_id,) = prefect.deployments
    run_id = prefect.add_flow_run("COMPLETED", deployment_id=deployment_id)
    prefect.instead.append(lists(prefect))
    begins = datetime(2026, 10, 1, tzinfo=UTC)
    interval = {"data_interval_start": begins, "data_interval_end": begins + timedelta(days=1)}
    task = rendered(
        context,
        lambda: PrefectFlowRunSensor(task_id="it", deployment="sales/demo", since="{{ none }}", **MODES[mode]),
        native=native,
    )
    assert carried_out(task, {**context, **interval}, through_airflow)["id"] == run_id
    criteria = prefect.asked("POST", "/flow_runs/filter")[0].body["flow_runs"]
    assert criteria["expected_start_time"]["after_"] == begins.isoformat()
    assert "since rendered to None and is ignored" in logged()


@natively
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_result_whose_optional_fields_rendered_to_nothing_is_the_flows_own(
    prefect: FakePrefect,
    context: dict[str, Any],
    through_airflow: Through,
    connect: Any,
    tmp_path: Any,
    native: bool,
    deferrable: bool,
) -> None:
    (tmp_path / "one").write_text('{"total": 5}')
    connect(host=prefect.api_url, extra={"result_roots": str(tmp_path)})
    data = {"storage_key": str(tmp_path / "one"), "serializer": {"type": "json"}, "prefect_version": "3.8.8"}
    run_id = prefect.add_flow_run(state("COMPLETED", data=data))
    task = rendered(
        context,
        lambda: PrefectGetTaskRunResultOperator(
            task_id="it", flow_run_id=run_id, task_name="{{ none }}", map_index="{{ none }}", deferrable=deferrable
        ),
        native=native,
    )
    assert carried_out(task, context, through_airflow) == {"total": 5}
    assert task.map_index == ALL


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_log_names_a_field_once_although_the_task_is_resumed(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, logged: Callable[[], str], deferrable: bool
) -> None:
    prefect.coming = [state("RUNNING"), state("COMPLETED")]
    make = lambda: start(  # noqa: E731
        wait_for_completion=True, deferrable=deferrable, fetch_result="{{ none }}", prefect_conn_id="{{ none }}"
    )
    task = rendered(context, make)
    task.poll_interval = 0
    # When it is resumed, its templates are rendered anew.
    resume = task.resume_execution
    task.resume_execution = lambda *arguments: (
        setattr(task, "fetch_result", "None") or setattr(task, "prefect_conn_id", "None") or resume(*arguments)
    )
    carried_out(task, context, through_airflow)
    log = logged()
    assert log.count("fetch_result rendered to None and is ignored: no result is fetched.") == 1
    assert log.count("prefect_conn_id rendered to None") == 1


# Numbers


@pytest.mark.parametrize(
    ("given", "sent"), [("{{ 5 }}", "5"), ("{{ 1.5 }}", "1.5"), (7, "7"), ("{{ ds_nodash }}", "20261001")]
)
@pytest.mark.parametrize(("name", "field"), [("run_name", "name"), ("idempotency_key",) * 2, ("work_queue_name",) * 2])
def test_a_number_where_text_is_needed_becomes_that_text(
    created: Callable[..., dict[str, Any]], context: dict[str, Any], name: str, field: str, given: Any, sent: str
) -> None:
    context["ds_nodash"] = "20261001"
    assert created(native=True, **{name: given})[field] == sent
    assert created(native=True, tags=[given, "a"])["tags"] == [sent, "a"]


def test_a_deployment_that_is_a_number_is_refused_in_a_sentence(prefect: FakePrefect, context: dict[str, Any]) -> None:
    for given in (123, "{{ 123 }}"):
        task = rendered(context, lambda given=given: start(deployment=given), native=True)
        with pytest.raises(AirflowFailException, match="deployment='123' is neither 'flow/deployment' nor the id"):
            task.execute(context)


def test_a_flow_name_that_is_a_number_is_that_text(prefect: FakePrefect, context: dict[str, Any]) -> None:
    prefect.add_deployment("2026/demo")
    rendered(context, lambda: start(flow_name="{{ 2026 }}"), native=True).execute(context)
    assert len(prefect.created) == 1


@all_operators
@pytest.mark.parametrize("value", [True, ["a"], {"a": 1}, b"a", float("nan")])
def test_what_makes_no_sense_as_text_is_refused_by_its_name_before_anything_is_sent(
    prefect: FakePrefect, context: dict[str, Any], operator: Any, value: Any
) -> None:
    name = next(iter(operator.fields))
    task = operator(**{"task_id": "it", **OPERATORS[operator]})
    setattr(task, name, value)
    with pytest.raises(AirflowFailException, match=rf"^{name}=.* is neither text nor what is taken as text"):
        task.execute(context)
    assert prefect.requests == []


@pytest.mark.parametrize("name", [5, "{{ 5 }}"])
def test_a_rename_to_a_number_is_to_its_text(prefect: FakePrefect, context: dict[str, Any], name: Any) -> None:
    run_id = prefect.add_flow_run("COMPLETED")
    prefect.answer("PATCH", "/flow_runs/.*", 204)
    make = lambda: PrefectRenameFlowRunOperator(task_id="it", flow_run_id=run_id, name=name)  # noqa: E731
    rendered(context, make, native=True).execute(context)
    assert prefect.asked("PATCH", ".*")[0].body == {"name": "5"}


@pytest.mark.parametrize(
    ("given", "read"),
    [(True, True), ("True", True), (" True\n", True), (False, False), ("False", False), ("rows", "rows"), (5, "5")],
)
def test_fetch_result_is_a_switch_or_a_key(given: Any, read: Any) -> None:
    task = start(wait_for_completion=True, fetch_result=given)
    task.read_fields()
    assert task.fetch_result is read or task.fetch_result == read
    assert type(task.fetch_result) is type(read)


# Sequences, and what Python writes


class Lazy(Sequence[Any]):
    """The output of a mapped task."""

    def __init__(self, *items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]


def test_the_output_of_mapped_tasks_is_a_list_in_every_argument(created: Callable[..., dict[str, Any]]) -> None:
    body = created(
        parameters={"rows": Lazy(1, 2), "deep": [{"none": Lazy()}]},
        job_variables={"env": Lazy("a")},
        tags=Lazy("a", None, 5),
    )
    assert body["parameters"] == {"rows": [1, 2], "deep": [{"none": []}]}
    assert body["job_variables"] == {"env": ["a"]}
    assert body["tags"] == ["a", "5"]


def test_the_output_of_a_mapped_task_that_was_empty_is_no_tags(created: Callable[..., dict[str, Any]]) -> None:
    assert "tags" not in created(tags=Lazy())


@pytest.mark.parametrize("name", ["parameters", "job_variables"])
def test_the_text_of_a_dict_is_refused_with_both_ways_out_and_both_are_ways(
    prefect: FakePrefect, context: dict[str, Any], created: Callable[..., dict[str, Any]], name: str
) -> None:
    context["found"] = {"a": 1, "b": None}
    with pytest.raises(AirflowFailException, match=rf"^{name} is text, but not JSON") as raised:
        created(**{name: "{{ found }}"})
    assert "| tojson" in str(raised.value)
    assert "render_template_as_native_obj=True" in str(raised.value)
    assert prefect.created == []
    for body in (created(**{name: "{{ found | tojson }}"}), created(native=True, **{name: "{{ found }}"})):
        assert body[name] == {"a": 1, "b": None}


@pytest.mark.parametrize("name", ["parameters", "job_variables", "tags"])
def test_a_wrong_value_is_refused_before_anything_is_created(
    prefect: FakePrefect, context: dict[str, Any], name: str
) -> None:
    value: Any = [[b""]] if name == "tags" else {"n": [0, 2**64]}
    with pytest.raises(AirflowFailException, match=f"^{name}"):
        start(**{name: value}).execute(context)
    assert prefect.requests == []


# Times


@pytest.mark.parametrize("value", ["10:30", timedelta(days=-1), "1999-12-31", 300])
def test_a_start_that_makes_no_sense_is_refused_before_anything_is_sent(
    prefect: FakePrefect, context: dict[str, Any], value: Any
) -> None:
    with pytest.raises(AirflowFailException, match=f"^scheduled_start_time={re.escape(repr(value))} is ") as raised:
        start(scheduled_start_time=value).execute(context)
    assert isinstance(raised.value, ConfigurationError)
    assert prefect.requests == []


def test_a_start_that_has_passed_is_sent(created: Callable[..., dict[str, Any]]) -> None:
    body = created(scheduled_start_time="2026-10-01T00:00")
    assert body["state"]["state_details"]["scheduled_time"].startswith("2026-10-01T00:00:00+00:00")


@pytest.mark.parametrize("since", [timedelta(hours=-1), "-PT1H", "2026-10-01", "1970-01-01"])
@pytest.mark.parametrize("mode", MODES)
def test_a_sensor_may_look_into_the_past(
    prefect: FakePrefect, context: dict[str, Any], through_airflow: Through, mode: str, since: Any
) -> None:
    (deployment_id,) = prefect.deployments
    run_id = prefect.add_flow_run("COMPLETED", deployment_id=deployment_id)
    prefect.instead.append(lists(prefect))
    task = PrefectFlowRunSensor(task_id="it", deployment="sales/demo", since=since, **MODES[mode])
    found = carried_out(task, context, through_airflow)
    assert json.loads(json.dumps(found))["id"] == run_id
    after = prefect.asked("POST", "/flow_runs/filter")[0].body["flow_runs"]["expected_start_time"]["after_"]
    assert datetime.fromisoformat(after) < datetime.now(UTC)


# What an operator is made with


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: start(paramters={}), "paramters"),
        (lambda: start(poll_interval="5", wait_for_completion=True), r"^poll_interval='5' is not a number of seconds"),
        (lambda: start(max_result_size="1MB"), "^max_result_size='1MB'"),
        (lambda: start(timeout="5"), "^timeout='5'"),
        (lambda: start(skip_on=[5]), "^skip_on='5'"),
        (lambda: start(on_retry="again"), "^on_retry='again'"),
        (lambda: start(flow_name="a", deployment="b/c"), "^Give exactly one of"),
        (lambda: start(project_name="a"), "^project_name='a'"),
        (lambda: start(idempotency_key="a", on_retry="restart"), "^on_retry='restart'"),
        (lambda: start(fetch_result=True), "^fetch_result needs"),
        (lambda: PrefectRenameFlowRunOperator(task_id="it", flow_run_id=NOWHERE), "^name is empty"),
        (lambda: PrefectCancelFlowRunOperator(task_id="it", flow_run_id="a", deployment="b"), "^Give either"),
        (lambda: PrefectCancelFlowRunOperator(task_id="it", tags=["a"]), "^tags choose"),
        (lambda: PrefectCancelFlowRunOperator(task_id="it", timeout=None), "^timeout=None"),
        (lambda: PrefectGetTaskRunResultOperator(task_id="it"), "^flow_run_id is missing"),
        (lambda: PrefectGetTaskRunResultOperator(task_id="it", flow_run_id="a", max_result_size=0), "^max_result_size"),
        (lambda: PrefectFlowRunSensor(task_id="it"), "^Give either"),
        (lambda: PrefectFlowRunSensor(task_id="it", flow_run_id="a", tags=["b"]), "^since and tags"),
        (lambda: PrefectFlowRunSensor(task_id="it", flow_run_id="a", poke_interval="often"), "poke_interval"),
        (lambda: PrefectFlowRunSensor(task_id="it", flow_run_id="a", poke_interval=1), "^poke_interval=1"),
        (lambda: PrefectFlowRunSensor(task_id="it", flow_run_id="a", timeout=-1), "timeout"),
        (
            lambda: PrefectFlowRunSensor(task_id="it", flow_run_id="a", poke_interval=10**30),
            "^poke_interval=10+: a dur",
        ),
        (lambda: PrefectFlowRunSensor(task_id="it", flow_run_id="a", timeout=float("inf")), "^timeout=inf: a duration"),
        (lambda: start(retry_delay=1e20), r"^retry_delay=1e\+20: a duration of more than 999,999,999 days is too long"),
        (lambda: PrefectRenameFlowRunOperator(task_id="it", name="a", retry_delay=10**5000), "^retry_delay=.*: a dura"),
    ],
)
def test_a_wrong_argument_is_an_error_that_airflow_does_not_retry(make: Callable[[], Any], said: str) -> None:
    """A mapped task is made in the worker: there the error is that of a try."""
    with pytest.raises(ConfigurationError, match=said) as raised:
        make()
    assert isinstance(raised.value, AirflowFailException)


def test_an_error_of_airflow_that_says_more_is_left_as_it_is() -> None:
    with DAG("shop", schedule=None):
        start()
        with pytest.raises(Exception, match="start") as raised:
            start()
    assert type(raised.value).__name__ == "DuplicateTaskIdFound"
