"""The page on errors has an entry for every message that a user can meet, and none for a message that is no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import airflow_provider_prefect
from tests.unit.messages import Message, collect_from, first_sentence, plain

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.rst"

COLLECTED = collect_from(Path(airflow_provider_prefect.__file__).parent)

BEHIND_ANOTHER_MESSAGE = {
    "WrongShape": "what is wrong in a response: becomes the end of '… is not what Prefect sends'",
    "_Refused": "what a pickle needs: becomes a part of 'The result is a pickle that needs …'",
    "TooLarge": "becomes 'The result has more than max_result_size=… bytes as JSON'",
    "TypeError": "becomes the end of 'The result cannot become an XCom'",
    "ValueError": "becomes one of the messages on results and on events of triggers",
    "TimeoutError": "becomes '… cannot be reached: no answer in time'",
    "RuntimeError": "a call was run over the wrong transport: a fault of this package, which its tests would find",
}
"""The exceptions that are raised and that no user sees as they are."""


def entries() -> list[str]:
    """Return the messages that have an entry: the items of a list that are a literal and nothing else."""
    return [" ".join(item.split()) for item in re.findall(r"^\* ``([^`]+)``$", PAGE.read_text(), re.MULTILINE)]


def describes(entry: str, message: Message) -> bool:
    """Return whether an entry is for a message, of which it has the first sentence at least."""
    same = first_sentence(entry) == first_sentence(message.text)
    return same and plain(message.text).startswith(plain(entry))


def test_every_message_has_an_entry() -> None:
    missing = [
        f"{message.where}: * ``{first_sentence(message.text)}``"
        for message in COLLECTED.messages
        if not any(describes(entry, message) for entry in entries())
    ]
    assert not missing, "docs/troubleshooting.rst has no entry for:\n" + "\n".join(missing)


@pytest.mark.parametrize("entry", entries())
def test_no_entry_is_left_over(entry: str) -> None:
    assert any(describes(entry, message) for message in COLLECTED.messages), "the package no longer says this"


def test_no_message_has_two_entries() -> None:
    sentences = [first_sentence(entry) for entry in entries()]
    assert sorted(sentences) == sorted(set(sentences))


def test_every_group_of_messages_is_followed_by_what_to_do() -> None:
    page = PAGE.read_text()
    sections = re.split(r"^(.+)\n~+\n", page, flags=re.MULTILINE)[1:]
    for title, section in zip(sections[::2], sections[1::2], strict=True):
        advice = re.sub(r"\A\n(\* ``[^`]+``\n)+", "", section)
        assert advice != section, f"{title!r} begins with no message"
        assert re.match(r"\n\S.{20}", advice), f"{title!r} does not say what to do"


def test_exceptions_that_no_user_sees_are_known() -> None:
    assert COLLECTED.other_exceptions == set(BEHIND_ANOTHER_MESSAGE)
