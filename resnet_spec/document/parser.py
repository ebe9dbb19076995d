"""YAML as plain data plus the place of each key and value, built from parser events because they alone know both."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import yaml

from resnet_spec.errors import KeyPath, Position, Problem, SpecError, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from yaml._yaml import Mark as CMark

    _Mark: TypeAlias = yaml.Mark | CMark

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64
MAX_VALUES: Final = 100_000
MAX_DIGITS: Final = 30
MAX_PROBLEMS: Final = 100

Data: TypeAlias = "bool | int | float | str | list[Data] | dict[str, Data] | None"

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data, and the position of each key and each value; the root's path is ``()``."""

    data: Any
    file: str
    keys: dict[KeyPath, Position]
    values: dict[KeyPath, Position]

    def position(self, path: KeyPath) -> Position:
        """The position of the value at ``path``, or of the nearest one around it where the text has none."""
        while path not in self.values:
            path = path[:-1]
        return self.values[path]

    def locate(self, path: KeyPath, *, key: bool = False) -> Position:
        """The position of the value at ``path``, or of its key."""
        return (self.keys.get(path) if key else None) or self.position(path)

    def copy(self) -> Document:
        """A document that shares nothing mutable with this one."""
        return Document(_copied(self.data), self.file, dict(self.keys), dict(self.values))


def _copied(data: Data) -> Data:
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(item) for item in data] if isinstance(data, list) else data


def dotted(path: KeyPath) -> str:
    """A path as errors show it, on one line whatever its keys hold."""
    return ".".join(short(str(part)) for part in path)


def parse(text: str, file: str) -> Document:
    """Read one YAML 1.2 document; ``file`` is its name in errors.

    Numbers, booleans and null follow the core schema of YAML 1.2, except that ``.nan`` is refused; keys stay text.
    """
    text = text.removeprefix("\ufeff")
    _check_text(text, file)
    builder = _Builder(file)
    try:
        builder.build(text)
    except yaml.YAMLError as error:
        raise SpecError([*builder.problems, _syntax_problem(error, text, file)]) from None
    except SpecError as error:
        raise SpecError([*builder.problems, *error.problems]) from None
    if builder.problems:
        raise SpecError(builder.problems)
    return builder.document()


def read(path: Path) -> Document:
    """Read one YAML file of at most 1 MiB of UTF-8."""
    try:
        with path.open("rb") as file:
            too_large = os.fstat(file.fileno()).st_size > MAX_BYTES
            # The size of a pipe or a device is not known beforehand.
            content = b"" if too_large else file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise SpecError(f"{str(path)!r}: {error}") from None
    if too_large or len(content) > MAX_BYTES:
        raise _too_large(str(path))
    return parse(_decode(content, str(path)), str(path))


# Text


# What YAML forbids in a stream; the two loaders word it differently, and neither gives line and column.
_FORBIDDEN = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _check_text(text: str, file: str) -> None:
    if len(text) > MAX_BYTES:
        raise _too_large(file)
    if found := _FORBIDDEN.search(text):
        position = _position_at(text, found.start(), file)
        raise SpecError(Problem(f"character U+{ord(found[0]):04X} is not allowed in YAML", position=position))


def _too_large(file: str) -> SpecError:
    return SpecError(f"{file}: larger than 1 MiB")


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8").removeprefix("\ufeff")
        position = _position_at(before, len(before), file)
        raise SpecError(Problem(f"not UTF-8: byte 0x{content[error.start]:02x}", position=position)) from None


def _position(mark: _Mark | None, file: str) -> Position:
    return Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)


def _position_at(text: str, offset: int, file: str) -> Position:
    lines = re.split(r"\r\n?|\n", text[:offset])
    return Position(file, len(lines), len(lines[-1]) + 1)


