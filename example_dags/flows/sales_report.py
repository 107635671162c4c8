"""A Prefect flow that totals one month of a shop's sales by region.

It does not depend on Airflow. Serve it with ``python sales_report.py`` while a Prefect server (2.20 or 3) is running.
"""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact

SALES = Path(__file__).resolve().parent / "data" / "sales.csv"


@task
def read_sales(month: str) -> list[dict[str, str]]:
    """Return the rows of one month, such as "2026-10"."""
    with SALES.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["date"].startswith(f"{month}-")]
    if not rows:
        raise ValueError(f"{SALES.name} has no sales in {month!r}; it covers 2026-09 and 2026-10.")
    return rows


@task
def total_by(column: str, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return orders and revenue for each value of a column, the highest revenue first."""
    orders: dict[str, int] = {}
    revenue: dict[str, Decimal] = {}
    for row in rows:
        key = row[column]
        orders[key] = orders.get(key, 0) + int(row["orders"])
        revenue[key] = revenue.get(key, Decimal(0)) + Decimal(row["revenue"])
    ranking = sorted(revenue, key=revenue.__getitem__, reverse=True)
    return [{column: key, "orders": orders[key], "revenue": float(revenue[key])} for key in ranking]


@flow(name="sales-report", persist_result=True, result_serializer="json")
def sales_report(month: str = "2026-10") -> dict[str, Any]:
    """Total a month's sales, create a table of the regions as an artifact, and return a summary."""
    rows = read_sales(month)
    regions = total_by("region", rows)
    best_day = total_by("date", rows)[0]
    create_table_artifact(key="sales-by-region", table=regions, description=f"Sales of {month}, the best region first")
    return {
        "month": month,
        "orders": sum(region["orders"] for region in regions),
        "revenue": round(sum(region["revenue"] for region in regions), 2),
        "regions": regions,
        "best_day": best_day["date"],
    }


if __name__ == "__main__":
    sales_report.serve(name="demo")
