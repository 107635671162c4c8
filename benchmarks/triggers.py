"""Waits as a triggerer does, with one of the triggers: ``python -m benchmarks.triggers <trigger> <seconds> <ids>``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from functools import partial
from typing import Any

from benchmarks import field, program

CONN_ID = "bench"
_PATIENCE = 3600.0

_FIELD: dict[str, type[field.PollingTrigger]] = {
    "aiohttp": field.OwnAiohttp,
    "httpx": field.OwnHttpx,
    "per-request": field.ClientPerRequest,
    "sleeping": field.OnlySleeps,
}


def trigger(kind: str, interval: float, flow_run_id: str) -> Any:
    """What waits for the flow run; ``ours`` is the provider's own."""
    if kind == "ours":
        from airflow_provider_prefect.triggers.flow_run import PrefectFlowRunTrigger

        return PrefectFlowRunTrigger(flow_run_id, CONN_ID, poll_interval=interval)
    return _FIELD[kind](CONN_ID, flow_run_id, time.time() + _PATIENCE, interval)


async def wait(kind: str, interval: float, flow_run_id: str) -> bool:
    async for event in trigger(kind, interval, flow_run_id).run():
        if "COMPLETED" not in json.dumps(event.payload):
            raise ValueError(event.payload)
    return True


if __name__ == "__main__":
    # What the triggers log, the triggerer writes elsewhere; warnings are of interest.
    logging.disable(logging.INFO)
    asyncio.run(program.run(partial(wait, sys.argv[1], float(sys.argv[2])), *program.read(sys.argv[3])))
