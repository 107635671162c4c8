"""Assets: what a flow run has materialized in Prefect becomes asset events of the Airflow task that waited for it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_prefect.client.errors import NotFound, PrefectError, UnsupportedByApi
from airflow_provider_prefect.client.model import FlowRun, Materialization
from airflow_provider_prefect.client.transport import run as run_call
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.utils import lineage
from airflow_provider_prefect.utils.events import ConfigurationErrorForGood

_STORED_AFTER = 7.0
"""Seconds after a flow run's end within which Prefect stores its events: it does so every five (3.8.8)."""

_PAUSE = 0.5

_IS_AIRFLOW_2 = Asset.__name__ == "Dataset"

_LONGEST_FLOW = timedelta(days=365)


def check_outlets(outlets: Sequence[Any], emit_assets: bool) -> None:
    """Check that there is an asset alias for the assets of a flow run.

    :raises ConfigurationErrorForGood: there is none, or there are several.
    """
    aliases = [outlet for outlet in outlets if isinstance(outlet, AssetAlias)]
    if emit_assets and len(aliases) != 1:
        raise ConfigurationErrorForGood(
            f"emit_assets=True adds assets to an alias, and outlets has {len(aliases) or 'none'}. Give exactly one: "
            "outlets=[AssetAlias('…')]."
        )


def read_materializations(task: Any, hook: PrefectHook, run: FlowRun) -> list[Materialization]:
    """Return what a flow run that has completed has materialized, the last of each asset, if anybody wants to know.

    It may take some seconds after the flow run's end until Prefect shows its events.

    :raises ConfigurationErrorForGood: ``emit_assets`` is set, and Prefect is older than 3.4.
    """
    emit_assets = getattr(task, "emit_assets", False)
    if not (emit_assets or lineage.is_on() or any(isinstance(outlet, Asset) for outlet in task.outlets)):
        return []
    api = hook.api
    # No longer than that, whatever the clock of Prefect's server says.
    until = min(run.end_time.timestamp() if run.end_time else math.inf, time.time()) + _STORED_AFTER
    try:
        if run_call(api.has_event_feed()):
            while time.time() < until and run_call(api.read_end_from_events(run.id)) is None:
                time.sleep(_PAUSE)
        found = run_call(api.read_materializations(flow_run_id=run.id, since=datetime.now(UTC) - _LONGEST_FLOW))
    except (NotFound, UnsupportedByApi):
        if emit_assets:
            raise ConfigurationErrorForGood(
                "emit_assets=True needs Prefect 3.4 or newer; this server keeps no events of assets."
            ) from None
        return []
    except PrefectError as error:
        task.log.warning("What the flow run has materialized could not be read: %s", error)
        return []
    return list({one.asset_key: one for one in found}.values())


def add_asset_events(
    task: Any, context: Mapping[str, Any], run: FlowRun, url: str, found: Sequence[Materialization]
) -> None:
    """Tell Airflow what a flow run has materialized: in ``extra`` of the task's outlets, and through its alias."""
    of_run = {"prefect_flow_run_id": run.id, "prefect_flow_run_url": url}
    for asset in task.outlets:
        if isinstance(asset, Asset):
            extras = [_extra(one) for one in found if one.asset_key in (asset.uri, getattr(asset, "name", asset.uri))]
            context["outlet_events"][asset].extra.update({**of_run, **(extras[0] if extras else {})})
    if not getattr(task, "emit_assets", False):
        return
    alias = next(outlet for outlet in task.outlets if isinstance(outlet, AssetAlias))
    for one in found:
        try:
            asset = Asset(uri=one.asset_key)
        except ValueError as error:
            task.log.warning("Airflow cannot have an asset %r: %s", one.asset_key, error)
            continue
        context["outlet_events"][alias].add(asset, extra={**of_run, **_for_alias(_extra(one))})
        task.log.info("Materialized: %s", one.asset_key)
    if not found:
        task.log.info("The flow run has materialized no assets.")


def _extra(one: Materialization) -> dict[str, Any]:
    return {
        "prefect_asset_key": one.asset_key,
        "prefect_properties": dict(one.properties),
        "prefect_metadata": dict(one.metadata),
    }


def _for_alias(extra: dict[str, Any]) -> dict[str, Any]:
    """Return ``extra`` as an alias takes it. Airflow 2 hashes the values (2.11.2), so mappings become JSON there."""
    if not _IS_AIRFLOW_2:
        return extra
    return {name: json.dumps(value) if isinstance(value, dict) else value for name, value in extra.items()}
