"""Settings of Sphinx, for ``sphinx-build docs docs/_build``."""

project = "airflow-provider-prefect"
exclude_patterns = ["_build"]
