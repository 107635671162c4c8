"""What a drill has found: flow runs counted against task instances, and one line about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.drills.stage import LIVE, Play, Task

HEADER = f"{'drill':<64}{'times':>6}{'expected':>10}{'found':>7}{'lost':>6}{'doubled':>9}{'orphaned':>10}{'wrong':>7}"


@dataclass
class Result:
    """One line.

    :param drill: what was done.
    :param times: how often it was really done.
    :param expected: flow runs that there should be.
    :param found: flow runs that there are.
    :param lost: task instances' flow runs that are missing.
    :param doubled: flow runs too many.
    :param orphaned: flow runs that nobody waits for and nobody has stopped.
    :param wrong: task instances with a wrong end, a wrong XCom or a try too many.
    """

    drill: str
    times: int = 0
    expected: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    orphaned: int = 0
    wrong: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.times > 0 and not (self.lost or self.doubled or self.orphaned or self.wrong)

    def __str__(self) -> str:
        line = f"{self.drill:<64}{self.times:>6}{self.expected:>10}{self.found:>7}{self.lost:>6}"
        line += f"{self.doubled:>9}{self.orphaned:>10}{self.wrong:>7}"
        return "\n".join([line, *(f"   ! {note}" for note in self.notes)])

    def count(
        self,
        play: Play,
        states: Sequence[str],
        *,
        end: str = "success",
        most_tries: int | None = None,
        results: bool = True,
    ) -> Result:
        """Compare what a play, which has ended, has left.

        :param states: the types of the states that the flow runs of each task instance should be in, the oldest first.
        :param end: the state that each task instance should be in.
        :param most_tries: the tries that each may have needed.
        :param results: whether each is to have left its XComs.
        """
        runs, tasks = play.flow_runs(), {task.map_index: task for task in play.tasks()}
        for index in play.indexes:
            found = [run["state_type"] for run in runs[index]]
            self.expected += len(states)
            self.found += len(found)
            self.lost += max(0, len(states) - len(found))
            self.doubled += max(0, len(found) - len(states))
            wanted = [*states, *[""] * (len(found) - len(states))]
            orphans = [
                kind
                for kind, want in zip(found, wanted, strict=False)
                if kind != want and (kind in LIVE or want in ("CANCELLED", "CANCELLING"))
            ]
            self.orphaned += len(orphans)
            fault = self._fault(tasks[index], [run["id"] for run in runs[index]], end, most_tries, results)
            self.wrong += bool(fault)
            if fault or found != list(states):
                self.notes.append(f"{play.run_id} [{index}]: {fault or 'as wanted'}; flow runs: {found or 'none'}")
        return self

    def _fault(self, task: Task, runs: Sequence[str], end: str, most_tries: int | None, results: bool) -> str:
        if task.state != end:
            return f"the task is {task.state}, not {end}"
        if most_tries is not None and task.try_number > most_tries:
            return f"the task needed {task.try_number} tries"
        if end != "success" or not runs or not results:
            return ""
        wanted = {"return_value": runs[-1]}
        if "flow_run_id" in task.xcoms:
            wanted |= {"flow_run_id": runs[-1], "state": "COMPLETED"}
        if "result" in task.xcoms:
            wanted["result"] = runs[-1]
        for key, value in wanted.items():
            if task.xcoms.get(key) != value:
                return f"its XCom {key!r} is {task.xcoms.get(key)!r}, not {value!r}"
        return ""
