"""No secret of a connection is in anything that is written, whatever task runs and however it ends.

Every task is carried out with each way of logging in, first with all as it should be, then with each thing that can be
wrong with a connection: as the task begins, and, where it defers, only in the triggerer. Everything is logged at DEBUG,
and taken before Airflow masks it: what Airflow's masker would hide counts as written.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import ssl
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_prefect.hooks.connection import read_settings
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.operators.flow_run import PrefectCancelFlowRunOperator, PrefectStartFlowRunOperator
from airflow_provider_prefect.operators.result import PrefectGetTaskRunResultOperator
from airflow_provider_prefect.sensors.flow_run import PrefectFlowRunSensor
from airflow_provider_prefect.utils.on_kill import TaskStopped
from tests.unit.client.http.serving import Server, proxying, refusing_port, serving
from tests.unit.fake_prefect import Answer, Asked, FakePrefect, state
from tests.unit.running import Through, event_of, restored

RUN = "00000000-0000-4000-8000-000000000001"
Fields = dict[str, Any]
Circumstance = Callable[["World"], None]

WAYS_IN: dict[str, tuple[Fields, str]] = {
    "key": ({"password": "hush-key"}, "Bearer hush-key"),
    "user and password": (
        {"login": "hush-user", "password": "hush-password"},
        "Basic " + base64.b64encode(b"hush-user:hush-password").decode(),
    ),
}


class World:
    """A Prefect behind a proxy, the connection to both, and what a test may do to them."""

    def __init__(
        self, prefect: FakePrefect, proxy: Server, untrusted: str, connect: Callable[..., None], way_in: str
    ) -> None:
        self.prefect = prefect
        self.proxy = proxy
        self.untrusted = untrusted
        self._connect = connect
        self._fields, self.authorization = WAYS_IN[way_in]
        self.extra: dict[str, Any] = {
            "secret_headers": {"X-Token": "hush-token"},
            "proxy": f"http://hush-proxy-user:hush-proxy-password@127.0.0.1:{proxy.port}",
        }
        prefect.authorization = self.authorization

    def connect(self, **changed: Any) -> None:
        """Set the connection; ``changed`` are fields of it that are not as they should be."""
        extra = {**self.extra, **changed.pop("extra", {})}
        self._connect(**{"host": self.prefect.api_url, **self._fields, **changed, "extra": extra})


def refused(world: World) -> None:
    """Prefect knows this key no longer."""
    world.prefect.authorization = "Bearer another"


def forbidden(world: World) -> None:
    """Prefect answers with the request's own header, as some gateways do."""

    def answer(asked: Asked) -> Answer:
        return Answer(403, {"detail": f"not allowed: {asked.headers.get('authorization')}"})

    world.prefect.instead.insert(0, answer)


def no_tls(world: World) -> None:
    world.connect(host=world.prefect.api_url.replace("http:", "https:"))


def untrusted(world: World) -> None:
    world.connect(host=f"{world.untrusted}/api")


def proxy_gone(world: World) -> None:
    world.connect(extra={"proxy": f"http://hush-proxy-user:hush-proxy-password@127.0.0.1:{NOBODY}"})


def proxy_malformed(world: World) -> None:
    world.connect(extra={"proxy": "ftp://hush-proxy-user:hush-proxy-password@nowhere:99999"})


def url_with_password(world: World) -> None:
    world.connect(host=world.prefect.api_url.replace("://", "://hush-user:hush-password@"))


def url_malformed(world: World) -> None:
    world.connect(host="http://hush-user:hush-password@[::1/api")


def key_with_line_break(world: World) -> None:
    world.connect(password="hush-password\nhush")


def header_with_line_break(world: World) -> None:
    world.connect(extra={"secret_headers": {"X-Token": "hush-token\r\nX-Other: hush-token"}})


def header_name_malformed(world: World) -> None:
    world.connect(extra={"secret_headers": {"X Token:": "hush-token"}})


