"""Merges one document over another, with the positions of their values, as ``extends`` means it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from resnet_spec.document.parser import Data, Document, KeyPath, dotted, graft, short
from resnet_spec.errors import Problem, SpecError, suggest


def merge(base: Document, override: Document, problems: list[Problem] | None = None) -> Document:
    """``override`` on top of ``base``, as ``extends`` means it.

    Mappings that both have are merged by key, in the base's order. A new key goes after the key that precedes it in the
    override, even one that it deletes, or to the end if there is none. In them null deletes a key and is an error if
    the base has no such key. Everything else is replaced. What both have gets the override's position.

    Mistakes are raised as SpecError, or added to ``problems``, so that they do not hide what else is wrong.
    """
    merger = _Merger(base, override)
    data = merger.root()
    if problems is not None:
        problems += merger.problems
    elif merger.problems:
        raise SpecError(merger.problems)
    return replace(merger.target, data=data)


def _order(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """The base's keys, and each new one after the key that it is written after, so that steps can be inserted."""
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
            return graft(new, self._override, path, self.target, path)
        self.target.values[path] = self._override.values[path]
        return self._mapping(old, new, path)

    def _mapping(self, old: dict[str, Data], new: dict[str, Data], path: KeyPath) -> dict[str, Data]:
        merged: dict[str, Data] = {}
        for key in _order(old, new):
            child = (*path, key)
            if key not in new:
                self.target.keys[child] = self._base.keys[child]
                merged[key] = graft(old[key], self._base, child, self.target, child)
            elif new[key] is not None:
                self.target.keys[child] = self._override.keys[child]
                merged[key] = self._value(old.get(key), new[key], child)
            elif key not in old:
                self._nothing_to_delete(key, old, child)
        return merged

    def _nothing_to_delete(self, key: str, old: dict[str, Data], path: KeyPath) -> None:
        message = f"null deletes a key, but there is no {short(key, quote=True)} to delete{suggest(key, old)}"
        self.problems.append(Problem(message, dotted(path), self._override.keys[path]))
