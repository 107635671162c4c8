"""What is measured, how often and for how long: the sizes of ``make bench`` and of ``make bench-full``."""

from __future__ import annotations

from dataclasses import dataclass

POLL_INTERVAL = 10.0
"""Seconds between two looks, for everybody. It is our default; dbt Cloud's is 60 s, ``run_deployment``'s 5 s."""


@dataclass(frozen=True)
class Contender:
    """One way to wait for many flow runs in one process.

    :param program: the module that waits, and ``kind``, the first of its arguments.
    :param prefects: it runs in Prefect's environment.
    :param refuse_events: the server has no event feed, as far as it can see.
    :param one_by_one: every wait sends its own request every interval.
    :param sockets: every wait has a websocket of its own.
    :param fresh: it needs flow runs that have never ended: it is told what has happened before, and believes it.
    :param idle: seconds for which nothing happens. We look a few times a minute only.
    """

    name: str
    title: str
    kind: str
    program: str = "benchmarks.triggers"
    prefects: bool = False
    refuse_events: bool = False
    one_by_one: bool = True
    sockets: bool = False
    fresh: bool = False
    idle: float = 20.0


FEED = Contender("feed", "ours, with the event feed", "ours", one_by_one=False, idle=60.0)
POLLING = Contender("polling", "ours, polling only", "ours", one_by_one=False, refuse_events=True, idle=60.0)
AIOHTTP = Contender("aiohttp", "a trigger with its own aiohttp client", "aiohttp")
HTTPX = Contender("httpx", "a trigger with its own httpx client", "httpx")
PER_REQUEST = Contender("per-request", "a trigger with an aiohttp client per request", "per-request")
SLEEPING = Contender(
    "sleeping", "a trigger that asks once and then only sleeps: the least there can be", "sleeping", one_by_one=False
)
_PREFECT = "benchmarks.prefects_own"
WAIT_FOR_FLOW_RUN = Contender(
    *("wait_for_flow_run", "Prefect's wait_for_flow_run", "wait_for_flow_run"),
    program=_PREFECT,
    prefects=True,
    one_by_one=False,
    sockets=True,
    fresh=True,
)
RUN_DEPLOYMENT = Contender(
    *("run_deployment", "Prefect's client, polling as run_deployment does", "run_deployment"),
    program=_PREFECT,
    prefects=True,
)
CONTENDERS = (FEED, POLLING, AIOHTTP, HTTPX, PER_REQUEST, SLEEPING, WAIT_FOR_FLOW_RUN, RUN_DEPLOYMENT)

ONE, TEN, ALL = 0.01, 0.1, 1.0


@dataclass(frozen=True)
class Heat:
    """One contender with so many waits; then these shares of them end, each at once, the last share being the rest."""

    contender: Contender
    waiting: int
    shares: tuple[float, ...] = (ONE, TEN, ALL)


@dataclass(frozen=True)
class Plan:
    """:param plug: with so many waits the feed is cut every ``plug_every`` seconds while all of them end.
    :param kept: the results are worth keeping.
    """

    heats: tuple[Heat, ...]
    plug: int
    tasks: int
    imports: int
    ends: int = 20
    plug_every: float = 3.0
    kept: bool = True


# 1 % of 100 is one flow run, which says little; and how late a poll is, one of the polling clients shows for all.
_HUNDRED = (
    *(Heat(contender, 100, (TEN, ALL)) for contender in (FEED, POLLING, AIOHTTP)),
    *(Heat(contender, 100, ()) for contender in (HTTPX, PER_REQUEST)),
    *(Heat(contender, 100, (TEN, ALL)) for contender in (WAIT_FOR_FLOW_RUN, RUN_DEPLOYMENT)),
)
# The other way round, so that nobody always comes first.
_THOUSAND = (
    *(Heat(contender, 1000, ()) for contender in (SLEEPING, PER_REQUEST, HTTPX)),
    *(Heat(contender, 1000) for contender in (AIOHTTP, POLLING, FEED)),
)
# An httpx client for each of 10,000 waits would take minutes to start and more memory than most machines have. And
# beside a request of each of them every interval the server gets to nothing else, to ending them neither.
_FIVE_THOUSAND = (Heat(FEED, 5000), Heat(POLLING, 5000), Heat(AIOHTTP, 5000, ()))
_TEN_THOUSAND = (Heat(AIOHTTP, 10000, ()), Heat(POLLING, 10000), Heat(FEED, 10000))

PLANS = {
    "bench": Plan((*_HUNDRED, *_THOUSAND), plug=1000, tasks=200, imports=5),
    "bench-full": Plan(
        (*_HUNDRED, *_THOUSAND, *_FIVE_THOUSAND, *_TEN_THOUSAND), plug=10000, tasks=1000, imports=11, plug_every=5.0
    ),
    # To see that everything works; its figures mean nothing.
    "bench-tiny": Plan(
        (
            *(Heat(contender, 20, (TEN, ALL)) for contender in CONTENDERS if contender is not SLEEPING),
            Heat(SLEEPING, 20, ()),
        ),
        plug=20,
        tasks=4,
        imports=2,
        ends=2,
        plug_every=1.0,
        kept=False,
    ),
}
