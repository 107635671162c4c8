"""Text from outside in a task's log: as it is where it is harmless, and harmless where it is not."""

from __future__ import annotations

import pytest

from airflow_provider_prefect.client import printable


@pytest.mark.parametrize("text", ["", "plain", "tab\there", "größe: 100 %", "日本語", "a group of runs", "::", "##"])
def test_harmless_text_is_left_as_it_is(text: str) -> None:
    assert printable.block(text) == printable.line(text) == text


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_a_line_break_begins_no_line_of_its_own(separator: str) -> None:
    assert printable.line(f"a{separator}b") == "a b"
    assert printable.block(f"a{separator}b") == "a\n    | b"


@pytest.mark.parametrize(
    "sequence", ["\x1b[31m", "\x1b[2J", "\x9b1A", "\x1b]0;title\x07", "\x1b]8;;url\x1b\\", "\x1bc"]
)
def test_escape_sequences_are_removed(sequence: str) -> None:
    assert printable.line(f"a{sequence}b") == "ab"


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        *(("\x00", "\\x00"), ("\x08", "\\x08"), ("\x1f", "\\x1f"), ("\x7f", "\\x7f"), ("\u202e", "\\u202e")),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(character: str, shown: str) -> None:
    assert printable.line(f"a{character}b") == f"a{shown}b"


@pytest.mark.parametrize("mark", ["::group::x", "::endgroup::", "##[group]x", "##[endgroup]"])
def test_the_marks_of_groups_lose_their_effect(mark: str) -> None:
    shown = printable.line(f"a {mark}")
    assert mark not in shown
    assert shown.replace(" ", "") == f"a {mark}".replace(" ", "")


def test_long_text_is_cut_with_a_note_of_what_is_missing() -> None:
    assert printable.shortened("x" * 1005, 5) == "xxxxx… (1,000 more characters are left out)"
    assert printable.shortened("x" * 5, 5) == "xxxxx"
    assert printable.line("x" * 501).startswith("x" * printable.MAX_NAME_LENGTH + "… (1 more")
    assert printable.line("x" * 41, 40).startswith("x" * 40 + "… (1 more")
    assert printable.block("x" * printable.MAX_LENGTH) == "x" * printable.MAX_LENGTH
    assert "(1 more" in printable.block("x" * (printable.MAX_LENGTH + 1))
