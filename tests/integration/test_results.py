"""What tasks and flows have returned, in every format that a real Prefect writes, and from S3."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.client.rest import task_runs
from airflow_provider_prefect.client.rest.task_runs import child, in_map_order
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from tests.integration.conftest import connection_json
from tests.integration.dag_runs import OFTEN, run_dag
from tools.prefect_stack import PrefectServer
from tools.processes import LOOPBACK

NewDag = Callable[[], DAG]

TYPES = {
    "when": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "elsewhere": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "day": date(2026, 1, 2),
    "clock": time(1, 2, 3),
    "duration": timedelta(days=400, seconds=1.5),
    "exact": Decimal("1.10"),
    "id": UUID("6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11"),
    "some": {1, 2},
}
KEPT_IN_AN_XCOM = {
    "when": "2026-01-02T03:04:05.678901+00:00",
    "elsewhere": "2026-01-01T18:30:00+00:00",
    "day": "2026-01-02",
    "clock": "'01:02:03'",
    "duration": "400 days, 0:00:01.500000",
    "exact": "Decimal('1.1')",
    "id": "'6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11'",
    "some": "{1, 2}",
}


def told(values: dict[str, Any]) -> dict[str, str]:
    """What a task that reads these values from an XCom has before it; times to the microsecond, else as Python does."""
    return {
        name: value.isoformat() if isinstance(value, date) else str(value) if name == "duration" else repr(value)
        for name, value in values.items()
    }


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a pickle would make."""
    return tmp_path_factory.mktemp("evil") / "made-by-a-pickle"


def ended(run: FlowRun) -> FlowRun:
    run = PrefectHook().wait_for_flow_run(run.id, poll_interval=OFTEN)
    assert run.state.type == "COMPLETED"
    return run


@pytest.fixture(scope="module")
def formatted(outputs: PrefectServer, evil: Path) -> FlowRun:
    """A flow run of many formats, at its end."""
    return ended(PrefectHook().start_flow_run("formats/served", parameters={"folder": str(evil)}).run)


@pytest.fixture(scope="module")
def runs(outputs: PrefectServer) -> dict[str, FlowRun]:
    """One flow run of each other flow, all at an end."""
    names = ("many", "pickled", "kept-nothing", "retrying")
    started = {name: PrefectHook().start_flow_run(f"{name}/served").run for name in names}
    return {name: ended(run) for name, run in started.items()}


@pytest.fixture(scope="module")
def settled(formatted: FlowRun) -> FlowRun:
    """The same, when Prefect has taken in all of its task runs."""
    assert of_task(formatted, "nothing") is None
    return formatted


@pytest.fixture
def formats(settled: FlowRun, monkeypatch: pytest.MonkeyPatch) -> FlowRun:
    """The same, its task runs counted again and again without a second in between."""
    monkeypatch.setattr(task_runs, "_POLL_INTERVAL", 0.05)
    return settled


def of_task(run: FlowRun, name: str, index: int = -1, most: int = 1024 * 1024) -> Any:
    return PrefectHook().read_task_run_result(run.id, name, map_index=index, max_size=most)


# The formats


@pytest.mark.prefect_alone
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("as_json", TYPES),
        ("as_compressed_json", {"rows": [1, 2, 3] * 100}),
        ("as_pickle", {**TYPES, "pair": (1, frozenset({2}))}),
        ("as_compressed_pickle", [None, True, 1.5]),
        ("nothing", None),
    ],
)
def test_a_task_s_result_of_each_format_is_read(formats: FlowRun, name: str, value: Any) -> None:
    assert of_task(formats, name) == value


@pytest.mark.prefect_alone
def test_a_flow_s_result_of_each_format_is_read(formatted: FlowRun, runs: dict[str, FlowRun]) -> None:
    hook = PrefectHook()
    assert hook.read_result(formatted) == {"types": TYPES}
    assert hook.read_result(runs["pickled"]) == TYPES
    assert hook.read_result(runs["kept-nothing"]) is None


