"""How long a wait tolerates an API that is not answering, and a flow run that Prefect does not find."""

from __future__ import annotations

from typing import Protocol

from airflow_provider_prefect.client.errors import ApiError, AuthenticationError, Unreachable
from airflow_provider_prefect.client.retry import backoff, out_of_patience
from airflow_provider_prefect.client.transport import ReloadableTransport


class TroubleObserver(Protocol):
    """Report to the user that polls fail."""

    def on_trouble(self, failure: Exception) -> None:
        """Report that Prefect is not answering; called once until it answers again."""

    def on_recovery(self) -> None:
        """Report that Prefect is answering again."""


class Trouble:
    """Record failed polls of one flow run, and say when the wait has to give up.

    While a flow run is waited for, every response that is not Prefect's own word on the flow run is trouble that may
    pass, also a proxy's 401, 403 or 404. Times are seconds of any clock, as long as it is always the same.

    :param patience: seconds for which failures are tolerated.
    """

    __slots__ = ("_not_found", "_reported", "patience", "since", "tries")

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.since: float | None = None
        """When the first of the failures in a row was; ``None`` without trouble."""
        self.tries = 0
        self._not_found = False
        self._reported = False

    def failed(self, failure: Exception, now: float, observer: TroubleObserver) -> Unreachable | None:
        """Record a failed poll; return the error to give up with, if the patience is over."""
        self.tries += 1
        if self.since is None:
            self.since = now
        if now >= self.since + self.patience:
            error = out_of_patience(failure, self.tries, self.patience)
            self.tries, self.since = 0, None
            return error
        if not self._reported:
            self._reported = True
            observer.on_trouble(failure)
        return None

    def not_found(self) -> bool:
        """Record that Prefect does not find the flow run; return whether it is the second time in a row.

        A server that has just been restored, or that is one of several, may not know it yet.
        """
        again, self._not_found = self._not_found, True
        self.tries, self.since = 0, None
        return again

    def found(self) -> None:
        """Record that Prefect does find the flow run."""
        self._not_found = False

    def answered(self, observer: TroubleObserver | None) -> None:
        """Record that Prefect has answered a poll; without an observer the recovery is reported another time."""
        self.tries, self.since = 0, None
        if self._reported and observer:
            self._reported = False
            observer.on_recovery()


async def tolerate(
    failure: ApiError | Unreachable,
    trouble: Trouble,
    transport: ReloadableTransport,
    observer: TroubleObserver,
    now: float,
) -> float:
    """Record a failed poll in a worker; return the pause before the next one, in seconds.

    Refused credentials are read from the connection again.

    :raises Unreachable: the patience is over.
    """
    if error := trouble.failed(failure, now, observer):
        raise error
    if isinstance(failure, AuthenticationError):
        await transport.reload_settings()
    asked = failure.retry_after if isinstance(failure, ApiError) else 0.0
    assert trouble.since is not None
    return min(asked + backoff(trouble.tries), trouble.since + trouble.patience - now)
