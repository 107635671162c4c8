"""The drills themselves. Each plays some Dag runs, does something to them, and gives what it has found."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.drills import faults
from tests.drills.faults import Killing, Point, spoiling
from tests.drills.proxy import Proxy
from tests.drills.result import Result
from tests.drills.stage import LIVE, Play, Stage
from tools import reaper
from tools.processes import Child

_LIFE = 7.0
"""Seconds that a flow run lives where it does not matter: long enough to be looked at."""

_POINTS: dict[str, tuple[Point, tuple[str, ...]]] = {
    "before the POST": (faults.before_the_post, ("sync", "deferred")),
    "during the POST, which arrives": (faults.during_the_post, ("sync", "deferred")),
    "during the POST, which is lost": (faults.lost_post, ("sync", "deferred")),
    "after the POST": (faults.after_the_post, ("sync", "deferred")),
    "while polling": (faults.while_polling, ("sync",)),
    "before the hand-over to the triggerer": (faults.before_the_hand_over, ("deferred",)),
    "after the hand-over to the triggerer": (faults.after_the_hand_over, ("deferred",)),
    "around the hand-over to the triggerer": (faults.around_the_hand_over, ("deferred",)),
    "while taking the result": (faults.taking_the_result, ("sync", "deferred")),
}
_OF_AIRFLOW_3 = ("before the hand-over to the triggerer", "after the hand-over to the triggerer")
_OF_AIRFLOW_2 = ("around the hand-over to the triggerer",)
_QUICK_POINTS = ("during the POST, which arrives", "while polling", "after the hand-over to the triggerer")


def kills(stage: Stage, n: int, quick: bool = False) -> Iterator[Result]:
    """SIGKILL for the worker's process at every named point: the retry goes on with the same flow run."""
    for name, (point, kinds) in _POINTS.items():
        if (quick and name not in _QUICK_POINTS) or name in (_OF_AIRFLOW_2 if stage.major >= 3 else _OF_AIRFLOW_3):
            continue
        for kind in kinds:
            result = Result(f"{kind}: worker killed {name}")
            with spoiling(_proxy(stage, name), killing := Killing(stage, point, n)):
                play = stage.play(kind, n)
                play.finish(_LIFE)
                play.until_ended()
            result.times = killing.times
            yield result.count(play, ["COMPLETED"])


def _proxy(stage: Stage, name: str) -> Proxy:
    return stage.airflow_proxy if name in _OF_AIRFLOW_3 else stage.prefect_proxy


def evictions(stage: Stage, n: int) -> Iterator[Result]:
    """SIGTERM for the worker's process, as when its pod is evicted: the flow run lives, the retry goes on with it."""
    result = Result("sync: worker evicted (SIGTERM) while polling")
    with spoiling(stage.prefect_proxy, killing := Killing(stage, faults.while_polling, n, signal.SIGTERM)):
        play = stage.play("sync", n)
        play.until(lambda tasks: all(task.try_number > 1 for task in tasks) and len(tasks) == n, "all are tried again")
        play.until_waiting()
        play.finish()
        play.until_ended()
    result.times = killing.times
    yield result.count(play, ["COMPLETED"])


def swallowed_answers(stage: Stage, n: int) -> Iterator[Result]:
    """The server acts on the POST, and the answer gets lost: the same try sends it again and finds the run."""
    for kind in ("sync", "deferred"):
        with spoiling(stage.prefect_proxy, swallowing := faults.Swallowing(stage)):
            play = stage.play(kind, n)
            play.finish(_LIFE)
            play.until_ended()
        result = Result(f"{kind}: answer to the POST swallowed", times=swallowing.times)
        yield result.count(play, ["COMPLETED"], most_tries=1)


def troubles(stage: Stage, n: int) -> Iterator[Result]:
    """A third of all requests goes wrong, each in one of ten ways."""
    for kind in ("sync", "deferred"):
        with spoiling(stage.prefect_proxy, trouble := faults.Trouble(stage.random, 0.33)):
            play = stage.play(kind, n)
            play.finish(_LIFE * 2)
            play.until_ended()
        result = Result(f"{kind}: requests spoilt", times=trouble.times)
        yield result.count(play, ["COMPLETED"], most_tries=1)


