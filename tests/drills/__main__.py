"""``python -m tests.drills airflow-3.3.2 prefect-3.9.1 [--seed 1] [--times 2] [--only kills stops] [--home here]``."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

from tests.drills.result import HEADER
from tests.drills.scenes import DRILLS, Drill
from tests.drills.stage import ROOT, Stage, fresh_home
from tools.processes import StackError, say, stop_on_signals


def play(stage: Stage, drill: Drill, times: int) -> bool:
    """Do one drill, print its lines, and say whether it went as it should."""
    right = True
    try:
        for result in drill.act(stage, times):
            say(str(result))
            right &= result.good != drill.has_to_fail
    except StackError as error:
        say(f"{drill.name}: {error}")
        return False
    return right


def main() -> int:
    """Do all drills, or those that are named; 1 if one went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description="Kill things and count flow runs.")
    parser.add_argument("airflow", help="an environment, such as airflow-3.3.2")
    parser.add_argument("prefect", help="an environment, such as prefect-3.9.1")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of what is left to chance")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="drill", help=", ".join(drill.name for drill in DRILLS)
    )
    parser.add_argument("--times", type=int, help="how often each is done, in place of its own number")
    parser.add_argument("--home", type=Path, help="where the servers keep everything; another for a second run")
    given = parser.parse_args()
    stop_on_signals()
    begun = time.monotonic()
    bad = []
    folder = given.home or ROOT / ".envs" / "home" / f"drills-{given.airflow}"
    with fresh_home(folder, "`make drills`") as home:
        say(f"Drills on {given.airflow} and {given.prefect}, seed {given.seed}")
        say(HEADER)
        with Stage(ROOT / ".envs" / given.airflow, ROOT / ".envs" / given.prefect, home, given.seed) as stage:
            for drill in DRILLS:
                own = drill.full if stage.major >= 3 else drill.oldest
                times = own if own or drill.name not in given.only else drill.quick
                if times and (not given.only or drill.name in given.only):
                    bad += [] if play(stage, drill, given.times or times) else [drill.name]
    minutes = (time.monotonic() - begun) / 60
    say(f"{'These went wrong: ' + ', '.join(bad) if bad else 'All as it should be'} ({minutes:.0f} minutes).")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
