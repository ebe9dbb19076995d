"""YAML as plain data plus the place of each key and value, built from parser events because they alone know both."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import yaml

from resnet_spec.errors import Position, Problem, SpecError, suggest

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
KeyPath: TypeAlias = tuple[str | int, ...]

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data, and where each key and each value of it stands; the root's path is ``()``."""

    data: Any
    file: str
    keys: dict[KeyPath, Position]
    values: dict[KeyPath, Position]

    def position(self, path: KeyPath) -> Position:
        """Where the value at ``path`` stands, or the nearest one around it where the text has none."""
        while path not in self.values:
            path = path[:-1]
        return self.values[path]

    def without(self, key: str) -> Document:
        """The document less one key of its root mapping."""
        draft = _copy(self)
        if (key,) in draft.keys:
            _remove(draft, (key,))
        return draft


def dotted(path: KeyPath) -> str:
    """A path as errors show it, on one line whatever its keys hold."""
    return ".".join(_shown(str(part)) for part in path)


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


def merge(base: Document, override: Document) -> Document:
    """``override`` on top of ``base``, as ``extends`` means it.

    Mappings that both have merge by key, in the base's order; a new key goes behind the key that the override has
    before it, even one it deletes, or to the end if it has none. There null deletes a key, and is wrong where the base
    has no such key; all else is replaced. What both have stands where the override has it.
    """
    merger = _Merger(base, override)
    data = merger.root()
    if merger.problems:
        raise SpecError(merger.problems)
    return replace(merger.target, data=data)


def assign(document: Document, assignments: Mapping[str, Any] | Iterable[str]) -> Document:
    """The document with values replaced, by ``"a.b.c=VALUE"`` texts or by a mapping of dotted keys to plain data.

    VALUE is YAML in flow style. Where keys hold dots, the longest existing one wins. Only the last key may be new; null
    deletes it.
    """
    draft = _copy(document)
    problems: list[Problem] = []
    items = cast("Mapping[str, Any]", assignments).items() if isinstance(assignments, Mapping) else assignments
    for item in items:
        try:
            assignment = _from_text(item) if isinstance(item, str) else _from_pair(*item)
            assignment.apply(draft)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return draft


def to_yaml(data: Any) -> str:
    """YAML that ``parse`` reads back to the same data; what YAML 1.1 readers would misread is quoted."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


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


def _shown(text: str, quote: bool = False) -> str:
    short = text if len(text) <= 80 else text[:77] + "..."
    return short if short.isprintable() and not quote else repr(short)


# Plain scalars

_PLAIN = re.compile(
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
        raise ValueError(f"number {_shown(text)} is out of range")
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
    match = _PLAIN.fullmatch(text)
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
            self._problem(f"tag {_shown(tag)} is not allowed; quote a value to make it text", place, self._path())
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
            self._problem(f"duplicate key {_shown(key, quote=True)}, first on line {first}", place, path)
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
            data = _graft(anchor.data, self._target, anchor.path, self._target, path)
        elif name in self._anchors:
            self._problem(f"alias *{_shown(name)} stands inside the value it names", place, path)
        else:
            self._problem(f"unknown alias *{_shown(name)}{suggest(name, self._anchors)}", place, path)
        self._put(data, path, place)

    def _open(self, event: yaml.NodeEvent, place: Position) -> None:
        path = self._path()
        _check_depth(path, place)
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
            raise self._fatal("too many problems; the rest of the file is not looked at", place)

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
        return Problem(f"not valid YAML: {_shown(str(error))}", position=Position(file, 1, 1))
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


# Copying and changing documents


def _check_depth(path: KeyPath, place: Position) -> None:
    if len(path) >= MAX_DEPTH:
        raise SpecError(Problem(f"nested deeper than {MAX_DEPTH} levels", dotted(path[:3]) + "...", place))


def _graft(data: Data, source: Document, at: KeyPath, target: Document, to: KeyPath) -> Data:
    """A copy of what stands ``at`` in the source, its positions noted in the target, but for the key of ``to``."""
    target.values[to] = source.values[at]
    if isinstance(data, dict):
        _check_depth(to, source.values[at])
        target.keys.update({(*to, key): source.keys[(*at, key)] for key in data})
        return {key: _graft(value, source, (*at, key), target, (*to, key)) for key, value in data.items()}
    if isinstance(data, list):
        _check_depth(to, source.values[at])
        return [_graft(value, source, (*at, index), target, (*to, index)) for index, value in enumerate(data)]
    return data


def _copy(document: Document) -> Document:
    target = Document(None, document.file, {}, {})
    return replace(target, data=_graft(document.data, document, (), target, ()))


def _mapping_at(document: Document, path: KeyPath) -> dict[str, Data]:
    data = document.data
    for key in path:
        data = data[key]
    return cast("dict[str, Data]", data)


def _forget(document: Document, path: KeyPath) -> None:
    for positions in (document.keys, document.values):
        for known in [known for known in positions if known[: len(path)] == path]:
            del positions[known]


def _remove(document: Document, path: KeyPath) -> None:
    _forget(document, path)
    del _mapping_at(document, path[:-1])[str(path[-1])]


def _order(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """The base's keys, and each new one behind the key that it is written behind, so that a chain can be added to."""
    order = list(old)
    before: str | None = None
    for key in new:
        if key not in order:
            order.insert(len(order) if before is None else order.index(before) + 1, key)
        before = key
    return order


