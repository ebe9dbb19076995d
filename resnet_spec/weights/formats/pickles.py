"""Reads pickles as plain data, without importing or calling anything that they name.

A pickle is a program that names functions and calls them. Here every name becomes an inert ``Global``, and a call of it
an inert ``Object`` that keeps its arguments and state as data. Only names in this package's tables build something
else, and only plain data: containers here, NumPy's arrays and PyTorch's tensors in modules of their own.

Python's unpickler in C allocates memory by numbers in the file. The one in Python does so in a single place, which is
replaced here; what else could repeat, copy or collide without end is bounded.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from io import BufferedIOBase
from struct import unpack
from typing import Any, ClassVar, TypeGuard

MAX_OPCODES = 2**22
"""The most instructions of a pickle, each of which can create an object; a checkpoint has some thirty per tensor."""

MAX_NAME = 1000
"""The most characters in the dotted name of a class or function."""

MAX_MEMO = 2**32
"""The largest index of an object that a pickle refers to again; the indices of binary pickles have 32 bits."""

MAX_COPIES = 4
"""The most bytes that calls may copy, in multiples of the pickle's size, since a call can be repeated."""

SMALL = 2**20
"""Bytes up to which copies are not limited."""

LONG = 2**10
"""Bytes from which a text of Python 2 stays bytes: it is the content of an array, not a name."""

UNNAMED = "the result of a call"
"""The kind of an object that a pickle builds by calling what is not a name."""

Rebuild = Callable[..., Any]
"""Builds data from the arguments of a call."""

_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules that Python 3 renamed."""

_Base = pickle._Unpickler  # pyright: ignore[reportPrivateUsage]


class Global:
    """A class or function that a pickle names; it is never imported."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Object:
    """What a pickle builds by a call, as data.

    Attributes:
        kind: The dotted name of the class or function.
        arguments: The positional arguments of the call.
        state: The state that was set afterwards, usually the attributes by name.
        entries: Entries that were set as in a mapping.
        values: Values that were appended or added.
    """

    __slots__ = ("arguments", "entries", "kind", "state", "values")

    def __init__(self, kind: str, arguments: tuple[Any, ...] = ()) -> None:
        self.kind = kind
        self.arguments = arguments
        self.state: Any = None
        self.entries: dict[Any, Any] | None = None
        self.values: list[Any] | None = None

    def attributes(self) -> dict[Any, Any]:
        """Return the attributes by name; a class with slots has those in the second part of its state."""
        state = self.state
        if is_sequence(state) and len(state) == 2:
            parts = [part for part in state if is_mapping(part)]
            return parts[0] if len(parts) == 1 else {key: part[key] for part in parts for key in part}
        return state if is_mapping(state) else {}


class Stateful:
    """Data whose state a pickle sets after creating it, as NumPy's arrays."""

    __slots__ = ()

    def set_state(self, state: Any) -> None:
        """Take the state."""
        raise NotImplementedError


class Key:
    """A key of a mapping that is compared by identity, since hashes of tuples and long integers can collide."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_PLAIN_KEYS = str, bytes, float, bool, type(None)


def _key(key: Any) -> Any:
    """Return a key whose hash cannot be made to collide with those of many others."""
    plain = isinstance(key, _PLAIN_KEYS) or (isinstance(key, int) and -(2**63) <= key < 2**63)
    return key if plain else Key(key)


def is_mapping(value: Any) -> TypeGuard[dict[Any, Any]]:
    """Whether data of a pickle is a mapping."""
    return isinstance(value, dict)


def is_sequence(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether data of a pickle is a list or a tuple, as its sets are too."""
    return isinstance(value, (list, tuple))


def _entries(target: dict[Any, Any], items: Any) -> dict[Any, Any]:
    for position in range(0, len(items), 2):
        target[_key(items[position])] = items[position + 1]
    return target


