"""Outlines: what of a network is drawn as one part, and what is written on it."""

from __future__ import annotations

import pytest

import resnet_spec
from resnet_spec import Graph, GraphError
from resnet_spec.drawing import Outline
from resnet_spec.graph import Input, Node
from resnet_spec.operations import Add, Conv, ReLU, StochasticDepth
from tests.shipped import shipped


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


def test_blocks_that_alternate_are_drawn_once_in_a_frame() -> None:
    overrides = {"stages.layer3.repeat": 9, "stages.layer3.groups": [1, 1, 1, 32, 1, 1, 32, 1, 1]}
    graph = resnet_spec.load("torchvision/resnet50", overrides).to_graph()
    drawn = Outline.of(graph)

    parts = [(part.name, part.times) for part in drawn.parts if part.name.startswith("layer3")]
    assert parts == [("layer3.0", 1), ("layer3.1", 2), ("layer3.3", 1), ("layer3.7", 2)]
    frame = next(frame for frame in drawn.frames if frame.depth)
    assert [drawn.parts[place].name for place in (frame.first, frame.last)] == ["layer3.1", "layer3.3"]
    assert (frame.name, frame.times) == ("blocks in turn", 2)
    assert sorted(name for part in drawn.parts for name in part.nodes) == sorted(node.name for node in graph.nodes)
    # Each is drawn by itself where one of them is opened, and where a repetition is marked.
    assert len(Outline.of(graph, ["layer3.3"]).parts) > len(drawn.parts)
    marked = Outline.of(graph, marks={"layer3.6.conv2": "changed"})
    assert [part.name for part in marked.parts if part.name.startswith("layer3")][3:] == [
        "layer3.4",
        "layer3.6",
        "layer3.7",
    ]


def test_blocks_are_equal_whatever_constants_they_multiply_by() -> None:
    parts = outline("timm/nf_resnet50").parts

    assert [part.times for part in parts if part.kind == "block"] == [2, 3, 5, 2]


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


def flat(name: str) -> Graph:
    """A network as a model without modules has it: numbers instead of names, and no stages and blocks."""
    graph = shipped(name)
    names = {node.name: f"n{place}" for place, node in enumerate(graph.nodes)} | {"input": "input"}
    nodes = [
        node.model_copy(update={"name": names[node.name], "inputs": tuple(names[name] for name in node.inputs)})
        for node in graph.nodes
    ]
    update = {"nodes": tuple(nodes), "outputs": tuple(names[name] for name in graph.outputs)}
    return graph.model_copy(update=update | {"scopes": (), "declaration": ()})


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("torchvision/resnet50", [1, 2, 1, 3, 1, 5, 1, 2]),
        ("slim/resnet_v2_50", [1, 1, 1, 1, 2, 1, 1, 4, 1, 1, 2]),
        ("timm/resnest14d", [1, 1, 1, 1]),
        # The skips of a U-Net and a pyramid's additions are no blocks.
        ("smp/unet_resnet34", [3, 1, 3, 1, 5, 1, 2]),
        ("torchvision/resnet18_fpn", [2, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_blocks_that_nothing_names_are_found_by_their_joins(name: str, blocks: list[int]) -> None:
    parts = Outline.of(flat(name)).parts

    assert [part.times for part in parts if part.kind in ("block", "down")] == blocks


def test_what_is_read_in_its_middle_is_not_a_block() -> None:
    nodes = (
        Node(name="conv", operation=Conv(op="conv2d", channels=8, kernel=1), inputs=("input",), shape=(8, 4, 4)),
        Node(name="act", operation=ReLU(op="relu"), inputs=("conv",), shape=(8, 4, 4)),
        Node(name="sum", operation=Add(op="add"), inputs=("act", "conv"), shape=(8, 4, 4)),
    )
    graph = Graph(name="net", input=Input(channels=3, height=4, width=4), nodes=nodes, outputs=("sum",))

    assert [part.nodes for part in Outline.of(graph).parts] == [("conv",), ("act", "sum")]
    both = graph.model_copy(update={"outputs": ("act", "sum")})
    assert [part.nodes for part in Outline.of(both).parts] == [("conv",), ("act",), ("sum",)]


def test_outputs_are_written_where_they_are() -> None:
    drawn = outline("torchvision/resnet18_fpn")
    features = Outline.of(resnet_spec.load("resnet50", {"outputs": "features", "named_outputs": True}).to_graph())

    assert len(drawn.outputs) + sum("→ output" in line for part in drawn.parts for line in part.lines) == 5
    assert [line for part in features.parts for line in part.lines if "output" in line] == [
        "→ output relu", "→ output layer1", "→ output layer2", "→ output layer3",
    ]  # fmt: skip
    assert features.outputs == (("layer4.1", "output layer4"),)


def test_what_only_training_depends_on_does_not_keep_blocks_apart() -> None:
    graph = shipped("cifar/resnet20")
    dropped = [
        node.model_copy(update={"operation": StochasticDepth(op="stochastic_depth", rate=0.01 * place)})
        if node.name.endswith("relu1")
        else node
        for place, node in enumerate(graph.nodes)
    ]

    assert max(part.times for part in Outline.of(graph.with_nodes(dropped)).parts) == 3


def test_a_graph_of_one_node_is_drawn() -> None:
    node = Node(name="act", operation=ReLU(op="relu"), inputs=("input",), shape=(7,))
    drawn = Outline.of(Graph(name="one", input=Input(features=7), nodes=(node,), outputs=("act",)))

    assert [(part.name, part.inputs) for part in drawn.parts] == [("act", (("input", (7,)),))]
