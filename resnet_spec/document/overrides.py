"""Overrides: ``--set KEY=VALUE`` texts, or a mapping of dotted keys to plain data, applied to a document."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from resnet_spec.document.parser import Data, Document, KeyPath, check_depth, dotted, graft, parse, short
from resnet_spec.errors import Position, Problem, SpecError, suggest

_SameKey: TypeAlias = "Callable[[str, Iterable[str]], str | None]"

SOURCES = ("override ", "overrides[")
"""What the positions of overridden values name as their file."""


def assign(
    document: Document,
    assignments: Mapping[str, Any] | Iterable[str],
    same_key: _SameKey = lambda key, keys: None,
) -> Document:
    """The document with values replaced, by ``"a.b.c=VALUE"`` texts or by a mapping of dotted keys to plain data.

    VALUE is YAML in flow style. If keys contain dots, the longest existing one wins. Only the last key may be new; null
    deletes it. ``same_key`` finds among a mapping's keys another word for one that the mapping lacks.
    """
    draft = _copy(document)
    problems: list[Problem] = []
    items = cast("Mapping[str, Any]", assignments).items() if isinstance(assignments, Mapping) else assignments
    for item in items:
        try:
            assignment = _from_text(item) if isinstance(item, str) else _from_pair(*item)
            assignment.apply(draft, same_key)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return draft


def _copy(document: Document) -> Document:
    # Positions of keys that are no longer in the data, such as 'extends', stay.
    target = Document(None, document.file, {}, dict(document.values))
    return replace(target, data=graft(document.data, document, (), target, ()))


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


def _from_pair(key: str, value: Any) -> _Assignment:
    return _Assignment(Position(f"{SOURCES[1]}{short(key, quote=True)}]", 1, 1), key, value)


def _from_text(text: str) -> _Assignment:
    position = Position(SOURCES[0] + short(text), 1, 1)
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise SpecError(Problem("an override is written KEY=VALUE", position=position))
    try:
        return _Assignment(position, key, _parse_flow(value, position.file))
    except SpecError as error:
        found = [(problem.message, ".".join(filter(None, (key, problem.path)))) for problem in error.problems]
        raise SpecError(Problem(message, short(path), position) for message, path in found) from None


def _parse_flow(text: str, file: str) -> Data:
    if not text.strip():
        raise SpecError("the value is empty; write null to delete the key, '' for an empty text")
    data: Data = parse(text, file).data
    if isinstance(data, (dict, list)) and text.lstrip()[0] not in "[{":
        raise SpecError("write a mapping as {key: value} and a list as [value, value]")
    return data


@dataclass(frozen=True, slots=True)
class _Assignment:
    position: Position
    key: str
    value: Any

    def apply(self, draft: Document, same_key: _SameKey) -> None:
        parts = self.key.split(".")
        if not all(parts):
            raise self._error("a key, or a part of it, is empty")
        path = self._locate(draft.data, parts, same_key)
        mapping, key = _mapping_at(draft, path[:-1]), str(path[-1])
        if self.value is not None:
            _forget(draft, path)
            draft.keys[path] = self.position
            mapping[key] = self._adopt(self.value, draft, path)
        elif key in mapping:
            _remove(draft, path)
        else:
            raise self._error(f"there is no {short(key, quote=True)} to delete{suggest(key, mapping)}")

    def _locate(self, data: Data, parts: list[str], same_key: _SameKey) -> KeyPath:
        path: KeyPath = ()
        while True:
            if not isinstance(data, dict):
                raise self._error(f"{dotted(path) or 'the document'} is not a mapping; only a whole value can be set")
            size = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in data), 0)
            if not size and (key := same_key(parts[0], data)):
                parts, size = [key, *parts[1:]], 1
            if not size and len(parts) > 1:
                within = f" in {dotted(path)}" if path else ""
                missing = short(parts[0], quote=True)
                raise self._error(f"there is no {missing}{within}{suggest(parts[0], data)}")
            key = ".".join(parts[: size or 1])
            path, parts = (*path, key), parts[size or 1 :]
            if not parts:
                return path
            data = data[key]

    def _adopt(self, value: Any, draft: Document, path: KeyPath) -> Data:
        draft.values[path] = self.position
        if isinstance(value, Mapping):
            check_depth(path, self.position)
            return dict(self._entry(item, draft, path) for item in cast("Mapping[Any, Any]", value).items())
        if isinstance(value, (list, tuple)):
            check_depth(path, self.position)
            items = enumerate(cast("Iterable[Any]", value))
            return [self._adopt(item, draft, (*path, index)) for index, item in items]
        # Subclasses (an enum, a NumPy number) would change in JSON or YAML.
        if type(value) in (str, int, bool, type(None)) or (type(value) is float and not math.isnan(value)):
            return value
        raise self._error(f"{short(repr(value))} is not plain data", dotted(path))

    def _entry(self, item: tuple[Any, Any], draft: Document, path: KeyPath) -> tuple[str, Data]:
        key, value = item
        if not isinstance(key, str):
            raise self._error(f"key {short(repr(key))} is not a string", dotted(path))
        draft.keys[(*path, key)] = self.position
        return key, self._adopt(value, draft, (*path, key))

    def _error(self, message: str, path: str | None = None) -> SpecError:
        return SpecError(Problem(message, short(self.key) if path is None else path, self.position))
