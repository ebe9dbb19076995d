"""Parses YAML to plain data with the position of each key and value, from PyYAML's events."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import yaml

from resnet_spec.errors import KeyPath, Position, Problem, SpecError, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        """The position of the value at ``path``, or of the nearest one around it if the text has none."""
        while path not in self.values:
            path = path[:-1]
        return self.values[path]

    def locate(self, path: KeyPath, *, key: bool = False) -> Position:
        """The position of the value at ``path``, or of its key."""
        return (self.keys.get(path) if key else None) or self.position(path)

    def copy(self) -> Document:
        """A document that shares nothing mutable with this one."""
        return Document(copied(self.data), self.file, dict(self.keys), dict(self.values))


def copied(data: Any) -> Any:
    """Plain data that shares no mapping and no list with ``data``."""
    if isinstance(data, dict):
        return {key: copied(value) for key, value in cast("dict[Any, Any]", data).items()}
    return [copied(item) for item in cast("list[Any]", data)] if isinstance(data, list) else data


def depth(data: Any) -> int:
    """How many mappings and lists are within each other, at most; data that contains itself is 1,000 levels deep.

    >>> depth({"a": [1, {}]}), depth(1)
    (3, 0)
    """
    deepest, pending = 0, [(data, 1)]
    while pending:
        item, level = pending.pop()
        if level > 1000:
            return level
        if isinstance(item, (dict, list)):
            deepest = max(deepest, level)
            inner = cast("dict[Any, Any]", item).values() if isinstance(item, dict) else cast("list[Any]", item)
            pending += [(value, level + 1) for value in inner]
    return deepest


def dotted(path: KeyPath) -> str:
    """A path as errors show it, always on one line."""
    return ".".join(short(str(part)) for part in path)


def parse(text: str, file: str) -> Document:
    """Read one YAML 1.2 document; ``file`` is its name in errors.

    Numbers, booleans and null follow the core schema of YAML 1.2, except that ``.nan`` is an error; keys remain text.
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


# Text


# What YAML forbids in a stream; libyaml and PyYAML report it differently, and neither gives line and column.
_FORBIDDEN = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _check_text(text: str, file: str) -> None:
    if len(text) > MAX_BYTES:
        raise too_large(file)
    if found := _FORBIDDEN.search(text):
        position = position_at(text, found.start(), file)
        raise SpecError(Problem(f"character U+{ord(found[0]):04X} is not allowed in YAML", position=position))


def too_large(file: str) -> SpecError:
    """The error of a text that is too long to be a spec."""
    return SpecError(f"{file}: larger than 1 MiB")


def _position(mark: _Mark | None, file: str) -> Position:
    return Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)


def position_at(text: str, offset: int, file: str) -> Position:
    """The position of the character at an offset."""
    lines = re.split(r"\r\n?|\n", text[:offset])
    return Position(file, len(lines), len(lines[-1]) + 1)


