"""What every part of the hook needs: the connection, the session, and having calls performed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_prefect.client.api import Api, api_of, check_supported
from airflow_provider_prefect.client.call import Call, T, run
from airflow_provider_prefect.client.errors import ConfigurationError
from airflow_provider_prefect.client.identifiers import is_uuid
from airflow_provider_prefect.client.retry import Patience, retried
from airflow_provider_prefect.client.settings import Settings
from airflow_provider_prefect.hooks.settings import read_settings

if TYPE_CHECKING:
    from airflow_provider_prefect.client.http import SyncHttp

PATIENCE = 60.0
"""Seconds for which a single request is sent again when the API does not answer usefully."""


class ConnectedHook(BaseHook):
    """An Airflow connection of type ``prefect``. Nothing is read or opened before the first call."""

    conn_name_attr = "prefect_conn_id"
    default_conn_name = "prefect_default"
    conn_type = "prefect"
    hook_name = "Prefect"

    def __init__(self, prefect_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefect_conn_id = prefect_conn_id
        self._http: SyncHttp | None = None
        self._patience = PATIENCE

    # The connection

    def get_conn(self) -> SyncHttp:
        """The driver that performs this hook's calls; it holds one HTTP session."""
        if self._http is None:
            from airflow_provider_prefect.client.http import SyncHttp

            self._http = SyncHttp(self._read_settings)
        return self._http

    def with_patience(self, seconds: float) -> Self:
        """This hook, but one that sends a request again for so long when the API is in trouble.

        :param seconds: 60 for a hook that nothing else is said of.
        """
        other = copy.copy(self)
        other._patience = seconds
        return other

    @property
    def settings(self) -> Settings:
        """What the connection says."""
        return self.get_conn().settings

    def _read_settings(self) -> Settings:
        return read_settings(self.prefect_conn_id, type(self))

    @property
    def api(self) -> Api:
        """The API that the connection says, as pure calls."""
        return api_of(self.settings)

    def check_supported(self, **given: Any) -> None:
        """Refuse arguments that are not ``None`` and that the connection's API has no use for.

        :raises UnsupportedByApi: the message says what to give instead.
        """
        check_supported(self.api, given)

    def _run(self, call: Call[T]) -> T:
        return run(retried(call, Patience(self._patience)), self.get_conn().perform)


def check_flow_run_id(flow_run_id: str) -> None:
    """Refuse what cannot be the id of a flow run before anything is sent."""
    if not is_uuid(flow_run_id):
        raise ConfigurationError(f"flow_run_id={flow_run_id!r} is not the id (UUID) of a flow run.")