def outages(stage: Stage, n: int) -> Iterator[Result]:
    """Half a minute without Prefect while tasks wait."""
    plays = [stage.play(kind, n) for kind in ("sync", "deferred")]
    for play in plays:
        play.until_waiting()
    with spoiling(stage.prefect_proxy, faults.outage):
        for play in plays:
            play.finish()
        time.sleep(30)
    for play in plays:
        play.until_ended()
        result = Result(f"{_kind(play)}: 30 s without Prefect", times=1)
        yield result.count(play, ["COMPLETED"], most_tries=1)


def clears_of_finished(stage: Stage, n: int) -> Iterator[Result]:
    """A finished task is cleared: it starts a new flow run."""
    plays = [stage.play(kind, number) for kind in ("sync", "deferred") for number in _mapped_and_not(n)]
    for play in plays:
        play.finish(3)
        play.until_ended()
        # Airflow may forget a clear that comes while it takes the Dag run's end in (seen in 3.3.2): the task instances
        # stay without a state in a Dag run that has ended.
        play.until_run_ended()
        play.clear()
    for play in plays:
        play.until(lambda tasks: all(task.try_number > 1 for task in tasks), "the second try has begun")
        play.until_ended()
        result = Result(f"{_kind(play)}: cleared when finished{_how_mapped(play)}", times=len(play.indexes))
        yield result.count(play, ["COMPLETED", "COMPLETED"])


def clears_of_waiting(stage: Stage, n: int) -> Iterator[Result]:
    """A waiting task is cleared: its flow run is stopped, and the next try starts one of its own."""
    plays = [stage.play(kind, number) for kind in ("sync", "deferred") for number in _mapped_and_not(n)]
    for play in plays:
        play.until_waiting()
        _let_half_run(stage, play)
        play.clear()
    for play in plays:
        play.until(lambda tasks: all(task.try_number > 1 for task in tasks), "the second try has begun")
        play.until_waiting()
        _until_stopped(play, 0)
        play.finish()
        play.until_ended()
        state = "waiting" if play.defers else "running"
        result = Result(f"{_kind(play)}: cleared when {state}{_how_mapped(play)}", times=len(play.indexes))
        yield result.count(play, ["CANCELLED", "COMPLETED"])


def stops(stage: Stage, n: int) -> Iterator[Result]:
    """A person marks waiting tasks failed or successful, or their Dag run failed: the flow runs are stopped."""
    # Before Airflow 3.3 nothing is called when a deferred task is stopped; the documentation says so.
    kinds = ("sync", "deferred") if stage.major >= 3 else ("sync",)
    for kind in kinds:
        for state in ("failed", "success"):
            plays = [stage.play(kind, number) for number in _mapped_and_not(n)]
            for play in plays:
                play.until_waiting()
                # Before a trigger has started Airflow tells nobody; the documentation says so.
                play.until_watched(play.begun)
                _let_half_run(stage, play)
                for index in play.indexes:
                    play.mark(index, state)
            for play in plays:
                _until_stopped(play, 0)
                result = Result(f"{kind}: marked {state}{_how_mapped(play)}", times=len(play.indexes))
                yield _stopped(result, play, state)
        play = stage.play(kind, n)
        play.until_waiting()
        play.until_watched(play.begun)
        _let_half_run(stage, play)
        play.mark_dag_run("failed")
        _until_stopped(play, 0)
        yield _stopped(Result(f"{kind}: its Dag run marked failed", times=1), play, "failed")


def _stopped(result: Result, play: Play, state: str) -> Result:
    play.until_ended()
    return result.count(play, ["CANCELLED"], end=state, results=False)


def stops_unseen(stage: Stage, n: int) -> Iterator[Result]:
    """A person marks deferred tasks failed before their triggers have started, or on Airflow 2: nobody is told."""
    triggerer = stage.airflow.parts["triggerer"]
    triggerer.signal(signal.SIGSTOP)
    try:
        play = stage.play("deferred", n)
        play.until_waiting()
        for index in play.indexes:
            play.mark(index, "failed")
    finally:
        triggerer.signal(signal.SIGCONT)
    _until_stopped(play, 0, patience=20)
    yield Result("deferred: marked failed before the trigger has started", times=n).count(
        play, ["CANCELLED"], end="failed"
    )
    play.finish()


