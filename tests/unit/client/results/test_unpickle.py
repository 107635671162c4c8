"""A pickle of plain data is read; any other is refused, and nothing of it runs."""

from __future__ import annotations

import base64
import collections
import copyreg
import io
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.client.results.unpickle import TooLarge, plain

MIB = 1024 * 1024
WAY_OUT = "Let the flow write JSON."
MARK_OF_EVIL = "evil-was-here"

PLAIN: dict[str, Any] = {
    "numbers": [0, 1, -1, 255, 2**31, -(2**63), 2**100, 1.5, True, False, None, complex(1, 2)],
    "text": ("", "ä", "x" * 300, b"", b"bytes", b"y" * 300),
    "sets": {1, 2},
    "frozen": frozenset({3, frozenset({4})}),
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "when": datetime(2026, 1, 1, 2, 3, 4, 5, tzinfo=UTC),
    "elsewhere": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30), "there")),
    "naive": datetime(2026, 1, 1),
    "day": date(2026, 1, 1),
    "time": time(1, 2, tzinfo=UTC),
    "for": timedelta(days=1, seconds=2, microseconds=3),
    "exact": Decimal("1.10"),
    "endless": Decimal("-Infinity"),
    "id": UUID("6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11"),
    "ordered": collections.OrderedDict(b=1, a=[2]),
    "keys": {1: "a", (1, "x"): "b", date(2026, 1, 1): "c", None: "d"},
    "empty": [[], {}, set(), frozenset(), ()],
    "deep": [[[[[{"a": [{"b": ()}]}]]]]],
}

# What cloudpickle 3.1.2 (protocol 5) writes for a mapping of each type above but the last ones.
OF_CLOUDPICKLE = base64.b64decode(
    "gAWV6AEAAAAAAAB9lCiMAW6UXZQoSwFK/////4oNAAAAAAAAAAAAAAAAEEc/+AAAAAAAAIhOjAhidWlsdGluc5SMB2NvbXBsZXiUk5RHP/AAAAAAAABH"
    "QAAAAAAAAACGlFKUZYwBdJSMAsOklEMFYnl0ZXOUhpSMAXOUj5QoSwFLApCMAWaUKEsDkZSMBHdoZW6UjAhkYXRldGltZZSMCGRhdGV0aW1llJOUQwoH"
    "6gEBAgMEAAAFlGgRjAh0aW1lem9uZZSTlGgRjAl0aW1lZGVsdGGUk5RLAEsASwCHlFKUhZRSlIaUUpSMA29mZpRoE0MKB+oBAQAAAAAAAJRoFmgYSwBN"
    "UEZLAIeUUpSFlFKUhpRSlIwDZGF5lGgRjARkYXRllJOUQwQH6gEBlIWUUpSMBHRpbWWUaBGMBHRpbWWUk5RDBgECAAAAAJSFlFKUjANmb3KUaBhLAUsC"
    "SwCHlFKUjAVleGFjdJSMB2RlY2ltYWyUjAdEZWNpbWFslJOUjAQxLjEwlIWUUpSMAmlklIwEdXVpZJSMBFVVSUSUk5QpgZR9lIwDaW50lIoQEQxvDk8N"
    "ZZ1LTyk6PIofb3NijAdvcmRlcmVklIwLY29sbGVjdGlvbnOUjAtPcmRlcmVkRGljdJSTlClSlIwBYZRLAXN1Lg=="
)


def read(content: bytes, max_size: int = MIB) -> Any:
    return plain(content, WAY_OUT, max_size)


@pytest.fixture
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which the exploits of these tests leave a file, if they run; it is empty afterwards."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def refusal(content: bytes) -> str:
    """The sentence with which a pickle is refused."""
    with pytest.raises(ResultError) as refused:
        read(content)
    assert str(refused.value).endswith(f". {WAY_OUT}")
    assert refused.value.__suppress_context__
    assert refused.value.__cause__ is None
    return str(refused.value)


def text(value: str) -> bytes:
    """The opcode that puts a text on the stack."""
    return pickle.SHORT_BINUNICODE + bytes([len(value)]) + value.encode()


