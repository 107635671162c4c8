"""Everything that talks to Prefect. Nothing in here imports Airflow."""
