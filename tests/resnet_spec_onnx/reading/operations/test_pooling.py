"""Pools with a pad before them or a last window that overhangs: when they are the same, and when they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from resnet_spec.graph import Graph
from tests.resnet_spec_onnx.reading.files import KERNEL, assert_equal, made, node, pads, read, refused
from tests.resnet_spec_torch.graphs import Builder


def pooled(size: int = 16, *, relu: bool = True, **fields: Any) -> Graph:
    """A graph of a convolution and a max pool, with or without an activation between them."""
    b = Builder(3, size, size).add("conv", "conv2d", channels=4, kernel=3, padding=1)
    b = b.add("relu", "relu") if relu else b
    return b.add("pool", "max_pool2d", kernel=3, stride=2, **fields).graph()


def pool_after_a_pad(mode: str, *numbers: int, relu: bool = True, **attributes: Any) -> ModelProto:
    middle = [node("Relu", "c", "r")] if relu else [node("Identity", "c", "r")]
    nodes = [
        node("Conv", "x kernel", "c", pads=[1, 1, 1, 1]),
        *middle,
        node("Pad", "r pads", "p", mode=mode),
        node("MaxPool", "p", "y", kernel_shape=[3, 3], strides=[2, 2], **attributes),
    ]
    return made(nodes, {"kernel": KERNEL, **pads(*numbers)})


SAME: dict[str, tuple[Graph, ModelProto]] = {
    "zeros before a pool of nonnegative values": (
        pooled(padding=1),
        pool_after_a_pad("constant", 0, 0, 1, 1, 0, 0, 1, 1),
    ),
    "edges before a pool": (pooled(padding="same"), pool_after_a_pad("edge", 0, 0, 0, 0, 0, 0, 1, 1)),
    "edges before a pool of signed values": (
        pooled(padding="same", relu=False),
        pool_after_a_pad("edge", 0, 0, 0, 0, 0, 0, 1, 1, relu=False),
    ),
    "a last window that overhangs": (
        pooled(padding=[[0, 1], [0, 1]]),
        pool_after_a_pad("constant", *[0] * 8, ceil_mode=1),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_a_pool_written_differently_is_the_same(name: str, tmp_path: Path) -> None:
    graph, model = SAME[name]
    assert_equal(read(model, graph, tmp_path), {"conv.weight": KERNEL})


OTHER: dict[str, tuple[Graph, ModelProto, str]] = {
    "zeros before a pool of signed values": (
        pooled(padding=1, relu=False),
        pool_after_a_pad("constant", 0, 0, 1, 1, 0, 0, 1, 1, relu=False),
        "the spec has 'pool' (max_pool2d) where the file has 'p' (Pad)",
    ),
    "edges further out than a window reaches": (
        pooled(padding=1),
        pool_after_a_pad("edge", 0, 0, 3, 3, 0, 0, 3, 3),
        "the spec has 'pool' (max_pool2d) where the file has 'p' (Pad)",
    ),
    "zeros that count in an average": (
        Builder(3, 16, 16)
        .add("conv", "conv2d", channels=4, kernel=3)
        .add("pool", "avg_pool2d", kernel=3, padding=1, count_include_pad=False)
        .graph(),
        made(
            [
                node("Conv", "x kernel", "c"),
                node("AveragePool", "c", "y", kernel_shape=[3, 3], strides=[3, 3], pads=[1] * 4, count_include_pad=1),
            ],
            {"kernel": KERNEL},
        ),
        "differ in counted padding: none and [[1, 0], [1, 0]]",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_pool_that_only_looks_the_same_is_refused(name: str, tmp_path: Path) -> None:
    graph, model, message = OTHER[name]
    assert message in refused(model, graph, tmp_path)


@pytest.mark.parametrize("op_type", ["GlobalMaxPool", "ReduceMax"])
def test_global_max_pools_are_read(op_type: str, tmp_path: Path) -> None:
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("pool", "global_max_pool")
    attributes = {"axes": [2, 3]} if op_type == "ReduceMax" else {}
    model = made([node("Conv", "x kernel", "c"), node(op_type, "c", "y", **attributes)], {"kernel": KERNEL})
    assert_equal(read(model, b.graph(), tmp_path), {"conv.weight": KERNEL})


@pytest.mark.parametrize(
    ("op_type", "attributes", "message"),
    [
        ("MaxPool", {"kernel_shape": [3] * 4}, "has a window [3, 3, 3, 3]"),
        ("MaxPool", {"kernel_shape": [3]}, "reads ["),
        ("MaxPool", {"kernel_shape": [3, 3], "dilations": [2, 2]}, "is dilated"),
    ],
)
def test_unsupported_pools_are_reported(op_type: str, attributes: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "c"), node(op_type, "c", "y", **attributes)], {"kernel": KERNEL})
    assert f"'y' ({op_type}) {message}" in refused(model, pooled(), tmp_path)
