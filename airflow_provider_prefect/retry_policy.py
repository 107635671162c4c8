"""A retry policy for tasks that wait for flow runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_prefect.client.errors import (
    AuthenticationError,
    ConfigurationError,
    FlowRunCancelled,
    FlowRunCancelledByPrefect,
    FlowRunCrashed,
)
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryDecision

try:
    from airflow.sdk.definitions.retry_policy import RetryPolicy
except ImportError:  # Airflow before 3.3
    RetryPolicy = object  # type: ignore[assignment,misc]


class PrefectRetryPolicy(RetryPolicy):
    """Retry a task by the way its flow run has ended. It is for ``retry_policy=`` in Airflow 3.3 and newer.

    * CRASHED (the infrastructure has failed, not the flow): soon.
    * Cancelled by Prefect itself for a concurrency limit: later, when there may be room.
    * Cancelled by a person, or a wrong argument, connection or key: never.
    * Everything else: as the task's ``retries`` and ``retry_delay`` say.

    A policy can only use the tries that ``retries`` allows.

    :param crashed_delay: how long to wait after a crash; 30 seconds by default.
    :param concurrency_delay: how long to wait after Prefect has cancelled the flow run for a concurrency limit; 10
        minutes by default.
    :raises AirflowFailException: this Airflow is older than 3.3.
    """

    def __init__(
        self,
        *,
        crashed_delay: timedelta = timedelta(seconds=30),
        concurrency_delay: timedelta = timedelta(minutes=10),
    ) -> None:
        if RetryPolicy is object:
            raise ConfigurationErrorForGood(
                "PrefectRetryPolicy needs Airflow 3.3 or newer, which has retry policies. Here, retries and "
                "retry_delay apply to every failure alike."
            )
        for name, delay in (("crashed_delay", crashed_delay), ("concurrency_delay", concurrency_delay)):
            if delay < timedelta(0):
                raise ConfigurationErrorForGood(f"{name}={delay!r} is negative.")
        self.crashed_delay = crashed_delay
        self.concurrency_delay = concurrency_delay

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Return whether and when the task is tried again. Airflow calls this in the worker."""
        from airflow.sdk.definitions.retry_policy import RetryDecision

        if isinstance(exception, FlowRunCancelledByPrefect):
            return RetryDecision.retry(
                self.concurrency_delay, "Prefect has cancelled the flow run for its concurrency limit."
            )
        if isinstance(exception, FlowRunCrashed):
            return RetryDecision.retry(self.crashed_delay, "The flow run has crashed.")
        if isinstance(exception, FlowRunCancelled):
            return RetryDecision.fail("Somebody has cancelled the flow run in Prefect.")
        if isinstance(exception, ConfigurationError | AuthenticationError):
            return RetryDecision.fail("Another try would meet the same error.")
        return RetryDecision.default()
