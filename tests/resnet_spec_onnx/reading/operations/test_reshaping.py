"""Nodes that only change a value's axes add no step; those that do anything else are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

from tests.resnet_spec_onnx.reading.files import KERNEL, assert_equal, convolution, made, node, read, refused
from tests.resnet_spec_torch.graphs import Builder, random_arrays

CONSTANTS = {
    "kernel": KERNEL,
    "two": np.array([2]),
    "three": np.array([3]),
    "ones": np.array([1, 1]),
    "four": np.array([1, 4, 14, 14]),
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
        (node("Softmax", "c", "y", axis=1), "whose axes are not batch, channels and positions in this order"),
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
