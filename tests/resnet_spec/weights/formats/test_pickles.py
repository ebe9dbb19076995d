"""Pickles become plain data: nothing that they name is imported or called, and none costs more than it holds."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import pickle
import sys
import tracemalloc
from collections.abc import Callable
from io import BufferedReader, BytesIO
from typing import Any

import pytest

from resnet_spec.weights.formats import pickles
from resnet_spec.weights.formats.pickles import Global, Key, Object, Unpickler
from tests.resnet_spec.weights.formats.opcodes import call, glob, number, text, tuple_of


def load(content: bytes, **options: Any) -> Any:
    # As a file is read: such a reader would make room for what it is asked for.
    return Unpickler(BufferedReader(BytesIO(content)), len(content), {}, **options).load()


class _Ordered(collections.OrderedDict[str, int]):
    pass


class _Values(list[int]):
    pass


class _Plain:
    def __init__(self) -> None:
        self.a, self.b = 1, [2]


class _Slots:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


Pair = collections.namedtuple("Pair", ("first", "second"))
PLAIN = {
    "none": None,
    "numbers": [0, -1, 255, 2**16, 2**31, -(2**70), 1.5, float("inf")],
    "truths": (True, False),
    "text": "naïve \U0001f600",
    "bytes": bytes(range(256)),
    "empty": ((), [], {}),
    "nested": {1: {2: {(3, 4): 5}}},
    "long": "x" * 70_000,
    "many": list(range(2000)),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_are_what_python_reads(name: str, protocol: int) -> None:
    loaded = load(pickle.dumps(PLAIN[name], protocol))
    if name != "nested":
        assert loaded == PLAIN[name]
        return
    (key,) = loaded[1][2]
    assert isinstance(key, Key)
    assert (key.value, loaded[1][2][key]) == ((3, 4), 5)


@pytest.mark.parametrize("protocol", range(6))
def test_containers_of_the_library_are_plain(protocol: int) -> None:
    content = [
        collections.OrderedDict(a=1, b=2),
        collections.defaultdict(list, a=[1]),
        collections.Counter("aab"),
        {1, 2},
        frozenset([3]),
        collections.deque([4, 5]),
        bytearray(b"ab"),
    ]
    wanted = [{"a": 1, "b": 2}, {"a": [1]}, {"a": 2, "b": 1}, [1, 2], [3], [4, 5], b"ab"]
    loaded = load(pickle.dumps(content, protocol))
    assert [value.values if isinstance(value, Object) else value for value in loaded] == wanted


@pytest.mark.parametrize("protocol", range(6))
def test_objects_of_any_class_are_inert(protocol: int) -> None:
    content = [_Ordered(a=1), _Values([1, 2]), _Plain(), argparse.Namespace(lr=0.1), Pair(1, 2)]
    ordered, values, plain, namespace, pair = load(pickle.dumps(content, protocol))
    assert ordered.kind == f"{__name__}._Ordered"
    assert ordered.entries == {"a": 1}
    assert (values.values or values.arguments[0]) == [1, 2]
    assert plain.attributes() == {"a": 1, "b": [2]}
    assert (namespace.kind, namespace.attributes()) == ("argparse.Namespace", {"lr": 0.1})
    assert pair.arguments in {(1, 2), ((1, 2),)}
    if protocol > 1:
        assert load(pickle.dumps(_Slots(), protocol)).attributes() == {"a": 1}


@pytest.mark.parametrize("protocol", range(6))
def test_what_has_no_class_of_its_own_here_is_inert(protocol: int) -> None:
    content = [pathlib.PurePosixPath("a/b"), datetime.datetime(2020, 1, 2), datetime.timedelta(1), 1j, range(3), print]
    loaded = load(pickle.dumps(content, protocol))
    assert all(isinstance(value, Object) for value in loaded[:-1])
    assert loaded[0].kind.startswith("pathlib")
    assert isinstance(loaded[-1], Global)


def test_python_2_is_read() -> None:
    """As ``cPickle.dumps(content, protocol)`` of Python 2.7 writes ``{"ab\\xe9": u"\\xe9", "n": 1L}``."""
    first = b"(dp1\nS'ab\\xe9'\np2\nV\xe9\np3\nsS'n'\np4\nL1L\ns."
    second = b"\x80\x02}q\x01(U\x03ab\xe9q\x02X\x02\x00\x00\x00\xc3\xa9q\x03U\x01nq\x04\x8a\x01\x01u."
    for content in (first, second):
        assert load(content) == {"abé": "é", "n": 1}
    set_of_2 = b"\x80\x02c__builtin__\nset\nq\x01]q\x02(K\x01K\x02e\x85q\x03Rq\x04."
    assert load(set_of_2) == [1, 2]
    old_class = b"(i__main__\nOld\np1\n(dp2\nS'a'\np3\nI1\nsb."
    assert (load(old_class).kind, load(old_class).attributes()) == ("__main__.Old", {"a": 1})
    assert load(b"(c__main__\nOld\nI5\no.").arguments == (5,)


def test_several_pickles_in_a_row_are_read_one_by_one() -> None:
    content = b"".join(pickle.dumps(value, 4) for value in ("first", ["second"]))
    file = BytesIO(content)
    assert [Unpickler(file, len(content), {}).load() for _ in range(2)] == ["first", ["second"]]


def test_identifiers_of_outside_objects_are_passed_on() -> None:
    assert load(b"\x80\x02" + text("x") + b"Q.", persistent=lambda identifier: [identifier]) == ["x"]
    assert load(b"Px\n.", persistent=lambda identifier: [identifier]) == ["x"]
    assert load(b"Px\n.").arguments == ("x",)


# -- nothing is run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        call("os.system", text("touch {ran}")),
        call("posix.system", text("touch {ran}")),
        call("builtins.eval", text("open('{ran}', 'w')")),
        call("__builtin__.exec", text("open('{ran}', 'w')")),
        call("builtins.__import__", text("antigravity")),
        call("antigravity.fly", text("")),
        glob("antigravity.fly"),
        b"(" + text("touch {ran}") + b"iposix\nsystem\n",
        b"(" + glob("posix.system") + text("touch {ran}") + b"o",
        glob("posix.system") + tuple_of(text("touch {ran}")) + b"\x81",
        glob("posix.system") + tuple_of(text("touch {ran}")) + b"}\x92",
        glob("posix.system") + text("touch {ran}") + b"b",
        text("posix") + text("system") + b"\x93" + tuple_of(text("touch {ran}")) + b"R",
        call("builtins.getattr", glob("os.path"), text("os")) + tuple_of(text("touch {ran}")) + b"R",
        call("operator.methodcaller", text("touch")) + tuple_of(glob("pathlib.Path")) + b"R",
        call("builtins.map", glob("posix.system"), b"]" + text("touch {ran}") + b"a") + b"]\x85R",
        call("copyreg._reconstructor", glob("posix.system"), glob("builtins.object"), text("touch {ran}")),
        call("copyreg.__newobj__", glob("posix.system"), text("touch {ran}")),
        call("collections.defaultdict", glob("posix.getcwd")),
        call("_codecs.encode", text("x"), text("zip")),
        call("torch.storage._load_from_bytes", text("x")),
        b"\x82\x01)R",
    ],
)  # fmt: skip
def test_nothing_is_imported_or_called(content: bytes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"{name} was imported")

    ran = tmp_path / "ran"
    # The length of the text with the path has to be right.
    content = content.replace(text("touch {ran}"), text(f"touch {ran}"))
    content = content.replace(text("open('{ran}', 'w')"), text(f"open({str(ran)!r}, 'w')"))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "antigravity", None)
        patch.setattr("builtins.__import__", refuse)
        loaded = load(b"\x80\x04" + content + b".")
    assert isinstance(loaded, Object | Global | dict)
    assert list(tmp_path.iterdir()) == []


def test_python_would_run_it(tmp_path: pathlib.Path) -> None:
    """What the test above refuses is not harmless by itself."""
    pickle.loads(b"\x80\x04" + call("os.mkdir", text(str(tmp_path / "ran"))) + b".")
    assert (tmp_path / "ran").is_dir()


def test_a_state_changes_no_object() -> None:
    content = call("x.C") + b"}" + text("__class__") + glob("y.D") + text("kind") + text("z") + b"\x94" + b"ub."
    loaded = load(b"\x80\x04" + content.replace(b"}" + text("__class__"), b"}(" + text("__class__")))
    assert type(loaded) is Object
    assert loaded.kind == "x.C"
    assert set(loaded.attributes()) == {"__class__", "kind"}


def test_the_processs_own_extensions_are_not_used() -> None:
    import copyreg

    copyreg.add_extension("os", "system", 200)
    try:
        assert load(b"\x80\x02\x82\xc8.").name == "copyreg.extension_200"
    finally:
        copyreg.remove_extension("os", "system", 200)


# -- nothing costs much ------------------------------------------------------------------------------------------

HUGE = 2**62


@pytest.mark.parametrize(
    "content",
    [
        b"\x96" + HUGE.to_bytes(8, "little"),
        b"\x8e" + HUGE.to_bytes(8, "little"),
        b"\x8d" + HUGE.to_bytes(8, "little"),
        b"B\xff\xff\xff\xff",
        b"X\xff\xff\xff\xff",
        b"T\xff\xff\xff\x7f",
        b"T\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\xff",
        b"\x95" + HUGE.to_bytes(8, "little"),
        call("builtins.bytearray", number(HUGE)),
        call("builtins.bytes", number(HUGE)),
        call("builtins.list", call("builtins.range", number(HUGE))),
        call("numpy.ndarray", tuple_of(number(HUGE))),
        call("torch.FloatTensor", number(HUGE)),
        b"N" + b"p" + b"9" * 5000 + b"\n",
        b"Np4294967296\n",
        b"Np-1\n",
        b"Nr\xff\xff\xff\xff",
        b"I" + b"9" * 10**5 + b"\n",
        b"L" + b"9" * 10**5 + b"L\n",
        b"F" + b"9" * 10**5 + b"\n",
        text("m" * 2000) + text("n") + b"\x93",
    ],
)
def test_memory_is_not_allocated_by_numbers(content: bytes) -> None:
    tracemalloc.start()
    try:
        loaded = load(b"\x80\x05" + content + b".")
    except (ValueError, EOFError) as error:
        loaded = error.__cause__
    assert isinstance(loaded, Object | float | type(None) | pickle.UnpicklingError | IndexError)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def _memoized(value: bytes, use: bytes, count: int) -> bytes:
    """A list of what ``use`` makes of a value that it refers to as object 0."""
    return b"\x80\x04]" + value + b"\x940" + use * count + b"."


@pytest.mark.parametrize(
    ("value", "use", "count"),
    [
        (text("x" * 10**6), glob("_codecs.encode") + b"h\0" + text("latin1") + b"\x86Ra", 200),
        (b"](" + b"N" * 10**5 + b"e", glob("builtins.list") + b"h\0\x85Ra", 2000),
        (b"](" + b"N" * 10**5 + b"e", glob("builtins.set") + b"h\0\x85Ra", 2000),
        (b"}(" + b"".join(number(n) + b"N" for n in range(10**5)) + b"u", glob("builtins.dict") + b"h\0\x85Ra", 2000),
    ],
)
def test_the_same_is_not_copied_again_and_again(value: bytes, use: bytes, count: int) -> None:
    load(_memoized(value, use, 1))
    with pytest.raises(ValueError, match="copies the same data again and again"):
        load(_memoized(value, use, count))


def test_names_are_not_combined_without_end() -> None:
    modules = b"".join(text(f"{n:0400}") + b"\x940" for n in range(200))
    pairs = b"".join(b"h%ch%c\x930" % (first, second) for first in range(200) for second in range(200))
    with pytest.raises(ValueError, match="again and again"):
        load(b"\x80\x04" + modules + pairs + b"N.")


def test_instructions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_OPCODES", 100)
    assert load(b"]" * 99 + b".") == []
    with pytest.raises(ValueError, match="more than 100 instructions"):
        load(b"]" * 100 + b".")


@pytest.mark.parametrize(
    "key",
    [
        lambda n: number(n * (2**61 - 1)),
        lambda n: tuple_of(*(number(-1 - (n >> bit & 1)) for bit in range(16))),
        lambda n: tuple_of(number(n * (2**61 - 1))),
    ],
)
def test_keys_cannot_be_made_to_collide(key: Callable[[int], bytes]) -> None:
    """With Python's own hashes of these keys the time grows with the square of their number."""
    count = 2**14
    loaded = load(b"\x80\x04}(" + b"".join(key(n) + b"N" for n in range(count)) + b"u.")
    assert len({hash(entry) for entry in loaded}) > count // 2


def test_nesting_ends() -> None:
    deep = load(b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".")
    assert isinstance(deep, list)
    del deep
    assert isinstance(load(b"\x80\x02" + b"(" * 10**5 + b"t" * 10**5 + b"."), tuple)


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"\x80", b"\x80\x09.", b"R.", b"Na.", b"NNNs.", b"t.", b"h\0.", b"\xff.", b"NNR.", b"N)\x81", b"\x97."],
)
def test_what_is_no_pickle_is_an_error(content: bytes) -> None:
    with pytest.raises((ValueError, EOFError)):
        load(content)
