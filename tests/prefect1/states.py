"""The states of Prefect 1, and what writing one does to a run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.prefect1.tables import Row, Tables, moment

VERSION = "1.4.1"
RUNNING = frozenset({"Running", "Cancelling"})
FINISHED = frozenset(
    {
        *("Finished", "Success", "Cached", "Mapped", "Skipped"),
        *("Failed", "TriggerFailed", "ValidationFailed", "TimedOut", "Cancelled", "Looped"),
    }
)
NO_RESULT: dict[str, Any] = {"type": "NoResultType", "__version__": VERSION}
_STARTING = frozenset({"Scheduled", "Paused", "Resume", "Retrying", "Queued"})
_WRAPPING = frozenset({"Submitted", "Queued", "ClientFailed"})


def serialized(
    name: str,
    message: str | None = None,
    *,
    result: dict[str, Any] | None = None,
    start_time: datetime | str | None = None,
    inner: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A state as Prefect 1.4.1 writes it down; ``inner`` is the one that a meta state wraps."""
    state: dict[str, Any] = {
        "type": name,
        "message": message,
        "_result": result or dict(NO_RESULT),
        "context": {},
        "cached_inputs": {},
        "__version__": VERSION,
    }
    if name in _STARTING:
        state["start_time"] = moment(start_time)
    if name in _WRAPPING:
        state["state"] = inner
    if name == "Mapped":
        del state["_result"]
        state["n_map_states"] = 0
    if name == "Cached":
        state |= {"cached_parameters": None, "cached_result_expiration": None, "hashed_inputs": None}
    if name == "Retrying":
        state["run_count"] = 1
    if name == "Looped":
        state["loop_count"] = 1
    return state | more


def write_state(
    tables: Tables, table: str, run_id: str, state: dict[str, Any], at: datetime | str | None = None
) -> Row:
    """Put a flow run or a task run (``table``) into a state, and remember it among its states."""
    now = moment(at)
    with tables.lock:
        run = tables.get(table, run_id)
        assert run is not None
        last = [each["timestamp"] for each in tables.referring(f"{table}_state", f"{table}_id", run_id)]
        if at is None and last and now <= max(last):
            # Two states within one tick of the clock must still be told apart.
            now = moment(datetime.fromisoformat(max(last)) + timedelta(microseconds=1))
        version = run["version"] + 1
        described = {
            "state": state["type"],
            "message": state.get("message"),
            "result": state.get("_result"),
            "start_time": state.get("start_time"),
        }
        tables.insert(
            f"{table}_state",
            **{f"{table}_id": run_id},
            tenant_id=run["tenant_id"],
            timestamp=now,
            serialized_state=state,
            version=version,
            **described,
        )
        changes: dict[str, Any] = {
            "state": state["type"],
            "state_timestamp": now,
            "state_message": state.get("message"),
            "state_result": state.get("_result"),
            "state_start_time": state.get("start_time"),
            "serialized_state": state,
            "version": version,
            "updated": now,
        }
        if state["type"] == "Running" and run["start_time"] is None:
            changes["start_time"] = now
        if state["type"] in FINISHED:
            changes["end_time"] = now
        return tables.update(table, run_id, **changes)
