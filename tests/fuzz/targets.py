"""What is fuzzed: six doors through which something arrives that is not ours.

Each function takes one input out of a :class:`Chaos`, and has to end in a value or in one of the errors that it names.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import dataclasses
import enum
import json
import lzma
import pickle
import pickletools
import unicodedata
import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_prefect.client.errors import PrefectError, ResultError
from airflow_provider_prefect.client.graphql import GraphqlApi
from airflow_provider_prefect.client.model import State
from airflow_provider_prefect.client.results import formats
from airflow_provider_prefect.client.transport import Response, run
from airflow_provider_prefect.client.watcher.events import Event, parse_event
from airflow_provider_prefect.operators.flow_run import (
    PrefectCancelFlowRunOperator,
    PrefectRenameFlowRunOperator,
    PrefectStartFlowRunOperator,
)
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from tests.fuzz.chaos import TEXTS, Chaos
from tests.unit.client.driving import Again, Script, answer
from tests.unit.client.graphql import calls as graphql_calls
from tests.unit.client.graphql.asking import graphql
from tests.unit.client.rest import calls as rest_calls
from tests.unit.client.rest.asking import rest
from tests.unit.client.samples import RUN_ID
from tests.unit.conftest import TaskInstance
from tests.unit.fake_prefect import FakePrefect

_MAX_SIZE = 100_000


def is_harmless(text: str) -> bool:
    """Whether no terminal and no log takes a part of it for a command or for a line's end."""
    return not any(each != "\t" and unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text)


@contextlib.contextmanager
def _may_raise(*errors: type[Exception]) -> Iterator[None]:
    """Let an error of these types pass, whose message is one line of a length that a log can take."""
    try:
        yield
    except errors as error:
        shown = str(error)
        assert len(shown.splitlines()) == 1, f"not one line: {shown!r}"
        assert len(shown) < 10_000, f"{len(shown)} characters"
        assert is_harmless(shown), f"with characters that a terminal obeys: {shown!r}"


# Answers


def rest_answers(chaos: Chaos) -> None:
    """Give every call of the REST API a response in which something is other than it should be."""
    call, answers = rest_calls.CALLS[chaos.choice(sorted(rest_calls.CALLS))]
    index = chaos.randrange(len(answers))
    given = [*map(answer, answers[:index]), _response(chaos, answers[index]), *map(answer, answers[index + 1 :])]
    with _may_raise(PrefectError):
        run(call(rest(Script([*given, Again(answer("3.8.8"))]))))


def graphql_answers(chaos: Chaos) -> None:
    """Give every call of Prefect 1's API a response in which something is other than it should be."""
    call, answers = graphql_calls.CALLS[chaos.choice(sorted(graphql_calls.CALLS))]
    bodies: list[Any] = [{"data": each} for each in answers]
    index = chaos.randrange(len(bodies))
    if chaos.random() < 0.2:
        bodies[index] = {"errors": [{"message": chaos.text(), "path": [], "extensions": {"code": chaos.text()}}]}
    given = [*map(answer, bodies[:index]), _response(chaos, bodies[index]), *map(answer, bodies[index + 1 :])]
    with _may_raise(PrefectError):
        run(call(graphql(Script([*given, Again(answer({"data": {"task_run": []}}))]))))


def _response(chaos: Chaos, body: Any) -> Response:
    status = 200 if chaos.random() < 0.8 else chaos.choice((201, 204, 302, 400, 401, 403, 404, 409, 422, 429, 500, 503))
    if status >= 400 and chaos.random() < 0.5:
        body = {"detail": body, "exception_message": "m", "exception_detail": [{"loc": ["body", "name"], "msg": "m"}]}
    headers = {"content-type": "application/json"}
    if chaos.random() < 0.2:
        headers = {chaos.choice(("retry-after", "location", "content-type")): chaos.text()}
    return Response(status, chaos.written(chaos.changed(body)), headers)


# Events


_EVENT = {
    "type": "event",
    "event": {
        "occurred": "2026-01-02T03:04:05Z",
        "event": "prefect.flow-run.Completed",
        "resource": {
            "prefect.resource.id": f"prefect.flow-run.{RUN_ID}",
            "prefect.resource.name": "calm-otter",
            "prefect.state-message": "done",
            "prefect.state-name": "Completed",
            "prefect.state-timestamp": "2026-01-02T03:04:05Z",
            "prefect.state-type": "COMPLETED",
        },
        "related": [],
        "payload": {"intended": {"from": "RUNNING", "to": "COMPLETED"}},
        "id": RUN_ID,
        "follows": None,
    },
}