class Unpickler(_Base):
    """Reads one pickle from a file, which may go on after it; sets become lists, and bytearrays bytes.

    Args:
        file: A binary file at the start of the pickle.
        size: The size of the file.
        rebuild: What builds data, by the dotted name that it stands for.
        persistent: What objects outside the pickle become, by their identifiers.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {**_Base.dispatch}

    def __init__(
        self,
        file: BufferedIOBase,
        size: int,
        rebuild: Mapping[str, Rebuild],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(file, encoding="latin-1")
        self._file = file
        self._size = size
        self._persistent = persistent
        self._names: dict[tuple[str, str], Global] = {}
        self._copies_left = SMALL + MAX_COPIES * size
        self._rebuild: dict[str, Rebuild] = {**self._containers(), **rebuild}
        self.memo: dict[int, Any] = {}
        self.stack: list[Any] = []
        self.metastack: list[list[Any]] = []
        self.append = self.stack.append
        self.readline = file.readline
        self.proto = 0

    def load(self) -> Any:
        """Return the object of the pickle; raises EOFError if it is incomplete, ValueError if it is broken."""
        try:
            return self._load()
        except (EOFError, ValueError):
            raise
        # A broken pickle fails in as many ways as there are bytes to break.
        except Exception as error:
            raise ValueError("its pickle is broken") from error

    def _load(self) -> Any:
        dispatch = self.dispatch
        read = self._file.read
        for _ in range(MAX_OPCODES):
            opcode = read(1)
            if not opcode:
                raise EOFError("its pickle is incomplete")
            if opcode == pickle.STOP:
                return self.stack.pop()
            dispatch[opcode[0]](self)
        raise ValueError(f"its pickle has more than {MAX_OPCODES:,} instructions")

    def read(self, count: int) -> bytes:
        """Return exactly ``count`` bytes; allocates nothing for bytes that the file does not have."""
        if count > LONG and count > self._size - self._file.tell():
            raise EOFError("its pickle is incomplete")
        content = self._file.read(count)
        if len(content) < count:
            raise EOFError("its pickle is incomplete")
        return content

    def copies(self, size: int) -> None:
        """Count bytes that a call copies; raises ValueError if the pickle repeats such calls without end."""
        self._copies_left -= size
        if self._copies_left < 0:
            raise ValueError("its pickle copies the same data again and again")

    # -- names and calls ---------------------------------------------------------------------------------------------

    def find_class(self, module: str, name: str) -> Global:
        """Return the name; nothing is imported."""
        if len(module) + len(name) > MAX_NAME:
            raise ValueError("its pickle names a class of an impossible length")
        key = module, name
        if key not in self._names:
            self.copies(len(module) + len(name))
            self._names[key] = Global(f"{_PYTHON_2.get(module, module)}.{name}")
        return self._names[key]

    def get_extension(self, code: int) -> None:
        """Return a name for a number that only the writing process knows the class of."""
        self.append(Global(f"copyreg.extension_{code}"))

    def persistent_load(self, pid: Any) -> Any:
        """Return what an identifier stands for."""
        return self._persistent(pid) if self._persistent else Object("persistent", (pid,))

    def call(self, function: Any, arguments: Any) -> Any:
        """Build the data of a call, or an inert object."""
        if not is_sequence(arguments):
            raise ValueError("its pickle calls a function without arguments")
        name = function.name if isinstance(function, Global) else UNNAMED
        rebuild = self._rebuild.get(name)
        return rebuild(*arguments) if rebuild else Object(name, tuple(arguments))

    def _containers(self) -> dict[str, Rebuild]:
        return {
            "_codecs.encode": self._encode,
            "builtins.bytearray": self._bytes,
            "builtins.bytes": self._bytes,
            "builtins.dict": self._mapping,
            "builtins.frozenset": self._list,
            "builtins.list": self._list,
            "builtins.set": self._list,
            "collections.Counter": self._mapping,
            "collections.OrderedDict": self._mapping,
            "collections.defaultdict": lambda *_: dict[Any, Any](),
            "collections.deque": self._list,
            "copyreg._reconstructor": _reconstructed,
        }

    def _encode(self, text: str, encoding: str = "") -> Any:
        """Python 3 writes bytes as text in protocols up to 2."""
        if encoding.lower().replace("-", "") != "latin1":
            return Object("_codecs.encode", (text, encoding))
        self.copies(len(text))
        return text.encode("latin-1")

    def _bytes(self, *arguments: Any) -> Any:
        """Never ``bytearray(number)``, which would allocate memory."""
        if not arguments:
            return b""
        if isinstance(arguments[0], bytes):
            return arguments[0]
        return self._encode(*arguments) if isinstance(arguments[0], str) else Object("builtins.bytearray", arguments)

    def _mapping(self, content: Any = (), **_: Any) -> Any:
        """A mapping from pairs, or from another mapping."""
        if not is_mapping(content) and not is_sequence(content):
            return Object("builtins.dict", (content,))
        self.copies(16 * len(content))
        pairs: Any = content.items() if is_mapping(content) else content
        return {_key(key): value for key, value in pairs}

    def _list(self, content: Any = (), *_: Any) -> Any:
        if not is_sequence(content):
            return Object("builtins.list", (content,))
        self.copies(8 * len(content))
        return list(content)

    # -- instructions that differ from Python's ----------------------------------------------------------------------

    def _decode_string(self, value: bytes) -> str | bytes:
        return value if len(value) > LONG else value.decode("latin-1")

    def _load_frame(self) -> None:
        # A frame only says how much to read ahead.
        self.read(8)

    def _load_bytearray8(self) -> None:
        self.append(self.read(unpack("<Q", self.read(8))[0]))

    def _load_readonly_buffer(self) -> None:
        pass

    def _load_put(self) -> None:
        index = int(self.readline()[:-1])
        if not 0 <= index < MAX_MEMO:
            raise ValueError("its pickle numbers an object out of range")
        self.memo[index] = self.stack[-1]

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self.call(self.stack[-1], arguments)

    def _load_newobj_ex(self) -> None:
        # Keyword arguments of a class's __new__ are rare, and none of this package's tables needs them.
        self.stack.pop()
        self._load_reduce()

    def _load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        arguments = tuple(self._pop_mark())
        self.append(self.call(self.find_class(module, name), arguments))

    def _load_obj(self) -> None:
        function, *arguments = self._pop_mark()
        self.append(self.call(function, tuple(arguments)))

    def _load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Stateful):
            target.set_state(state)
        elif isinstance(target, Object):
            # Never merged with an earlier state: that could be repeated without end.
            target.state = state
        # Else the attributes of a container, such as the versions in a state_dict's _metadata, are not read.

    def _load_append(self) -> None:
        value = self.stack.pop()
        self._values().append(value)

    def _load_appends(self) -> None:
        items = self._pop_mark()
        self._values().extend(items)

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._mapped()[_key(key)] = value

    def _load_setitems(self) -> None:
        items = self._pop_mark()
        _entries(self._mapped(), items)

    def _load_dict(self) -> None:
        items = self._pop_mark()
        self.append(_entries({}, items))

    def _load_empty_set(self) -> None:
        self.append([])

    def _load_frozenset(self) -> None:
        items = self._pop_mark()
        self.append(items)

    def _pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.metastack.pop()
        self.append = self.stack.append
        return items

    def _values(self) -> list[Any]:
        """The list on the stack, or that of an object."""
        target = self.stack[-1]
        if isinstance(target, Object):
            if target.values is None:
                target.values = []
            return target.values
        if not is_sequence(target) or isinstance(target, tuple):
            raise ValueError("its pickle appends to what is not a list")
        return target

    def _mapped(self) -> dict[Any, Any]:
        """The mapping on the stack, or that of an object."""
        target = self.stack[-1]
        if isinstance(target, Object):
            if target.entries is None:
                target.entries = {}
            return target.entries
        if not is_mapping(target):
            raise ValueError("its pickle sets an entry of what is not a mapping")
        return target

    dispatch.update({
        pickle.FRAME[0]: _load_frame,
        pickle.BYTEARRAY8[0]: _load_bytearray8,
        pickle.READONLY_BUFFER[0]: _load_readonly_buffer,
        pickle.PUT[0]: _load_put,
        pickle.REDUCE[0]: _load_reduce,
        pickle.NEWOBJ[0]: _load_reduce,
        pickle.NEWOBJ_EX[0]: _load_newobj_ex,
        pickle.INST[0]: _load_inst,
        pickle.OBJ[0]: _load_obj,
        pickle.BUILD[0]: _load_build,
        pickle.APPEND[0]: _load_append,
        pickle.APPENDS[0]: _load_appends,
        pickle.ADDITEMS[0]: _load_appends,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
        pickle.EMPTY_SET[0]: _load_empty_set,
        pickle.FROZENSET[0]: _load_frozenset,
    })  # fmt: skip


def _reconstructed(kind: Any, _: Any = None, content: Any = None) -> Object:
    """An object of protocol 0 or 1; the content is that of a built-in type that its class extends."""
    return Object(kind.name if isinstance(kind, Global) else UNNAMED, (content,))
