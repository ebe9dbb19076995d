"""Lets what extends a spec or a block name a layer's operation for another rank than the base: ``conv2d``, ``conv_nd``.

Shipped blocks are written for any rank, and a block that extends one says ``conv2d`` where it means just that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from resnet_spec.document.parser import Document, KeyPath
from resnet_spec.operations.registry import same_operation
from resnet_spec.spec.renaming import is_chain

_NAMES: tuple[KeyPath, ...] = (("layers",), ("blocks",), ("parameters",))
"""Where keys are names that the author chooses, which may be those of operations."""


def in_ranks_of(document: Document, base: Document) -> Document:
    """What ``document`` extends, with each operation named as the document names it."""
    words = _words(base.data, document.data, ())
    if not words:
        return base

    def path(old: KeyPath) -> KeyPath:
        return tuple(words.get(old[: end + 1], part) for end, part in enumerate(old))

    def data(old: Any, at: KeyPath) -> Any:
        if isinstance(old, dict):
            mapping = cast("dict[str, Any]", old)
            return {words.get((*at, key), key): data(value, (*at, key)) for key, value in mapping.items()}
        return old

    keys = {path(at): position for at, position in base.keys.items()}
    values = {path(at): position for at, position in base.values.items()}
    return replace(base, data=data(base.data, ()), keys=keys, values=values)


def _words(old: Any, new: Any, path: KeyPath) -> dict[KeyPath, str]:
    """The document's words by the paths of the base's keys that they replace."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return {}
    base, override = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
    words: dict[KeyPath, str] = {}
    for key, value in override.items():
        own = key
        if key not in base and not (is_chain(path) or path in _NAMES):
            own = same_operation(key, [word for word in base if word not in override]) or key
        if own in base:
            words |= ({(*path, own): key} if own != key else {}) | _words(base[own], value, (*path, own))
    return words