def events(chaos: Chaos) -> None:
    """Read messages of the event feed; one that is not about a flow run's state is no event, and no error."""
    event = parse_event(chaos.written(chaos.changed(_EVENT)))
    assert event is None or (isinstance(event, Event) and event.is_final in (True, False))
    if event is not None:
        assert is_harmless(str(event.run.state).replace("\n    | ", " "))


# Pickles


_OPCODES = [opcode for opcode in pickletools.opcodes if opcode.name not in ("PROTO", "FRAME", "STOP")]
_GLOBALS = (
    "os\nsystem\n",
    "builtins\neval\n",
    "builtins\nopen\n",
    "posix\nsystem\n",
    "uuid\nUUID\n",
    "builtins\nset\n",
)


def pickles(chaos: Chaos) -> None:
    """Read pickles: of plain values, spoiled, or opcodes in any order with arguments that name functions."""
    content = _program(chaos) if chaos.random() < 0.4 else pickle.dumps(_plain(chaos), chaos.randrange(2, 6))
    if chaos.random() < 0.7:
        content = chaos.spoiled(content)
    body = content if chaos.random() < 0.1 else base64.b64encode(content)
    with _may_raise(ResultError):
        value = formats.read(formats.Record("k", None, {"type": "pickle"}), body, _MAX_SIZE)
        json.dumps(formats.checked(formats.as_xcom(value), _MAX_SIZE), default=repr)


def _plain(chaos: Chaos) -> Any:
    more = (
        *(UTC, datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2), time(1, 2), timedelta(1), Decimal("1.5")),
        *(
            uuid.UUID(RUN_ID),
            {1, 2},
            frozenset({3}),
            (1, (2,)),
            complex(1, 2),
            b"bytes",
            {(1, 2): 3},
            SimpleNamespace(),
        ),
    )
    return [chaos.value(), chaos.choice(more), {"a": chaos.choice(more)}]


def _program(chaos: Chaos) -> bytes:
    content = b"\x80\x04"
    for _ in range(chaos.randrange(1, 30)):
        opcode = chaos.choice(_OPCODES)
        content += opcode.code.encode("latin-1") + _argument(chaos, opcode)
    return content + b"."


def _argument(chaos: Chaos, opcode: Any) -> bytes:
    if opcode.name in ("GLOBAL", "INST"):
        return chaos.choice(_GLOBALS).encode()
    if opcode.name in ("SHORT_BINUNICODE", "SHORT_BINBYTES", "SHORT_BINSTRING"):
        name = chaos.choice(("os", "system", "builtins", "eval", "datetime", "date", "id")).encode()
        return bytes([len(name)]) + name
    if opcode.arg is None:
        return b""
    if opcode.arg.n >= 0:
        return chaos.choice((bytes(opcode.arg.n), b"\x01" * opcode.arg.n, chaos.randbytes(opcode.arg.n)))
    return chaos.choice((b"1\n", b"0\n", b"'x'\n", b"\x00", b"\x01a", b"\x04\x00\x00\x00abcd", chaos.randbytes(8)))


# Records of results


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "lzma": lzma.compress,
    "bz2": bz2.compress,
    "zlib": zlib.compress,
    "gzip": lambda data: zlib.compress(data, wbits=31),
}
_REFERENCE = {
    "type": "reference",
    "storage_key": "/results/key",
    "storage_block_id": None,
    "serializer_type": "json",
    "expiration": None,
    "prefect_version": "3.8.8",
}


def result_records(chaos: Chaos) -> None:
    """Read files of results: JSON, pickles, compressed or not, wrapped or not; and what says where they are."""
    with _may_raise(ResultError):
        found = formats.find_result(State("", "COMPLETED", "Completed", data=chaos.changed(_REFERENCE)), "Flow run 'x'")
        assert isinstance(found, formats.Literal) or isinstance(found.key, str)
    result = {"type": chaos.choice(TEXTS), "dir": "/x", "bucket": "b", "location": "k"}
    with _may_raise(ResultError):
        data = chaos.changed(result)
        GraphqlApi.find_result(graphql(Script([])), State("", "COMPLETED", "Success", data=data), "Task run 'x-1'")
    serializer, content = _file(chaos)
    if chaos.random() < 0.5:
        content = chaos.spoiled(content)
    with _may_raise(ResultError):
        value = formats.read(formats.Record("k", None, serializer), content, _MAX_SIZE)
        json.dumps(formats.checked(formats.as_xcom(value), _MAX_SIZE), default=repr)


