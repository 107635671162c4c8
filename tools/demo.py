"""``make demo``: a real Airflow task starts a real Prefect flow run, waits deferred, and hands the result on.

Ends with exit code 0 only if the second task was seen to get what the flow returned.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tools import together, web
from tools.airflow_stack import AirflowStack
from tools.prefect_stack import PrefectServer
from tools.processes import StackError, say, stop_on_signals

STATE = together.ROOT / ".demo"
RUN_ID = "demo"
TIMEOUT = 180
FINAL = ("success", "failed", "upstream_failed", "skipped")


class Watch:
    """Looks at the Dag run through both servers and says everything that changes."""

    def __init__(self, prefect: PrefectServer, airflow: AirflowStack) -> None:
        self.prefect = prefect
        self.airflow = airflow
        self.seen: dict[str, list[str]] = {}
        self.flow_run_id: str | None = None
        self._started = time.monotonic()

    def until_finished(self) -> None:
        """Look until both tasks have ended."""
        while not all(self.seen.get(task, [""])[-1] in FINAL for task in ("summarise", "report")):
            if time.monotonic() - self._started > TIMEOUT:
                raise StackError(f"The Dag run has not ended within {TIMEOUT} seconds; seen so far: {self.seen}")
            self.airflow.require_running()
            self._look()
            time.sleep(0.25)

    def _look(self) -> None:
        for task in self.airflow.api.task_instances(together.DAG, RUN_ID):
            if task["state"] is not None:
                self._note(task["task_id"], task["state"], f"Airflow   task {task['task_id']} is {task['state']}")
        if self.flow_run_id is None:
            self._find_flow_run()
        if self.flow_run_id is not None:
            run = self.prefect.request("GET", f"/flow_runs/{self.flow_run_id}")
            self._note("flow run", run["state_type"], f"Prefect   flow run {run['name']} is {run['state_name']}")

    def _find_flow_run(self) -> None:
        xcoms = xcoms_of(self.airflow, "summarise")
        if "flow_run_url" in xcoms:
            self.flow_run_id = xcoms["flow_run_id"]
            self._say(f"Airflow   its flow run: {xcoms['flow_run_url']}")

    def _note(self, subject: str, state: str, sentence: str) -> None:
        states = self.seen.setdefault(subject, [])
        if not states or states[-1] != state:
            states.append(state)
            self._say(sentence)

    def _say(self, sentence: str) -> None:
        say(f"   {time.monotonic() - self._started:5.1f} s  {sentence}")


def xcoms_of(airflow: AirflowStack, task: str) -> dict[str, Any]:
    """The XComs of a task, none while it has not started."""
    try:
        return airflow.api.xcoms(together.DAG, RUN_ID, task)
    except web.HttpError as error:
        if error.status == 404:
            return {}
        raise


def check(watch: Watch) -> None:
    """Compare what arrived in Airflow's second task with what Prefect has of this very flow run."""
    for task in ("summarise", "report"):
        if watch.seen[task][-1] != "success":
            raise StackError(f"The task {task} ended as {watch.seen[task][-1]}, not as success.")
    if "deferred" not in watch.seen["summarise"]:
        raise StackError(f"The task summarise was never seen deferred, only {watch.seen['summarise']}.")
    if watch.seen.get("flow run", [""])[-1] != "COMPLETED":
        raise StackError(f"The flow run was not seen COMPLETED, only {watch.seen.get('flow run')}.")
    query = {"artifacts": {"flow_run_id": {"any_": [watch.flow_run_id]}, "key": {"any_": ["sales-by-region"]}}}
    tables = [json.loads(artifact["data"]) for artifact in watch.prefect.request("POST", "/artifacts/filter", query)]
    result = xcoms_of(watch.airflow, "summarise").get("result")
    arrived = xcoms_of(watch.airflow, "report").get("return_value")
    if not isinstance(result, dict) or tables != [result["regions"]]:
        raise StackError(f"The result is {result!r}, and Prefect's own table of this flow run is {tables!r}.")
    if f"{result['orders']:,} orders for {result['revenue']:,.2f}" not in str(arrived):
        raise StackError(f"The second task said {arrived!r}, which does not hold the result {result!r}.")
    say("")
    say("The task that waited was deferred while its flow run ran; the flow run is COMPLETED.")
    say("The next task got the result and says:")
    say(f"   {arrived}")


def show_logs(airflow: AirflowStack, prefect: PrefectServer) -> None:
    """What helps to find out why it did not work: the tasks' own logs, then the servers'."""
    with contextlib.suppress(web.HttpError, OSError):  # There may be no run, or nobody to ask.
        for task in airflow.api.task_instances(together.DAG, RUN_ID):
            if task["state"] not in (None, "success") and task["try_number"]:
                log = airflow.api.task_log(together.DAG, RUN_ID, task["task_id"], task["try_number"])
                say(f"\nThe end of the log of the task {task['task_id']}:")
                say("\n".join(f"   | {line}" for line in log.splitlines()[-40:]))
    for log_file in [*airflow.logs, *prefect.logs]:
        if log_file.exists():
            say(f"\nThe end of {os.path.relpath(log_file, together.ROOT)}:")
            say("\n".join(f"   | {line}" for line in log_file.read_text(errors="replace").splitlines()[-10:]))


def run(state: Path) -> None:
    """The demo in a folder of its own."""
    prefect = PrefectServer(together.PREFECT, state / "prefect")
    connections = {together.CONNECTION: together.connection_to(prefect)}
    airflow = AirflowStack(together.AIRFLOW, state / "airflow", together.DAGS, connections=connections)
    try:
        together.start(prefect, airflow)
        say(f"Running the Dag {together.DAG} …")
        airflow.api.trigger(together.DAG, RUN_ID)
        watch = Watch(prefect, airflow)
        watch.until_finished()
        check(watch)
    except (StackError, web.HttpError, OSError):
        show_logs(airflow, prefect)
        raise
    finally:
        say("\nStopping everything that was started …")
        airflow.stop()
        prefect.stop()


def main() -> int:
    """Run the demo; 0 when the result arrived."""
    stop_on_signals()
    started = time.monotonic()
    try:
        with together.alone_in(STATE, "The demo") as folder:
            state = folder / "state"
            shutil.rmtree(state, ignore_errors=True)
            run(state)
    except (StackError, web.HttpError, OSError) as error:
        say(f"\nThe demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    say(f"Done in {time.monotonic() - started:.0f} seconds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
