"""``make up``: Airflow and Prefect with their UIs, connected, until Ctrl-C. State is kept in ``.up``."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

from airflow_provider_prefect.provider_info import CONN_FIELDS
from tools import together, web
from tools.airflow_stack import AirflowStack
from tools.prefect_stack import PrefectServer
from tools.processes import StackError, say, stop_on_signals

STATE = together.ROOT / ".up"


def connect(airflow: AirflowStack, prefect: PrefectServer) -> None:
    """Keep the connection in Airflow's database, where a person sees it and can change it."""
    with contextlib.suppress(StackError):  # The first time there is none.
        airflow.command("connections", "delete", together.CONNECTION)
    airflow.command("connections", "add", together.CONNECTION, "--conn-json", with_all_fields(prefect))


def with_all_fields(prefect: PrefectServer) -> str:
    """The connection as JSON text. Airflow 3.3.2 shows no other fields of a stored one, and tests none with no port."""
    connection = json.loads(together.connection_to(prefect))
    extra = {name: field["schema"].get("default") for name, field in CONN_FIELDS.items()}
    return json.dumps(connection | {"port": 0, "extra": extra | connection["extra"]})


def run(state: Path) -> None:
    """Start both, say where they are, and keep them running."""
    prefect = PrefectServer(together.PREFECT, state / "prefect", port=together.port_or_another(4200))
    airflow = AirflowStack(
        together.AIRFLOW,
        state / "airflow",
        together.DAGS,
        port=together.port_or_another(8080),
        settings={"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"},
    )
    try:
        together.start(prefect, airflow)
        for deployment, flow in together.OTHERS.items():
            together.serve(prefect, flow, deployment)
        connect(airflow, prefect)
        say(f"""
Airflow   {airflow.url}      no login: whoever opens it is an admin
          {airflow.url}/dags/{together.DAG}
          (the other example Dags are there too, and can be triggered)
Prefect   {prefect.ui_url}      no login
          the connection {together.CONNECTION!r} leads there: {prefect.api_url}

Trigger the Dag in Airflow, then open its task "summarise": Details, Extra Links leads to the flow run.
Logs and databases are in {state.relative_to(together.ROOT)}. Ctrl-C stops everything.""")
        while True:
            airflow.require_running()
            prefect.require_running()
            time.sleep(1)
    finally:
        say("\nStopping everything that was started …")
        airflow.stop()
        prefect.stop()


def main() -> int:
    """Run until Ctrl-C (0) or until a part ends by itself (1)."""
    stop_on_signals()
    try:
        with together.alone_in(STATE, "`make up`") as state:
            run(state)
    except (StackError, web.HttpError, OSError) as error:
        say(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
