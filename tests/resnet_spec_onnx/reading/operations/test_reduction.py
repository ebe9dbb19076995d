"""Reductions that exporters write, and those that have no normal form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto

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

CONSTANTS = {"kernel": KERNEL, "one": np.array([1]), "zero": np.array([0]), "positions": np.array([-1, 2])}
CONSTANTS["two"] = np.array([2])


@pytest.mark.parametrize("op", ["mean", "max", "sum"])
@pytest.mark.parametrize("axis", [0, 1, [0, 2], [1, 2]])
def test_our_own_reductions_are_read_without_names(op: str, axis: int | list[int], tmp_path: Path) -> None:
    b = Builder(3, 9, 8).add("conv", "conv2d", channels=4, kernel=1).add("x", op, axis=axis)
    b.add("scaled", "multiply", "conv", "x")
    graph = b.add("last", "conv2d", channels=2, kernel=1).graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)


@pytest.mark.parametrize(
    ("op", "axis", "nodes"),
    [
        ("sum", [1, 2], [node("ReduceSum", "c positions", "y")]),
        ("sum", 0, [node("ReduceSum", "c one", "s", keepdims=0), node("Unsqueeze", "s one", "y")]),
        ("mean", 0, [node("ReduceMean", "c", "y", axes=[-3])]),
        ("max", 1, [node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("ReduceMax", "t", "y", axes=[1])]),
        ("mean", [1, 2], [node("GlobalAveragePool", "c", "y")]),
        ("max", [1, 2], [node("ReduceMax", "c", "m", axes=[2]), node("ReduceMax", "m", "y", axes=[3])]),
    ],
)
def test_reductions_that_others_write(op: str, axis: int, nodes: list[NodeProto], tmp_path: Path) -> None:
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("x", op, axis=axis)
    model = made([node("Conv", "x kernel", "c"), *nodes], CONSTANTS)
    if len(nodes) == 2 and op == "max" and axis == [1, 2]:
        b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("rows", op, axis=1).add("x", op, axis=2)
    assert_equal(read(model, b.graph(), tmp_path), {"conv.weight": KERNEL})
    b.nodes.pop()
    other = b.add("x", "mean" if op != "mean" else "sum", axis=axis).graph()
    assert "in the spec" in refused(model, other, tmp_path) or "the spec has" in refused(model, other, tmp_path)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("ReduceMean", "c", "y", axes=[0])], "'y' (ReduceMean) reduces the batch"),
        ([node("ReduceMax", "c", "y")], "'y' (ReduceMax) reduces the batch"),
        ([node("ReduceMax", "c", "y", axes=[4])], "has no axis 4"),
        ([node("Softmax", "c", "y", axis=0)], "is a softmax of [1, 4, 14, 14] over axis 0"),
    ],
)
def test_other_reductions_are_reported(nodes: list[NodeProto], message: str, tmp_path: Path) -> None:
    batch = (2, 3, 16, 16) if "batch" in message else (1, 3, 16, 16)
    model = made([node("Conv", "x kernel", "c"), *nodes], CONSTANTS, batch)
    assert message in refused(model, convolution(), tmp_path)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_softmax_along_any_axis(axis: int, tmp_path: Path) -> None:
    b = Builder(3, 9, 8).add("conv", "conv2d", channels=4, kernel=1).add("x", "softmax", axis=axis)
    graph = b.add("last", "conv2d", channels=2, kernel=1).graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)
    b = Builder(3, 9, 8).add("conv", "conv2d", channels=4, kernel=1).add("x", "softmax", axis=(axis + 1) % 3)
    other = b.add("last", "conv2d", channels=2, kernel=1).graph()
    assert "differ in axis" in refused(anonymous(proto(graph, arrays)), other, tmp_path)


def test_a_softmax_before_opset_13_is_over_all_axes_after(tmp_path: Path) -> None:
    graph = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("x", "softmax").graph()
    nodes = [node("Conv", "x kernel", "c"), node("Softmax", "c", "y", axis=1)]
    message = "is a softmax of [1, 4, 14, 14] over axis 1, which is not supported"
    assert message in refused(made(nodes, {"kernel": KERNEL}, opset=11), graph, tmp_path)
    assert_equal(read(made(nodes, {"kernel": KERNEL}, opset=13), graph, tmp_path), {"conv.weight": KERNEL})


@pytest.mark.parametrize("axis", [0, 2])
def test_our_own_norms_are_read_without_names(axis: int, tmp_path: Path) -> None:
    b = Builder(3, 9, 8).add("conv", "conv2d", channels=4, kernel=1).add("x", "l2_normalize", axis=axis, epsilon=0.5)
    graph = b.add("pool", "gem_pool", epsilon=0.1).add("last", "conv2d", channels=2, kernel=1).graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)


def test_a_norm_as_torch_exports_it(tmp_path: Path) -> None:
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("x", "l2_normalize", epsilon=1e-12)
    nodes = [
        node("Conv", "x kernel", "c"),
        node("ReduceL2", "c", "n", axes=[1], keepdims=1),
        node("Clip", "n epsilon", "b"),
        node("Expand", "b whole", "e"),
        node("Div", "c e", "y"),
    ]
    constants = {"kernel": KERNEL, "epsilon": np.float32(1e-12), "whole": np.array([1, 4, 14, 14])}
    assert_equal(read(made(nodes, constants), b.graph(), tmp_path), {"conv.weight": KERNEL})
    b.nodes.pop()
    other = b.add("x", "l2_normalize", epsilon=1e-6).graph()
    assert "differ in minimum" in refused(made(nodes, constants), other, tmp_path)
