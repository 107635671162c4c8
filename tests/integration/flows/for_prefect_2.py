"""Flows that show what Prefect 2 does in its own way, served by this one program. Run by Prefect, not by Airflow."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from prefect import flow, get_run_logger, serve, task


@task(persist_result=True, result_serializer="json")
def square(number: int) -> int:
    """A number's square."""
    return number * number


@flow(name="mapping", persist_result=True, result_serializer="compressed/json")
def mapping(most: int = 12) -> list[int]:
    """Square the numbers 0, 1, 2 … at once."""
    return [future.result() for future in square.map(list(range(most)))]


@flow(name="plain", persist_result=True)
def plain() -> dict[str, Any]:
    """Return plain data, which is kept as a pickle."""
    return {"day": date(2026, 10, 1), "price": Decimal("1.50"), "words": ("ü", None, True)}


@flow(name="true", persist_result=True)
def true() -> bool:
    """Return True, which Prefect 2 keeps in the state itself."""
    return True


@task(name="say twice")
def say_twice(word: str) -> None:
    """Log a word at two levels."""
    logger = get_run_logger()
    logger.info("%s, quietly", word)
    logger.error("%s, loudly", word)


@flow(name="talking")
def talking() -> None:
    """Log lines, and fail."""
    get_run_logger().warning("the well sinks")
    say_twice("water")
    raise ValueError("the well is dry")


if __name__ == "__main__":
    serve(*(each.to_deployment("served") for each in (mapping, plain, true, talking)), limit=10)
