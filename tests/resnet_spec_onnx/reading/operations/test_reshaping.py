"""Nodes that only change a value's axes add no step; those that do anything else are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

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

CONSTANTS = {
    "kernel": KERNEL,
    "two": np.array([2]),
    "three": np.array([3]),
    "ones": np.array([1, 1]),
    "four": np.array([1, 4, 14, 14]),
    "zero": np.array([0, 4, 14, 14]),
    "odd": np.array([3, 5]),
    "mixed": np.array([8, 14, 14, 1]),
    "ends": np.array([1, 0, 0, 0, 0, 0, 0, 0]),
    "few": np.array([1, 1]),
}


@pytest.mark.parametrize("opset", [11, 17])
def test_squeezes_and_unsqueezes_add_no_step(opset: int, tmp_path: Path) -> None:
    """Axes are an attribute before opset 13 and an input since."""
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("pool", "global_avg_pool")
    graph = b.add("flatten", "flatten").add("fc", "linear", features=2, bias=False).graph()
    arrays = random_arrays(graph)
    constants = {"kernel": arrays["conv.weight"], "fc": arrays["fc.weight"].T.copy()}
    axes = {"axes": [2]} if opset < 13 else {}
    source = "" if opset < 13 else " two"
    nodes = [
        node("Conv", "x kernel", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Squeeze", f"p{source}", "s", **axes),
        node("Unsqueeze", f"s{source}", "u", **axes),
        node("Squeeze", f"u{source}", "t", **axes),
        node("Squeeze", f"t{source}", "v", **axes),
        node("MatMul", "v fc", "y"),
    ]
    model = made(nodes, constants | ({} if opset < 13 else {"two": np.array([2])}), opset=opset)
    assert_equal(read(model, graph, tmp_path), arrays)


def test_zeros_that_a_reshape_does_not_have_may_be_allowed(tmp_path: Path) -> None:
    graph = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("rows", "flatten", axis=1).graph()
    nodes = [node("Conv", "x kernel", "c"), node("Reshape", "c rows", "y", allowzero=1)]
    model = made(nodes, {"kernel": KERNEL, "rows": np.array([1, 4, 196])})
    assert_equal(read(model, graph, tmp_path), {"conv.weight": KERNEL})


def test_a_gate_expanded_to_its_map_is_the_gate(tmp_path: Path) -> None:
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("gate", "global_avg_pool")
    graph = b.add("scale", "multiply", "conv", "gate").graph()
    nodes = [
        node("Conv", "x kernel", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Expand", "p four", "e"),
        node("Expand", "e four", "f"),
        node("Mul", "c f", "y"),
    ]
    model = made(nodes, {"kernel": KERNEL, "four": CONSTANTS["four"]})
    assert_equal(read(model, graph, tmp_path), {"conv.weight": KERNEL})


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (node("Cast", "c", "y", to=TensorProto.INT64), "casts a value to a type that is not floating-point"),
        (node("Squeeze", "c three", "y"), "squeezes axes of [1, 4, 14, 14] that are not 1"),
        (node("Expand", "c odd", "y"), "expands [1, 4, 14, 14] to [3, 5], which is not supported"),
        (node("Reshape", "c odd", "y"), "cannot reshape [1, 4, 14, 14] to [3, 5]"),
        (node("Reshape", "c kernel", "y"), "has an input that must be a short list of integers"),
        (node("Pad", "c few", "y"), "is an unsupported pad"),
        (node("Pad", "c ends", "y"), "has pads [1, 0, 0, 0, 0, 0, 0, 0]"),
        (node("Reshape", "c zero", "y", allowzero=1), "has an unsupported value of 'allowzero'"),
        (node("Transpose", "ones", "y"), "none of its outputs depends on its input"),
    ],
)
def test_unsupported_reshapes_are_reported(after: NodeProto, message: str, tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "c"), after], CONSTANTS)
    assert message in refused(model, convolution(), tmp_path)


def test_a_reshape_that_mixes_batch_and_channels_is_reported(tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "c"), node("Reshape", "c mixed", "y")], CONSTANTS, (2, 3, 16, 16))
    message = "reshapes [2, 4, 14, 14] to [8, 14, 14, 1], which is not a batch of maps or vectors"
    assert message in refused(model, convolution(), tmp_path)


HALVES = {"kernel": KERNEL, "0": np.array([0]), "1": np.array([1]), "2": np.array([2]), "far": np.array([2**62])}
HALVES |= {"-2": np.array([-2]), "halves": np.array([2, 2]), "rest": np.array([1, 2]), "-1": np.array([-1])}


def halves() -> Graph:
    """Both halves of a convolution's channels, one of them activated."""
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("first", "slice", part=0, parts=2)
    b.add("act", "relu").add("second", "slice", "conv", start=2)
    return b.add("x", "add", "act", "second").graph()


