"""A Prefect flow that counts a warehouse's stock, shelf by shelf.

It does not depend on Airflow. Serve it with ``python stock_count.py`` while a Prefect server (2.20 or 3) is running.
"""

from __future__ import annotations

import time
from typing import Any

from prefect import flow, get_run_logger, task

STOCK = {
    "north": {"A1": 120, "A2": 85, "B1": 7},
    "south": {"A1": 60, "A2": 44},
    "west": {"A1": 310, "B1": 0, "B2": 12, "C1": 98},
}


# In Prefect 2 a task does not inherit persist_result from its flow.
@task(persist_result=True, result_serializer="json")
def count_shelf(warehouse: str, shelf: str, seconds: float) -> dict[str, Any]:
    """Count one shelf, which takes some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.1)
    pieces = STOCK[warehouse][shelf]
    get_run_logger().info("Shelf %s has %s pieces", shelf, pieces)
    return {"shelf": shelf, "pieces": pieces}


@flow(name="stock-count", persist_result=True, result_serializer="json")
def stock_count(warehouse: str = "north", seconds_per_shelf: float = 0) -> dict[str, Any]:
    """Count the shelves of a warehouse one after the other, and return the number of pieces."""
    counted = [count_shelf(warehouse, shelf, seconds_per_shelf) for shelf in STOCK[warehouse]]
    return {"warehouse": warehouse, "pieces": sum(shelf["pieces"] for shelf in counted)}


if __name__ == "__main__":
    stock_count.serve(name="demo", limit=10)
