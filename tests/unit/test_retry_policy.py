"""The retry policy: what each way to fail means."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_prefect.client.errors import (
    AuthenticationError,
    ConfigurationError,
    FlowRunCancelled,
    FlowRunCancelledByPrefect,
    FlowRunCrashed,
    FlowRunFailed,
    Unreachable,
)
from airflow_provider_prefect.client.model import FlowRun
from airflow_provider_prefect.retry_policy import PrefectRetryPolicy
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood

try:
    from airflow.sdk.definitions.retry_policy import RetryAction
except ImportError:

    def test_an_older_airflow_is_told_which_version_can() -> None:
        with pytest.raises(ConfigurationErrorForGood, match="needs Airflow 3"):
            PrefectRetryPolicy()

    pytest.skip("Airflow before 3.3 has no retry policies", allow_module_level=True)

RUN = FlowRun(id="1", name="run")


@pytest.mark.parametrize(
    ("error", "action", "delay"),
    [
        (FlowRunCrashed("", RUN), RetryAction.RETRY, 30),
        (FlowRunCancelledByPrefect("", RUN), RetryAction.RETRY, 600),
        (FlowRunCancelled("", RUN), RetryAction.FAIL, None),
        (ConfigurationError(""), RetryAction.FAIL, None),
        (AuthenticationError("", 401), RetryAction.FAIL, None),
        (FlowRunFailed("", RUN), RetryAction.DEFAULT, None),
        (Unreachable(""), RetryAction.DEFAULT, None),
        (ValueError(), RetryAction.DEFAULT, None),
    ],
)
def test_each_way_to_fail_is_retried_as_promised(error: Exception, action: RetryAction, delay: float | None) -> None:
    decision = PrefectRetryPolicy().evaluate(error, 1, 3)
    assert decision.action is action
    assert decision.retry_delay == (None if delay is None else timedelta(seconds=delay))


def test_the_delays_are_the_users() -> None:
    policy = PrefectRetryPolicy(crashed_delay=timedelta(seconds=1), concurrency_delay=timedelta(seconds=2))
    assert policy.evaluate(FlowRunCrashed("", RUN), 1, 3).retry_delay == timedelta(seconds=1)
    assert policy.evaluate(FlowRunCancelledByPrefect("", RUN), 1, 3).retry_delay == timedelta(seconds=2)
    with pytest.raises(ConfigurationErrorForGood, match="crashed_delay"):
        PrefectRetryPolicy(crashed_delay=timedelta(seconds=-1))
