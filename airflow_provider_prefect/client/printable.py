"""Make text that comes from outside fit to be shown in a task's log and in the message of an exception.

What a flow logs, the message of a state and the name of a flow run are up to whoever writes the flow, and the server
may be anybody's. Shown as it is, a line break begins a line that looks like one of Airflow's own, an escape sequence
colours or hides what follows, and ``::group::`` folds the rest of the log away.
"""

from __future__ import annotations

import re

MAX_LENGTH = 16 * 1024
"""Characters of one text that are shown; a traceback has a few thousand."""

MAX_NAME_LENGTH = 500
"""Characters of a name, or of another text that belongs into one line, that are shown."""

_CONTINUATION = "\n    | "
"""What a line break is shown as: a line that begins like this is part of the one above."""

_ESCAPE_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, and moves of the cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and links of a terminal
    r"|\x1b[ -/]*[0-~]"
)

_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tabs and line breaks, marks that turn the direction of reading, and halves of characters."""

_GROUPS = re.compile(r"(?::(?=:)|#(?=#\[))(?=::?(?:end)?group(?:::|\])|##?\[\]?(?:end)?group(?:::|\]))")
"""Where Airflow's log viewers see the beginning or end of a group of lines to fold (Airflow 2.11 and 3.3)."""


def block(text: str) -> str:
    """Return ``text`` with each line break as a visible continuation, so that a traceback stays readable.

    Escape sequences are removed, other control characters are spelled out, the marks of groups lose their effect, and
    what is longer than :data:`MAX_LENGTH` is cut, with a note of how much is missing.
    """
    return _shown(text, MAX_LENGTH, _CONTINUATION)


def line(text: str, max_length: int = MAX_NAME_LENGTH) -> str:
    """Return ``text`` as one line; otherwise like :func:`block`.

    :param max_length: characters after which it is cut.
    """
    return _shown(text, max_length, " ")


def quoted(name: str) -> str:
    """Return a name in quotation marks, as ``repr()`` has it, on one line and not too long."""
    return repr(line(name))


def shortened(text: str, max_length: int = MAX_LENGTH) -> str:
    """Return ``text``, cut after ``max_length`` characters, with a note of how many are missing."""
    missing = len(text) - max_length
    return f"{text[:max_length]}… ({missing:,} more characters are left out)" if missing > 0 else text


def _shown(text: str, max_length: int, separator: str) -> str:
    if len(text) <= max_length and text.isascii() and text.isprintable() and "group" not in text:
        return text
    text = _ESCAPE_SEQUENCES.sub("", shortened(text, max_length))
    text = _INVISIBLE.sub(_spelled_out, separator.join(text.splitlines()))
    return _GROUPS.sub(r"\g<0> ", text)


def _spelled_out(character: re.Match[str]) -> str:
    number = ord(character[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