def _file(chaos: Chaos) -> tuple[Any, bytes]:
    """A serializer as a record names it, and a file that it could have written."""
    classes = ("datetime.datetime", "datetime.timedelta", "uuid.UUID", "decimal.Decimal", "set", "os.system", "x.Y")
    value = chaos.choice((chaos.value(), {"__class__": chaos.choice(classes), "data": chaos.value()}))
    kind = chaos.choice(("json", "pickle", "prefect-1"))
    body = json.dumps(value).encode() if kind == "json" else pickle.dumps(value)
    serializer: dict[str, Any] = {"type": kind}
    if kind == "pickle":
        body = base64.b64encode(body)
    for _ in range(chaos.randrange(3)):
        library = chaos.choice(sorted(_COMPRESS))
        body = base64.b64encode(_COMPRESS[library](body))
        serializer = {"type": "compressed", "compressionlib": library, "serializer": serializer}
    if chaos.random() < 0.2:
        changed = chaos.changed(serializer)
        serializer = changed if isinstance(changed, dict) else {"type": changed}  # as find_result makes it
    match chaos.randrange(3):
        case 0:
            metadata = {"storage_key": "k", "serializer": serializer, "expiration": None}
            body = json.dumps({"metadata": metadata, "result": body.decode("latin-1")}).encode()
        case 1:
            wrapped = {"serializer": serializer, "data": body.decode("latin-1"), "prefect_version": "2.20.26"}
            body = json.dumps(wrapped).encode()
    return serializer, body


# Arguments of operators


class _Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class _Order:
    number: int = 1
    items: Any = None


# No list that contains itself: Airflow looks into each argument before it is ours (RecursionError on 3.3.2).
_OBJECTS: tuple[Any, ...] = (
    *(UTC, datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2), time(1), timedelta(-1)),
    *(timedelta.max, datetime.max, Decimal("NaN"), Decimal("1e400"), uuid.UUID(RUN_ID), b"\xff", bytearray(b"x")),
    *(_Colour.RED, _Colour, _Order(), _Order(items=[_Colour.RED]), _Order, {1, 2}, frozenset(), range(3), (1, 2)),
    *(PurePosixPath("/x"), object(), int, len, (number for number in ()), {1: 2, "1": 3}, {None: 1}, complex(1)),
    *(..., SimpleNamespace(a=1), Exception("x"), memoryview(b"x"), {"airflow": 1}, [[{}], ()]),
)
_ARGUMENTS: dict[Any, tuple[dict[str, Any], tuple[str, ...]]] = {
    PrefectStartFlowRunOperator: (
        {"deployment": "sales/demo", "wait_for_completion": False},
        (
            *PrefectStartFlowRunOperator.template_fields,
            *("on_retry", "enforce_parameter_schema", "poll_interval", "timeout", "start_timeout", "max_unreachable"),
            *("skip_on", "max_result_size"),
        ),
    ),
    PrefectRenameFlowRunOperator: (
        {"flow_run_id": RUN_ID, "name": "x"},
        tuple(PrefectRenameFlowRunOperator.template_fields),
    ),
    PrefectCancelFlowRunOperator: (
        {"flow_run_id": RUN_ID, "wait_for_completion": False},
        (*PrefectCancelFlowRunOperator.template_fields, "timeout", "poll_interval"),
    ),
    PrefectGetTaskRunResultOperator: (
        {"flow_run_id": RUN_ID, "artifact_key": "rows"},
        (*PrefectGetTaskRunResultOperator.template_fields, "max_result_size"),
    ),
    PrefectFlowRunSensor: (
        {"flow_run_id": RUN_ID, "deferrable": True},
        (*PrefectFlowRunSensor.template_fields, "max_unreachable", "skip_on", "start_timeout", "poke_interval"),
    ),
}


def operator_arguments(chaos: Chaos, prefect: FakePrefect) -> None:
    """Run an operator with arguments of any kind. What is wrong is refused before a flow run is created."""
    operator = chaos.choice(list(_ARGUMENTS))
    base, names = _ARGUMENTS[operator]
    changes = {name: _argument_value(chaos) for name in chaos.sample(names, chaos.randint(1, 3))}
    changes.pop("prefect_conn_id", None)  # another connection is another server: there is only this one
    prefect.requests.clear()
    ti = TaskInstance()
    context = {"ti": ti, "task_instance": ti, "dag_run": SimpleNamespace(start_date=datetime(2026, 1, 2, tzinfo=UTC))}
    try:
        with _may_raise(AirflowFailException, PrefectError):
            task = operator(task_id="it", **{**base, **changes})
            task.execute(context)
            return
    except TaskDeferred as deferred:
        json.dumps(deferred.trigger.serialize()[1])
        return
    assert not prefect.created, "a flow run was created, and the task has failed"


def _argument_value(chaos: Chaos) -> Any:
    if chaos.random() < 0.4:
        return chaos.value()
    found = chaos.choice(_OBJECTS)
    match chaos.randrange(4):
        case 0:
            return [found, chaos.value()]
        case 1:
            return {"a": found, chaos.text(): chaos.value()}
    return found