def short(text: str, quote: bool = False) -> str:
    """A text as messages show it, on one line and shortened."""
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
    # Python raises an error at 4300 digits, and no size in a network has 30.
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
    """A collection that is still open; ``key`` is that of the next value, None if a mapping's next key comes first."""

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
    """Builds data from events with its own stack, so that deep nesting in a file cannot exhaust the interpreter's."""

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
            raise self._fatal("a second document starts here; a file contains only one", self._position_of(event))
        self._started = True
        if event.version == (1, 1):
            self._problem(
                "the file declares YAML 1.1 but is read as YAML 1.2; remove this line", self._position_of(event)
            )

    def _node(self, event: yaml.NodeEvent) -> None:
        position = self._position_of(event)
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(f"tag {short(tag)} is not allowed; quote the value to make it text", position, self._path())
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.key is None:
            self._key(event, frame, position)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, position)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, position)
        else:
            self._open(event, position)

    def _key(self, event: yaml.NodeEvent, frame: _Frame, position: Position) -> None:
        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None:
            raise self._fatal("a key must be plain text, without anchor, alias or structure", position, frame.path)
        key = event.value
        path = (*frame.path, key)
        if not event.style and not key:
            self._problem("a key is missing before ':'", position, frame.path)
        if not event.style and key == "<<":
            self._problem("merge keys ('<<') are not supported; inherit with 'extends'", position, frame.path)
        if key in frame.container:
            first = self._target.keys[path].line
            self._problem(f"duplicate key {short(key, quote=True)}, first on line {first}", position, path)
        else:
            self._target.keys[path] = position
        frame.key = key
        self._weigh(len(key) // 100, position)

    def _scalar(self, event: yaml.ScalarEvent, position: Position) -> None:
        if not (self._stack or event.style or event.value):
            return
        # A long text counts as several values, or aliases could repeat it until memory is exhausted.
        weight = 1 + len(event.value) // 100
        self._weigh(weight, position)
        path = self._path()
        data: Data = event.value
        if not event.style:
            try:
                data = _resolve(event.value)
            except ValueError as error:
                self._problem(str(error), position, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(data, path, weight)
        self._put(data, path, position)

    def _alias(self, event: yaml.AliasEvent, position: Position) -> None:
        path, name = self._path(), event.anchor or ""
        anchor = self._anchors.get(name)
        data: Data = None
        if anchor is not None:
            self._weigh(anchor.weight, position)
            data = graft(anchor.data, self._target, anchor.path, self._target, path)
        elif name in self._anchors:
            self._problem(f"alias *{short(name)} is inside the value that it names", position, path)
        else:
            self._problem(f"unknown alias *{short(name)}{suggest(name, self._anchors)}", position, path)
        self._put(data, path, position)

    def _open(self, event: yaml.NodeEvent, position: Position) -> None:
        path = self._path()
        check_depth(path, position)
        is_list = isinstance(event, yaml.SequenceStartEvent)
        frame = _Frame([] if is_list else {}, path, 0 if is_list else None, event.anchor, self._weight)
        self._weigh(1, position)
        self._put(frame.container, path, position)
        self._stack.append(frame)
        if event.anchor is not None:
            self._anchors[event.anchor] = None

    def _close(self) -> None:
        frame = self._stack.pop()
        if frame.anchor is not None:
            self._anchors[frame.anchor] = _Anchor(frame.container, frame.path, self._weight - frame.weight)

    def _put(self, data: Data, path: KeyPath, position: Position) -> None:
        self._target.values[path] = position
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

    def _weigh(self, weight: int, position: Position) -> None:
        self._weight += weight
        if self._weight > MAX_VALUES:
            raise self._fatal(f"more than {MAX_VALUES} values, counting aliases each time that they are used", position)

    def _path(self) -> KeyPath:
        if not self._stack:
            return ()
        frame = self._stack[-1]
        return frame.path if frame.key is None else (*frame.path, frame.key)

    def _position_of(self, event: yaml.Event) -> Position:
        return _position(event.start_mark, self._target.file)

    def _problem(self, message: str, position: Position, path: KeyPath = ()) -> None:
        self.problems.append(Problem(message, dotted(path), position))
        if len(self.problems) == MAX_PROBLEMS:
            raise self._fatal("too many problems; the rest of the file is not checked", position)

    def _fatal(self, message: str, position: Position, path: KeyPath = ()) -> SpecError:
        return SpecError(Problem(message, dotted(path), position))


# A part of the parser's message, our message, and whether to point at the start of the construct.
_SYNTAX: tuple[tuple[str, str, bool], ...] = (
    # PyYAML's own limit, as of 6.0.4.
    ("maximum nesting depth", f"nested deeper than {MAX_DEPTH} levels", False),
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


def check_depth(path: KeyPath, position: Position) -> None:
    """Raise SpecError if a value is nested too deep."""
    if len(path) >= MAX_DEPTH:
        raise SpecError(Problem(f"nested deeper than {MAX_DEPTH} levels", dotted(path[:3]) + "...", position))


def graft(data: Data, source: Document, at: KeyPath, target: Document, to: KeyPath) -> Data:
    """A copy of the value ``at`` in the source; its positions, except that of the key of ``to``, go to the target."""
    target.values[to] = source.values[at]
    if isinstance(data, dict):
        check_depth(to, source.values[at])
        target.keys.update({(*to, key): source.keys[(*at, key)] for key in data})
        return {key: graft(value, source, (*at, key), target, (*to, key)) for key, value in data.items()}
    if isinstance(data, list):
        check_depth(to, source.values[at])
        return [graft(value, source, (*at, index), target, (*to, index)) for index, value in enumerate(data)]
    return data
