"""Waits with Prefect's own client: ``python -m benchmarks.prefects_own <how> <seconds> <ids>`` in its environment."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.flow_runs import wait_for_flow_run

from benchmarks import program

_PATIENCE = 3600


async def by_events(flow_run_id: str) -> bool:
    """As a flow does that waits for another one: a client and a websocket for each."""
    run = await wait_for_flow_run(UUID(flow_run_id), timeout=_PATIENCE)
    return run.state is not None and bool(run.state.is_completed())


async def by_polling(interval: float, flow_run_id: str) -> bool:
    """The loop that ``run_deployment`` waits in (``prefect/deployments/flow_runs.py``), without starting anything."""
    async with get_client() as client:
        while True:
            run = await client.read_flow_run(UUID(flow_run_id))
            if run.state is not None and run.state.is_final():
                return bool(run.state.is_completed())
            await asyncio.sleep(interval)


if __name__ == "__main__":
    wait = by_events if sys.argv[1] == "wait_for_flow_run" else partial(by_polling, float(sys.argv[2]))
    asyncio.run(program.run(wait, *program.read(sys.argv[3])))
