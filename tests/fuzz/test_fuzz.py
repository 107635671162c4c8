"""Whatever arrives ends in a value or in an error of ours; nothing of it runs, and it takes little time and memory.

``make test`` tries a few inputs, ``make fuzz`` 10,000 for each target, or as many as ``FUZZ_INPUTS`` says. They are
the same each time, unless ``FUZZ_SEED`` is another one. A failure names its input, which ``FUZZ_ONLY`` tries alone.
"""

from __future__ import annotations

import codecs
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fuzz import targets
from tests.fuzz.chaos import Chaos
from tests.unit.client.samples import RUN_ID
from tests.unit.fake_prefect import FakePrefect

INPUTS = int(os.environ.get("FUZZ_INPUTS", "300"))
SEED = os.environ.get("FUZZ_SEED", "prefect")
ONLY = os.environ.get("FUZZ_ONLY")

SECONDS = 5.0
"""Of the processor, for one input: none takes a tenth of this, and one that makes work grow without end takes more."""

MEMORY = 300 * 1024
"""KiB by which all the inputs of a target may make the process grow."""

# What a pickle or a file could do that it must not.
_DEEDS = (
    *("open", "exec", "compile", "import", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.", "urllib."),
    *("code.", "tempfile.", "glob.", "builtins.input", "sys.settrace", "webbrowser."),
)
_deeds: list[str] | None = None


def _note_deed(event: str, arguments: tuple[Any, ...]) -> None:
    if _deeds is not None and event.startswith(_DEEDS):
        _deeds.append(f"{event}{arguments!r:.80}")


@pytest.fixture(scope="module")
def deeds() -> Iterator[Callable[[], list[str]]]:
    """Begins to note what is done with files, processes and code, and gives the notes."""
    sys.addaudithook(_note_deed)

    def begin() -> list[str]:
        global _deeds
        _deeds = []
        return _deeds

    yield begin
    end()


def end() -> None:
    global _deeds
    _deeds = None


def inputs(target: str) -> Iterator[tuple[str, Chaos]]:
    """The inputs of a target, each with its name."""
    for number in range(INPUTS):
        name = f"{target}:{number}"
        if ONLY in (None, name):
            yield name, Chaos(f"{SEED}:{name}")


def try_all(target: str, do: Callable[[Chaos], None]) -> int:
    """Try each input, and say which one fails; returns how many there were."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tried = 0
    for name, chaos in inputs(target):
        began = time.process_time()
        try:
            do(chaos)
        except Exception as error:
            end()
            raise AssertionError(f"FUZZ_SEED={SEED} FUZZ_ONLY={name}: {type(error).__name__}: {error}") from error
        taken = time.process_time() - began
        assert taken < SECONDS, f"FUZZ_SEED={SEED} FUZZ_ONLY={name} took {taken:.1f} s"
        tried += 1
    end()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEMORY, f"{target}: the process has grown by {grown:,} KiB"
    return tried


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", ["rest_answers", "graphql_answers", "events"])
def test_a_response_or_an_event_of_any_shape_is_a_value_or_an_error_of_ours(target: str) -> None:
    assert try_all(target, getattr(targets, target)) in (INPUTS, 1)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", ["pickles", "result_records"])
def test_a_result_of_any_shape_is_a_value_or_an_error_of_ours_and_nothing_of_it_runs(
    target: str, deeds: Callable[[], list[str]]
) -> None:
    do = getattr(targets, target)
    for codec in ("raw_unicode_escape", "utf_8_sig", "utf_16_be", "utf_16_le", "utf_32_be", "utf_32_le"):
        codecs.lookup(codec)  # what is imported late is imported now
    for number in range(20):
        do(Chaos(number))
    done = deeds()

    def watched(chaos: Chaos) -> None:
        do(chaos)
        assert not done, f"it did {done}"

    assert try_all(target, watched) in (INPUTS, 1)


@pytest.mark.timeout(1800)
def test_arguments_of_any_kind_are_used_or_refused_before_a_flow_run_is_created(prefect: FakePrefect) -> None:
    prefect.add_flow_run("COMPLETED", id=RUN_ID)
    assert try_all("operator_arguments", lambda chaos: targets.operator_arguments(chaos, prefect)) in (INPUTS, 1)
