"""Joins that exporters write, and those that have no normal form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto

from resnet_spec.graph import Graph
from tests.resnet_spec_onnx.reading.files import (
    KERNEL,
    anonymous,
    assert_equal,
    convolution,
    made,
    node,
    proto,
    read,
    refused,
)
from tests.resnet_spec_torch.graphs import Builder, random_arrays


@pytest.mark.parametrize(
    ("joining", "message"),
    [
        ([node("Sum", "c c c", "y")], "'y' (Sum) has 3 inputs; only two are supported"),
        ([node("Transpose", "c", "t", perm=[0, 2, 1, 3]), node("Add", "c t", "y")], "reads [1, 14, 4, 14], whose axes"),
        ([node("Conv", "x kernel", "d", strides=[2, 2]), node("Mul", "c d", "y")], "joins [1, 4, 14, 14] and [1, 4, 7"),
        ([node("Flatten", "c", "f"), node("Max", "c f", "y")], "joins [1, 4, 14, 14] and [1, 784]"),
        ([node("Concat", "c c", "y", axis=0)], "'y' (Concat) concatenates batches"),
        ([node("Concat", "c kernel", "y", axis=1)], "'y' (Concat) has a constant as an input that must be computed"),
        ([node("Concat", "c c", "y", axis=4)], "'y' (Concat) has no axis 4"),
        (
            [node("GlobalAveragePool", "c", "p"), node("Concat", "c p", "y", axis=1)],
            "joins [1, 4, 14, 14] and [1, 4, 1, 1]",
        ),
        ([node("Add", "c integers", "y")], "'y' (Add) has an input of int64 that must be floating-point"),
        ([node("Add", "c empty", "y")], "'y' (Add) joins [1, 4, 14, 14] with a constant [0]"),
        ([node("Sub", "kernel c", "y")], "'y' (Sub) has a constant as an input that must be computed"),
    ],
)
def test_unsupported_joins_are_reported(joining: list[NodeProto], message: str, tmp_path: Path) -> None:
    constants = {"kernel": KERNEL, "integers": np.ones(1, np.int64), "empty": np.ones(0, np.float32)}
    model = made([node("Conv", "x kernel", "c"), *joining], constants)
    assert message in refused(model, convolution(), tmp_path)


def branches(size: int = 9) -> Builder:
    """Four values: two convolutions of one map, and a row and a channel of a third."""
    b = Builder(3, size, size + 1)
    for name in ("left", "right"):
        b.add(name, "conv2d", "input", channels=4, kernel=1)
    b.add("row", "slice", "left", axis=1, stop=1).add("channel", "slice", "right", stop=1)
    return b


def assert_read_without_names(graph: Graph, folder: Path) -> None:
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, folder), arrays)


@pytest.mark.parametrize("op", ["add", "multiply", "maximum", "subtract"])
@pytest.mark.parametrize("inputs", [("right", "row"), ("row", "right"), ("row", "channel"), ("channel", "right")])
def test_broadcasting_joins_are_read_without_names(op: str, inputs: tuple[str, str], tmp_path: Path) -> None:
    b = branches().add("x", op, *inputs).add("last", "conv2d", channels=2, kernel=1)
    assert_read_without_names(b.graph("last", "row", "channel"), tmp_path)


@pytest.mark.parametrize(("op", "fields"), [("concat", {}), ("concat", {"axis": 1}), ("subtract", {})])
def test_the_order_of_inputs_tells_equal_branches_apart(op: str, fields: dict[str, int], tmp_path: Path) -> None:
    b = Builder(3, 9, 8).add("left", "conv2d", "input", channels=4, kernel=1)
    b.add("right", "conv2d", "input", channels=4, kernel=1)
    graph = b.add("x", op, "right", "left", **fields).graph()
    assert_read_without_names(graph, tmp_path)
    other = Builder(3, 9, 8).add("left", "conv2d", "input", channels=4, kernel=1)
    other.add("right", "conv2d", "input", channels=4, kernel=1)
    arrays = random_arrays(graph)
    swapped = read(anonymous(proto(graph, arrays)), other.add("x", op, "left", "right", **fields).graph(), tmp_path)
    assert_equal(swapped, {"left.weight": arrays["right.weight"], "right.weight": arrays["left.weight"]})


def factored(first: float = 0.2, second: float = -1.5) -> Builder:
    b = Builder(3, 9, 8).add("conv", "conv2d", channels=4, kernel=1).add("one", "multiply", "conv", factor=first)
    return b.add("act", "relu").add("x", "multiply", "act", "conv", factor=second)


def test_constant_factors_are_read_without_names(tmp_path: Path) -> None:
    assert_read_without_names(factored().graph(), tmp_path)


@pytest.mark.parametrize("name", ["first", "second"])
def test_another_factor_is_another_network(name: str, tmp_path: Path) -> None:
    other = factored(**{name: 0.3}).graph()
    message = refused(anonymous(proto(other, random_arrays(other))), factored().graph(), tmp_path)
    assert f"a product with another constant than {0.2 if name == 'first' else -1.5}" in message


def test_a_missing_factor_is_reported(tmp_path: Path) -> None:
    other = Builder(3, 9, 8).add("conv", "conv2d", channels=4, kernel=1).add("act", "relu", "conv")
    graph = other.add("x", "multiply", "act", "conv", factor=-1.5).graph()
    message = refused(anonymous(proto(graph, random_arrays(graph))), factored().graph(), tmp_path)
    assert message.startswith("the spec has 'one' (multiply) where the file has")


def test_a_factor_that_is_half_of_an_activation_written_as_nodes(tmp_path: Path) -> None:
    """GELU is a product with one half, too."""
    b = Builder(3, 9, 8).add("conv", "conv2d", channels=4, kernel=1).add("act", "gelu", approximate=False)
    graph = b.add("x", "multiply", "act", factor=0.5).graph()
    assert_read_without_names(graph, tmp_path)


def test_concatenations_of_concatenations_are_one(tmp_path: Path) -> None:
    b = Builder(3, 9, 8).add("conv", "conv2d", "input", channels=4, kernel=1).add("act", "relu")
    b.add("two", "concat", "conv", "act").add("x", "concat", "input", "two", "act")
    arrays = random_arrays(b.graph())
    nodes = [
        node("Conv", "x weight", "c"),
        node("Relu", "c", "r"),
        node("Concat", "x c", "1", axis=1),
        node("Concat", "1 r r", "y", axis=-3),
    ]
    model = made(nodes, {"weight": arrays["conv.weight"]}, (1, 3, 9, 8))
    assert_equal(read(model, b.graph(), tmp_path), arrays)


def test_concatenations_of_stacked_values(tmp_path: Path) -> None:
    """As ``torch.stack`` is exported: each value gets an axis, along which they are concatenated."""
    b = Builder(3, 6, 8).add("conv", "conv2d", "input", channels=4, kernel=1).add("act", "relu")
    b.add("1", "reshape", "conv", shape=(1, 4, 48)).add("2", "reshape", "act", shape=(1, 4, 48))
    graph = b.add("x", "concat", "1", "2").graph()
    arrays = random_arrays(graph)
    nodes = [
        node("Conv", "x weight", "c"),
        node("Relu", "c", "r"),
        *(node("Reshape", f"{name} rows", f"{name}1") for name in "cr"),
        *(node("Unsqueeze", f"{name}1 one", f"{name}2") for name in "cr"),
        node("Concat", "c2 r2", "y", axis=1),
    ]
    constants = {"weight": arrays["conv.weight"], "rows": np.array([0, 4, 48]), "one": np.array([1])}
    assert_equal(read(made(nodes, constants, (1, 3, 6, 8)), graph, tmp_path), arrays)


def test_a_maximum_of_three_values(tmp_path: Path) -> None:
    b = Builder(3, 9, 8).add("conv", "conv2d", "input", channels=3, kernel=1).add("act", "sigmoid")
    graph = b.add("x", "maximum", "act", "input", "conv").graph()
    arrays = random_arrays(graph)
    nodes = [node("Conv", "x weight", "c"), node("Sigmoid", "c", "s"), node("Max", "s x c", "y")]
    assert_equal(read(made(nodes, {"weight": arrays["conv.weight"]}, (1, 3, 9, 8)), graph, tmp_path), arrays)
    b.nodes.pop()
    two = b.add("x", "maximum", "act", "conv").graph()
    assert "but 'y' (Max) joins 's' (Sigmoid) and its input in the file" in refused(
        made(nodes, {"weight": arrays["conv.weight"]}, (1, 3, 9, 8)), two, tmp_path
    )
