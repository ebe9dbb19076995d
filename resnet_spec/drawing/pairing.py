"""Pairs the parts of two networks that are drawn side by side, so that equal ones are level."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from resnet_spec.drawing.layout import Layout
from resnet_spec.drawing.outline import Outline, Part

MANY = 1_000_000
"""So many pairs are not compared: drawings of thousands of parts each are only drawn side by side."""


class _Place(NamedTuple):
    """A part and where it is: the name and the number of its stage, 0 before the first and after the last."""

    part: Part
    stage: str
    number: int
    is_end: bool


def paired(one: Outline, other: Outline, alone: Sequence[Collection[str]] = ((), ())) -> list[tuple[int, int]]:
    """The parts of two outlines that correspond to each other, in order.

    Args:
        one: A network's outline.
        other: Another's.
        alone: The nodes of each that the other network does not have.

    Returns:
        The places of both parts of each pair.

    Examples:
        >>> import resnet_spec
        >>> names = "torchvision/resnet50", "torchvision/resnet101"
        >>> paired(*(Outline.of(resnet_spec.load(name).to_graph()) for name in names))[-2:]
        [(10, 10), (11, 11)]
    """
    rows, columns = (
        [None if names.issuperset(place.part.nodes) else place for place in _places(outline)]
        for outline, names in zip((one, other), map(set[str], alone), strict=True)
    )
    if len(rows) * len(columns) > MANY:
        return []
    # The most that is alike from each two places on.
    best = [[0] * (len(columns) + 1) for _ in range(len(rows) + 1)]
    alike = [[_likeness(row, column) if row and column else 0 for column in columns] for row in rows]
    for i in range(len(rows) - 1, -1, -1):
        for j in range(len(columns) - 1, -1, -1):
            pair = best[i + 1][j + 1] + alike[i][j] if alike[i][j] else 0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], pair)
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(rows) and j < len(columns):
        if alike[i][j] and best[i][j] == best[i + 1][j + 1] + alike[i][j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _places(outline: Outline) -> list[_Place]:
    stages = [frame for frame in outline.frames if frame.depth == 0]
    found: list[_Place] = []
    for place, part in enumerate(outline.parts):
        number, stage = next(
            ((number, frame) for number, frame in enumerate(stages, 1) if frame.first <= place <= frame.last), (0, None)
        )
        is_end = bool(stages) and place > stages[-1].last
        found.append(_Place(part, stage.name if stage else "", number, is_end))
    return found


def _likeness(one: _Place, other: _Place) -> int:
    """How alike two parts are; 0 if they are not to be level."""
    kinds = {"down" if place.part.kind == "block" else place.part.kind for place in (one, other)}
    if len(kinds) > 1 or bool(one.number) != bool(other.number) or one.is_end != other.is_end:
        return 0
    stage = 4 if one.stage == other.stage else 2 * (one.number == other.number)
    first, second = one.part, other.part
    same = first.kind == second.kind, first.lines[0] == second.lines[0], first.shortcut == second.shortcut
    return 1 + stage + sum(same) + 2 * (first.lines == second.lines) + (first.shape == second.shape)


def shifts(
    layouts: tuple[Layout, Layout], pairs: Sequence[tuple[int, int]]
) -> tuple[dict[int, float], dict[int, float]]:
    """How much lower each box must be than it is below those before it, so that the boxes of each pair begin level.

    Args:
        layouts: The boxes of both networks, as they are without shifts.
        pairs: The places of boxes, in order; a pair that would have to go up is left as it is.

    Returns:
        By the places of the boxes of each.
    """
    found: tuple[dict[int, float], dict[int, float]] = ({}, {})
    moved = [0.0, 0.0]
    before = [-1.0, -1.0]
    for pair in pairs:
        boxes = [placed.boxes[place] for placed, place in zip(layouts, pair, strict=True)]
        # Of boxes in one row, only the first.
        if any(box.y <= last for box, last in zip(boxes, before, strict=True)):
            continue
        before = [box.y for box in boxes]
        tops = [box.y - box.height / 2 + lower for box, lower in zip(boxes, moved, strict=True)]
        side = 0 if tops[0] < tops[1] else 1
        if lower := abs(tops[0] - tops[1]):
            found[side][pair[side]] = lower
            moved[side] += lower
    return found
