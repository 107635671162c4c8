"""Drills on an Airflow of more than one machine's parts: Celery, Redis, PostgreSQL, two of each."""