class _Merger:
    def __init__(self, base: Document, override: Document) -> None:
        self.problems: list[Problem] = []
        self.target = Document(None, override.file, {}, {})
        self._base = base
        self._override = override

    def root(self) -> Data:
        return self._value(self._base.data, self._override.data, ())

    def _value(self, old: Data, new: Data, path: KeyPath) -> Data:
        if not isinstance(new, dict) or not isinstance(old, dict):
            return _graft(new, self._override, path, self.target, path)
        self.target.values[path] = self._override.values[path]
        return self._mapping(old, new, path)

    def _mapping(self, old: dict[str, Data], new: dict[str, Data], path: KeyPath) -> dict[str, Data]:
        merged: dict[str, Data] = {}
        for key in _order(old, new):
            child = (*path, key)
            if key not in new:
                self.target.keys[child] = self._base.keys[child]
                merged[key] = _graft(old[key], self._base, child, self.target, child)
            elif new[key] is not None:
                self.target.keys[child] = self._override.keys[child]
                merged[key] = self._value(old.get(key), new[key], child)
            elif key not in old:
                self._nothing_to_delete(key, old, child)
        return merged

    def _nothing_to_delete(self, key: str, old: dict[str, Data], path: KeyPath) -> None:
        message = f"null deletes a key, but there is no {_shown(key, quote=True)} to delete{suggest(key, old)}"
        self.problems.append(Problem(message, dotted(path), self._override.keys[path]))


def _from_pair(key: str, value: Any) -> _Assignment:
    return _Assignment(Position(f"overrides[{_shown(key, quote=True)}]", 1, 1), key, value)


def _from_text(text: str) -> _Assignment:
    place = Position("--set " + _shown(text), 1, 1)
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise SpecError(Problem("an override is written KEY=VALUE", position=place))
    try:
        return _Assignment(place, key, _parse_flow(value, place.file))
    except SpecError as error:
        found = [(problem.message, ".".join(filter(None, (key, problem.path)))) for problem in error.problems]
        raise SpecError(Problem(message, _shown(path), place) for message, path in found) from None


def _parse_flow(text: str, file: str) -> Data:
    if not text.strip():
        raise SpecError("the value is empty; write null to delete the key, '' for an empty text")
    data: Data = parse(text, file).data
    if isinstance(data, (dict, list)) and text.lstrip()[0] not in "[{":
        raise SpecError("write a mapping as {key: value} and a list as [value, value]")
    return data