@pytest.mark.prefect_alone
def test_a_pickle_of_a_class_is_refused_by_its_name(formats: FlowRun) -> None:
    with pytest.raises(
        ResultError, match=r"needs pathlib\.PurePosixPath, which is not supported.*result_serializer='json'"
    ):
        of_task(formats, "of_a_class")


@pytest.mark.prefect_alone
def test_a_pickle_that_is_an_exploit_is_refused_and_does_nothing(formats: FlowRun, evil: Path) -> None:
    with pytest.raises(ResultError, match=r"needs posix\.mkdir, which is not supported as plain data"):
        of_task(formats, "exploiting")
    assert not evil.exists()


@pytest.mark.prefect_alone
def test_what_was_not_kept_is_an_error_that_says_how_to_keep_it(formats: FlowRun) -> None:
    with pytest.raises(ResultError, match=r"has left no result.*persist_result=True, result_serializer='json'"):
        of_task(formats, "not_kept")


@pytest.mark.prefect_alone
def test_the_exception_of_a_task_that_failed_is_no_result(formats: FlowRun) -> None:
    with pytest.raises(ResultError, match=r"has returned nothing: it is in state Failed: .*the rope is torn"):
        of_task(formats, "breaking")


@pytest.mark.prefect_alone
def test_a_result_that_is_too_large_is_refused(formats: FlowRun) -> None:
    assert len(of_task(formats, "large", most=5002)) == 5000
    with pytest.raises(ResultError, match="more than max_result_size=5,001 bytes"):
        of_task(formats, "large", most=5001)


@pytest.mark.prefect_alone
def test_a_task_that_is_not_there_is_an_error_that_lists_what_is(formats: FlowRun) -> None:
    with pytest.raises(ResultError, match=r"has no task run 'nowhere'. It has: .*'customer-0'"):
        of_task(formats, "nowhere")


# Which task run


@pytest.mark.prefect_alone
def test_a_task_run_is_found_by_its_full_name(formats: FlowRun) -> None:
    assert of_task(formats, "customer-1") == "customer 1"


@pytest.mark.prefect_alone
def test_the_children_of_a_task_come_in_order_or_one_by_one(formats: FlowRun) -> None:
    assert of_task(formats, "customer") == ["customer 0", "customer 1", "customer 2"]
    assert of_task(formats, "doubled") == [0, 2, 4, 6, 8]
    assert of_task(formats, "doubled", 3) == 6
    with pytest.raises(ResultError, match="has runs 0 to 4 only"):
        of_task(formats, "doubled", 5)


@pytest.mark.prefect_alone
def test_of_a_flow_run_that_was_retried_the_last_run_counts(runs: dict[str, FlowRun]) -> None:
    assert of_task(runs["retrying"], "attempt") == [f"run 2, child {number}" for number in range(3)]
    assert len(PrefectHook().read_task_runs(runs["retrying"].id)) == 6
    assert of_task(runs["retrying"], "attempt", 1) == "run 2, child 1"


@pytest.mark.prefect_alone
def test_of_200_children_at_once_each_is_the_right_one_or_an_error(runs: dict[str, FlowRun]) -> None:
    hook = PrefectHook()
    try:
        assert of_task(runs["many"], "numbered") == list(range(200))
    except ResultError as untold:
        assert "cannot be told for all of them" in str(untold)
    children = hook.read_task_runs(runs["many"].id)
    assert len(children) == 200
    told = 0
    for index in range(200):
        try:
            found = child(children, "numbered", index)
        except ResultError as untold:
            assert f"cannot be told for map_index={index}" in str(untold)
        else:
            assert found.name == f"number {index}"
            told += 1
    print(f"{told} of 200 children could be told by their place.")
    apart = [one for one in children if [other.id[:13] for other in children].count(one.id[:13]) == 1]
    assert [one.name for one in in_map_order(apart, "numbered")] == sorted(
        (one.name for one in apart), key=lambda name: int(name.removeprefix("number "))
    )
    assert of_task(runs["many"], "number 123") == 123


