"""Groups blocks in stages, and finds the pattern by which their layers are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from resnet_spec.importing.definitions import Definition
from resnet_spec.importing.regions import counter_of
from resnet_spec.importing.template import Template


@dataclass(frozen=True)
class Stage:
    """A row of blocks; ``names`` is the pattern of their layers' names."""

    key: str
    names: str
    blocks: Sequence[Template]


def stages_of(templates: Sequence[Template], definitions: Mapping[int, Definition]) -> list[Stage]:
    """Group consecutive blocks whose names count, as far as one stage can express them.

    Args:
        templates: The blocks in order.
        definitions: The definition of each, by the template's identity.

    Returns:
        The stages in order, each with a key of its own.
    """
    stages: dict[str, Stage] = {}
    position = 0
    for _, numbered in groupby(enumerate(templates), key=lambda item: _row(*item)):
        row = [template for _, template in numbered]
        for part in _nameable(_uniform(row, definitions), position):
            wanted, names = _named(part, position, whole=len(part) == len(row))
            key = next(key for key in (wanted, *(f"{wanted}_{n}" for n in range(2, 10_000))) if key not in stages)
            if len(part) < len(row) or key != wanted:
                names = names.replace("{stage}", wanted)
            stages[key] = Stage(key, names, part)
            position += len(part)
    return list(stages.values())


def _row(index: int, template: Template) -> tuple[str, str, int] | int:
    """What the blocks of a row have in common: all of the name but the number, which counts."""
    counter = counter_of(template.region.prefix)
    return (counter.head, counter.tail, counter.number - index) if counter else index


def _uniform(blocks: list[Template], definitions: Mapping[int, Definition]) -> list[list[Template]]:
    """Split a row into stages: of one kind of block, or of another kind for the first only, with one stride."""
    kinds = [definitions[id(block)] for block in blocks]
    strides = [kind.arguments(block).get("stride", 1) for kind, block in zip(kinds, blocks, strict=True)]
    if len({kind.name for kind in kinds[1:]}) <= 1 and (set(strides[1:]) <= {1} or set(strides[:-1]) <= {1}):
        return [blocks]
    shapes = [block.region.nodes[-1].shape for block in blocks]
    changes = [
        index
        for index in range(1, len(blocks))
        if kinds[index] is not kinds[index - 1] or shapes[index] != shapes[index - 1] or strides[index] != 1
    ]
    return [blocks[start:stop] for start, stop in pairwise([0, *changes, len(blocks)])]


def _nameable(parts: list[list[Template]], position: int) -> Iterator[list[Template]]:
    """Split what no counter names into single blocks."""
    for part in parts:
        counter = counter_of(part[0].region.prefix)
        if len(part) == 1 or (counter and counter.number - (position if len(parts) > 1 else 0) in (0, 1)):
            yield part
        else:
            yield from ([block] for block in part)
        position += len(part)


def _named(part: Sequence[Template], position: int, *, whole: bool) -> tuple[str, str]:
    """A stage's key and the pattern of its layers' names; ``position`` is that of its first block in the network."""
    prefix = part[0].region.prefix
    counter = counter_of(prefix)
    word = None
    if counter and whole:
        word = {0: "index", 1: "number"}.get(counter.number)
    if counter and word is None:
        word = {0: "overall_index", 1: "overall_number"}.get(counter.number - position)
    if counter is None or word is None:
        # One block, whose number is a part of its name.
        key = prefix.rstrip("._") or f"stage{position + 1}"
        return key, f"{{stage}}{prefix[len(key) :]}{{layer}}" if prefix else "{layer}"
    key = counter.head.rstrip("._") or "blocks"
    stage = f"{{stage}}{counter.head[len(key) :]}" if counter.head else ""
    return key, f"{stage}{{{word}}}{counter.tail}{{layer}}"