def named(module: str, name: str, *, on_stack: bool = True) -> bytes:
    """The opcodes that look a name up."""
    if on_stack:
        return text(module) + text(name) + pickle.STACK_GLOBAL
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def whole(*parts: bytes) -> bytes:
    return pickle.PROTO + b"\x04" + b"".join(parts) + pickle.STOP


# Plain data


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_data_comes_back_as_it_was(name: str, protocol: int) -> None:
    value = read(pickle.dumps(PLAIN[name], protocol))
    assert value == PLAIN[name]
    assert type(value) is type(PLAIN[name])


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_numbers_text_and_containers_come_back_from_every_protocol(protocol: int) -> None:
    value = {"a": [1, 2.5, None, True, "ä", 2**70], "b": ((), (1,), (1, 2, 3, 4)), 3: {}}
    assert read(pickle.dumps(value, protocol)) == value


def test_all_of_it_at_once_comes_back() -> None:
    assert read(pickle.dumps(PLAIN)) == PLAIN


def test_what_cloudpickle_writes_is_read() -> None:
    names = {
        "when": datetime(2026, 1, 1, 2, 3, 4, 5, tzinfo=UTC),
        "off": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5))),
        "day": date(2026, 1, 1),
        "time": time(1, 2),
        "for": timedelta(days=1, seconds=2),
        "exact": Decimal("1.10"),
        "id": UUID("6f1f8a3c-3a29-4f4b-9d65-0d4f0e6f0c11"),
        "ordered": collections.OrderedDict(a=1),
        "n": [1, -1, 2**100, 1.5, True, None, complex(1, 2)],
        "t": ("ä", b"bytes"),
        "s": {1, 2},
        "f": frozenset({3}),
    }
    assert read(OF_CLOUDPICKLE) == names


def test_one_object_in_several_places_comes_back_in_all_of_them() -> None:
    row = (1, {"a": 2}, "text")
    assert read(pickle.dumps({"first": [row, row], "second": row})) == {"first": [row, row], "second": row}


def test_a_large_value_of_many_pieces_is_read() -> None:
    value = [{"n": number, "t": str(number)} for number in range(20_000)]
    assert read(pickle.dumps(value)) == value


# What is not plain


