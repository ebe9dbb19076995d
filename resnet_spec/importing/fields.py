"""The fields of an operation as a spec states them, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

from resnet_spec.graph import Node
from resnet_spec.operations import AvgPool, MaxPool

Path: TypeAlias = tuple[str | int, ...]

PAIRS = frozenset({"kernel", "stride", "padding", "dilation", "scale"})
"""Fields with a number for each axis, for which one number means all."""


def fields_of(node: Node) -> dict[str, Any]:
    """All fields of an operation, pairs of equal numbers as one number."""
    data = node.operation.model_dump(mode="json", exclude={"op"})
    fields = {name: _simplified(value) if name in PAIRS else value for name, value in data.items()}
    if isinstance(node.operation, MaxPool | AvgPool) and fields["stride"] == fields["kernel"]:
        del fields["stride"]
    return fields


def stated_fields(node: Node) -> dict[str, Any]:
    """The fields that differ from the operation's defaults."""
    needed = node.operation.model_dump(exclude={"op"}, exclude_defaults=True)
    return {name: value for name, value in fields_of(node).items() if name in needed}


def _simplified(value: Any) -> Any:
    """Equal numbers for each axis, or equal pairs of such, as one number."""
    if not isinstance(value, list):
        return value
    given = cast("list[Any]", value)
    parts: list[Any] = [_simplified(part) for part in given]
    if parts and not isinstance(parts[0], list) and all(part == parts[0] for part in parts):
        return parts[0]
    return given


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any, bool]]:
    """The parts of fields that are not collections, their paths, and whether they are numbers."""
    if isinstance(value, dict | list):
        items = (
            cast("Mapping[Any, Any]", value).items() if isinstance(value, dict) else enumerate(cast("list[Any]", value))
        )
        for key, part in items:
            yield from leaves(part, (*path, key))
    else:
        yield path, value, isinstance(value, int | float) and not isinstance(value, bool)


def replaced(value: Any, words: Mapping[Path, Any], path: Path = ()) -> Any:
    """Fields with expressions in place of some numbers."""
    if isinstance(value, dict):
        return {key: replaced(part, words, (*path, key)) for key, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [replaced(part, words, (*path, index)) for index, part in enumerate(cast("list[Any]", value))]
    return words.get(path, value)
