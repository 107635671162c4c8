"""How long trouble is tolerated, and what is reported of it; with made-up times."""

from __future__ import annotations

import pytest

from airflow_provider_prefect.client.errors import ApiError, AuthenticationError, NotFound, Unreachable
from airflow_provider_prefect.client.transport import run
from airflow_provider_prefect.client.wait import trouble as trouble_module
from airflow_provider_prefect.client.wait.trouble import Trouble, tolerate
from tests.unit.client.driving import Notes, Script

DOWN = Unreachable("nobody is there")
REFUSED = AuthenticationError("HTTP 401: Unauthorized", 401)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses are not drawn at random."""
    monkeypatch.setattr(trouble_module, "backoff", lambda tries: float(tries))


# Failures


def test_failures_are_tolerated_until_the_patience_is_over(notes: Notes) -> None:
    trouble = Trouble(60)
    assert trouble.failed(DOWN, 100, notes) is None
    assert trouble.failed(DOWN, 159.9, notes) is None
    error = trouble.failed(DOWN, 160, notes)
    assert isinstance(error, Unreachable)
    assert str(error) == "nobody is there (tried 3 times in 60 s)"


def test_without_patience_the_first_failure_ends_the_wait(notes: Notes) -> None:
    assert str(Trouble(0).failed(DOWN, 100, notes)) == "nobody is there"
    assert notes.trouble == []


def test_an_answer_begins_the_patience_anew(notes: Notes) -> None:
    trouble = Trouble(60)
    trouble.failed(DOWN, 100, notes)
    trouble.answered(notes)
    assert (trouble.tries, trouble.since) == (0, None)
    assert trouble.failed(DOWN, 200, notes) is None
    assert trouble.since == 200


def test_not_finding_the_flow_run_is_an_answer_too(notes: Notes) -> None:
    trouble = Trouble(60)
    trouble.failed(DOWN, 100, notes)
    trouble.not_found()
    assert trouble.failed(DOWN, 200, notes) is None


def test_who_goes_on_after_the_patience_is_over_begins_anew(notes: Notes) -> None:
    trouble = Trouble(60)
    trouble.failed(DOWN, 100, notes)
    assert trouble.failed(DOWN, 160, notes) is not None
    assert (trouble.tries, trouble.since) == (0, None)
    assert trouble.failed(DOWN, 161, notes) is None


def test_an_error_of_http_becomes_one_of_a_server_that_is_not_answering(notes: Notes) -> None:
    trouble = Trouble(60)
    trouble.failed(REFUSED, 100, notes)
    error = trouble.failed(REFUSED, 160, notes)
    assert type(error) is Unreachable
    assert "HTTP 401: Unauthorized" in str(error)


# What is reported


def test_trouble_is_reported_once_and_so_is_the_recovery(notes: Notes) -> None:
    trouble = Trouble(600)
    for now in (100, 110, 120):
        trouble.failed(DOWN, now, notes)
    assert (notes.trouble, notes.recoveries) == (["nobody is there"], 0)
    trouble.answered(notes)
    trouble.answered(notes)
    assert (notes.trouble, notes.recoveries) == (["nobody is there"], 1)


def test_each_trouble_is_reported(notes: Notes) -> None:
    trouble = Trouble(600)
    for now in (100, 200):
        trouble.failed(DOWN, now, notes)
        trouble.answered(notes)
    assert (len(notes.trouble), notes.recoveries) == (2, 2)


def test_without_trouble_no_recovery_is_reported(notes: Notes) -> None:
    Trouble(600).answered(notes)
    assert notes.recoveries == 0


def test_a_recovery_that_nobody_is_there_to_hear_is_reported_later(notes: Notes) -> None:
    trouble = Trouble(600)
    trouble.failed(DOWN, 100, notes)
    trouble.answered(None)
    assert (trouble.since, notes.recoveries) == (None, 0)
    trouble.answered(notes)
    assert notes.recoveries == 1


def test_trouble_that_comes_back_before_its_recovery_was_reported_is_the_same(notes: Notes) -> None:
    trouble = Trouble(600)
    trouble.failed(DOWN, 100, notes)
    trouble.answered(None)
    trouble.failed(DOWN, 200, notes)
    assert len(notes.trouble) == 1


# A flow run that is not found


def test_a_flow_run_is_gone_when_it_is_not_found_for_the_second_time_in_a_row() -> None:
    trouble = Trouble(600)
    assert [trouble.not_found(), trouble.not_found()] == [False, True]


def test_a_flow_run_that_was_found_in_between_is_not_gone() -> None:
    trouble = Trouble(600)
    trouble.not_found()
    trouble.found()
    assert not trouble.not_found()


def test_trouble_in_between_does_not_make_a_flow_run_found(notes: Notes) -> None:
    trouble = Trouble(600)
    trouble.not_found()
    trouble.failed(DOWN, 100, notes)
    assert trouble.not_found()


# A failed poll in a worker


def tolerated(failure: ApiError | Unreachable, trouble: Trouble, now: float, script: Script | None = None) -> float:
    """The pause before the next poll."""
    return run(tolerate(failure, trouble, script or Script(()), Notes(), now))


def test_the_pause_grows_and_ends_with_the_patience() -> None:
    trouble = Trouble(10)
    assert [tolerated(DOWN, trouble, now) for now in (100, 101, 103, 109)] == [1, 2, 3, 1]
    with pytest.raises(Unreachable, match="nobody is there"):
        tolerated(DOWN, trouble, 110)


def test_the_pause_is_no_shorter_than_the_server_asks_for() -> None:
    busy = ApiError("HTTP 429", 429)
    busy.retry_after = 30
    assert tolerated(busy, Trouble(600), 100) == 31
    assert tolerated(busy, Trouble(20), 100) == 20


def test_refused_credentials_are_read_again_and_others_are_not() -> None:
    script, trouble = Script(()), Trouble(600)
    for failure in (DOWN, ApiError("HTTP 503", 503), NotFound("HTTP 404")):
        tolerated(failure, trouble, 100, script)
    assert script.reloads == 0
    tolerated(REFUSED, trouble, 100, script)
    assert script.reloads == 1


def test_credentials_are_not_read_again_when_the_wait_ends_anyhow() -> None:
    script = Script(())
    with pytest.raises(Unreachable):
        tolerated(REFUSED, Trouble(0), 100, script)
    assert script.reloads == 0
