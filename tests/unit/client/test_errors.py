from __future__ import annotations

import inspect

from airflow_provider_prefect.client import errors
from airflow_provider_prefect.client.errors import ConfigurationError, NotFound, PrefectError


def tree() -> list[tuple[int, str]]:
    """The tree of the module's docstring: depth and name, in order."""
    drawn = [line for line in (errors.__doc__ or "").splitlines() if "── " in line]
    return [(line.index("──") // 4, line.split("── ")[1].split()[0]) for line in drawn]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    parents = {0: PrefectError}
    drawn = {"PrefectError"}
    for depth, name in tree():
        kind = getattr(errors, name)
        assert kind.__bases__[0] is parents[depth - 1], name
        parents[depth] = kind
        drawn.add(name)
    there = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__}
    assert drawn == there


def test_whoever_catches_a_value_error_catches_a_wrong_configuration() -> None:
    assert issubclass(ConfigurationError, ValueError)


def test_a_not_found_is_a_404_of_nobody_unless_it_says_otherwise() -> None:
    error = NotFound("nothing there")
    assert (error.status, error.detail) == (404, "")
