"""Values of steps: what a step computes, and how other steps and expressions refer to it by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from resnet_spec.graph import SIZE_NAMES
from resnet_spec.operations.fields import Shape
from resnet_spec.spec.expressions import UNKNOWN, Sizes

MAX_DIGITS = 6


class Value(NamedTuple):
    """What a step computes: the node, and its shape, or None after a mistake.

    ``parts`` are further values by name: the results of a repeated step, or a block's outputs.
    """

    node: str
    shape: Shape | None
    parts: Mapping[str, Value] | None = None

    def after_mistake(self) -> Value:
        """The value of a step that takes this one and whose own is unknown."""
        return self._replace(shape=None)


def find(values: Mapping[str, Value], name: str) -> Value | None:
    """The value of a step, or a part of one by name or by number (``branches.0``); None if there is none."""
    if name in values:
        return values[name]
    end = name.find(".")
    while end > 0:
        value = values.get(name[:end])
        if value is not None and value.parts is not None:
            part = find(value.parts, name[end + 1 :]) or _numbered(value.parts, name[end + 1 :])
            if part is not None:
                return part
        end = name.find(".", end + 1)
    return None


def _numbered(parts: Mapping[str, Value], number: str) -> Value | None:
    """A part by its place among the parts, so that the outputs of any network can be named alike."""
    if not number.isascii() or not number.isdecimal() or len(number) > MAX_DIGITS:
        return None
    return next(islice(parts.values(), int(number), None), None)


def names(values: Mapping[str, Value]) -> list[str]:
    """Every name by which ``find`` finds one of these values or of their parts."""
    return [
        full
        for name, value in values.items()
        for full in (name, *(f"{name}.{part}" for part in names(value.parts or {})))
    ]


class _UnknownParts(Mapping[str, Value]):
    """Parts of which neither the names nor the values are known; empty for those who list them."""

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> Value:
        return Value("unknown", None)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


UNKNOWN_PARTS = _UnknownParts()
"""The parts of a value after a mistake."""


def sizes(shape: Shape | None) -> Sizes:
    """The sizes of a value by name, UNKNOWN after a mistake."""
    return UNKNOWN if shape is None else dict(zip(SIZE_NAMES[len(shape)], shape, strict=True))


class StepSizes(Mapping[str, Sizes]):
    """The sizes of steps, for expressions; computed when an expression asks for them."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def __contains__(self, name: object) -> bool:
        return find(self._values, str(name)) is not None

    def __getitem__(self, name: str) -> Sizes:
        value = find(self._values, name)
        if value is None:
            raise KeyError(name)
        return sizes(value.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(names(self._values))

    def __len__(self) -> int:
        return len(names(self._values))