# The operator


@pytest.mark.parametrize("deferrable", [False, True], ids=["in its own process", "deferred"])
def test_the_operator_waits_and_hands_on_what_a_task_or_the_flow_returned(
    new_dag: NewDag, outputs: PrefectServer, evil: Path, deferrable: bool
) -> None:
    with new_dag() as dag:

        @task
        def take(value: dict[str, Any]) -> Any:
            if "types" in value:
                return {"types": told(value["types"])}
            return told(value)

        start = PrefectStartFlowRunOperator(
            task_id="start", deployment="formats/served", parameters={"folder": str(evil)}, wait_for_completion=False
        )

        def get(task_id: str, **arguments: Any) -> PrefectGetTaskRunResultOperator:
            return PrefectGetTaskRunResultOperator(
                task_id=task_id,
                flow_run_id=start.output,  # type: ignore[arg-type]
                deferrable=deferrable,
                poll_interval=OFTEN,
                **arguments,
            )

        for name in ("as_json", "as_pickle", "") if deferrable else ("",):
            fetched = get(f"get_{name}", task_name=name or None)
            take.override(task_id=f"take_{name}")(fetched.output)
        get("one", task_name="doubled", map_index="{{ 1 + 1 }}")
        get("artifact", artifact_key="rows")
        get("words", artifact_key="words")
        get("refused", task_name="exploiting").retries = 2
        get("no_artifact", artifact_key="nothing-here")
    outcome = run_dag(dag)
    if deferrable:
        assert outcome.triggers
    if deferrable:
        assert outcome["take_as_json"].xcoms["return_value"] == KEPT_IN_AN_XCOM
        of_a_pickle = outcome["take_as_pickle"].xcoms["return_value"]
        # Airflow 2 keeps JSON's containers only.
        assert of_a_pickle.pop("pair") in ("(1, frozenset({2}))", "[1, [2]]")
        assert of_a_pickle == KEPT_IN_AN_XCOM
    assert outcome["take_"].xcoms["return_value"] == {"types": KEPT_IN_AN_XCOM}
    assert outcome["get_"].xcoms["state"] == "COMPLETED"
    assert outcome["get_"].xcoms["flow_run_id"] == outcome["start"].xcoms["flow_run_id"]
    assert outcome["one"].xcoms["return_value"] == 4
    assert outcome["artifact"].xcoms["return_value"] == [{"n": 1, "t": "ü"}]
    assert outcome["words"].xcoms["return_value"] == "# Words"
    for refused in ("refused", "no_artifact"):
        assert outcome[refused].state == "failed"
        assert isinstance(outcome[refused].error, AirflowFailException)
    assert "posix.mkdir" in str(outcome["refused"].error)
    assert "no artifact with the key 'nothing-here'" in str(outcome["no_artifact"].error)
    assert not evil.exists()


def test_hook_methods_serve_a_task_of_the_users_own(new_dag: NewDag, formatted: FlowRun) -> None:
    with new_dag() as dag:

        @task
        def own() -> dict[str, Any]:
            hook = PrefectHook()
            run = hook.start_flow_run("talking/served", parameters={"seconds": 1}).run
            hook.rename_flow_run(run.id, "of my own")
            ended = hook.wait_for_flow_run(run.id, poll_interval=OFTEN)
            formats = hook.read_flow_run(formatted.id)
            one = hook.read_task_run_result(formats.id, "customer", map_index=2)
            lines = [line.message for line in hook.read_flow_run_logs(run.id, level=30)]
            return {
                "name": ended.name,
                "state": ended.state.type,
                "line": "flow line 1" in lines,
                "below": "flow line 0" in lines,
                "one": one,
                "rows": hook.read_result(formats, artifact_key="rows"),
                "flow": sorted(hook.read_result(formats)),
                "cancelled": hook.cancel_flow_run(run.id).type,
            }

        own()
    assert run_dag(dag)["own"].xcoms["return_value"] == {
        "name": "of my own",
        "state": "COMPLETED",
        "line": True,
        "below": False,
        "one": "customer 2",
        "rows": [{"n": 1, "t": "ü"}],
        "flow": ["types"],
        "cancelled": "COMPLETED",
    }


