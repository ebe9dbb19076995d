"""Convolutions that are the same although their nodes differ, and convolutions that only look the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from resnet_spec.graph import Graph
from tests.resnet_spec_onnx.reading.files import (
    FREE,
    KERNEL,
    assert_equal,
    convolution,
    convolved,
    made,
    node,
    pads,
    read,
    refused,
)
from tests.resnet_spec_torch.graphs import Builder

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
