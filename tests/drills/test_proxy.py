"""The drills' own proxy: what the sender sees of each fault, and whether the server has acted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.drills.proxy import Fault, Passing, Proxy
from tests.unit.fake_prefect import FakePrefect
from tools.processes import free_port


@pytest.fixture
def server() -> Iterator[FakePrefect]:
    with FakePrefect() as prefect:
        prefect.add_deployment("drill/nobody")
        yield prefect


@pytest.fixture
def proxy(server: FakePrefect) -> Iterator[Proxy]:
    with Proxy(server.ui_url, free_port()) as opened:
        yield opened


def create(proxy: Proxy, server: FakePrefect) -> requests.Response:
    url = f"{proxy.url}/api/deployments/{next(iter(server.deployments))}/create_flow_run"
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, json={"idempotency_key": "k"}, timeout=30)


def test_without_a_fault_everything_passes_and_is_noted(proxy: Proxy, server: FakePrefect) -> None:
    assert create(proxy, server).json()["id"] in server.flow_runs
    [passed] = proxy.passed
    assert (passed.passing.method, passed.passing.body, passed.status) == ("POST", {"idempotency_key": "k"}, 201)


@pytest.mark.parametrize("forward", [True, False])
def test_an_answer_can_be_withheld_whether_the_server_acts_or_not(
    forward: bool, proxy: Proxy, server: FakePrefect
) -> None:
    proxy.rules.append(lambda passing: Fault("gone", forward=forward, answer="none"))
    with pytest.raises(requests.ConnectionError):
        create(proxy, server)
    assert len(server.flow_runs) == forward
    assert proxy.passed[0].status == (201 if forward else 0)


def test_an_answer_can_be_cut_off(proxy: Proxy, server: FakePrefect) -> None:
    proxy.rules.append(lambda passing: Fault("cut", answer="cut"))
    with pytest.raises(requests.RequestException):
        create(proxy, server)
    assert len(server.flow_runs) == 1


def test_half_a_body_can_be_sent_as_if_it_were_all(proxy: Proxy, server: FakePrefect) -> None:
    proxy.rules.append(lambda passing: Fault("half", answer="half"))
    answer = create(proxy, server)
    assert answer.status_code == 201
    with pytest.raises(ValueError):
        answer.json()


def test_another_status_can_be_sent_with_headers(proxy: Proxy, server: FakePrefect) -> None:
    proxy.rules.append(lambda passing: Fault("429", forward=False, answer=429, headers={"Retry-After": "1"}))
    answer = create(proxy, server)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert server.flow_runs == {}


def test_something_can_be_done_before_and_after_the_server_acts(proxy: Proxy, server: FakePrefect) -> None:
    seen: list[int] = []

    def look(passing: Passing) -> None:
        seen.append(len(server.flow_runs))

    proxy.rules.append(lambda passing: Fault("watched", first=look, then=look))
    assert create(proxy, server).ok
    assert seen == [0, 1]
