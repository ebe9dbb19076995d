"""What is concatenated again and again is written one value at a time, and computes the same."""

from __future__ import annotations

from typing import Any

from resnet_spec.backend import GraphBuilder
from resnet_spec.graph import Graph, Input
from resnet_spec.importing.concatenations import nested
from tests.resnet_spec.importing.test_importer import _reader, imported_graph  # noqa: F401


def dense_net(*layers: int) -> Graph:
    """A DenseNet as torchvision's is recorded: each layer concatenates all values before it."""
    builder = GraphBuilder("dense", Input(channels=4, height=16, width=16))
    x: Any = builder.add("conv2d", [builder.input], "features.conv0", layer=True, channels=8, kernel=3, padding=1)
    for block, count in enumerate(layers, 1):
        values = [x]
        for number in range(1, count + 1):
            path = f"features.denseblock{block}.denselayer{number}"
            if len(values) > 1:
                x = builder.add("concat", values, f"{path}.concat")
            x = builder.add("relu", [x], f"{path}.relu")
            values.append(builder.add("conv2d", [x], f"{path}.conv", layer=True, channels=4, kernel=3, padding=1))
        x = builder.add("concat", values, f"features.denseblock{block}.concat")
    x = builder.add("global_avg_pool", [x], "avgpool")
    x = builder.add("flatten", [x], "flatten")
    return builder.finish([builder.add("linear", [x], "classifier", layer=True, features=5)])


def test_each_concatenation_takes_the_one_before() -> None:
    graph = dense_net(3)
    inputs = [node.inputs for node in nested(graph).nodes if node.operation.op == "concat"]
    path = "features.denseblock1.denselayer"
    assert inputs == [
        ("features.conv0", f"{path}1.conv"),
        (f"{path}2.concat", f"{path}2.conv"),
        (f"{path}3.concat", f"{path}3.conv"),
    ]
    assert {node.name: node.shape for node in nested(graph).nodes} == {node.name: node.shape for node in graph.nodes}


def test_others_are_left_as_they_are() -> None:
    builder = GraphBuilder("branches", Input(channels=4, height=8, width=8))
    a, b, c = (builder.add("conv2d", [builder.input], name, layer=True, channels=4, kernel=1) for name in "abc")
    values = [
        builder.add("concat", [a, b], "two"),
        builder.add("concat", [b, a, c], "another order"),
        builder.add("concat", [a, b, c], "another axis", axis=1),
        builder.add("concat", [a, b], "the same"),
    ]
    graph = builder.finish(values)
    assert nested(graph) is graph


def test_a_dense_net_is_a_row_of_layers() -> None:
    result = imported_graph(dense_net(3, 4))
    assert "features.denseblock1.denselayer: {block: plain_block, repeat: 3}" in result.text
    assert "features.denseblock2.denselayer: {block: plain_block, repeat: 4}" in result.text
    assert "takes that one's value" in result.remarks[0]
