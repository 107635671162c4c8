"""A response of another shape is an error of ours that names the request and the field, and never another exception."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import MalformedAnswer, PrefectError
from airflow_provider_prefect.client.transport import Response, run
from tests.unit.client.driving import Again, Script, answer
from tests.unit.client.rest.asking import answered, rest
from tests.unit.client.rest.calls import CALLS, NOON, RESOURCE
from tests.unit.client.samples import RUN_ID, run_json, state_json
from tests.unit.client.spoiling import some_spoiled


@pytest.mark.parametrize("name", CALLS)
def test_each_value_may_be_another_or_missing_and_the_outcome_is_a_value_or_an_error_of_ours(name: str) -> None:
    call, answers = CALLS[name]
    refused = 0
    for index, good in enumerate(answers):
        for what, other in some_spoiled(good):
            given = [*answers[:index], other, *answers[index + 1 :]]
            script = Script([*map(answer, given), Again(answer("3.8.8"))])
            try:
                run(call(rest(script)))
            except PrefectError as error:
                assert "\n" not in str(error)
                refused += 1
            except Exception as error:
                pytest.fail(f"{what}: {error!r}")
    assert refused


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": 5}, "name is a number and not text"),
        ({"id": None}, "id is null and not an id"),
        ({"id": "../../admin"}, "id is not an id"),
        ({"parameters": []}, "parameters is a list and not an object"),
        ({"tags": ["a", 5]}, r"tags\[1\] is a number and not text"),
        ({"start_time": "yesterday"}, "start_time is 'yesterday' and not a time"),
        ({"auto_scheduled": "no"}, "auto_scheduled is text and not true or false"),
        ({"state": None}, "state is null and not an object"),
        ({"state": {"id": "x", "name": "Completed"}}, "state.type is missing and not text"),
        ({"state": state_json("COMPLETE")}, "state.type is 'COMPLETE' and not one of SCHEDULED, .*, CANCELLED"),
        ({"state": state_json(message=["s3cret"])}, "state.message is a list and not text"),
    ],
)
def test_the_request_and_the_field_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedAnswer, match=field) as error:
        answered(lambda api: api.read_flow_run(RUN_ID), answer({**run_json(), **changes}))
    assert str(error.value).startswith(f"The response to GET /flow_runs/{RUN_ID} is not what Prefect sends: ")
    assert (error.value.status, error.value.is_page) == (200, False)
    assert "s3cret" not in str(error.value)


def test_in_a_list_the_row_is_named() -> None:
    rows = [run_json(), run_json(name=None)]
    with pytest.raises(MalformedAnswer, match=r"to POST /flow_runs/filter .*: \[1\]\.name is null"):
        answered(lambda api: api.find_by_keys(["k"]), answer(rows))


def test_fields_that_a_newer_server_adds_break_nothing_whatever_they_hold() -> None:
    more = {"priority": [{"of": {}}], "owner": 5, "": None}
    state = state_json("COMPLETED", **more)
    assert answered(lambda api: api.read_flow_run(RUN_ID), answer(run_json(state, **more))).is_final


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_response_that_is_nested_too_deeply_is_malformed(opening: str) -> None:
    for status in (200, 422, 500):
        with pytest.raises(PrefectError):
            answered(lambda api: api.read_flow_run(RUN_ID), Response(status, opening * 100_000))


def test_a_number_that_nobody_can_write_is_malformed() -> None:
    text = json.dumps(run_json()).replace('"n": 3', f'"n": {"9" * 5000}')
    with pytest.raises(MalformedAnswer, match="not Prefect's JSON"):
        answered(lambda api: api.read_flow_run(RUN_ID), Response(200, text))


def test_the_name_of_what_answers_is_shown_on_one_line() -> None:
    described = answered(lambda api: api.describe_server(), answer("3.8.8\n[2026-01-01] INFO - forged\x1b[31m"))
    assert described == "Prefect 3 server 3.8.8 [2026-01-01] INFO - forged"


@pytest.mark.parametrize(
    "changes", [{"prefect.state-type": "RUNNING"}, {"prefect.resource.id": "prefect.flow-run.other"}]
)
def test_an_event_that_is_not_the_end_of_this_flow_run_does_not_count_as_one(changes: dict[str, str]) -> None:
    events = {"events": [{"occurred": NOON, "resource": {**RESOURCE, **changes}}]}
    assert answered(lambda api: api.read_end_from_events(RUN_ID), answer(events)) is None
