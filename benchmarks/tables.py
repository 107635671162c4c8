"""A table, as a person reads it on the screen and as a page of the docs has it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_WIDEST = 48


@dataclass(frozen=True)
class Table:
    """:param name: what the page that holds it calls it."""

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """In columns; what is long is wrapped."""
        cells = [
            [textwrap.wrap(cell, _WIDEST, break_on_hyphens=False) or [""] for cell in row]
            for row in (self.head, *self.rows)
        ]
        widths = [max(len(line) for row in cells for line in row[column]) for column in range(len(self.head))]
        lines = [self.title, ""]
        for number, row in enumerate(cells):
            for line in range(max(map(len, row))):
                parts = [
                    (cell[line] if line < len(cell) else "").ljust(width)
                    for cell, width in zip(row, widths, strict=True)
                ]
                lines.append("  ".join(parts).rstrip())
            if not number:
                lines.append("  ".join("-" * width for width in widths))
        return "\n".join(lines)

    def rst(self) -> str:
        """As a ``list-table``."""
        lines = [f".. list-table:: {self.title}", "   :header-rows: 1", ""]
        for row in (self.head, *self.rows):
            for number, cell in enumerate(row):
                begin = "*" if not number else " "
                lines.append(f"   {begin} - {cell}".rstrip())
        return "\n".join(lines)


def number(value: float | None, digits: int | None = None) -> str:
    """Two significant digits, or more where there are more before the point; or so many after it."""
    if value is None:
        return "none"
    if isinstance(value, int):
        return f"{value:,}"
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 10 or size == 0 else 1 if size >= 1 else 2
    return f"{value:,.{digits}f}"
