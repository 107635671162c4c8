"""Prefect and Airflow side by side on this machine, as the demo and ``make up`` run them."""

from __future__ import annotations

import fcntl
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.airflow_stack import AirflowStack
from tools.prefect_stack import PrefectServer
from tools.processes import LOOPBACK, StackError, free_port, say

ROOT = Path(__file__).resolve().parent.parent
AIRFLOW = ROOT / ".envs" / "airflow-3.3.2"
PREFECT = ROOT / ".envs" / "prefect-3.9.1"
DAGS = ROOT / "example_dags"
DAG = "example_prefect_start_flow_run"
FLOW = DAGS / "flows" / "sales_report.py"
DEPLOYMENT = "sales-report/demo"
OTHERS = {"stock-count/demo": DAGS / "flows" / "stock_count.py"}
CONNECTION = "prefect_default"


def connection_to(prefect: PrefectServer) -> str:
    """The Airflow connection that leads to a Prefect server, as JSON text."""
    extra = {"result_roots": str(prefect.results)}
    return json.dumps({"conn_type": "prefect", "host": prefect.api_url, "extra": extra})


def start(prefect: PrefectServer, airflow: AirflowStack) -> None:
    """Start both, Prefect's server while Airflow makes its database; say where each is."""
    say("Starting Prefect's server and making Airflow's database …")
    prefect.launch()
    airflow.migrate()
    airflow.launch()
    prefect.wait_until_ready()
    say(f"   Prefect runs at {prefect.ui_url}")
    serve(prefect, FLOW, DEPLOYMENT)
    say(f"Starting Airflow: {', '.join(airflow.parts)} …")
    airflow.wait_until_ready()
    airflow.wait_for_dag(DAG)
    say(f"   Airflow runs at {airflow.url} and has read {DAG}")


def serve(prefect: PrefectServer, flow: Path, deployment: str) -> None:
    """Have Prefect run a flow of the examples; say so."""
    prefect.serve(flow, deployment)
    say(f"   and serves {flow.relative_to(ROOT)} as {deployment}")


def port_or_another(wanted: int) -> int:
    """The port that people know, unless something on this machine already uses it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            return free_port()
    return wanted


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[Path]:
    """Hold a folder for this run only; a second run in the same folder is refused with a sentence."""
    folder.mkdir(exist_ok=True)
    with (folder / "in-use").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"{what} is already running in this folder; stop it first.") from None
        yield folder