class Runs:
    """A classic: reduced to a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


MKDIR = f"__import__('os').mkdir({MARK_OF_EVIL!r})"
CLASSICS: dict[str, Any] = {
    "system": Runs(os.system, f"mkdir {MARK_OF_EVIL}"),
    "mkdir": Runs(os.mkdir, MARK_OF_EVIL),
    "eval": Runs(eval, MKDIR),
    "exec": Runs(exec, MKDIR),
    "__import__": Runs(__import__, "os"),
    "open": Runs(open, MARK_OF_EVIL, "w"),
    "Popen": Runs(subprocess.Popen, ["mkdir", MARK_OF_EVIL]),
    "check_output": Runs(subprocess.check_output, ["mkdir", MARK_OF_EVIL]),
    "_reconstructor": Runs(copyreg._reconstructor, set, object, None),  # type: ignore[attr-defined]
    "deque": collections.deque([1]),
    "Counter": collections.Counter("aa"),
    "defaultdict": collections.defaultdict(int),
    "PosixPath": Path("x"),
    "ValueError": ValueError("boom"),
    "type": type,
    "Runs": Runs,
}


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("name", CLASSICS)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_any_other_class_or_function_is_refused_by_its_name(name: str, protocol: int) -> None:
    for value in (CLASSICS[name], {"in": [1, {"deep": (CLASSICS[name],)}]}):
        sentence = refusal(pickle.dumps(value, protocol))
        assert sentence.startswith("The result is a pickle that needs ")
        assert f".{name}, which is not supported as plain data. " in sentence


def test_what_cannot_be_imported_here_is_not_imported_and_refused_by_its_name(nothing_runs: Path) -> None:
    package = nothing_runs / "evil_package.py"
    package.write_text(f"import os; os.mkdir({MARK_OF_EVIL!r})")
    sys.path.insert(0, str(nothing_runs))
    try:
        assert "needs evil_package.Thing, which" in refusal(whole(named("evil_package", "Thing")))
        assert "evil_package" not in sys.modules
    finally:
        sys.path.remove(str(nothing_runs))
        package.unlink()


CALL_MKDIR = text(MARK_OF_EVIL) + pickle.TUPLE1 + pickle.REDUCE


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("on_stack", [True, False])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "mkdir"),
        ("nt", "system"),
        ("builtins", "getattr"),
        ("builtins", "object"),
        ("builtins", "type"),
        ("builtins", "bytearray"),
        ("builtins", "set.__class__"),
        ("builtins", "set.__init__.__globals__"),
        ("__builtin__", "eval"),
        ("functools", "partial"),
        ("functools", "reduce"),
        ("operator", "attrgetter"),
        ("operator", "methodcaller"),
        ("copyreg", "_reconstructor"),
        ("copyreg", "__newobj_ex__"),
        ("codecs", "encode"),
        ("importlib", "import_module"),
        ("pickle", "loads"),
        ("datetime", "datetime.__class__"),
        ("datetime", "datetime.__class__.__base__.__subclasses__"),
        ("datetime", "datetime.now"),
        ("datetime", "sys.modules"),
        ("datetime.datetime", "__class__"),
        ("uuid", "os.system"),
        ("uuid", "UUID.__init__.__globals__"),
        ("uuid", "_os"),
        ("uuid", "getnode"),
        ("decimal", "Decimal.__class__"),
        ("decimal", "getcontext"),
        ("collections", "OrderedDict.fromkeys"),
        ("collections", "_sys.modules"),
        (" ", "os.system"),
    ],
)
def test_a_name_is_refused_however_it_is_written(module: str, name: str, on_stack: bool) -> None:
    content = whole(named(module, name, on_stack=on_stack), CALL_MKDIR)
    assert f"needs {module}.{name}, which is not supported" in refusal(content)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "content",
    [
        # protocol 0's own ways to call something
        whole(pickle.MARK, text(MARK_OF_EVIL), pickle.INST, b"os\nmkdir\n"),
        whole(pickle.MARK, named("os", "mkdir"), text(MARK_OF_EVIL), pickle.OBJ),
        whole(named("os", "mkdir"), text(MARK_OF_EVIL), pickle.TUPLE1, pickle.NEWOBJ),
        whole(named("os", "mkdir"), text(MARK_OF_EVIL), pickle.TUPLE1, pickle.EMPTY_DICT, pickle.NEWOBJ_EX),
        # through names that are found in the memo
        whole(text("os"), pickle.MEMOIZE, text("mkdir"), pickle.STACK_GLOBAL, CALL_MKDIR),
        whole(pickle.MARK, text("mkdir"), text("os"), pickle.LIST, named("os", "mkdir"), CALL_MKDIR),
        # after a part that is plain
        whole(named("builtins", "set"), pickle.EMPTY_TUPLE, pickle.REDUCE, named("os", "mkdir"), CALL_MKDIR),
    ],
)
def test_every_opcode_that_calls_something_is_refused_what_it_calls(content: bytes) -> None:
    assert "needs os.mkdir, which is not supported as plain data" in refusal(content)


@pytest.mark.usefixtures("nothing_runs")
def test_a_chain_of_calls_of_which_each_looks_harmless_is_refused_at_its_first_link() -> None:
    start = pickle.MARK + named("datetime", "datetime") + text("__class__") + text("__base__") + pickle.LIST
    chain = named("functools", "reduce") + named("builtins", "getattr") + start + pickle.TUPLE2 + pickle.REDUCE
    assert "needs functools.reduce, which" in refusal(whole(chain))


@pytest.mark.parametrize("kind", ["datetime.date", "uuid.UUID", "collections.OrderedDict", "decimal.Decimal"])
@pytest.mark.parametrize("slots", [False, True])
def test_no_state_can_be_given_to_a_class(kind: str, slots: bool) -> None:
    module, _, name = kind.partition(".")
    before = dict(vars(getattr(sys.modules[module], name)))
    state = pickle.EMPTY_DICT + text("evil") + text("x") + pickle.SETITEM
    if slots:
        state = pickle.NONE + state + pickle.TUPLE2
    assert "not a readable pickle" in refusal(whole(named(module, name), state, pickle.BUILD))
    assert dict(vars(getattr(sys.modules[module], name))) == before


def test_state_that_an_object_does_not_have_changes_no_other_object() -> None:
    forged = whole(
        named("collections", "OrderedDict"),
        pickle.EMPTY_TUPLE + pickle.REDUCE,
        pickle.EMPTY_DICT + text("items") + text("x") + pickle.SETITEM,
        pickle.BUILD,
    )
    read(forged)
    assert list(collections.OrderedDict(a=1).items()) == [("a", 1)]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("content", [whole(pickle.PERSID, b"os.mkdir\n"), whole(text("x"), pickle.BINPERSID)])
def test_a_persistent_reference_is_refused(content: bytes) -> None:
    assert "needs a persistent reference (str), which" in refusal(content)


def test_registered_extensions_are_refused_even_where_somebody_has_loaded_them() -> None:
    copyreg.add_extension("os", "mkdir", 200)
    try:
        assert pickle.loads(whole(pickle.EXT1, b"\xc8")) is os.mkdir  # and so it is in pickle's cache
        for opcode, code in ((pickle.EXT1, b"\xc8"), (pickle.EXT2, b"\xc8\0"), (pickle.EXT4, b"\xc8\0\0\0")):
            assert "needs the opcode EXT" in refusal(whole(opcode, code))
    finally:
        copyreg.remove_extension("os", "mkdir", 200)


@pytest.mark.parametrize(
    "content",
    [
        whole(pickle.NONE, pickle.DUP, pickle.TUPLE2),
        whole(pickle.NONE, pickle.NONE, pickle.POP),
        whole(pickle.NONE, pickle.MARK, pickle.POP_MARK),
        pickle.dumps(pickle.PickleBuffer(b"x"), 5, buffer_callback=lambda _: None),
    ],
)
def test_opcodes_that_no_pickle_of_plain_data_has_are_refused(content: bytes) -> None:
    assert "needs the opcode" in refusal(content)


# What is no pickle


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"not a pickle",
        pickle.dumps([1] * 100)[:-20],
        pickle.PROTO + b"\x63" + pickle.NONE + pickle.STOP,
        whole(),
        whole(pickle.MARK),
        whole(pickle.TUPLE1),
        whole(pickle.NONE, pickle.APPEND),
        whole(pickle.BINGET, b"\x07"),
        whole(pickle.MARK, pickle.MEMOIZE, pickle.LIST),
        whole(pickle.LONG, b"9" * 5000 + b"L\n"),
        whole(pickle.NONE, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.SETITEM),
        whole(named("datetime", "date"), pickle.NONE, pickle.TUPLE1, pickle.REDUCE),
        whole(named("datetime", "timedelta"), pickle.LONG1, b"\x20", b"\x7f" * 32, pickle.TUPLE1, pickle.REDUCE),
    ],
)
def test_what_is_broken_is_an_error_with_the_way_out(content: bytes) -> None:
    assert "not a readable pickle" in refusal(content)


# Small pickles that stand for much


HUGE = 2**40


@pytest.mark.parametrize(
    "content",
    [
        whole(pickle.BINBYTES, struct.pack("<I", 2**31 - 1), b"x"),
        whole(pickle.BINBYTES8, struct.pack("<Q", HUGE), b"x"),
        whole(pickle.BYTEARRAY8, struct.pack("<Q", HUGE), b"x"),
        whole(pickle.BINUNICODE, struct.pack("<I", 2**31 - 1), b"x"),
        whole(pickle.BINUNICODE8, struct.pack("<Q", HUGE), b"x"),
        whole(pickle.BINSTRING, struct.pack("<i", 2**31 - 1), b"x"),
        whole(pickle.LONG4, struct.pack("<i", 2**31 - 1), b"x"),
        whole(pickle.FRAME, struct.pack("<Q", HUGE), pickle.NONE),
        whole(pickle.NONE, pickle.LONG_BINPUT, struct.pack("<I", 2**32 - 1)),
        whole(pickle.NONE, pickle.LONG_BINPUT, struct.pack("<I", 1_000_000)),
        whole(pickle.NONE, pickle.PUT, b"4294967295\n"),
        whole(pickle.NONE, pickle.PUT, b"-1\n"),
    ],
)
def test_a_length_that_the_pickle_does_not_back_allocates_nothing(content: bytes) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        refusal(content)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def doubled(levels: int, build: bytes = pickle.TUPLE2) -> bytes:
    """A value of this many levels, each of the one below twice."""
    content = io.BytesIO()
    content.write(pickle.NONE + pickle.MEMOIZE)
    for level in range(levels):
        below = pickle.BINGET + bytes([level])
        if level:
            content.write(below)
        if build == pickle.LIST:
            content.write(pickle.MARK + below + below + pickle.LIST + pickle.MEMOIZE)
        else:
            content.write(below + pickle.TUPLE2 + pickle.MEMOIZE)
    return content.getvalue()


@pytest.mark.parametrize("levels", [30, 200])
@pytest.mark.parametrize("build", [pickle.LIST, pickle.TUPLE2])
def test_a_value_that_doubles_at_each_level_is_too_large(levels: int, build: bytes) -> None:
    with pytest.raises(TooLarge):
        read(whole(doubled(levels, build)))


@pytest.mark.parametrize("levels", [30, 200])
@pytest.mark.parametrize(
    "use",
    [
        lambda key: pickle.MARK + key + pickle.FROZENSET,
        lambda key: pickle.EMPTY_SET + pickle.MARK + key + pickle.ADDITEMS,
        lambda key: pickle.EMPTY_DICT + key + pickle.NONE + pickle.SETITEM,
        lambda key: pickle.EMPTY_DICT + pickle.MARK + key + pickle.NONE + pickle.SETITEMS,
        lambda key: pickle.MARK + key + pickle.NONE + pickle.DICT,
        lambda key: named("builtins", "set") + key + pickle.TUPLE1 + pickle.REDUCE,
        lambda key: named("collections", "OrderedDict") + key + pickle.TUPLE1 + pickle.TUPLE1 + pickle.REDUCE,
    ],
)
def test_a_key_that_would_take_for_ever_to_hash_is_too_large(levels: int, use: Callable[[bytes], bytes]) -> None:
    with pytest.raises(TooLarge):
        read(whole(doubled(levels), use(pickle.BINGET + bytes([levels]))))


def test_a_heavy_key_that_is_used_again_and_again_is_too_large() -> None:
    key = pickle.MARK + pickle.NONE * 1000 + pickle.TUPLE + pickle.MEMOIZE
    again = (pickle.BINGET + b"\0" + pickle.NONE + pickle.SETITEM) * 1000
    assert len(read(whole(key, pickle.EMPTY_DICT + again[: 4 * 100]))) == 1
    with pytest.raises(TooLarge):
        read(whole(key, pickle.EMPTY_DICT + again), max_size=100_000)


def test_a_heavy_key_of_very_many_mappings_is_too_large_even_if_nothing_comes_of_them() -> None:
    key = pickle.MARK + pickle.NONE * 1000 + pickle.TUPLE + pickle.MEMOIZE
    each = pickle.EMPTY_DICT + pickle.BINGET + b"\0" + pickle.NONE + pickle.SETITEM
    assert read(whole(key, each * 100), max_size=100_000) == {(None,) * 1000: None}
    with pytest.raises(TooLarge):
        read(whole(key, each * 1000), max_size=100_000)


@pytest.mark.parametrize("levels", [10_000, 200_000])
@pytest.mark.parametrize("keyed", [False, True])
def test_what_is_nested_too_deeply_is_refused_before_it_is_built(levels: int, keyed: bool) -> None:
    content = pickle.NONE + pickle.TUPLE1 * levels
    if keyed:
        content = pickle.EMPTY_SET + pickle.MARK + content + pickle.ADDITEMS
    assert "needs more than 500 levels of nesting, which" in refusal(whole(content))


def test_the_weight_of_plain_data_is_not_more_than_the_length_of_its_json() -> None:
    rows = [{"a": 1, "b": None}] * 1000
    assert read(pickle.dumps(rows), max_size=len(str(rows))) == rows
    assert read(pickle.dumps([[]] * 1000), max_size=4000) == [[]] * 1000
    day = [datetime(2026, 1, 1, second=second % 60, tzinfo=UTC) for second in range(1000)]
    assert read(pickle.dumps(day), max_size=len(day) * len(str(day[0]))) == day


def test_more_objects_than_there_may_be_are_not_even_put_on_the_stack() -> None:
    with pytest.raises(TooLarge):
        read(whole(pickle.EMPTY_LIST * 20_000), max_size=10_000)
