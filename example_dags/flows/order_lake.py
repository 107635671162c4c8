"""A flow that materializes two assets of Prefect (3.4 and newer). Run by Prefect, not by Airflow."""

from __future__ import annotations

from prefect import flow
from prefect.assets import add_asset_metadata, materialize

ORDERS = "s3://lake/orders.parquet"
CUSTOMERS = "s3://lake/customers.parquet"


@materialize(ORDERS)
def write_orders(day: str) -> int:
    """Write the orders of a day."""
    add_asset_metadata(ORDERS, {"day": day, "rows": 120})
    return 120


@materialize(CUSTOMERS)
def write_customers() -> int:
    """Write all customers."""
    return 7


@flow(name="order-lake")
def order_lake(day: str = "2026-11-01") -> None:
    """Write both."""
    write_orders(day)
    write_customers()


if __name__ == "__main__":
    order_lake.serve("demo")
