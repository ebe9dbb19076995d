"""Convolutions that are the same although their nodes differ, and convolutions that only look the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from resnet_spec.graph import Graph
from tests.resnet_spec_onnx.reading.files import (
    FREE,
    KERNEL,
    anonymous,
    assert_equal,
    convolution,
    convolved,
    made,
    node,
    pads,
    proto,
    read,
    refused,
)
from tests.resnet_spec_torch.graphs import Builder, random_arrays

SAME: dict[str, tuple[Graph, ModelProto]] = {
    "pads that no window reaches": (
        convolution(stride=2, padding=[[1, 0], [1, 0]]),
        made(convolved(strides=[2, 2], pads=[1, 1, 1, 1]), {"kernel": KERNEL}),
    ),
    "same as numbers": (
        convolution(stride=2, padding="same"),
        made(convolved(strides=[2, 2], pads=[0, 0, 1, 1]), {"kernel": KERNEL}),
    ),
    "same as SAME_UPPER": (
        convolution(stride=2, padding="same"),
        made(convolved(strides=[2, 2], auto_pad="SAME_UPPER"), {"kernel": KERNEL}, FREE),
    ),
    "SAME_LOWER, the odd row before": (
        convolution(stride=2, padding=1),
        made(convolved(strides=[2, 2], auto_pad="SAME_LOWER"), {"kernel": KERNEL}),
    ),
    "VALID": (convolution(), made(convolved(auto_pad="VALID"), {"kernel": KERNEL})),
    "a pad by a node": (
        convolution(padding=1),
        made(convolved(node("Pad", "x pads", "p"), behind="p"), {"kernel": KERNEL, **pads(0, 0, 1, 1, 0, 0, 1, 1)}),
    ),
    "a pad as an attribute": (
        convolution(padding=1),
        made(convolved(node("Pad", "x", "p", pads=[0, 0, 1, 1, 0, 0, 1, 1]), behind="p"), {"kernel": KERNEL}, opset=10),
    ),
    "a pad of some axes": (
        convolution(padding=1),
        made(
            convolved(node("Pad", "x pads zero axes", "p"), behind="p"),
            {"kernel": KERNEL, "zero": np.zeros((), np.float32), "axes": np.array([2, 3]), **pads(1, 1, 1, 1)},
            opset=18,
        ),
    ),
    "casts, dropout and transpositions": (
        convolution(),
        made(
            [
                node("Cast", "x", "h", to=TensorProto.FLOAT),
                node("Conv", "h kernel", "c"),
                node("Dropout", "c", "d"),
                node("Transpose", "d", "t", perm=[1, 0, 2, 3]),
                node("Transpose", "t", "y", perm=[1, 0, 2, 3]),
            ],
            {"kernel": KERNEL},
        ),
    ),
    "a kernel transposed by a node": (
        convolution(),
        made(
            [node("Transpose", "k", "kernel", perm=[3, 2, 0, 1]), *convolved()],
            {"k": np.ascontiguousarray(KERNEL.transpose(2, 3, 1, 0))},
        ),
    ),
    "a factor of one": (
        convolution(),
        made(
            [node("Conv", "x kernel", "c"), node("Mul", "c one", "y")],
            {"kernel": KERNEL, "one": np.ones((), np.float32)},
        ),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_a_convolution_written_differently_is_the_same(name: str, tmp_path: Path) -> None:
    graph, model = SAME[name]
    assert_equal(read(model, graph, tmp_path), {"conv.weight": KERNEL})


OTHER: dict[str, tuple[Graph, ModelProto, str]] = {
    "numbers are not same where sizes are free": (
        convolution(stride=2, padding="same"),
        made(convolved(strides=[2, 2], pads=[0, 0, 1, 1]), {"kernel": KERNEL}, FREE),
        "differ in effective padding",
    ),
    "groups": (
        Builder(4, 8, 8).add("conv", "conv2d", channels=4, kernel=3, groups=2).graph(),
        made(convolved(), {"kernel": np.zeros((4, 4, 3, 3), np.float32)}, (1, 4, 8, 8)),
        "'conv' (conv2d) in the spec and 'y' (Conv) in the file differ in groups: 2 and 1",
    ),
    "groups that do not fit the channels": (
        convolution(),
        made(convolved(group=3), {"kernel": KERNEL}),
        "'y' (Conv) has a kernel for 9 channels, but its input has 3",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_convolution_that_only_looks_the_same_is_refused(name: str, tmp_path: Path) -> None:
    graph, model, message = OTHER[name]
    assert message in refused(model, graph, tmp_path)


@pytest.mark.parametrize("padding", [0, 1, [[0, 1], [1, 0]], "same"])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_transposed_convolutions_are_read_by_structure(padding: Any, kernel: int, tmp_path: Path) -> None:
    fields = {"channels": 2, "kernel": kernel, "stride": 2, "padding": padding, "bias": True}
    graph = Builder(3, 6, 7).add("up", "conv_transpose2d", **fields).graph()
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)
    other = Builder(3, 6, 7).add("up", "conv_transpose2d", **fields | {"stride": 3}).graph()
    assert "differ in stride: [2, 2] and [3, 3]" in refused(anonymous(proto(other)), graph, tmp_path)


@pytest.mark.parametrize(
    ("op_type", "attributes", "message"),
    [
        ("ConvTranspose", {"group": 2}, "has an unsupported value of 'group'"),
        ("ConvTranspose", {"auto_pad": "SAME_UPPER"}, "is an unsupported transposed convolution"),
        ("ConvTranspose", {"dilations": [2, 2]}, "is an unsupported transposed convolution"),
        ("ConvTranspose", {"output_shape": [8, 8]}, "is an unsupported transposed convolution"),
        ("ConvTranspose", {"output_padding": [-1, 0]}, "has output_padding [-1, 0]"),
        ("ConvTranspose", {"pads": [9, 9, 9, 9]}, "leaves nothing of its feature map"),
        ("Conv", {"kernel_shape": [2, 2]}, "has a kernel [4, 4, 3, 3]"),
        ("Conv", {"auto_pad": "SAME"}, "has auto_pad 'SAME'"),
    ],
)
def test_unsupported_convolutions_are_reported(
    op_type: str, attributes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    graph = Builder(4, 8, 8).add("conv", "conv2d", channels=4, kernel=3).graph()
    kernel = np.ones((4, 4, 3, 3), np.float32)
    model = made([node(op_type, "x kernel", "y", **attributes)], {"kernel": kernel}, (1, 4, 8, 8))
    assert f"'y' ({op_type}) {message}" in refused(model, graph, tmp_path)


def test_a_bias_of_another_length_is_reported(tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel b", "y")], {"kernel": KERNEL, "b": np.ones(5, np.float32)})
    assert "'y' (Conv) has a bias [5] for 4 channels" in refused(model, convolution(bias=True), tmp_path)
