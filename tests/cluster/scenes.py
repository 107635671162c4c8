"""What happens to the cluster. Each scene plays some Dag runs, does something, and counts flow runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence

from tests.cluster.cluster import SCHEDULERS, TRIGGERERS, VISIBILITY_TIMEOUT, WORKERS, Cluster
from tests.drills.result import Result
from tests.drills.stage import Play

Scene = Callable[[Cluster, int], Iterator[Result]]

_KINDS = ("sync", "deferred", "deferred_plain")
"""``deferred_plain`` ends in the triggerer, ``deferred`` in a worker, which fetches the result."""

_UNTIL_HANDED_OUT = 110
"""Seconds: a Celery worker looks for such tasks every 100 (kombu 5.7.0)."""


def _play(cluster: Cluster, number: int, kinds: Sequence[str] = _KINDS) -> list[Play]:
    return [cluster.play(kind, number) for kind in kinds]


def _until_waiting(plays: Sequence[Play]) -> None:
    for play in plays:
        play.until_waiting()


def _count(what: str, plays: Sequence[Play], most_tries: int | None = None) -> Result:
    """End all flow runs well, and count."""
    for play in plays:
        play.finish()
    result = Result(what, times=1)
    for play in plays:
        play.until_ended(1800)
        result.count(play, ["COMPLETED"], most_tries=most_tries)
    return result


def workers_killed(cluster: Cluster, number: int) -> Iterator[Result]:
    """A Celery worker is killed with all of its processes, early and late, and started again."""
    for when, after in (("while tasks start", 3.0), ("while tasks wait", None)):
        plays = _play(cluster, number)
        for worker in WORKERS:
            if after is None:
                _until_waiting(plays)
            else:
                time.sleep(after)
            cluster.restart(worker)
        _until_waiting(plays)
        yield _count(f"Celery workers killed {when}", plays)


def workers_shut_down(cluster: Cluster, number: int) -> Iterator[Result]:
    """Celery workers are asked to stop, as in a rolling update."""
    plays = _play(cluster, number)
    _until_waiting(plays)
    for worker in WORKERS:
        cluster.ask_to_stop(worker)
    time.sleep(5)
    yield _count("Celery workers shut down (warm) while tasks wait", plays, most_tries=1)
    plays = _play(cluster, number)
    _until_waiting(plays)
    for worker in WORKERS:
        cluster.ask_to_stop(worker, signal.SIGQUIT)
    time.sleep(5)
    yield _count("Celery workers shut down (cold) while tasks wait", plays)


def triggerers_killed(cluster: Cluster, number: int) -> Iterator[Result]:
    """One triggerer is killed and stays down: its triggers move to the other one."""
    plays = _play(cluster, number, ("deferred", "deferred_plain"))
    _until_waiting(plays)
    for triggerer in TRIGGERERS:
        cluster.kill(triggerer)
        time.sleep(20)  # in which the other one takes over
        cluster.start(triggerer)
        time.sleep(10)
    yield _count("each triggerer killed, its triggers move to the other", plays, most_tries=1)


def schedulers_killed(cluster: Cluster, number: int) -> Iterator[Result]:
    """Each of two schedulers is killed and started again, while tasks start and while they wait."""
    plays = _play(cluster, number)
    for scheduler in SCHEDULERS:
        time.sleep(3)
        cluster.restart(scheduler)
    _until_waiting(plays)
    for scheduler in SCHEDULERS:
        cluster.restart(scheduler)
    yield _count("each scheduler killed and started again", plays)


def redis_restarted(cluster: Cluster, number: int) -> Iterator[Result]:
    """Redis is restarted while tasks are queued, and while they wait."""
    yield _restarted_twice(cluster, number, "Redis", cluster.redis.restart)


def postgres_restarted(cluster: Cluster, number: int) -> Iterator[Result]:
    """PostgreSQL is restarted while tasks start, and while they wait."""
    yield _restarted_twice(cluster, number, "PostgreSQL", cluster.postgres.restart)


def _restarted_twice(cluster: Cluster, number: int, what: str, restart: Callable[[], None]) -> Result:
    plays = _play(cluster, number)
    time.sleep(4)
    restart()
    _until_waiting(plays)
    restart()
    time.sleep(5)
    return _count(f"{what} restarted", plays)


def prefect_restarted(cluster: Cluster, number: int) -> Iterator[Result]:
    """Prefect's server, and with it the event feed, is killed and started again while tasks wait."""
    plays = _play(cluster, number)
    _until_waiting(plays)
    cluster.prefect.kill_server()
    time.sleep(5)
    cluster.prefect.start()
    yield _count("Prefect's server killed and started again", plays, most_tries=1)