@dataclass(frozen=True, slots=True)
class _Assignment:
    place: Position
    key: str
    value: Any

    def apply(self, draft: Document) -> None:
        parts = self.key.split(".")
        if not all(parts):
            raise self._error("a key, or a part of it, is empty")
        path = self._locate(draft.data, parts)
        mapping, key = _mapping_at(draft, path[:-1]), str(path[-1])
        if self.value is not None:
            _forget(draft, path)
            draft.keys[path] = self.place
            mapping[key] = self._adopt(self.value, draft, path)
        elif key in mapping:
            _remove(draft, path)
        else:
            raise self._error(f"there is no {_shown(key, quote=True)} to delete{suggest(key, mapping)}")

    def _locate(self, data: Data, parts: list[str]) -> KeyPath:
        path: KeyPath = ()
        while True:
            if not isinstance(data, dict):
                raise self._error(f"{dotted(path) or 'the document'} is not a mapping; only a whole value can be set")
            size = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in data), 0)
            if not size and len(parts) > 1:
                within = f" in {dotted(path)}" if path else ""
                missing = _shown(parts[0], quote=True)
                raise self._error(f"there is no {missing}{within}{suggest(parts[0], data)}")
            key = ".".join(parts[: size or 1])
            path, parts = (*path, key), parts[size or 1 :]
            if not parts:
                return path
            data = data[key]

    def _adopt(self, value: Any, draft: Document, path: KeyPath) -> Data:
        draft.values[path] = self.place
        if isinstance(value, Mapping):
            _check_depth(path, self.place)
            return dict(self._entry(item, draft, path) for item in cast("Mapping[Any, Any]", value).items())
        if isinstance(value, (list, tuple)):
            _check_depth(path, self.place)
            items = enumerate(cast("Iterable[Any]", value))
            return [self._adopt(item, draft, (*path, index)) for index, item in items]
        # Subclasses (an enum, a NumPy number) would not come through JSON or YAML as they are.
        if type(value) in (str, int, bool, type(None)) or (type(value) is float and not math.isnan(value)):
            return value
        raise self._error(f"{_shown(repr(value))} is not plain data", dotted(path))

    def _entry(self, item: tuple[Any, Any], draft: Document, path: KeyPath) -> tuple[str, Data]:
        key, value = item
        if not isinstance(key, str):
            raise self._error(f"key {_shown(repr(key))} is not a string", dotted(path))
        draft.keys[(*path, key)] = self.place
        return key, self._adopt(value, draft, (*path, key))

    def _error(self, message: str, path: str | None = None) -> SpecError:
        return SpecError(Problem(message, _shown(self.key) if path is None else path, self.place))


# Writing

_FLOW_WIDTH = 88
# YAML 1.1 takes these for line breaks, and libyaml turns some of them into others.
_ODD_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, which knows YAML 1.1; the resolvers below add what YAML 1.2 would misread."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def serialize(self, node: yaml.Node) -> None:
        if isinstance(node, yaml.CollectionNode):
            node.flow_style = False
        super().serialize(node)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        values = [value for _, value in node.value]
        node.flow_style = _width(node) <= _FLOW_WIDTH and (len(values) < 2 or not _has_mapping(values))
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = _width(node) <= _FLOW_WIDTH and not _has_mapping(node.value)
        return node


def _has_mapping(nodes: Iterable[yaml.Node]) -> bool:
    return any(isinstance(node, yaml.MappingNode) for node in nodes)


def _width(node: yaml.Node) -> float:
    """Characters on one line, infinite for what must have lines of its own."""
    if isinstance(node, yaml.ScalarNode):
        return math.inf if "\n" in node.value else len(node.value) + 2
    children = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
    return 2 + sum(_width(child) if getattr(child, "flow_style", True) is not False else math.inf for child in children)


def _represent_text(_: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _ODD_BREAKS.search(text) else "|" if "\n" in text else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _tag, _pattern in (("float", _PLAIN.pattern), ("bool", "[yYnN]")):
    _Dumper.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), None
    )