def stops_during_the_post(stage: Stage, n: int) -> Iterator[Result]:
    """A person marks tasks failed while the answer to their POST is still on its way."""
    result = Result("sync: marked failed during the POST")
    with spoiling(stage.prefect_proxy, held := faults.Holding(stage, n)):
        play = stage.play("sync", n)
        held.until_all()
        for index in play.indexes:
            play.mark(index, "failed")
        _until_stopped(play, 0)
        held.release()
    play.until_ended()
    result.times = n
    yield result.count(play, ["CANCELLED"], end="failed")


def stops_amid_a_request_to_airflow(stage: Stage, n: int) -> Iterator[Result]:
    """A person marks a task failed, and the signal comes while the task is waiting for its supervisor's answer."""
    result = Result("sync: marked failed amid a request to the supervisor", times=n)
    for _ in range(n):
        with (
            spoiling(stage.airflow_proxy, (amid := faults.AmidARequest()).heartbeats),
            spoiling(stage.prefect_proxy, amid.creates),
        ):
            play = stage.play("sync", 0)
            amid.until_held()
            play.mark(-1, "failed")
            amid.release()
            _until_stopped(play, 0)
        play.until_ended()
        result.count(play, ["CANCELLED"], end="failed")
    yield result


def retries(stage: Stage, n: int) -> Iterator[Result]:
    """Flow runs fail, are cancelled or deleted in Prefect, and the task is tried again, or is not."""
    for kind in ("sync", "deferred"):
        yield _failed_runs(stage, kind, n, ["FAILED", "COMPLETED"])
        yield _failed_runs(stage, f"{kind}_restart", n, ["COMPLETED"])
        yield _cancelled_runs(stage, kind, n)
        yield _deleted_runs(stage, kind, n)


def _failed_runs(stage: Stage, kind: str, n: int, states: list[str]) -> Result:
    play = stage.play(kind, n)
    play.until_waiting()
    for runs in play.flow_runs().values():
        stage.put(runs[0]["id"], "FAILED")
    play.until(lambda tasks: all(task.try_number > 1 for task in tasks), "the second try has begun")
    play.until_waiting()
    play.finish()
    play.until_ended()
    what = "put back to scheduled" if "restart" in kind else "followed by a new one"
    return Result(f"{_kind(play)}: flow run failed, {what}", times=n).count(play, states)


def _cancelled_runs(stage: Stage, kind: str, n: int) -> Result:
    play = stage.play(kind, n)
    play.until_waiting()
    for runs in play.flow_runs().values():
        stage.put(runs[0]["id"], "CANCELLED")
    play.until_ended()
    result = Result(f"{kind}: flow run cancelled in Prefect, no retry", times=n)
    return result.count(play, ["CANCELLED"], end="failed", most_tries=1)


def _deleted_runs(stage: Stage, kind: str, n: int) -> Result:
    play = stage.play(kind, n)
    play.until_waiting()
    for runs in play.flow_runs().values():
        stage.ask("DELETE", f"/flow_runs/{runs[0]['id']}")
    play.until_ended()
    return Result(f"{kind}: flow run deleted, no retry", times=n).count(play, [], end="failed", most_tries=1)


def timeouts(stage: Stage, n: int) -> Iterator[Result]:
    """The wait runs out of time, in both modes with the same words and the same end of the flow run."""
    for limit in ("timeout", "start", "execution"):
        said = []
        for mode in ("sync", "deferred"):
            play = stage.play(f"{mode}_{limit}", n)
            play.until_ended()
            result = Result(f"{mode}: {limit}{'_timeout' if limit != 'timeout' else ''} reached", times=n)
            result.count(play, ["CANCELLED"], end="failed", most_tries=1)
            said.append(_last_words(play))
            if said[-1] != said[0] or not said[0]:
                result.wrong += 1
                result.notes.append(f"said {said[-1]!r} and not {said[0]!r}")
            yield result


