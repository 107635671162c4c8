"""A response of another shape is an error of ours that names the document and the field, and never another one."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.client.errors import ApiError, MalformedAnswer, PrefectError
from airflow_provider_prefect.client.model import State
from airflow_provider_prefect.client.transport import Response, run
from tests.unit.client.driving import Again, Script, answer
from tests.unit.client.graphql.asking import answered, graphql
from tests.unit.client.graphql.calls import CALLS, NEW, SOURCE
from tests.unit.client.graphql.samples import NOON, data, flow_run, line
from tests.unit.client.samples import RUN_ID
from tests.unit.client.spoiling import some_spoiled, spoiled


@pytest.mark.parametrize("name", CALLS)
def test_each_value_may_be_another_or_missing_and_the_outcome_is_a_value_or_an_error_of_ours(name: str) -> None:
    call, answers = CALLS[name]
    refused = 0
    for index, good in enumerate(answers):
        for what, other in some_spoiled({"data": good}):
            given: list[Any] = [{"data": each} for each in answers]
            given[index] = other
            script = Script([*map(answer, given), Again(data(task_run=[]))])
            try:
                run(call(graphql(script)))
            except PrefectError as error:
                assert "\n" not in str(error)
                refused += 1
            except Exception as error:
                pytest.fail(f"{what}: {error!r}")
    assert refused


def test_errors_of_any_shape_are_errors_of_ours() -> None:
    for what, other in spoiled({"errors": [{"message": "m", "extensions": {"code": "c"}}], "data": None}):
        try:
            with pytest.raises(ApiError):
                answered(lambda api: api.read_flow_run(RUN_ID), answer(other))
        except Exception as error:
            pytest.fail(f"{what}: {error!r}")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": 5}, r"data\.flow_run\[0\]\.name is a number and not text"),
        ({"id": None}, r"data\.flow_run\[0\]\.id is null and not an id"),
        ({"state": 5}, r"data\.flow_run\[0\]\.state is a number and not text"),
        ({"flow": []}, r"data\.flow_run\[0\]\.flow is a list and not an object"),
        ({"tenant": {"slug": "../admin"}}, r"data\.flow_run\[0\]\.tenant\.slug is not an id"),
        ({"start_time": "soon"}, r"data\.flow_run\[0\]\.start_time is 'soon' and not a time"),
    ],
)
def test_the_document_and_the_field_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedAnswer, match=field) as error:
        answered(lambda api: api.read_flow_run(RUN_ID), data(flow_run=[flow_run(**changes)]))
    assert str(error.value).startswith("The response to GraphQL query flow_runs is not what Prefect sends: ")


def test_the_created_flow_runs_id_is_needed() -> None:
    with pytest.raises(MalformedAnswer, match=r"GraphQL mutation create .*: data\.create_flow_run\.id is null"):
        answered(lambda api: api.create_flow_run(SOURCE, NEW), data(create_flow_run={"id": None}))


def test_a_state_that_is_not_known_never_counts_as_success() -> None:
    for state, ended in (("Mine", None), ("Mine", NOON), ("COMPLETED", None), ("success", NOON)):
        found = answered(lambda api: api.read_flow_run(RUN_ID), data(flow_run=[flow_run(state, end_time=ended)]))
        assert found.state.type == ("FAILED" if ended else "RUNNING")


def test_a_response_that_is_nested_too_deeply_is_malformed() -> None:
    with pytest.raises(ApiError):
        answered(lambda api: api.read_flow_run(RUN_ID), Response(200, '{"data":' * 100_000))


@pytest.mark.parametrize("kind", [5, [], {}, None, True, "a\nb\x1b[31m", "::group::"])
@pytest.mark.parametrize("place", [5, [], {}, None, True])
def test_a_result_of_another_shape_is_not_read(kind: Any, place: Any) -> None:
    for result in (
        {"type": kind, "location": "x", "bucket": place, "dir": place},
        {"type": "S3Result", "location": place, "bucket": kind},
        {"type": "LocalResult", "location": place, "dir": kind},
        {"type": "PrefectResult", "location": place},
        place,
    ):
        with pytest.raises(PrefectError) as error:
            graphql(Script([])).find_result(State("", "COMPLETED", "Success", data=result), "Task run 'load-1'")
        assert "\n" not in str(error.value)
        assert "::group::" not in str(error.value)


def test_a_value_that_is_nested_too_deeply_is_not_read() -> None:
    result = {"type": "PrefectResult", "location": "[" * 100_000}
    with pytest.raises(PrefectError, match="not JSON"):
        graphql(Script([])).find_result(State("", "COMPLETED", "Success", data=result), "Task run 'load-1'")


# Lists without an end


def test_a_server_that_ignores_the_offset_is_noticed_at_the_second_page() -> None:
    script = Script([Again(data(log=[line(number) for number in range(200)]))])
    with pytest.raises(MalformedAnswer, match=r"^GraphQL query logs returns the same 200 rows again"):
        run(graphql(script).read_logs(RUN_ID))
    assert len(script.requests) == 2
