"""Which task runs a name and a map index mean: the right ones, or an error, and never another child's."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.model import ALL, FINAL, Selected, TaskRun
from airflow_provider_prefect.client.responses import error_from
from airflow_provider_prefect.client.rest.task_runs import TaskRunEndpoints, child, in_map_order, named, of_last_run
from airflow_provider_prefect.client.transport import Request, Response, run
from tests.unit.client.driving import REST, answer
from tests.unit.client.samples import RUN_ID, state_json

MILLISECOND = 0x019B8A7C3D00


def uuid7(millisecond: int, number: int = 0) -> str:
    """An id as Prefect 3 gives it; ``number`` stands for its random part."""
    rest = random.Random(number).getrandbits(74)
    value = millisecond << 80 | 0x7 << 76 | (rest >> 62) << 64 | 0b10 << 62 | rest & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def of_prefect_3(number: int, *, task: str = "load", millisecond: int | None = None, **changes: Any) -> TaskRun:
    """The child that was made ``number`` milliseconds after the first one."""
    dynamic_key = str(uuid.UUID(int=random.Random(number).getrandbits(128)))
    record = {
        "id": uuid7(MILLISECOND + (number if millisecond is None else millisecond), number),
        "name": f"{task}-{dynamic_key[:3]}",
        "task_key": f"{task}-b698dea0",
        "dynamic_key": dynamic_key,
        "flow_run_id": RUN_ID,
        "flow_run_run_count": 1,
        "state": state_json("COMPLETED"),
        **changes,
    }
    return TaskRun.from_json(record)


def of_prefect_2(number: int, *, task: str = "load", **changes: Any) -> TaskRun:
    record = {
        "id": str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4)),
        "name": f"{task}-{number}",
        "task_key": f"{task}-1979d4b9",
        "dynamic_key": str(number),
        "flow_run_id": RUN_ID,
        "flow_run_run_count": 1,
        "state": state_json("COMPLETED"),
        **changes,
    }
    return TaskRun.from_json(record)


def shuffled(task_runs: list[TaskRun]) -> list[TaskRun]:
    return random.Random(4).sample(task_runs, len(task_runs))


# The order of a mapping


def test_prefect_2_counts_the_children() -> None:
    children = [of_prefect_2(number) for number in range(120)]
    assert in_map_order(shuffled(children), "load") == children
    assert [child(shuffled(children), "load", index) for index in (0, 9, 10, 119)] == [
        children[index] for index in (0, 9, 10, 119)
    ]


def test_the_ids_of_prefect_3_tell_the_order() -> None:
    children = [of_prefect_3(number) for number in range(200)]
    assert in_map_order(shuffled(children), "load") == children
    assert [child(shuffled(children), "load", index) for index in range(200)] == children


def test_what_is_random_in_an_id_does_not_count() -> None:
    children = [of_prefect_3(number, id=uuid7(MILLISECOND + number, -number)) for number in range(50)]
    assert in_map_order(shuffled(children), "load") == children


def test_two_children_of_the_same_millisecond_make_the_order_an_error() -> None:
    children = [of_prefect_3(number, millisecond=min(number, 8)) for number in range(10)]
    with pytest.raises(ResultError, match=r"has which map index cannot be told for all of them") as untold:
        in_map_order(shuffled(children), "load")
    assert "let the flow return the list" in str(untold.value)


def test_a_child_that_has_its_millisecond_for_itself_can_be_told_from_the_others() -> None:
    milliseconds = [0, 1, 1, 2, 3, 3, 3, 4]
    children = [of_prefect_3(number, millisecond=made) for number, made in enumerate(milliseconds)]
    for index, made in enumerate(milliseconds):
        if milliseconds.count(made) == 1:
            assert child(shuffled(children), "load", index) == children[index]
        else:
            with pytest.raises(ResultError, match=f"cannot be told for map_index={index}"):
                child(shuffled(children), "load", index)


def test_ids_that_tell_no_time_are_an_error() -> None:
    children = [of_prefect_3(0), of_prefect_3(1), of_prefect_3(2, id=str(uuid.UUID(int=5, version=4)))]
    with pytest.raises(ResultError, match="cannot be told"):
        in_map_order(children, "load")
    for index in range(3):
        with pytest.raises(ResultError, match="cannot be told"):
            child(children, "load", index)


def test_children_of_which_only_some_are_counted_are_not_taken_as_counted() -> None:
    with pytest.raises(ResultError, match="cannot be told"):
        in_map_order([of_prefect_2(1), of_prefect_2(0), of_prefect_3(3)], "load")


def test_one_task_run_is_the_first_whatever_its_id() -> None:
    [only] = in_map_order([of_prefect_3(0, id=str(uuid.uuid4()))], "load")
    assert child([only], "load", 0) == only


@pytest.mark.parametrize("index", [2, 200, -1, -2])
def test_an_index_that_no_child_has_is_an_error(index: int) -> None:
    with pytest.raises(ResultError, match=rf"map_index={index}: task 'load' has runs 0 to 1 only"):
        child([of_prefect_3(0), of_prefect_3(1)], "load", index)


# Names


def test_the_full_name_of_a_task_run_means_it_alone() -> None:
    children = [of_prefect_3(number) for number in range(3)]
    assert named(children, children[1].name) == [children[1]]


def test_the_name_of_a_task_means_all_its_runs() -> None:
    children = [of_prefect_3(0), of_prefect_3(1), of_prefect_3(2, task="load-more"), of_prefect_3(3, task="reload")]
    assert named(children, "load") == children[:2]
    assert named(children, "load-more") == [children[2]]


def test_a_task_of_another_name_than_its_function_has_both() -> None:
    children = [of_prefect_3(number, task="fetch all", task_key="fetch_all-b698dea0") for number in range(2)]
    assert named(children, "fetch all") == children
    assert named(children, "fetch_all") == children


def test_task_runs_that_the_flow_names_itself_are_found_by_the_function() -> None:
    children = [of_prefect_3(number, name=f"for customer {number}") for number in range(2)]
    assert named(children, "load") == children
    assert named(children, "for customer 1") == [children[1]]


def test_task_runs_that_all_have_one_name_are_all_meant() -> None:
    children = [of_prefect_3(number, name="same") for number in range(2)]
    assert named(children, "same") == children


def test_a_name_that_may_mean_two_tasks_is_an_error() -> None:
    renamed = of_prefect_3(0, task="extract", name="load-1a2")  # extract.with_options(name="load")
    other = of_prefect_3(1)
    with pytest.raises(ResultError, match=r"'load' may mean more than one task.*'load-1a2'"):
        named([renamed, other], "load")
    with pytest.raises(ResultError, match="may mean more than one task"):
        named([renamed, of_prefect_3(2, task="extract")], "extract")
    assert named([renamed, other], "load-1a2") == [renamed]


def test_a_name_that_nothing_has_means_nothing() -> None:
    children = [of_prefect_3(0), of_prefect_3(1, task_key=None)]
    assert [named(children, name) for name in ("", "loa", "load-", "other")] == [[], [], [], []]


# Flows that were retried


def test_of_a_flow_run_that_was_retried_the_last_run_counts() -> None:
    first = [of_prefect_3(number) for number in range(3)]
    last = [of_prefect_3(number + 10, flow_run_run_count=2) for number in range(3)]
    assert of_last_run([*first, *last], "load") == last


def test_prefect_2_uses_its_task_runs_again_and_all_of_them_count() -> None:
    children = [of_prefect_2(0), of_prefect_2(1, flow_run_run_count=2)]
    assert of_last_run(children, "load") == children


def test_task_runs_that_never_began_count_in_a_flow_run_that_was_not_retried() -> None:
    children = [of_prefect_3(0), of_prefect_3(1, flow_run_run_count=0)]
    assert of_last_run(children, "load") == children


def test_task_runs_that_never_began_are_of_no_certain_retry() -> None:
    children = [of_prefect_3(0), of_prefect_3(1, flow_run_run_count=0), of_prefect_3(2, flow_run_run_count=2)]
    with pytest.raises(ResultError, match=r"was retried.*cannot be told"):
        of_last_run(children, "load")


# Waiting until Prefect knows all of them


@dataclass
class Server:
    """A transport to a server that knows more task runs with each second: ``known`` at each, at the last one for good.

    ``events`` is how many task runs it has events of, if it has events, and ``ended`` the second of the flow run's end.
    """

    known: list[list[TaskRun]]
    events: int | None = None
    ended: int = 0
    slept: list[float] = field(default_factory=list)
    read: int = 0

    settings = REST

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def send(self, request: Request) -> Response:
        if request.path == "/events/count-by/resource":
            return self._events(request.body["filter"])
        now = self.known[min(len(self.slept), len(self.known) - 1)]
        assert request.body["flow_runs"] == {"id": {"any_": [RUN_ID]}}
        types = request.body["task_runs"].get("state", {}).get("type", {}).get("any_")
        now = [task_run for task_run in now if types is None or task_run.state.type in types]
        if request.path == "/task_runs/count":
            return answer(len(now))
        assert request.path == "/task_runs/filter"
        self.read += request.body["offset"] == 0
        records = [
            {**vars(task_run), "state": state_json(task_run.state.type), "expected_start_time": None}
            for task_run in now[request.body["offset"] :]
        ]
        return answer(records[:200])

    def _events(self, criteria: dict[str, Any]) -> Response:
        run = f"prefect.flow-run.{RUN_ID}"
        if self.events is None:
            raise error_from(answer({"detail": "Not Found"}, 404))
        if "resource" in criteria:
            assert criteria["resource"]["labels"]["prefect.resource.id"] == run
            assert set(criteria["resource"]["labels"]["prefect.state-type"]) == set(FINAL)
            return answer([{"value": run}] if len(self.slept) >= self.ended else [])
        assert criteria == {"event": {"prefix": ["prefect.task-run."]}, "related": {"id": [run]}}
        return answer([{"value": f"prefect.task-run.{number}"} for number in range(self.events)])

    def select(self, name: str, map_index: int = ALL) -> Selected:
        return run(TaskRunEndpoints(self).select_task_runs(RUN_ID, name, map_index))

    def find(self, name: str) -> list[TaskRun]:
        return list(self.select(name).task_runs)


CHILDREN = [of_prefect_3(number) for number in range(450)]


def ids(task_runs: list[TaskRun]) -> list[str]:
    return [task_run.id for task_run in task_runs]


def test_task_runs_that_are_all_there_are_counted_for_two_seconds_and_read_once() -> None:
    server = Server([CHILDREN])
    assert ids(server.find("load")) == ids(CHILDREN)
    assert (sum(server.slept), server.read) == (2, 1)


def test_task_runs_that_come_in_slowly_are_waited_for() -> None:
    server = Server([CHILDREN[:number] for number in range(3, 450, 3)] + [CHILDREN])
    assert ids(server.find("load")) == ids(CHILDREN)


def test_a_pause_of_a_second_is_not_taken_for_the_end() -> None:
    server = Server([CHILDREN[:100], CHILDREN[:100], CHILDREN[:200], CHILDREN[:200], CHILDREN])
    assert ids(server.find("load")) == ids(CHILDREN)


def test_a_long_pause_is_not_taken_for_the_end_where_there_are_events_of_more_task_runs() -> None:
    server = Server([CHILDREN[:100]] * 50 + [CHILDREN], events=450)
    assert ids(server.find("load")) == ids(CHILDREN)


def test_no_task_run_yet_is_not_taken_for_none_where_there_are_events_of_some() -> None:
    server = Server([[]] * 30 + [CHILDREN[:3]], events=3)
    assert ids(server.find("load")) == ids(CHILDREN[:3])


def test_events_that_do_not_tell_of_the_end_yet_are_waited_for_but_not_for_ever() -> None:
    soon, never = Server([CHILDREN], events=3, ended=5), Server([CHILDREN], events=3, ended=10**6)
    for server in (soon, never):
        assert ids(server.find("load")) == ids(CHILDREN)
    assert (sum(soon.slept), sum(never.slept)) == (5, 8)


def test_task_runs_that_prefect_has_lost_are_an_error_and_no_gap() -> None:
    with pytest.raises(ResultError, match=r"has 3 task runs of flow run .* and events of 4: it has lost some"):
        Server([CHILDREN[:3]], events=4).find("load")


def test_task_runs_that_have_not_ended_are_waited_for_longer() -> None:
    running = of_prefect_3(1, state=state_json("RUNNING"))
    ended = of_prefect_3(1)
    server = Server([[CHILDREN[0], running]] * 6 + [[CHILDREN[0], ended]])
    assert [task_run.state.type for task_run in server.find("load")] == ["COMPLETED", "COMPLETED"]


def test_task_runs_that_never_end_are_taken_as_they_are() -> None:
    server = Server([[CHILDREN[0], of_prefect_3(1, state=state_json("RUNNING"))]])
    assert [task_run.state.type for task_run in server.find("load")] == ["COMPLETED", "RUNNING"]
    assert sum(server.slept) == 8


def test_a_task_that_is_not_there_yet_is_waited_for() -> None:
    server = Server([[]] * 5 + [CHILDREN[:1]])
    assert ids(server.find("load")) == ids(CHILDREN[:1])


def test_a_task_that_is_not_there_is_an_error_that_lists_what_is() -> None:
    server = Server([[of_prefect_3(0, name="a"), of_prefect_3(1, name="b")]])
    with pytest.raises(ResultError, match=rf"Flow run {RUN_ID} has no task run 'x'. It has: 'a', 'b'\."):
        server.find("x")
    assert sum(server.slept) == 8
    with pytest.raises(ResultError, match="It has: none at all"):
        Server([[]]).find("x")


def test_a_server_that_never_comes_to_rest_is_an_error_and_no_guess() -> None:
    server = Server([CHILDREN[: number % 450] for number in range(1000)])
    with pytest.raises(ResultError, match="still processing"):
        server.find("load")
    assert server.read == 0


def test_what_an_earlier_run_of_the_flow_has_left_is_not_found() -> None:
    again = [of_prefect_3(number + 1000, flow_run_run_count=2) for number in range(2)]
    assert ids(Server([[*CHILDREN[:2], *again]]).find("load")) == ids(again)


# Which are meant


def test_one_task_run_is_one_value_and_several_are_a_list() -> None:
    assert Server([CHILDREN[:1]]).select("load").many is False
    assert Server([CHILDREN[:2]]).select("load").many is True


@pytest.mark.parametrize("index", [0, 2, 449])
def test_a_child_that_is_chosen_by_its_index_is_one_value(index: int) -> None:
    selected = Server([shuffled(CHILDREN)]).select("load", index)
    assert (ids(list(selected.task_runs)), selected.many) == ([CHILDREN[index].id], False)


def test_children_come_in_the_order_of_the_mapping_whatever_the_servers() -> None:
    assert ids(Server([shuffled(CHILDREN)]).find("load")) == ids(CHILDREN)
