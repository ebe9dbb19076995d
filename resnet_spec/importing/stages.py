"""Groups blocks in stages, and finds the pattern by which their layers are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    for row in _rows(templates):
        for part in _nameable(_uniform(row, definitions), position):
            wanted, names = _named(part, position, whole=len(part) == len(row))
            key = next(key for key in (wanted, *(f"{wanted}_{n}" for n in range(2, 10_000))) if key not in stages)
            if len(part) < len(row) or key != wanted:
                names = names.replace("{stage}", wanted)
            stages[key] = Stage(key, names, part)
            position += len(part)
    return list(stages.values())


def _rows(templates: Sequence[Template]) -> Iterator[list[Template]]:
    """Split blocks where their names do not count on, up or down."""
    row: list[Template] = []
    step = 0
    for template in templates:
        before, own = (counter_of(block.region.prefix) for block in (row[-1] if row else template, template))
        if row and before and own and (before.head, before.tail) == (own.head, own.tail):
            found = own.number - before.number
            if found in (1, -1) and step in (0, found):
                step = found
                row.append(template)
                continue
        if row:
            yield row
        row, step = [template], 0
    if row:
        yield row


def usual_kind(kinds: Sequence[Definition]) -> Definition:
    """The kind of a stage's blocks but for the first and the last, which may be of another."""
    return kinds[1] if len(kinds) > 1 else kinds[0]


def _uniform(blocks: list[Template], definitions: Mapping[int, Definition]) -> list[list[Template]]:
    """Split a row into stages: of one kind of block, or of another kind for the first or the last, with one stride."""
    kinds = [definitions[id(block)] for block in blocks]
    strides = [kind.arguments(block).get("stride", 1) for kind, block in zip(kinds, blocks, strict=True)]
    usual = usual_kind(kinds)
    # A stage's arguments are those of its first and its last block, too.
    fits = all(kind is usual or usual.parameters.keys() <= kind.parameters.keys() for kind in kinds)
    if (
        fits
        and {id(kind) for kind in kinds[1:-1]} <= {id(usual)}
        and (set(strides[1:]) <= {1} or set(strides[:-1]) <= {1})
    ):
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
        first, last = (counter_of(block.region.prefix) for block in (part[0], part[-1]))
        counts_down = len(parts) == 1 and last is not None and last.number == 0
        counts = first is not None and {first.number, first.number - position} & {0, 1}
        if len(part) == 1 or counts_down or counts:
            yield part
        else:
            yield from ([block] for block in part)
        position += len(part)


def _named(part: Sequence[Template], position: int, *, whole: bool) -> tuple[str, str]:
    """A stage's key and the pattern of its layers' names; ``position`` is that of its first block in the network.

    ``whole`` says whether it is all of a row of blocks.
    """
    prefix = part[0].region.prefix
    counter = counter_of(prefix)
    word = None
    if counter and whole:
        last = counter_of(part[-1].region.prefix)
        counts_down = len(part) > 1 and last is not None and last.number == 0
        word = "remaining" if counts_down else {0: "index", 1: "number"}.get(counter.number)
    if counter and word is None:
        word = {0: "overall_index", 1: "overall_number"}.get(counter.number - position)
    if counter and word is None and len(part) > 1:
        word = {0: "index", 1: "number"}.get(counter.number)
    if counter is None or word is None:
        # One block, whose number is a part of its name.
        key = prefix.rstrip("._") or f"stage{position + 1}"
        return key, f"{{stage}}{prefix[len(key) :]}{{layer}}" if prefix else "{layer}"
    key = counter.head.rstrip("._") or "blocks"
    stage = f"{{stage}}{counter.head[len(key) :]}" if counter.head else ""
    return key, f"{stage}{{{word}}}{counter.tail}{{layer}}"
