"""Layouts: nothing covers anything else, and lines end where they should."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

import resnet_spec
from resnet_spec.drawing.layout import Band, Box, Layout, Size, layout

BOX = Size(80, 20)


def covers(one: Box, other: Box) -> bool:
    wide = (one.width + other.width) / 2 > abs(one.x - other.x)
    return wide and (one.height + other.height) / 2 > abs(one.y - other.y)


def passes(line: tuple[tuple[float, float], tuple[float, float]], box: Box) -> bool:
    """Whether a line that is upright or level goes through a box."""
    (x0, x1), (y0, y1) = (sorted(ends) for ends in zip(*line, strict=True))
    left, top = box.x - box.width / 2, box.y - box.height / 2
    return x0 < left + box.width and left < x1 and y0 < top + box.height and top < y1


def check(placed: Layout) -> None:
    assert not [pair for pair in combinations(placed.boxes, 2) if covers(*pair)]
    for edge in placed.edges:
        target, (x, y) = placed.boxes[edge.target], edge.points[-1]
        on_side = abs(abs(x - target.x) - target.width / 2) < 0.1 and y == target.y
        on_top = abs(x - target.x) < target.width / 2 and abs(y - (target.y - target.height / 2)) < 0.1
        assert on_side or on_top
        assert y > edge.points[0][1]
        others = [box for place, box in enumerate(placed.boxes) if place not in (edge.source, edge.target)]
        assert not [box for line in pairwise(edge.points) for box in others if passes(line, box)]


def test_a_branch_is_beside_the_longest_path() -> None:
    placed = layout([BOX] * 6, [[], [0], [1], [0], [2, 3], [4]], [])

    check(placed)
    assert [box.x != 0 for box in placed.boxes] == [False, False, False, True, False, False]
    assert placed.boxes[3].y < placed.boxes[4].y


def test_shortcuts_that_overlap_have_lanes_of_their_own() -> None:
    placed = layout([BOX] * 5, [[], [0], [1, 0], [2, 0], [3, 1]], [])
    lanes = [edge.points[1][0] for edge in placed.edges if edge.is_arc]

    check(placed)
    assert len(lanes) == len(set(lanes)) == 3


def test_frames_have_room_for_what_is_in_them_and_lines_that_skip_them_are_outside() -> None:
    placed = layout([BOX] * 6, [[], [0], [1], [2, 1], [3], [4, 1]], [Band(2, 3, 0, 40)])
    frame, skip = placed.frames[0], next(edge for edge in placed.edges if (edge.source, edge.target) == (1, 5))

    check(placed)
    for box in placed.boxes[2:4]:
        assert frame.x < box.x - box.width / 2
        assert box.x + box.width / 2 < frame.x + frame.width
        assert frame.y < box.y - box.height / 2
        assert box.y + box.height / 2 < frame.y + frame.height
    assert skip.points[1][0] < frame.x


def test_wide_networks_do_not_cover_themselves() -> None:
    """Eight branches of different lengths, one of which begins with a value that reads nothing."""
    inputs: list[list[int]] = [[], [0]]
    ends: list[int] = []
    for length in range(1, 9):
        for step in range(length):
            inputs.append([len(inputs) - 1] if step else [1] if length != 3 else [])
        ends.append(len(inputs) - 1)
    placed = layout([BOX] * (len(inputs) + 1), [*inputs, ends], [])

    check(placed)


@pytest.mark.parametrize("name", ["torchvision/resnet50", "timm/resnest14d", "smp/deeplabv3plus_resnet34"])
def test_networks_do_not_cover_themselves(name: str) -> None:
    graph = resnet_spec.load(name).to_graph()
    place = {"input": 0} | {node.name: number for number, node in enumerate(graph.nodes, 1)}

    check(layout([BOX] * len(place), [[], *([place[i] for i in node.inputs] for node in graph.nodes)], []))


def test_a_frame_is_around_those_in_it_however_long_their_names_are() -> None:
    bands = [Band(1, 4, 0, 40), Band(1, 2, 1, 200), Band(3, 4, 1, 60)]
    outer, *inner = layout([BOX] * 6, [[], [0], [1], [2], [3], [4]], bands).frames

    for frame in inner:
        assert outer.x < frame.x
        assert frame.right < outer.right
        assert outer.y < frame.y
        assert frame.y + frame.height < outer.y + outer.height
    assert inner[0].x <= -200
