"""What every test needs, before Airflow is imported for the first time."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from tools.processes import stop_on_signals

if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS", "False")
os.environ.setdefault("AIRFLOW__USAGE_DATA_COLLECTION__ENABLED", "False")


def pytest_runtest_setup() -> None:
    """Let a signal end pytest the way Ctrl-C does, with its servers: Airflow's tasks set handlers of their own."""
    stop_on_signals()
