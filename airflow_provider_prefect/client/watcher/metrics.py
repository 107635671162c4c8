"""What the watcher measures of its own work. Nothing is measured unless whoever uses it says where to."""

from __future__ import annotations


class Metrics:
    """Take nothing down; the base class of what does."""

    def incr(self, name: str) -> None:
        """Count one more of what ``name`` says."""

    def gauge(self, name: str, value: float) -> None:
        """Take down a value that holds until the next one."""

    def timing(self, name: str, seconds: float) -> None:
        """Take down how long something took."""


NO_METRICS = Metrics()
