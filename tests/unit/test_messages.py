"""What the collector of messages finds in a module, whichever way the message is put together."""

from __future__ import annotations

import pytest

from tests.unit.messages import collect, first_sentence, plain


def said(source: str) -> list[str]:
    return [plain(message.text) for message in collect({"module.py": source}).messages]


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("raise PrefectError('It is so.')", ["It is so"]),
        ("raise PrefectError(f'Flow run {run.name!r} is {x}{y}, and so on.')", ["Flow run … is …, and so on"]),
        ("raise AirflowFailException(str(error))", []),
        ("error = errors.PrefectError('It is so.', run)", ["It is so"]),
        ("class Own(PrefectError): ...\nclass Owned(Own): ...\nraise Owned('It is so.')", ["It is so"]),
        ("class Own(PrefectError):\n  def make(cls, x): return cls(f'{x} is so.')", ["is so"]),
        ("def f(error): raise type(error)(f'It is so: {error}')", ["It is so"]),
        ("def f(kinds) -> PrefectError:\n  kind = kinds[0]\n  return kind('It is so.')", ["It is so"]),
        ("self._log.warning('Flow run %s is %.1f.', name, x)", ["Flow run … is"]),
        ("def f():\n  text = 'It is %s so.'\n  log.error(text, x)", ["It is … so"]),
        ("log.info('It is so.')", []),
        ("raise PrefectError('It is so.' if x else 'It is not.')", ["It is so", "It is not"]),
        ("_WAY_OUT = 'Do this.'\nraise PrefectError(f'{error} {_WAY_OUT}')", ["Do this"]),
        ("_WAY_OUT = 'Do this.'\nraise PrefectError(f'It is so: {error} {_WAY_OUT}')", ["It is so"]),
        ("def f(x) -> str:\n  return f'It is {x}.'\nraise PrefectError(f(1))", ["It is"]),
        ("def f(text): raise PrefectError(text)\nf('It is so.')\nf(f'It is {x} not.')", ["It is so", "It is … not"]),
        ("def f(what): raise PrefectError(f'{what} here.')\nf('This is missing')", ["This is missing here"]),
        ("def f(name): raise PrefectError(f'{name} is so.')\nf('skip_on')", ["is so"]),
        ("def f():\n  said = f'Prefect said {x}'\n  raise PrefectError(f'{said}: no.')", ["Prefect said …: no"]),
        ("raise PrefectError(f'it has closed: {code}'.strip())", ["it has closed"]),
    ],
)
def test_a_message_is_found(source: str, texts: list[str]) -> None:
    assert said(source) == texts


def test_other_exceptions_are_named() -> None:
    source = "raise PrefectError('It is so.')\nraise ValueError('no')\nraise _Refused\nraise refused('no')\nraise"
    assert collect({"module.py": source}).other_exceptions == {"ValueError", "_Refused"}


def test_a_message_has_its_file_and_line() -> None:
    [message] = collect({"module.py": "\nraise PrefectError(\n  'It is so.'\n)"}).messages
    assert message.where == "module.py:2"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("… is so: …. Do this.", "is so"),
        ("It is … so (…). … again.", "It is … so (…)"),
        ("It is\n  so. flow_name=… does it.", "It is so"),
        ("It is so.… Do this.", "It is so"),
        ("See docs.example.com, e.g. this.", "See docs.example.com, e.g. this"),
    ],
)
def test_the_first_sentence_is_told_from_the_rest(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence
