"""A flow that asks a person before it publishes a price list. Run by Prefect, not by Airflow."""

from __future__ import annotations

from prefect import flow, pause_flow_run
from prefect.input import RunInput


class Approval(RunInput):
    """What the flow wants to know."""

    approved: bool
    note: str = ""


@flow(name="price-list", persist_result=True, result_serializer="json")
def price_list(season: str = "winter") -> str:
    """Ask whether the prices of a season are right, and return what was decided."""
    question = f"Are the prices of the {season} season right?"
    answer = pause_flow_run(wait_for_input=Approval.with_initial_data(description=question), timeout=3600)
    if not answer.approved:
        raise ValueError(f"The prices were not approved: {answer.note}")
    return f"published the prices of the {season} season: {answer.note}"


if __name__ == "__main__":
    price_list.serve("demo")
