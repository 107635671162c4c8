"""The trigger of an asset watcher: it starts Dags on what happens in Prefect."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_prefect.client import printable
from airflow_provider_prefect.client.api import Api, make_api
from airflow_provider_prefect.client.errors import (
    ApiError,
    ConfigurationError,
    DeploymentNotFound,
    PrefectError,
    Unreachable,
)
from airflow_provider_prefect.client.model import FINAL, FlowRun, Materialization, is_uuid
from airflow_provider_prefect.client.retry import Patience
from airflow_provider_prefect.client.urls import flow_run_url
from airflow_provider_prefect.client.wait.trouble import Trouble, tolerate
from airflow_provider_prefect.hooks.connection import kept_settings
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.triggers.flow_run import import_watcher
from airflow_provider_prefect.utils import arguments
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood
from airflow_provider_prefect.utils.task_log import TaskLog, ThreadedLogger

if TYPE_CHECKING:
    from airflow_provider_prefect.client.settings import Settings
    from airflow_provider_prefect.client.watcher.connection import SharedConnection
    from airflow_provider_prefect.client.watcher.events import Event

try:
    from airflow.triggers.base import BaseEventTrigger
except ImportError:  # Airflow 2
    BaseEventTrigger = BaseTrigger  # type: ignore[assignment,misc]

log = logging.getLogger(__name__)

_STATES = (*FINAL, "RUNNING", "PAUSED")
"""The state types that a flow run is in for long enough to be seen, unlike SCHEDULED, PENDING and CANCELLING."""

_FLOW_RUN_OVERLAP = timedelta(minutes=1)
"""How far back each poll looks again, since a flow run's end may be committed later than another's that came after."""

_ASSET_OVERLAP = timedelta(minutes=10)
"""The same for assets, whose events have the times of the clocks where flows run, and are stored up to 5 s late."""

_CONFIRM_AFTER = (0.05, 0.25, 1.0)
"""Seconds after an event of the feed at which is polled: it may be published before the state is committed."""

_STORED_AFTER = 3.0
"""Seconds within which Airflow has stored an event that a trigger has sent (3.3.2: one to two)."""

_CURSOR = "prefect_cursor"

_RECONNECT_AFTER = 60.0


@dataclass
class _Cursor:
    """Say up to where everything has been sent.

    :param since: the newest time that was seen.
    :param seen: the keys of what was seen shortly before that, or is in its state for longer.
    """

    since: datetime | None = None
    seen: frozenset[str] = frozenset()

    @classmethod
    def from_json(cls, stored: Any) -> _Cursor | None:
        if not isinstance(stored, Mapping):
            return None
        with suppress(KeyError, TypeError, ValueError):
            since = stored["since"]
            return cls(datetime.fromisoformat(since) if since else None, frozenset(map(str, stored["seen"])))
        return None

    def as_json(self) -> dict[str, Any]:
        return {"since": self.since.isoformat() if self.since else None, "seen": sorted(self.seen)}


@dataclass(frozen=True)
class _Occurrence:
    """Something that has happened in Prefect, as a Dag is told about it."""

    key: str
    when: datetime | None
    payload: dict[str, Any]
    run: FlowRun | None = None


class PrefectEventTrigger(BaseEventTrigger):
    """Start Dags when a flow run reaches a state, or when an asset is materialized, in Prefect.

    It is for an ``AssetWatcher``, from Airflow 3.0 on. It sends an event for each state that a flow run reaches, and
    for each materialization, from its first poll on. In Airflow 3.3 it keeps in the asset's state store up to where it
    has come, so that what happens while no triggerer runs is sent afterwards. If a triggerer is killed within 3 seconds
    after an event, that event may be sent again; ``key`` in its payload tells that it is the same.

    The payload of a flow run has ``key`` (the flow run's id and the state's), ``flow_run_id``, ``flow_run_name``,
    ``flow_run_url``, ``deployment_id``, ``state_type``, ``state_name``, ``start_time``, ``end_time``, ``tags`` and
    ``parameter_names``; that of an asset ``key`` (the event's id), ``asset_key``, ``occurred``, ``flow_run_id``,
    ``deployment_id``, ``properties`` and ``metadata``.

    :param deployment: send the flow runs of this deployment: ``flow/deployment``, or its id (UUID).
    :param tags: send flow runs that have all these tags only.
    :param states: the state types to send: COMPLETED (the default), FAILED, CRASHED, CANCELLED, RUNNING or PAUSED. One
        of the last two is missed if it is over before Prefect can be asked, mostly within a second.
    :param asset_key: instead of the others, send the materializations of this asset (Prefect 3.4 and newer), such as
        ``s3://lake/orders.parquet``.
    :param poll_interval: seconds between two polls, at least 3. Where Prefect has an event feed, flow runs are seen at
        once.
    :param prefect_conn_id: the connection, of type ``prefect``.
    :raises AirflowFailException: an argument is wrong, or this Airflow is older than 3.0.
    """

    def __init__(
        self,
        *,
        deployment: str | None = None,
        tags: Sequence[str] | None = None,
        states: Sequence[str] | None = None,
        asset_key: str | None = None,
        poll_interval: float = 10,
        prefect_conn_id: str = PrefectHook.default_conn_name,
    ) -> None:
        if BaseEventTrigger is BaseTrigger:
            raise ConfigurationErrorForGood(
                "PrefectEventTrigger needs Airflow 3.0 or newer, which starts Dags on events. Here, a Dag with a "
                "PrefectFlowRunSensor can wait for a flow run."
            )
        super().__init__()  # type: ignore[no-untyped-call]
        self.deployment = arguments.text("deployment", deployment)
        self.tags = list(arguments.string_list("tags", tags))
        self.asset_key = arguments.text("asset_key", asset_key)
        self.states = _checked_states(states)
        self.poll_interval = arguments.checked_poll_interval("poll_interval", poll_interval)
        self.prefect_conn_id = prefect_conn_id
        if self.asset_key and (self.deployment or self.tags or states):
            raise ConfigurationErrorForGood(
                "asset_key does not go with deployment, tags or states: give one watcher for the asset, another one "
                "for the flow runs."
            )
        if not (self.asset_key or self.deployment or self.tags):
            raise ConfigurationErrorForGood(
                "Nothing is to be watched. Give deployment='flow/deployment' (or its id), tags, or asset_key."
            )
        if self.deployment and not is_uuid(self.deployment) and "/" not in self.deployment:
            raise ConfigurationErrorForGood(
                f"deployment={self.deployment!r} is neither 'flow/deployment' nor the id (UUID) of a deployment."
            )
        self._woken = asyncio.Event()
        self._due: list[float] = []
        """When to poll soon, on the monotonic clock, because of what the feed says."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "deployment": self.deployment,
            "tags": self.tags,
            "states": None if self.asset_key else self.states,
            "asset_key": self.asset_key,
            "poll_interval": self.poll_interval,
            "prefect_conn_id": self.prefect_conn_id,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send an event for everything that happens. It does not end by itself."""
        await asyncio.to_thread(import_watcher)
        while True:
            try:
                async with self._connect() as connection, aclosing(self._watch(connection)) as events:
                    async for event in events:
                        yield event
            except PrefectError as error:
                log.error("%s cannot be watched (%s). Trying again in a minute.", self, error)
            except Exception as error:
                # The text of an error of a secrets backend may hold anything.
                log.error("%s cannot be watched (%s). Trying again in a minute.", self, type(error).__name__)
            await asyncio.sleep(_RECONNECT_AFTER)

    def __repr__(self) -> str:
        if self.asset_key:
            return f"Asset {printable.quoted(self.asset_key)}"
        runs = f"of {printable.quoted(self.deployment)}" if self.deployment else f"with the tags {self.tags}"
        return f"Flow runs {runs}"

    def _connect(self) -> SharedConnection:
        from airflow_provider_prefect.client.watcher.connection import SharedConnection
        from airflow_provider_prefect.utils.metrics import AirflowMetrics

        return SharedConnection(self._settings, AirflowMetrics)

    async def _settings(self, refused: Settings | None) -> Settings:
        return await kept_settings(self.prefect_conn_id, PrefectHook, refused)

    async def _watch(self, connection: SharedConnection) -> AsyncGenerator[TriggerEvent]:
        logger = TaskLog(ThreadedLogger(log))
        trouble = Trouble(math.inf)
        cursor = await self._load()
        while True:
            with connection.watcher.listening(self._heard):
                pause = self.poll_interval
                try:
                    api = make_api(connection, Patience(0))
                    if cursor is None:
                        cursor = await self._begin(api)
                        await self._store(cursor)
                    found = await self._find(api, cursor.since or datetime.fromtimestamp(0, UTC))
                except (ApiError, Unreachable) as failure:
                    pause = await tolerate(failure, trouble, connection, logger, time.time())
                else:
                    trouble.answered(logger)
                    new = [one for one in found if one.key not in cursor.seen]
                    for one in new:
                        yield TriggerEvent(self._shown(one, connection.settings))  # type: ignore[no-untyped-call]
                    cursor = self._advanced(cursor, found)
                    if new:
                        # Stored any sooner, the event would be lost if the triggerer ended in between.
                        await asyncio.sleep(_STORED_AFTER)
                        await self._store(cursor)
                await self._sleep(pause)

    async def _begin(self, api: Api) -> _Cursor:
        """Return a cursor behind all that has happened so far."""
        if self.deployment:
            try:
                await api.find_source(deployment=self.deployment, flow_id=None, flow_name=None, project_name=None)
            except DeploymentNotFound as error:
                log.warning("%s are watched, but there are none so far: %s", self, error)
        newest = max((one.when for one in await self._find(api, None) if one.when), default=None)
        found = await self._find(api, newest or datetime.now(UTC))
        return _Cursor(newest, frozenset(one.key for one in found))

    async def _find(self, api: Api, since: datetime | None) -> list[_Occurrence]:
        """Return what has happened since then and shortly before, the oldest first; without ``since`` the last one.

        :raises ConfigurationError: the server keeps no events.
        """
        if self.asset_key is None:
            after = since and max(since - _FLOW_RUN_OVERLAP, datetime.fromtimestamp(0, UTC))
            runs = await api.find_reached(self.states, self.deployment, self.tags, after)
            found = [_of_flow_run(run) for run in runs]
        else:
            after = since and max(since - _ASSET_OVERLAP, datetime.fromtimestamp(0, UTC))
            try:
                found = [
                    _of_asset(one) for one in await api.read_materializations(asset_key=self.asset_key, since=after)
                ]
            except ApiError as error:
                if error.status != 404:
                    raise
                raise ConfigurationError(
                    "Prefect's server keeps no events, so that nothing is known of its assets. They need Prefect 3.4 "
                    "or newer."
                ) from None
        return sorted(found, key=lambda one: (one.when or datetime.max.replace(tzinfo=UTC), one.key))

    def _advanced(self, cursor: _Cursor, found: Sequence[_Occurrence]) -> _Cursor:
        since = max((one.when for one in found if one.when), default=None)
        if cursor.since is not None and (since is None or since < cursor.since):
            since = cursor.since
        overlap = _FLOW_RUN_OVERLAP if self.asset_key is None else _ASSET_OVERLAP
        recent = [one for one in found if one.when is None or since is None or one.when >= since - 2 * overlap]
        return _Cursor(since, frozenset(one.key for one in recent))

    def _shown(self, one: _Occurrence, settings: Settings) -> dict[str, Any]:
        if one.run is None:
            return one.payload
        return {**one.payload, "flow_run_url": flow_run_url(settings.ui_url, one.run)}

    def _heard(self, event: Event) -> None:
        """Poll soon, if the feed says that one of the wanted flow runs has reached a wanted state."""
        if self.asset_key is not None or event.run.state.type not in self.states:
            return
        labels = [one for one in event.related if isinstance(one, Mapping)]
        ids = {one.get("prefect.resource.id") for one in labels}
        names = {one.get("prefect.resource.name") for one in labels}
        wanted = {f"prefect.tag.{tag}" for tag in self.tags}
        if self.deployment and is_uuid(self.deployment):
            wanted.add(f"prefect.deployment.{self.deployment}")
        is_it = not self.deployment or is_uuid(self.deployment) or set(self.deployment.split("/", 1)) <= names
        if is_it and wanted <= ids:
            now = time.monotonic()
            if self._due:
                self._due[-1] = now + _CONFIRM_AFTER[-1]
            else:
                self._due = [now + after for after in _CONFIRM_AFTER]
            self._woken.set()

    async def _sleep(self, pause: float) -> None:
        """Sleep until the next poll is due: after ``pause``, or soon after an event of the feed."""
        until = time.monotonic() + pause
        while True:
            now = time.monotonic()
            due = min([until, *self._due])
            if due <= now:
                self._due = [later for later in self._due if later > now]
                return
            self._woken.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), due - now)

    async def _load(self) -> _Cursor | None:
        """Return the cursor that Airflow keeps beside the asset; ``None`` if there is none yet."""
        store: Any = getattr(self, "asset_state_store", None)
        if store is None:
            return None
        try:
            return _Cursor.from_json(await store.aget(_CURSOR))
        except ValueError:
            log.warning(
                "%s are watched for several assets with the same arguments. What happens while no triggerer runs is "
                "not sent; to have it sent, give each watcher another poll_interval.",
                self,
            )
            self.asset_state_store = None
            return None

    async def _store(self, cursor: _Cursor) -> None:
        store: Any = getattr(self, "asset_state_store", None)
        if store is not None:
            await store.aset(_CURSOR, cursor.as_json())


def _checked_states(states: Sequence[str] | None) -> list[str]:
    given = arguments.string_list("states", states) if states is not None else ("COMPLETED",)
    unknown = [state for state in given if state not in _STATES]
    if unknown or not given:
        raise ConfigurationErrorForGood(
            f"states={list(given)!r}: {unknown[0] if unknown else 'nothing'!r} is not a state type that can be "
            f"watched. Give some of {', '.join(_STATES)}."
        )
    return list(dict.fromkeys(given))


def _of_flow_run(run: FlowRun) -> _Occurrence:
    key = f"{run.id}/{run.state.id}"
    return _Occurrence(
        key,
        run.end_time if run.is_final else None,
        {
            "key": key,
            "flow_run_id": run.id,
            "flow_run_name": run.name,
            "deployment_id": run.deployment_id,
            "state_type": run.state.type,
            "state_name": run.state.name,
            "start_time": run.start_time and run.start_time.isoformat(),
            "end_time": run.end_time and run.end_time.isoformat(),
            "tags": list(run.tags),
            "parameter_names": sorted(run.parameters),
        },
        run,
    )


def _of_asset(one: Materialization) -> _Occurrence:
    payload = {
        "key": one.id,
        "asset_key": one.asset_key,
        "occurred": one.occurred.isoformat(),
        "flow_run_id": one.flow_run_id,
        "deployment_id": one.deployment_id,
        "properties": dict(one.properties),
        "metadata": dict(one.metadata),
    }
    return _Occurrence(one.id, one.occurred, payload)
