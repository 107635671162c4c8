"""Tests on real parts: Prefect servers that run flows, and Airflow."""
