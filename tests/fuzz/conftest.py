"""The fixtures of the unit tests that fuzzing needs, too."""

from tests.unit.conftest import connect, no_proxy_from_outside, prefect

__all__ = ["connect", "no_proxy_from_outside", "prefect"]