def no_triggerer(stage: Stage, n: int) -> Iterator[Result]:
    """No triggerer runs while tasks run out of time: Airflow ends their deferral."""
    triggerer = stage.airflow.parts["triggerer"]
    triggerer.stop()
    try:
        play = stage.play("deferred_timeout", n)
        play.until_ended()
    finally:
        triggerer.start()
    result = Result("deferred: timeout reached without a triggerer", times=n)
    yield result.count(play, ["CANCELLED"], end="failed", most_tries=1)


def _last_words(play: Play) -> str:
    """What the first task instance has said at its end, without the id of the flow run."""
    index = play.indexes[0]
    flow_run_id = play.flow_runs()[index][0]["id"]
    found = re.findall(r"Flow run did not (?:finish|start) in time\.[^\"']*asked to stop[^\"']*", play.logs(index))
    return str(found[-1]).replace(flow_run_id, "…") if found else ""


def triggerer_restarts(stage: Stage, n: int, quick: bool = False) -> Iterator[Result]:
    """The triggerer is killed, or stopped and started, while tasks are deferred: the wait goes on."""
    for what, patience in (("killed (SIGKILL)", 0.0), ("stopped (SIGTERM)", 15.0))[: 1 if quick else None]:
        result = Result(f"deferred: triggerer {what} and started again", times=n)
        play = stage.play("deferred", 5)
        play.until_waiting()
        triggerer = stage.airflow.parts["triggerer"]
        for _ in range(n):
            play.until_watched(time.monotonic())
            triggerer.stop(patience)
            triggerer.start()
        play.until_watched(time.monotonic())
        play.finish()
        play.until_ended()
        yield result.count(play, ["COMPLETED"], most_tries=1)


def triggerer_pauses(stage: Stage, n: int) -> Iterator[Result]:
    """A triggerer is paused until another has taken over, and wakes up: it stops no flow run."""
    first = stage.airflow.parts["triggerer"]
    log = first.log.with_name("second-triggerer.log")
    second = Child("the second triggerer", first.command, env=first.env, log=log, cwd=first.cwd)
    result = Result("deferred: triggerer paused, replaced and woken up", times=n)
    play = stage.play("deferred", 5)
    play.until_waiting()
    play.until_watched(time.monotonic())
    try:
        second.start()
        paused, other = first, second
        for _ in range(n):
            paused.signal(signal.SIGSTOP)
            play.until_watched(time.monotonic() + 4)
            paused.signal(signal.SIGCONT)
            time.sleep(8)  # in which it would stop them
            paused, other = other, paused
        play.finish()
        play.until_ended()
    finally:
        first.signal(signal.SIGCONT)
        second.signal(signal.SIGCONT)
        second.stop()
    yield result.count(play, ["COMPLETED"], most_tries=1)


def scheduler_restarts(stage: Stage, n: int) -> Iterator[Result]:
    """The scheduler goes down, alone or with its workers, and comes up again while tasks wait."""
    for what in ("killed with its workers", "killed alone", "stopped (SIGTERM)"):
        plays = [stage.play(kind, 3) for kind in ("sync", "deferred")]
        for play in plays:
            play.until_waiting()
        for _ in range(n):
            _restart_scheduler(stage, what)
            for play in plays:
                play.until_watched(time.monotonic())
        for play in plays:
            play.until_waiting()
            play.finish()
        for play in plays:
            play.until_ended()
            result = Result(f"{_kind(play)}: scheduler {what}, started again", times=n)
            yield result.count(play, ["COMPLETED"])


def _restart_scheduler(stage: Stage, what: str) -> None:
    scheduler = stage.airflow.parts["scheduler"]
    if what == "killed alone":
        session = scheduler.pid
        reaper.send(session, signal.SIGKILL)
        while scheduler.running:
            time.sleep(0.1)
        stage.left_behind.add(session)
        scheduler.forget()
    else:
        scheduler.stop(0 if "killed" in what else 15)
    scheduler.start()