def header_not_text(world: World) -> None:
    world.connect(extra={"secret_headers": {"X-Token": ["hush-token"]}})


def headers_not_an_object(world: World) -> None:
    world.connect(extra={"secret_headers": "hush-token"})


CIRCUMSTANCES: list[Circumstance] = [
    refused,
    forbidden,
    no_tls,
    untrusted,
    proxy_gone,
    proxy_malformed,
    url_with_password,
    url_malformed,
    key_with_line_break,
    header_with_line_break,
    header_name_malformed,
    header_not_text,
    headers_not_an_object,
]

NOBODY = refusing_port()


@pytest.fixture(scope="module")
def untrusted_server() -> Iterator[str]:
    """The address of a server whose certificate nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serving(tls=context) as server:
        yield f"https://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Server]:
    """One for all tests: Airflow's masker becomes slow with many secrets, and the address of a proxy is one."""
    with proxying() as proxy:
        yield proxy


@pytest.fixture(params=list(WAYS_IN))
def world(
    request: Any,
    prefect: FakePrefect,
    proxy: Server,
    untrusted_server: str,
    connect: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    monkeypatch.setattr("airflow_provider_prefect.client.rest.task_runs._POLL_INTERVAL", 0)
    proxy.seen.clear()
    world = World(prefect, proxy, untrusted_server, connect, request.param)
    world.extra["result_roots"] = str(tmp_path)
    result = tmp_path / "result"
    result.write_text(json.dumps({"rows": 1}))
    record = {"storage_key": str(result), "serializer": {"type": "json"}}
    prefect.coming = [state("RUNNING"), state("COMPLETED", data=record)]
    task_run = {"id": RUN, "name": "load-0", "task_key": "load", "state": state("COMPLETED", data=record)}

    def task_runs(asked: Asked) -> Answer | None:
        if not asked.path.startswith("/task_runs/") or asked.headers.get("authorization") != world.authorization:
            return None
        return Answer(200, 1 if asked.path == "/task_runs/count" else [task_run][asked.body.get("offset", 0) :])

    prefect.instead.append(task_runs)
    world.connect()
    yield world


def start(world: World) -> Any:
    return PrefectStartFlowRunOperator(
        task_id="t", deployment="sales/demo", fetch_result=True, max_unreachable=0, timeout=60, deferrable=True
    )


def wait(world: World) -> Any:
    run = world.prefect.add_flow_run(state("RUNNING"), *world.prefect.coming)
    return PrefectFlowRunSensor(task_id="t", flow_run_id=run, max_unreachable=0, timeout=60, deferrable=True)


def cancel(world: World) -> Any:
    run = world.prefect.add_flow_run("RUNNING")

    def stop(asked: Asked) -> Answer | None:
        if not asked.path.endswith("/set_state") or asked.headers.get("authorization") != world.prefect.authorization:
            return None
        world.prefect.put_into(run, state("CANCELLING"), state("CANCELLING"), state("CANCELLED"))
        return Answer(201, {"status": "ACCEPT", "state": asked.body["state"], "details": {}})

    world.prefect.instead.append(stop)
    return PrefectCancelFlowRunOperator(
        task_id="t", flow_run_id=run, wait_for_completion=True, max_unreachable=0, timeout=60, deferrable=True
    )


def result(world: World) -> Any:
    run = world.prefect.add_flow_run("RUNNING", "COMPLETED")
    return PrefectGetTaskRunResultOperator(
        task_id="t", flow_run_id=run, task_name="load", max_unreachable=0, timeout=60, deferrable=True
    )


tasks = pytest.mark.parametrize("make", [start, wait, cancel, result])
in_both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


@pytest.fixture
def written(capfd: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """All that any logger says at DEBUG, unmasked, and what else a test has collected of what a task leaves."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    root = logging.getLogger()
    levels = {logger: logger.level for logger in [root, *map(logging.getLogger, root.manager.loggerDict)]}
    propagating = {logger: logger.propagate for logger in levels}
    for logger in levels:
        logger.level, logger.propagate = logging.DEBUG, True
    root.setLevel(logging.DEBUG)  # which makes all of them forget what their levels were
    root.addHandler(handler)
    collected: list[str] = []
    try:
        yield collected
    finally:
        root.removeHandler(handler)
        for logger, level in levels.items():
            logger.level, logger.propagate = level, propagating[logger]
        root.setLevel(levels[root])
    collected += [lines.getvalue(), *capfd.readouterr()]
    assert "urllib3" in root.manager.loggerDict
    secrets = ["hush", *(authorization.split()[1] for _, authorization in WAYS_IN.values())]
    for text in collected:
        for secret in secrets:
            at = text.find(secret)
            assert at < 0, f"a secret is written: …{text[max(0, at - 200) : at + 60]}…"


CarryOut = Callable[..., BaseException | None]


@pytest.fixture
def carry_out(context: dict[str, Any], through_airflow: Through, written: list[str]) -> CarryOut:
    """Does a task's work, stops it as a user does, and collects what this leaves; returns what it has raised."""

    def carry_out(task: Any, when_deferred: Callable[[], None] = lambda: None) -> BaseException | None:
        task.poll_interval = task.poke_interval = 0.01
        ti = context["ti"]
        ti.get_task_states = lambda **_: {ti.run_id: {ti.task_id: "failed"}}
        failure: BaseException | None = None
        try:
            try:
                returned = task.execute(context)
            except TaskDeferred as deferred:
                _, kwargs = deferred.trigger.serialize()
                written.extend(
                    [
                        repr(deferred.trigger),
                        json.dumps(through_airflow(kwargs), default=repr),
                        repr(deferred.kwargs),
                    ]
                )
                when_deferred()
                event = through_airflow(event_of(restored(deferred.trigger, through_airflow)))
                written.append(json.dumps(event, default=repr))
                kwargs = {"event": event, **(deferred.kwargs or {})}
                returned = task.resume_execution(deferred.method_name, kwargs, context)
            written.append(repr(returned))
        except Exception as error:
            failure = error
            written.extend([repr(error), "".join(traceback.format_exception(error))])
        try:
            task.on_kill()
        except TaskStopped as stopped:
            written.append(repr(stopped))
        written.extend([repr(task), repr(vars(task)), repr(ti.xcoms)])
        return failure

    return carry_out


@tasks
@in_both_modes
def test_a_task_that_succeeds_writes_no_secret(
    world: World,
    make: Callable[[World], Any],
    deferrable: bool,
    carry_out: CarryOut,
    written: list[str],
) -> None:
    task = make(world)
    task.deferrable = deferrable
    assert carry_out(task) is None
    assert world.prefect.requests
    for request in world.prefect.requests:
        assert request.headers["authorization"] == world.authorization
        assert request.headers["x-token"] == "hush-token"
    assert len(world.proxy.seen) == len(world.prefect.requests)
    settings = read_settings("prefect_default", PrefectHook)
    written += [repr(settings), repr(PrefectHook()), repr(vars(PrefectHook())), repr(PrefectHook().test_connection())]


@tasks
@pytest.mark.parametrize("happens", CIRCUMSTANCES)
def test_a_task_whose_connection_is_wrong_writes_no_secret(
    world: World,
    make: Callable[[World], Any],
    happens: Circumstance,
    carry_out: CarryOut,
    written: list[str],
) -> None:
    task = make(world)
    task.deferrable = False
    happens(world)
    assert carry_out(task) is not None
    works, sentence = PrefectHook().test_connection()
    assert not works
    written.append(sentence)


@tasks
@pytest.mark.parametrize("happens", CIRCUMSTANCES)
def test_a_connection_that_goes_wrong_in_the_triggerer_writes_no_secret(
    world: World,
    make: Callable[[World], Any],
    happens: Circumstance,
    carry_out: CarryOut,
) -> None:
    assert carry_out(make(world), when_deferred=lambda: happens(world)) is not None
