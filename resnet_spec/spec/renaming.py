"""Renames the steps of what a spec or a block extends, and every reference to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from resnet_spec.document.parser import Document, KeyPath, dotted
from resnet_spec.errors import Problem, SpecError, suggest
from resnet_spec.spec.expressions import rename_references

KEY = "rename"
"""The key beside ``extends``: old names and new ones."""

_CHAINS: tuple[KeyPath, ...] = (
    *(("stem",), ("stages",), ("final",), ("head",)),
    *(("main",), ("after",), ("shortcut", "layers"), ("shortcut", "otherwise", "layers")),
)
_REFERENCES = {"from", "call", "outputs"}


def renamed(base: Document, document: Document) -> Document:
    """What ``document`` extends, with the steps renamed as its ``rename`` says."""
    given: object = document.data.get(KEY)
    if given is None:
        return base
    position = document.position((KEY,))
    if not isinstance(given, dict) or not all(isinstance(new, str) for new in cast("dict[str, Any]", given).values()):
        raise SpecError(Problem("must be a mapping from the old names of steps to new ones", KEY, position))
    renaming = _Renaming(cast("dict[str, str]", given))
    data = renaming.data(base.data, ())
    problems: list[Problem] = []
    for old in renaming.names:
        if old not in renaming.found:
            message = f"no step of what is extended is named {old!r}{suggest(old, renaming.known)}"
            problems.append(Problem(message, dotted((KEY, old)), document.locate((KEY, old), key=True)))
        elif renaming.is_taken(old):
            message = f"{renaming.names[old]!r} is already the name of another step"
            problems.append(Problem(message, dotted((KEY, old)), document.locate((KEY, old))))
    if problems:
        raise SpecError(problems)
    keys = {renaming.path(path): at for path, at in base.keys.items()}
    # A name that is not a valid one is reported where it is given.
    new = [path for path in base.keys if renaming.is_new(path)]
    keys |= {renaming.path(path): document.position((KEY, str(path[-1]))) for path in new}
    return Document(data, base.file, keys, {renaming.path(path): at for path, at in base.values.items()})


class _Renaming:
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self.found: set[str] = set()
        self.known: dict[str, None] = {}

    def data(self, data: Any, path: KeyPath) -> Any:
        """Plain data of a spec or a block with other names."""
        if isinstance(data, dict):
            mapping = cast("dict[str, Any]", data)
            chain = is_chain(path)
            if chain:
                self.known |= dict.fromkeys(mapping)
                self.found |= self.names.keys() & mapping.keys()
            return {
                self.names.get(key, key) if chain else key: (
                    self.reference(value) if key in _REFERENCES and not chain else self.data(value, (*path, key))
                )
                for key, value in mapping.items()
            }
        if isinstance(data, list):
            return [self.data(item, (*path, index)) for index, item in enumerate(cast("list[Any]", data))]
        return rename_references(data, self.reference) if isinstance(data, str) else data

    def is_taken(self, old: str) -> bool:
        """Whether another step has, or gets, the new name of one."""
        new = self.names[old]
        other = next(name for name, given in self.names.items() if given == new)
        return other != old or (new in self.known and new not in self.names)

    def reference(self, name: Any) -> Any:
        """A step's name, or that of a part of it, or a list of names."""
        if isinstance(name, list):
            return [self.reference(item) for item in cast("list[Any]", name)]
        if not isinstance(name, str):
            return name
        for old, new in self.names.items():
            if name == old or name.startswith(f"{old}."):
                return new + name[len(old) :]
        return name

    def is_new(self, path: KeyPath) -> bool:
        """Whether the key at a path gets a new name."""
        return path[-1] in self.names and is_chain(path[:-1])

    def path(self, path: KeyPath) -> KeyPath:
        """The path of a value, or of a key, by the new names."""
        return tuple(self.names.get(str(part), part) if is_chain(path[:end]) else part for end, part in enumerate(path))


def is_chain(path: KeyPath) -> bool:
    """Whether the keys of the mapping at a path are names of steps."""
    return path in _CHAINS or (path[-1:] == ("steps",) and is_chain(path[:-2]))