def split(inputs: str = "c", **attributes: int) -> NodeProto:
    return helper.make_node("Split", inputs.split(), ["a", "b"], "split", **attributes)


WRITTEN = {
    "slices": [node("Slice", "c 0 2 1", "a"), node("Slice", "c 2 far 1", "b")],
    "slices from the end": [node("Slice", "c 0 -2 1 1", "a"), node("Slice", "c -2 far 1 1", "b")],
    "slices of slices": [
        node("Slice", "c 0 far 1", "z"),
        node("Slice", "z 0 2 1", "a"),
        node("Slice", "z 2 far 1", "b"),
    ],
    "a split": [split("c halves", axis=1)],
    "a split into equal parts": [split(axis=-3)],
    "a split of channels last": [
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
        helper.make_node("Split", ["t"], ["p", "q"], "split", axis=3),
        node("Transpose", "p", "a", perm=[0, 3, 1, 2]),
        node("Transpose", "q", "b", perm=[0, 3, 1, 2]),
    ],
}


@pytest.mark.parametrize("case", WRITTEN)
def test_slices_and_splits_are_parts(case: str, tmp_path: Path) -> None:
    def nodes(*ends: NodeProto) -> list[NodeProto]:
        return [node("Conv", "x kernel", "c"), *WRITTEN[case], *ends]

    right = nodes(node("Relu", "a", "r"), node("Add", "r b", "y"))
    assert_equal(read(made(right, HALVES), halves(), tmp_path), {"conv.weight": KERNEL})
    wrong = nodes(node("Relu", "b", "r"), node("Add", "r a", "y"))
    assert "'first' (slice)" in refused(made(wrong, HALVES), halves(), tmp_path)


def test_an_old_split_states_its_sizes(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x kernel", "c"),
        helper.make_node("Split", ["c"], ["a", "b"], "split", axis=1, split=[2, 2]),
        node("Relu", "a", "r"),
        node("Add", "r b", "y"),
    ]
    assert_equal(read(made(nodes, HALVES, opset=11), halves(), tmp_path), {"conv.weight": KERNEL})


def test_our_own_slices_are_read_without_names(tmp_path: Path) -> None:
    b = Builder(3, 8, 9).add("conv", "conv2d", channels=4, kernel=1).add("right", "slice", axis=2, part=2, parts=3)
    b.add("bottom", "slice", axis=1, start=3).add("more", "slice", axis=1, start=1, stop=3)
    graph = b.add("last", "conv2d", channels=2, kernel=1).graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Slice", "c 0 far 1 2", "y")], "takes [0] to [4611686018427387904] in steps [2] of axes [1]"),
        ([node("Slice", "c 2 1 1", "y")], "'y' (Slice) takes 2 to 1 of 4 values"),
        ([node("Slice", "c 1 far 0", "y")], "takes 1 to 1 of 1 values"),
        ([node("Slice", "c 1 2 rest", "y")], "takes [1] to [2] in steps [1] of axes [1, 2]"),
        ([helper.make_node("Split", ["c", "rest"], ["y", "z"], "s", axis=1)], "splits 4 values into [1, 2]"),
        ([helper.make_node("Split", ["c"], [*"yabcdefg"], "s", axis=1)], "splits 4 values into [1, 1, 1, 1, 0, -1"),
    ],
)
def test_other_parts_are_reported(nodes: list[NodeProto], message: str, tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "c"), *nodes], HALVES)
    assert message in refused(model, convolution(), tmp_path)