# Where results lie


@pytest.fixture
def completed(prefect: PrefectServer, unserved: str) -> Callable[[dict[str, Any]], FlowRun]:
    """Makes a flow run that has ended with such a state's data, as some version of Prefect writes it."""

    def make(data: dict[str, Any]) -> FlowRun:
        run = PrefectHook().start_flow_run(unserved).run
        state = {"type": "COMPLETED", "data": data}
        prefect.request("POST", f"/flow_runs/{run.id}/set_state", {"state": state, "force": True})
        return PrefectHook().read_flow_run(run.id)

    return make


Completed = Callable[[dict[str, Any]], FlowRun]


def block(prefect: PrefectServer, slug: str, name: str, data: dict[str, Any]) -> str:
    """Store a block of such a type, and return its id."""
    known = prefect.request("POST", "/block_types/filter", {"block_types": {"slug": {"any_": [slug]}}})
    kind = known[0] if known else prefect.request("POST", "/block_types/", {"name": name, "slug": slug})
    fields = {"title": name, "type": "object", "properties": {key: {"title": key} for key in data}}
    schema = prefect.request(
        "POST", "/block_schemas/", {"block_type_id": kind["id"], "fields": fields, "capabilities": []}
    )
    document = {"name": f"b-{uuid.uuid4().hex[:8]}", "data": data, "block_type_id": kind["id"]}
    made: dict[str, Any] = prefect.request("POST", "/block_documents/", {**document, "block_schema_id": schema["id"]})
    return str(made["id"])


@pytest.mark.prefect_alone
@pytest.mark.parametrize("value", [None, True, False])
def test_a_literal_of_prefect_2_is_read(completed: Completed, value: Any) -> None:
    assert PrefectHook().read_result(completed({"type": "literal", "value": value})) is value


@pytest.mark.prefect_alone
def test_a_flow_s_result_of_prefect_3_0_is_read(completed: Completed, prefect: PrefectServer) -> None:
    key = prefect.results / "of-prefect-3-0"
    metadata = {"storage_key": str(key), "serializer": {"type": "json"}, "prefect_version": "3.0.3"}
    key.write_text(json.dumps({"metadata": metadata, "result": '{"a": 1}'}))
    data = {"type": "reference", "serializer_type": "json", "storage_block_id": None, "storage_key": str(key)}
    assert PrefectHook().read_result(completed(data)) == {"a": 1}


@pytest.mark.prefect_alone
def test_a_result_of_prefect_2_in_a_local_block_is_read(completed: Completed, prefect: PrefectServer) -> None:
    (prefect.results / "of-prefect-2").write_text(
        json.dumps({"serializer": {"type": "json"}, "data": "[1]", "prefect_version": "2.20.26"})
    )
    block_id = block(prefect, "local-file-system", "Local File System", {"basepath": str(prefect.results)})
    data = {
        "type": "reference",
        "serializer_type": "json",
        "storage_block_id": block_id,
        "storage_key": "of-prefect-2",
    }
    assert PrefectHook().read_result(completed(data)) == [1]


@pytest.mark.prefect_alone
@pytest.mark.parametrize("key", ["/etc/passwd", "{results}/../logs/server.log", "s3://elsewhere/key"])
def test_a_file_outside_the_roots_is_refused(completed: Completed, prefect: PrefectServer, key: str) -> None:
    data = {"storage_key": key.format(results=prefect.results), "serializer": {"type": "json"}}
    with pytest.raises(ResultError, match="is not under any of the connection's result_roots"):
        PrefectHook().read_result(completed(data))