def handed_out_twice(cluster: Cluster, number: int) -> Iterator[Result]:
    """Tasks run for longer than Redis' visibility timeout: a second worker gets them, too."""
    plays = _play(cluster, number, ("sync",))
    _until_waiting(plays)
    time.sleep(VISIBILITY_TIMEOUT + _UNTIL_HANDED_OUT)
    result = _count("tasks handed out again after the visibility timeout", plays, most_tries=1)
    handed_out = sum(cluster.handed_out(play) for play in plays)
    result.times = handed_out - sum(len(play.indexes) for play in plays)
    yield result


def stopped_by_a_person(cluster: Cluster, number: int) -> Iterator[Result]:
    """A person marks tasks failed while they wait: their flow runs are stopped."""
    plays = _play(cluster, number)
    _until_waiting(plays)
    time.sleep(5)  # a trigger has started by then
    for play in plays:
        for index in play.indexes:
            play.mark(index, "failed")
    result = Result("tasks marked failed", times=number)
    for play in plays:
        play.until_ended()

        def stopped(play: Play = play) -> bool:
            runs = [run["state_type"] for of_task in play.flow_runs().values() for run in of_task]
            return set(runs) == {"CANCELLED"}

        until = time.monotonic() + 60
        while not stopped() and time.monotonic() < until:
            time.sleep(1)
        result.count(play, ["CANCELLED"], end="failed")
        play.finish()
    yield result


_ACCIDENTS: tuple[Callable[[Cluster], None], ...] = (
    lambda cluster: cluster.restart(cluster.random.choice(WORKERS)),
    lambda cluster: cluster.ask_to_stop(cluster.random.choice(WORKERS)),
    lambda cluster: cluster.ask_to_stop(cluster.random.choice(WORKERS), signal.SIGQUIT),
    lambda cluster: cluster.restart(cluster.random.choice(TRIGGERERS)),
    lambda cluster: cluster.restart(cluster.random.choice(SCHEDULERS)),
    lambda cluster: cluster.redis.restart(),
    lambda cluster: cluster.postgres.restart(),
)


def storm(cluster: Cluster, number: int) -> Iterator[Result]:
    """Many tasks, and an accident for each ten of them, one after the other while they are at work."""
    kinds = ("sync", "deferred", "deferred_plain", "deferred_plain", "deferred_plain")
    plays = _play(cluster, cluster.numbers[-1], kinds)
    for play in plays:
        play.finish(20)
    tasks = len(plays) * cluster.numbers[-1]
    accidents = 0
    while accidents < tasks // 10 and not all(_has_ended(play) for play in plays):
        accidents += 1
        cluster.random.choice(_ACCIDENTS)(cluster)
        time.sleep(cluster.random.uniform(8, 15))
    result = _count(f"{tasks} tasks and {accidents} accidents of all kinds", plays)
    result.times = accidents
    yield result


def _has_ended(play: Play) -> bool:
    tasks = play.tasks()
    return len(tasks) == len(play.indexes) and all(task.state in ("success", "failed") for task in tasks)


SCENES: tuple[Scene, ...] = (
    workers_killed,
    workers_shut_down,
    triggerers_killed,
    schedulers_killed,
    redis_restarted,
    postgres_restarted,
    prefect_restarted,
    handed_out_twice,
    stopped_by_a_person,
    storm,
)