def naive(stage: Stage, n: int, quick: bool = False) -> Iterator[Result]:
    """The same for an operator of thirty lines, which does none of what ours does: it has to fail."""
    for name in ("after the POST",) if quick else ("after the POST", "while polling"):
        with spoiling(stage.prefect_proxy, killing := Killing(stage, _POINTS[name][0], n)):
            play = stage.play("naive", n)
            play.finish(_LIFE)
            play.until_ended()
        yield Result(f"naive: worker killed {name}", times=killing.times).count(play, ["COMPLETED"])
    if not quick:
        with spoiling(stage.prefect_proxy, swallowing := faults.Swallowing(stage)):
            play = stage.play("naive", n)
            play.finish(_LIFE)
            play.until_ended()
        yield Result("naive: answer to the POST swallowed", times=swallowing.times).count(play, ["COMPLETED"])
    play = stage.play("naive", n)
    play.until(lambda tasks: all(task.state == "running" for task in tasks) and len(tasks) == n, "all run")
    play.until_created()
    for index in play.indexes:
        play.mark(index, "failed")
    play.until_ended()
    time.sleep(10)
    yield Result("naive: marked failed", times=n).count(play, ["CANCELLED"], end="failed")
    play.finish()


# What several of them do


def _kind(play: Play) -> str:
    return "deferred" if play.defers else "sync"


def _mapped_and_not(n: int) -> tuple[int, ...]:
    return (n, 0)


def _how_mapped(play: Play) -> str:
    return ", mapped" if play.indexes != [-1] else ", not mapped"


def _let_half_run(stage: Stage, play: Play) -> None:
    """Put every second flow run into RUNNING, where stopping it is another matter."""
    for position, runs in enumerate(play.flow_runs().values()):
        if position % 2 == 0:
            stage.put(runs[-1]["id"], "RUNNING")


def _until_stopped(play: Play, which: int, patience: float = 40) -> None:
    """Give Airflow time to stop the flow runs; what is not stopped then is counted, and not waited for."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if all(runs and runs[which]["state_type"] not in (*LIVE, "CANCELLING") for runs in play.flow_runs().values()):
            return
        time.sleep(1)


@dataclass(frozen=True)
class Drill:
    """A drill and how often it is done: in full, and among the tests (not at all where there is no number).

    :param oldest: how often on Airflow 2.11.
    """

    act: Callable[[Stage, int], Iterator[Result]]
    full: int
    quick: int = 0
    oldest: int = 0
    has_to_fail: bool = False

    @property
    def name(self) -> str:
        return self.act.__name__


def quick_kills(stage: Stage, n: int) -> Iterator[Result]:
    """Some of the kills."""
    yield from kills(stage, n, quick=True)


def quick_naive(stage: Stage, n: int) -> Iterator[Result]:
    """Some of what the naive operator does wrong."""
    yield from naive(stage, n, quick=True)


def quick_triggerer_restarts(stage: Stage, n: int) -> Iterator[Result]:
    """The triggerer is killed."""
    yield from triggerer_restarts(stage, n, quick=True)


DRILLS = (
    Drill(quick_kills, full=0, quick=2),
    Drill(kills, full=5, oldest=5),
    Drill(evictions, full=5, quick=2, oldest=5),
    Drill(swallowed_answers, full=30, quick=5),
    Drill(troubles, full=15),
    Drill(outages, full=5),
    Drill(clears_of_finished, full=15, oldest=5),
    Drill(clears_of_waiting, full=10, quick=2, oldest=5),
    Drill(stops, full=5, oldest=5),
    Drill(stops_unseen, full=5, has_to_fail=True),
    Drill(stops_during_the_post, full=5, quick=2),
    Drill(stops_amid_a_request_to_airflow, full=5),
    Drill(retries, full=5, oldest=5),
    Drill(timeouts, full=5),
    Drill(no_triggerer, full=5, oldest=5),
    Drill(triggerer_restarts, full=5),
    Drill(quick_triggerer_restarts, full=0, quick=1),
    Drill(triggerer_pauses, full=5),
    Drill(scheduler_restarts, full=5),
    Drill(naive, full=5, has_to_fail=True),
    Drill(quick_naive, full=0, quick=2, has_to_fail=True),
)