@pytest.mark.prefect_alone
def test_a_block_does_not_lead_out_of_the_roots(completed: Completed, prefect: PrefectServer) -> None:
    block_id = block(prefect, "local-file-system", "Local File System", {"basepath": str(prefect.results)})
    data = {"storage_block_id": block_id, "storage_key": "../logs/server.log", "serializer": {"type": "json"}}
    with pytest.raises(ResultError, match="is not under any of"):
        PrefectHook().read_result(completed(data))


@pytest.mark.prefect_alone
def test_a_file_that_is_gone_is_an_error_that_names_it(completed: Completed, prefect: PrefectServer) -> None:
    data = {"storage_key": str(prefect.results / "gone"), "serializer": {"type": "json"}}
    with pytest.raises(ResultError, match=r"gone' does not exist on this machine"):
        PrefectHook().read_result(completed(data))


# S3


@pytest.fixture(scope="module")
def bucket(prefect: PrefectServer) -> Iterator[Any]:
    """A bucket on an S3 server of this machine; the connection ``prefect_s3`` may read results from a part of it."""
    reason = "results are read from S3 on the newest Airflow only, whose environment has an S3 server and client"
    server_module = pytest.importorskip("moto.server", reason=reason)
    pytest.importorskip("airflow.providers.amazon", reason=reason)
    import boto3

    server = server_module.ThreadedMotoServer(LOOPBACK, 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing-secret"}
        s3 = boto3.resource("s3", endpoint_url=url, region_name="us-east-1", **keys)
        made = s3.create_bucket(Bucket="results")
        aws = {"conn_type": "aws", "login": "testing", "password": "testing-secret"}
        extra = {"endpoint_url": url, "region_name": "us-east-1"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIRFLOW_CONN_AWS_LOOPBACK", json.dumps({**aws, "extra": extra}))
            roots = {"result_roots": "s3://aws_loopback@results/flows"}
            patch.setenv("AIRFLOW_CONN_PREFECT_S3", connection_json(prefect, extra=roots))
            yield made
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("slug", "name", "data"),
    [
        ("remote-file-system", "Remote File System", {"basepath": "s3://results/flows/", "settings": {"key": "x"}}),
        ("s3-bucket", "S3 Bucket", {"bucket_name": "results", "bucket_folder": "flows", "credentials": {"a": "x"}}),
    ],
)
def test_a_result_in_s3_is_read_with_the_credentials_of_an_airflow_connection(
    bucket: Any, completed: Completed, prefect: PrefectServer, slug: str, name: str, data: dict[str, Any]
) -> None:
    bucket.put_object(Key="flows/deep/key", Body=b'{"in": "s3"}')
    bucket.put_object(Key="others/key", Body=b'"hush-hush"')
    block_id = block(prefect, slug, name, data)
    hook = PrefectHook("prefect_s3")

    def stored(key: str) -> FlowRun:
        return completed({"storage_key": key, "storage_block_id": block_id, "serializer": {"type": "json"}})

    assert hook.read_result(stored("deep/key")) == {"in": "s3"}
    with pytest.raises(ResultError, match="does not exist"):
        hook.read_result(stored("gone"))
    with pytest.raises(ResultError, match="is not under any of"):
        hook.read_result(stored("../others/key"))
    with pytest.raises(ResultError, match="more than 4 bytes"):
        hook.read_result(stored("deep/key"), max_size=1)


@pytest.mark.prefect_alone
def test_a_block_whose_kind_is_not_known_is_an_error(completed: Completed, prefect: PrefectServer) -> None:
    block_id = block(prefect, "home-made", "Home made", {"shelf": "left"})
    data = {"storage_key": "k", "storage_block_id": block_id, "serializer": {"type": "json"}}
    with pytest.raises(ResultError, match="an unsupported kind of block"):
        PrefectHook().read_result(completed(data))
