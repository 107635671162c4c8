"""Rules for the proxies: kills at named points of a task's life, and trouble with the API."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import psutil

from tests.drills.proxy import Fault, Passing, Proxy, Rule
from tests.drills.stage import Stage
from tools.processes import StackError

Point = Callable[["Killing", Passing], Fault | None]


@contextmanager
def spoiling(proxy: Proxy, rule: Rule) -> Iterator[None]:
    """Have the proxy follow this rule for a while."""
    proxy.rules.append(rule)
    try:
        yield
    finally:
        proxy.rules.remove(rule)


def creates(passing: Passing) -> bool:
    return passing.method == "POST" and passing.path.endswith("/create_flow_run")


class Killing:
    """Kills the process behind a request, once for each task instance (or flow run), ``most`` times altogether.

    :param point: what it has to be a request for; one of those below.
    """

    def __init__(self, stage: Stage, point: Point, most: int, number: int = signal.SIGKILL) -> None:
        self.stage = stage
        self.times = 0
        self._point = point
        self._most = most
        self._number = number
        self._done: set[Hashable] = set()
        self._lock = threading.Lock()

    def __call__(self, passing: Passing) -> Fault | None:
        return self._point(self, passing)

    def first_of(self, who: Hashable) -> bool:
        with self._lock:
            if who in self._done or len(self._done) >= self._most:
                return False
            self._done.add(who)
            return True

    def kill(self, passing: Passing) -> None:
        """Kill the process that has sent the request."""
        if process := self.stage.sender(passing):
            self._end(process)

    def kill_if_created(self, passing: Passing) -> None:
        """Kill the process that has sent the request if Prefect has acted on it; otherwise at its next one."""
        if self.stage.has_created(passing):
            self.kill(passing)
        else:
            self._done.discard(passing.body["tags"][1])

    def kill_with_worker(self, passing: Passing) -> None:
        """Kill the supervisor that has sent the request, and its task."""
        if process := self.stage.sender(passing):
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in process.children(recursive=True):
                    child.kill()
            self._end(process)

    def kill_soon(self, passing: Passing) -> None:
        """Kill the process that has sent the request soon after its answer."""
        if process := self.stage.sender(passing):
            threading.Timer(self.stage.random.uniform(0, 0.12), self._end, [process]).start()

    def _end(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(self._number)
            self.times += 1


def before_the_post(killing: Killing, passing: Passing) -> Fault | None:
    """The task has asked for its deployment, and next would create a flow run."""
    if "/deployments/name/" in passing.path and killing.first_of(passing.port):
        return Fault("killed before", forward=False, answer="none", first=killing.kill)
    return None


def during_the_post(killing: Killing, passing: Passing) -> Fault | None:
    """The task has sent the request, the server gets it, and nobody is left for the answer."""
    if creates(passing) and killing.first_of(passing.body["tags"][1]):
        return Fault("killed during", answer="none", first=killing.kill)
    return None


def lost_post(killing: Killing, passing: Passing) -> Fault | None:
    """The task has sent the request, and neither it nor the request lives on."""
    if creates(passing) and killing.first_of(passing.body["tags"][1]):
        return Fault("killed, and the request lost", forward=False, answer="none", first=killing.kill)
    return None


def after_the_post(killing: Killing, passing: Passing) -> Fault | None:
    """The server has acted, and the task never hears of it."""
    if creates(passing) and killing.first_of(passing.body["tags"][1]):
        return Fault("killed after", answer="none", then=killing.kill_if_created)
    return None


def while_polling(killing: Killing, passing: Passing) -> Fault | None:
    """The task looks at its flow run."""
    if passing.method == "GET" and "/api/flow_runs/" in passing.path and killing.first_of(passing.path):
        return Fault("killed polling", answer="none", then=killing.kill)
    return None


def before_the_hand_over(killing: Killing, passing: Passing) -> Fault | None:
    """The worker tells Airflow that the task defers, and Airflow does not hear it."""
    if _defers(passing) and killing.first_of(passing.path):
        return Fault("killed deferring", forward=False, answer="none", first=killing.kill_with_worker)
    return None


def after_the_hand_over(killing: Killing, passing: Passing) -> Fault | None:
    """Airflow knows that the task is deferred, and the worker never hears that it does."""
    if _defers(passing) and killing.first_of(passing.path):
        return Fault("killed deferring", answer="none", then=killing.kill_with_worker)
    return None


def _defers(passing: Passing) -> bool:
    return passing.method == "PATCH" and passing.path.endswith("/state") and passing.body.get("state") == "deferred"


def around_the_hand_over(killing: Killing, passing: Passing) -> Fault | None:
    """The task has its flow run and is about to defer; for Airflow 2, whose workers write into the database."""
    if creates(passing) and killing.first_of(passing.body["tags"][1]):
        return Fault("killed soon after", then=killing.kill_soon)
    return None


def taking_the_result(killing: Killing, passing: Passing) -> Fault | None:
    """The flow run has ended, and the task (a deferred one: in ``execute_complete``) reads what it has left."""
    if passing.path.endswith("/artifacts/filter") and killing.first_of(passing.port):
        return Fault("killed reading the result", answer="none", then=killing.kill)
    return None


class Swallowing:
    """Has the server act on the first create of each task instance, and spoils the answer in one of several ways."""

    NAME = "answer swallowed"
    ANSWERS = ("none", "cut", "half", 500, 502, 503, 504)

    def __init__(self, stage: Stage) -> None:
        self._chance = stage.random
        self._passed = stage.prefect_proxy.passed
        self._before = len(self._passed)

    @property
    def times(self) -> int:
        return len(self._acted_on())

    def _acted_on(self) -> list[list[str]]:
        """The tags of those that Prefect has acted on: now and then it refuses one, since its database is busy."""
        passed = self._passed[self._before :]
        return [one.passing.body["tags"] for one in passed if one.fault == self.NAME and one.status == 201]

    def __call__(self, passing: Passing) -> Fault | None:
        if not creates(passing) or passing.body["tags"] in self._acted_on():
            return None
        return Fault(self.NAME, answer=self._chance.choice(self.ANSWERS))


class Trouble:
    """Spoils each request with this probability, in every way there is."""

    def __init__(self, chance: random.Random, probability: float) -> None:
        self.times = 0
        self._chance = chance
        self._probability = probability

    def __call__(self, passing: Passing) -> Fault | None:
        if self._chance.random() >= self._probability:
            return None
        self.times += 1
        return self._chance.choice(
            [
                Fault("late", wait=self._chance.uniform(0.5, 3)),
                Fault("dropped", forward=False, answer="none"),
                Fault("swallowed", answer="none"),
                Fault("cut off", answer="cut"),
                Fault("half a body", answer="half"),
                Fault("429", forward=False, answer=429, headers={"Retry-After": "1"}),
                Fault("500", forward=False, answer=500),
                Fault("500 after acting", answer=500),
                Fault("503", forward=False, answer=503, headers={"Connection": "close"}),
                Fault("504 after acting", answer=504),
            ]
        )


def outage(passing: Passing) -> Fault:
    """Nothing gets through."""
    return Fault("outage", forward=False, answer="none")


class Holding:
    """Has the server act on the creates of so many task instances, and holds the answers back."""

    def __init__(self, stage: Stage, most: int) -> None:
        self._stage = stage
        self._left = threading.Semaphore(0)
        self._most = most
        self._released = threading.Event()

    def __call__(self, passing: Passing) -> Fault | None:
        return Fault("held", then=self._hold) if creates(passing) and not self._released.is_set() else None

    def _hold(self, passing: Passing) -> None:
        if not self._stage.has_created(passing):
            return
        self._left.release()
        self._released.wait(120)

    def until_all(self) -> None:
        for _ in range(self._most):
            if not self._left.acquire(timeout=300):
                raise StackError("Not all task instances have created their flow run.")

    def release(self) -> None:
        self._released.set()


class AmidARequest:
    """Brings about that a task is stopped while it waits for its supervisor.

    The supervisor does one thing at a time. Its heartbeat is held back until the task, whose create is answered only
    then, has sent it something; and Airflow answers the heartbeat that the task should not run any more.
    """

    def __init__(self) -> None:
        self._created = threading.Event()
        self._beating = threading.Event()
        self._released = threading.Event()

    def heartbeats(self, passing: Passing) -> Fault | None:
        if not passing.path.endswith("/heartbeat") or not self._created.is_set() or self._beating.is_set():
            return None
        self._beating.set()
        return Fault("heartbeat held", first=lambda _: self._released.wait(60))

    def creates(self, passing: Passing) -> Fault | None:
        return Fault("answered during a heartbeat", then=self._wait) if creates(passing) else None

    def _wait(self, passing: Passing) -> None:
        self._created.set()
        self._beating.wait(60)

    def until_held(self) -> None:
        if not self._beating.wait(300):
            raise StackError("There was no heartbeat after the flow run was created.")
        time.sleep(1)

    def release(self) -> None:
        self._released.set()
