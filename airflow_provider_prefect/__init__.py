"""An Apache Airflow provider for Prefect."""

from __future__ import annotations

__version__ = "0.2.0"


def get_provider_info() -> dict[str, object]:
    """Return the provider's description, for the entry point ``apache_airflow_provider``."""
    from airflow_provider_prefect.provider_info import provider_info

    return provider_info()
