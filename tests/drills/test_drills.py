"""The quick drills, a few times each, with their lines shown. `make drills` does all of them, and more often."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import __version__

from tests.drills.result import HEADER
from tests.drills.scenes import DRILLS, Drill
from tests.drills.stage import ROOT, Stage
from tools.testing import to_copy

PREFECT = Path(os.environ.get("PREFECT_ENVIRONMENT", ROOT / ".envs" / "prefect-3.9.1"))

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(__version__ != "3.3.2", reason="on Airflow 3.3.2 only: `make drills` has them on 2.11.2 too"),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if not (PREFECT / "bin" / "prefect").exists():
        pytest.fail(f"There is no Prefect in {PREFECT}: run the tests with `make test`, or set PREFECT_ENVIRONMENT.")
    seed = int(os.environ.get("DRILLS_SEED", secrets.randbelow(10**6)))
    made = {"database": to_copy("AIRFLOW"), "prefect_made": to_copy("PREFECT")}
    with Stage(Path(sys.prefix), PREFECT, tmp_path_factory.mktemp("drills"), seed, **made) as stage:
        yield stage


@pytest.mark.parametrize("drill", [drill for drill in DRILLS if drill.quick], ids=lambda drill: drill.name)
def test_no_flow_run_is_lost_doubled_or_orphaned(drill: Drill, stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    results = list(drill.act(stage, drill.quick))
    with capfd.disabled():
        print("", f"(seed {stage.seed})", HEADER, *results, sep="\n")
    assert results
    assert [result for result in results if result.good == drill.has_to_fail] == []
