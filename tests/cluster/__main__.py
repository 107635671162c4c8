"""``python -m tests.cluster airflow-cluster prefect-3.9.1 [--seed 1] [--only storm] [--tasks 500] [--home here]``."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.scenes import SCENES
from tests.drills.result import HEADER
from tests.drills.stage import ROOT, fresh_home
from tools.processes import StackError, say, stop_on_signals

_FEW = 5
"""Task instances of each kind in a scene."""


def main() -> int:
    """Play all scenes, or those that are named; 1 if one went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="Kill parts and count flow runs.")
    parser.add_argument("airflow", help="an environment, such as airflow-cluster")
    parser.add_argument("prefect", help="an environment, such as prefect-3.9.1")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of what is left to chance")
    parser.add_argument("--only", nargs="*", default=[], metavar="scene", help=", ".join(s.__name__ for s in SCENES))
    parser.add_argument("--tasks", type=int, default=500, help="in the storm (default: %(default)s)")
    parser.add_argument("--home", type=Path, help="where the servers keep everything; another for a second run")
    given = parser.parse_args()
    stop_on_signals()
    begun = time.monotonic()
    bad = []
    folder = given.home or ROOT / ".envs" / "home" / "cluster"
    with fresh_home(folder, "`make cluster`") as home:
        say(f"Cluster of {given.airflow} and {given.prefect}, seed {given.seed}")
        say(HEADER)
        environments = (ROOT / ".envs" / given.airflow, ROOT / ".envs" / given.prefect)
        with Cluster(*environments, home, given.seed, numbers=(_FEW, given.tasks // 5)) as cluster:
            for scene in SCENES:
                if given.only and scene.__name__ not in given.only:
                    continue
                try:
                    for result in scene(cluster, _FEW):
                        say(str(result))
                        bad += [] if result.good else [scene.__name__]
                except StackError as error:
                    say(f"{scene.__name__}: {error}")
                    bad.append(scene.__name__)
            for part, times in Counter(cluster.keeper.restarts).items():
                say(f"   {part} had ended by itself and was started again {times} times")
    minutes = (time.monotonic() - begun) / 60
    say(f"{'These went wrong: ' + ', '.join(bad) if bad else 'All as it should be'} ({minutes:.0f} minutes).")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