def short(text: str, quote: bool = False) -> str:
    """A text as messages show it, on one line and not too much of it."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return short if short.isprintable() and not quote else repr(short)


# Plain scalars

PLAIN = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<true>true|True|TRUE)"
    r"|(?P<false>false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+)"
    r"|(?P<oct>0o[0-7]+)"
    r"|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<inf>[-+]?\.(?:inf|Inf|INF))"
    r"|(?P<nan>\.(?:nan|NaN|NAN))"
)


def _integer(text: str, base: int = 10) -> int:
    # Python itself refuses 4300 digits with a traceback, and no size in a network has 30.
    if len(text) > MAX_DIGITS + 1 or len(text.lstrip("+-")) > MAX_DIGITS:
        raise ValueError(f"an integer of more than {MAX_DIGITS} digits")
    return int(text, base)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"number {short(text)} is out of range")
    return number


def _nan(_: str) -> float:
    raise ValueError("not-a-number is not allowed")


_CONVERT: dict[str, Callable[[str], bool | int | float | None]] = {
    "null": lambda _: None,
    "true": lambda _: True,
    "false": lambda _: False,
    "int": _integer,
    "oct": lambda text: _integer(text, 8),
    "hex": lambda text: _integer(text, 16),
    "float": _float,
    "inf": lambda text: float(text.replace(".", "")),
    "nan": _nan,
}


def _resolve(text: str) -> bool | int | float | str | None:
    match = PLAIN.fullmatch(text)
    return _CONVERT[match.lastgroup or ""](text) if match else text


# Building


@dataclass(slots=True)
class _Frame:
    """A collection that is still open; ``key`` is the next value's, None where a mapping's next key is due."""

    container: list[Data] | dict[str, Data]
    path: KeyPath
    key: str | int | None
    anchor: str | None
    weight: int


@dataclass(frozen=True, slots=True)
class _Anchor:
    data: Data
    path: KeyPath
    weight: int


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=_LOADER)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


class _Builder:
    """Data out of events, on a stack of its own: the nesting is the file's, and must not be the interpreter's."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._target = Document(None, file, {}, {})
        self._data: Data = None
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchor | None] = {}
        self._weight = 0
        self._started = False

    def build(self, text: str) -> None:
        for event in _events(text):
            if isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close()
            elif isinstance(event, yaml.DocumentStartEvent):
                self._start(event)
        if () not in self._target.values:
            raise SpecError(Problem("the file is empty", position=Position(self._target.file, 1, 1)))

    def document(self) -> Document:
        return replace(self._target, data=self._data)

    def _start(self, event: yaml.DocumentStartEvent) -> None:
        if self._started:
            raise self._fatal("a second document starts here; a file holds one", self._place(event))
        self._started = True
        if event.version == (1, 1):
            self._problem("the file asks for YAML 1.1; it is read as YAML 1.2, so drop this line", self._place(event))

    def _node(self, event: yaml.NodeEvent) -> None:
        place = self._place(event)
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(f"tag {short(tag)} is not allowed; quote a value to make it text", place, self._path())
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.key is None:
            self._key(event, frame, place)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, place)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, place)
        else:
            self._open(event, place)

    def _key(self, event: yaml.NodeEvent, frame: _Frame, place: Position) -> None:
        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None:
            raise self._fatal("a key must be plain text, without anchor, alias or structure", place, frame.path)
        key = event.value
        path = (*frame.path, key)
        if not event.style and not key:
            self._problem("a key is missing in front of ':'", place, frame.path)
        if not event.style and key == "<<":
            self._problem("merge keys ('<<') are not supported; inherit with 'extends'", place, frame.path)
        if key in frame.container:
            first = self._target.keys[path].line
            self._problem(f"duplicate key {short(key, quote=True)}, first on line {first}", place, path)
        else:
            self._target.keys[path] = place
        frame.key = key
        self._weigh(len(key) // 100, place)

    def _scalar(self, event: yaml.ScalarEvent, place: Position) -> None:
        if not (self._stack or event.style or event.value):
            return
        # A long text weighs more than a number, or aliases could repeat it beyond all memory.
        weight = 1 + len(event.value) // 100
        self._weigh(weight, place)
        path = self._path()
        data: Data = event.value
        if not event.style:
            try:
                data = _resolve(event.value)
            except ValueError as error:
                self._problem(str(error), place, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(data, path, weight)
        self._put(data, path, place)

    def _alias(self, event: yaml.AliasEvent, place: Position) -> None:
        path, name = self._path(), event.anchor or ""
        anchor = self._anchors.get(name)
        data: Data = None
        if anchor is not None:
            self._weigh(anchor.weight, place)
            data = graft(anchor.data, self._target, anchor.path, self._target, path)
        elif name in self._anchors:
            self._problem(f"alias *{short(name)} stands inside the value it names", place, path)
        else:
            self._problem(f"unknown alias *{short(name)}{suggest(name, self._anchors)}", place, path)
        self._put(data, path, place)

    def _open(self, event: yaml.NodeEvent, place: Position) -> None:
        path = self._path()
        check_depth(path, place)
        is_list = isinstance(event, yaml.SequenceStartEvent)
        frame = _Frame([] if is_list else {}, path, 0 if is_list else None, event.anchor, self._weight)
        self._weigh(1, place)
        self._put(frame.container, path, place)
        self._stack.append(frame)
        if event.anchor is not None:
            self._anchors[event.anchor] = None

    def _close(self) -> None:
        frame = self._stack.pop()
        if frame.anchor is not None:
            self._anchors[frame.anchor] = _Anchor(frame.container, frame.path, self._weight - frame.weight)

    def _put(self, data: Data, path: KeyPath, place: Position) -> None:
        self._target.values[path] = place
        if not self._stack:
            self._data = data
            return
        frame = self._stack[-1]
        if isinstance(frame.container, list):
            frame.container.append(data)
            frame.key = len(frame.container)
        else:
            frame.container[str(frame.key)] = data
            frame.key = None

    def _weigh(self, weight: int, place: Position) -> None:
        self._weight += weight
        if self._weight > MAX_VALUES:
            raise self._fatal(f"more than {MAX_VALUES} values, aliases counted as often as they are used", place)

    def _path(self) -> KeyPath:
        if not self._stack:
            return ()
        frame = self._stack[-1]
        return frame.path if frame.key is None else (*frame.path, frame.key)

    def _place(self, event: yaml.Event) -> Position:
        return _position(event.start_mark, self._target.file)

    def _problem(self, message: str, place: Position, path: KeyPath = ()) -> None:
        self.problems.append(Problem(message, dotted(path), place))
        if len(self.problems) == MAX_PROBLEMS:
            raise self._fatal("too many problems; the rest of the file is not checked", place)

    def _fatal(self, message: str, place: Position, path: KeyPath = ()) -> SpecError:
        return SpecError(Problem(message, dotted(path), place))


# What the parser says, what we say, and whether the start of the construct is the better place to point at.
_SYNTAX: tuple[tuple[str, str, bool], ...] = (
    ("tab character", "a tab where YAML expects spaces", False),
    ("mapping values are not allowed", "no ':' is expected here; check the indentation, or quote the text", False),
    ("sequence entries are not allowed", "no '-' is expected here; start the list on a line of its own", False),
    ("quoted scalar, found unexpected end", "this quote is never closed", True),
    ("quoted scalar, found unexpected document", "this quote is never closed", True),
    ("could not find expected ':'", "this key has no ':'", True),
    ("block mapping, ", "neither a key nor the mapping's end; check indentation and quotes", False),
    ("block collection, ", "neither a '-' nor the list's end; check the indentation", False),
    ("flow sequence, ", "',' or ']' is missing in the list that opens on line {line}", False),
    ("flow mapping, ", "',' or '}}' is missing in the mapping that opens on line {line}", False),
    ("node content", "a value is missing here, or a bracket or comma too many", False),
    ("document start>", "nothing may follow the document's end", False),
)


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(f"not valid YAML: {short(str(error))}", position=Position(file, 1, 1))
    message, mark = _explain(error, text)
    return Problem(f"not valid YAML: {message}", position=_position(mark, file))


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[str, _Mark | None]:
    start, mark = error.context_mark, error.problem_mark or error.context_mark
    said = f"{error.context}, {error.problem}" if error.context else str(error.problem)
    if mark and said.endswith("cannot start any token"):
        character = text[mark.index : mark.index + 1]
        message = f"a value cannot start with {character!r}; quote it"
        return ("a tab where YAML expects spaces" if character == "\t" else message), mark
    for fragment, message, at_start in _SYNTAX:
        if fragment in said:
            return message.format(line=start.line + 1 if start else "?"), start if at_start and start else mark
    return said, mark


def check_depth(path: KeyPath, place: Position) -> None:
    """Raise SpecError where a value would nest too deep."""
    if len(path) >= MAX_DEPTH:
        raise SpecError(Problem(f"nested deeper than {MAX_DEPTH} levels", dotted(path[:3]) + "...", place))


def graft(data: Data, source: Document, at: KeyPath, target: Document, to: KeyPath) -> Data:
    """A copy of what stands ``at`` in the source, its positions noted in the target, but for the key of ``to``."""
    target.values[to] = source.values[at]
    if isinstance(data, dict):
        check_depth(to, source.values[at])
        target.keys.update({(*to, key): source.keys[(*at, key)] for key in data})
        return {key: graft(value, source, (*at, key), target, (*to, key)) for key, value in data.items()}
    if isinstance(data, list):
        check_depth(to, source.values[at])
        return [graft(value, source, (*at, index), target, (*to, index)) for index, value in enumerate(data)]
    return data
