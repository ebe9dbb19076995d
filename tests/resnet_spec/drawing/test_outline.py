"""Outlines: what of a network is drawn as one part, and what is written on it."""

from __future__ import annotations

import pytest

import resnet_spec
from resnet_spec import GraphError
from resnet_spec.drawing import Outline


def outline(name: str, *expand: str, nodes: bool = False) -> Outline:
    return Outline.of(resnet_spec.load(name).to_graph(), expand, nodes=nodes)


def test_equal_blocks_are_one_part() -> None:
    parts = outline("torchvision/resnet50").parts

    assert [(part.name, part.times) for part in parts if part.times > 1] == [
        ("layer1.1", 2),
        ("layer2.1", 3),
        ("layer3.1", 5),
        ("layer4.1", 2),
    ]
    assert [part.name for part in parts if part.kind == "down"] == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]


def test_parts_have_every_node_once_and_cost_what_the_network_does() -> None:
    graph = resnet_spec.load("timm/resnest50d").to_graph()
    summary = resnet_spec.summarize(graph)

    for drawn in (Outline.of(graph), Outline.of(graph, ["layer3"]), Outline.of(graph, nodes=True)):
        names = [name for part in drawn.parts for name in part.nodes]
        assert sorted(names) == sorted(node.name for node in graph.nodes)
        assert (drawn.total.params, drawn.total.macs) == (summary.parameters, summary.macs)


def test_an_expanded_stage_has_its_layers_and_the_others_their_blocks() -> None:
    drawn = outline("torchvision/resnet18", "layer2")

    assert [part.name for part in drawn.parts if part.name.startswith("layer2")] == [
        "layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0", "layer2.0.add",
        "layer2.1.conv1", "layer2.1.conv2", "layer2.1.add",
    ]  # fmt: skip
    assert [part.name for part in drawn.parts if part.name.startswith("layer3")] == ["layer3.0", "layer3.1"]


def test_an_expanded_row_of_equal_blocks_is_one_frame() -> None:
    drawn = outline("torchvision/resnet50", "layer3")

    assert [(frame.name, frame.times) for frame in drawn.frames if frame.depth] == [
        ("bottleneck", 1),
        ("bottleneck", 5),
    ]
    assert len(drawn.parts[drawn.part_of["layer3.5.conv2"]].nodes) == 15


def test_every_operation_is_a_part_where_nodes_are_asked_for() -> None:
    graph = resnet_spec.load("torchvision/resnet18").to_graph()

    assert [part.name for part in Outline.of(graph, nodes=True).parts] == [node.name for node in graph.nodes]


def test_an_unknown_stage_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(GraphError, match=r"no stage or block is named 'layer5'; did you mean 'layer\d'\?.*layer1"):
        outline("torchvision/resnet18", "layer5")


@pytest.mark.parametrize(
    ("name", "part", "lines", "shortcut"),
    [
        ("slim/resnet_v2_50", "block1.unit_3.bottleneck_v2",
         ("slim preact bottleneck", "1×1 conv, 64", "3×3 conv, 64, /2", "1×1 conv, 256"), "1×1 max pool, /2"),
        ("timm/resnest50d", "layer2.1",
         ("resnest bottleneck", "1×1 conv, 128", "3×3 conv, 256, 2 groups", "1×1 conv, 512", "split attention"),
         "identity"),
        ("timm/resnest50d", "layer2.0",
         ("resnest bottleneck", "1×1 conv, 128", "3×3 conv, 256, 2 groups", "1×1 conv, 512", "split attention"),
         "2×2 average pool, /2 → 1×1 conv, 512"),
    ],
)  # fmt: skip
def test_a_block_says_its_layers_its_gate_and_its_shortcut(
    name: str, part: str, lines: tuple[str, ...], shortcut: str
) -> None:
    drawn = outline(name)
    found = next(other for other in drawn.parts if other.name == part)

    assert (found.lines, found.shortcut) == (lines, shortcut)
