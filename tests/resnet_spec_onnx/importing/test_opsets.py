"""Files of opsets 7 to 25: what each states in its own way is read, and is what the runtime computes."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, version_converter

from resnet_spec.graph import Graph
from resnet_spec_onnx.reading.constant_folding import Constant, evaluate
from tests.resnet_spec_onnx.importing.models import exported, made
from tests.resnet_spec_onnx.importing.test_importer import GRAPHS, error_of, imported, in_inference, refused
from tests.resnet_spec_onnx.reading.files import KERNEL, node, proto
from tests.resnet_spec_onnx.reading.files import made as file_of
from tests.resnet_spec_torch.graphs import random_arrays

CONV = node("Conv", "x kernel", "c")
VECTOR = np.array([0.5, 2.0, 3.0, 4.0], np.float32)
NUMBERS = np.array([1.0, 1.0, 2.0, 2.0], np.float32)
HALF = np.array([1.0, 1.0, 0.5, 0.5], np.float32)
KNOWN: dict[str, Any] = {
    "kernel": KERNEL,
    "v": VECTOR,
    "scales": NUMBERS,
    "half": HALF,
    "none": np.array([], np.float32),
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "ratio": np.array(0.25, np.float32),
    "two_three": np.array([2, 3]),
    "two": np.array([2]),
    "one": np.array([1]),
    "four": np.array([4]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "edges": np.array([1, 1, 1, 1]),
    "vector": np.array([0, -1]),
    "parts": np.array([1, 3]),
    "matrix": np.random.default_rng(3).standard_normal((4, 5)).astype(np.float32),
}

POOLED = [CONV, node("GlobalAveragePool", "c", "p")]

CASES: dict[str, tuple[list[int], list[Any], list[str]]] = {
    "batch norm": (
        [7, 8, 9, 14, 15, 22],
        [CONV, node("BatchNormalization", "c v v v v", "y")],
        ["conv2d", "batch_norm"],
    ),
    "upsample by attribute": (
        [7, 8],
        [CONV, node("Upsample", "c", "y", scales=[1.0, 1.0, 2.0, 2.0])],
        ["conv2d", "resize"],
    ),
    "upsample by input": ([9], [CONV, node("Upsample", "c scales", "y", mode="nearest")], ["conv2d", "resize"]),
    "resize without coordinates": ([10], [CONV, node("Resize", "c scales", "y")], ["conv2d", "resize"]),
    "resize of pixels": (
        [11, 13, 18, 21, 23, 25],
        [CONV, node("Resize", "c none scales", "y", mode="linear")],
        ["conv2d", "resize"],
    ),
    "slice by attributes": (
        [7, 8, 9],
        [CONV, node("Slice", "c", "y", starts=[1], ends=[3], axes=[1])],
        ["conv2d", "slice"],
    ),
    "slice by inputs": ([10, 11, 13, 21, 25], [CONV, node("Slice", "c one two_ one", "y")], ["conv2d", "slice"]),
    "split by attribute": ([7, 11], [CONV, "split"], ["conv2d", "slice"]),
    "split by input": ([13, 18, 21, 25], [CONV, "split"], ["conv2d", "slice"]),
    "pad by attributes": (
        [7, 8, 10],
        [CONV, node("Pad", "c", "y", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.5)],
        ["conv2d", "pad2d"],
    ),
    "pad by inputs": ([11, 13, 18, 21, 23, 25], [CONV, node("Pad", "c pads ratio", "y")], ["conv2d", "pad2d"]),
    "pad of some axes": ([18, 21, 25], [CONV, node("Pad", "c edges ratio two_three", "y")], ["conv2d", "pad2d"]),
    "dropout by attribute": ([7, 10], [CONV, node("Dropout", "c", "y", ratio=0.25)], ["conv2d", "dropout"]),
    "dropout by input": ([12, 13, 22], [CONV, node("Dropout", "c ratio", "y")], ["conv2d", "dropout"]),
    "clip by attributes": ([7, 10], [CONV, node("Clip", "c", "y", min=0.0, max=6.0)], ["conv2d", "relu6"]),
    "clip by inputs": ([11, 12, 13, 25], [CONV, node("Clip", "c zero six", "y")], ["conv2d", "relu6"]),
    "squeeze by attribute": (
        [7, 11],
        [*POOLED, node("Squeeze", "p", "s", axes=[2, 3]), node("MatMul", "s matrix", "y")],
        ["conv2d", "global_avg_pool", "flatten", "linear"],
    ),
    "squeeze by input": (
        [13, 21, 23, 25],
        [*POOLED, node("Squeeze", "p two_three", "s"), node("MatMul", "s matrix", "y")],
        ["conv2d", "global_avg_pool", "flatten", "linear"],
    ),
    "mean by attribute": (
        [7, 11, 13, 17],
        [CONV, node("ReduceMean", "c", "y", axes=[2, 3], keepdims=1)],
        ["conv2d", "global_avg_pool"],
    ),
    "mean by input": ([18, 21, 25], [CONV, node("ReduceMean", "c two_three", "y")], ["conv2d", "global_avg_pool"]),
    "sum by input": ([13, 21, 25], [CONV, node("ReduceSum", "c two_three", "y")], ["conv2d", "sum"]),
    "constants by attribute": (
        [7, 8, 9, 11],
        [CONV, node("Unsqueeze", "v", "u", axes=[1, 2]), node("Add", "c u", "y")],
        ["conv2d"],
    ),
    "constants by input": (
        [13, 21, 24, 25],
        [CONV, node("Unsqueeze", "v one_two", "u"), node("Add", "c u", "y")],
        ["conv2d"],
    ),
    "reshape": (
        [7, 13, 14, 19, 21, 25],
        [*POOLED, node("Reshape", "p vector", "s"), node("MatMul", "s matrix", "y")],
        ["conv2d", "global_avg_pool", "flatten", "linear"],
    ),
    "average that counts": (
        [7, 10, 11, 19, 22],
        [CONV, node("AveragePool", "c", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        ["conv2d", "avg_pool2d"],
    ),
    "rounding up": (
        [10, 11, 19, 22],
        [CONV, node("MaxPool", "c", "y", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)],
        ["conv2d", "max_pool2d"],
    ),
    "hard swish": ([14, 22], [CONV, node("HardSwish", "c", "y")], ["conv2d", "hard_swish"]),
    "mish": ([18, 22], [CONV, node("Mish", "c", "y")], ["conv2d", "mish"]),
    "gelu": ([20, 21, 25], [CONV, node("Gelu", "c", "y")], ["conv2d", "gelu"]),
    "softmax": ([13, 21, 25], [CONV, node("Softmax", "c", "y", axis=1)], ["conv2d", "softmax"]),
    "group norm": ([21], [CONV, node("GroupNormalization", "c v v", "y", num_groups=2)], ["conv2d", "group_norm"]),
}
"""Opsets, nodes and the operations that are read."""

MORE: dict[str, Any] = {"two_": np.array([3]), "one_two": np.array([1, 2])}


def _nodes(nodes: list[Any], opset: int) -> list[Any]:
    if nodes[-1] != "split":
        return nodes
    more: dict[str, Any] = {"split": [1, 3]} if opset < 13 else {}
    inputs = ["c"] if opset < 13 else ["c", "parts"]
    return [*nodes[:-1], helper.make_node("Split", inputs, ["rest", "y"], "s", axis=1, **more)]


@pytest.mark.parametrize(("name", "opset"), [(name, opset) for name in CASES for opset in CASES[name][0]])
def test_what_an_opset_states_is_read(name: str, opset: int) -> None:
    _, nodes, wanted = CASES[name]
    arrays = {**KNOWN, **MORE}
    nodes = _nodes(nodes, opset)
    used = {source for each in nodes for source in each.input}
    source = imported(file_of(nodes, {key: array for key, array in arrays.items() if key in used}, opset=opset))
    assert [each.operation.op for each in source.graph.nodes] == wanted
    assert error_of(source) < 1e-5


@pytest.mark.parametrize(
    ("opset", "nodes", "message"),
    [
        (10, [node("Resize", "c scales", "y", mode="linear")], "'linear' and coordinates 'asymmetric'"),
        (10, [node("Resize", "c half", "y")], "makes .* smaller, which opset 10 does in its own way"),
        (11, [node("Softmax", "c", "y")], "over axis 1, which is not supported"),
        (24, [node("Swish", "c", "y", alpha=2.0)], "multiplies by a number within the sigmoid"),
    ],
)
def test_what_only_an_opset_computes_is_refused(opset: int, nodes: list[Any], message: str) -> None:
    used = {source for each in nodes for source in each.input} | {"kernel"}
    arrays = {key: array for key, array in KNOWN.items() if key in used}
    assert re.search(message, refused(file_of([CONV, *nodes], arrays, opset=opset)))


def test_a_swish_is_a_silu() -> None:
    """Of opset 24, which the runtime may not have."""
    source = imported(file_of([CONV, node("Swish", "c", "y")], {"kernel": KERNEL}, opset=24))
    assert [each.operation.op for each in source.graph.nodes] == ["conv2d", "silu"]


# PyTorch writes nodes that opsets 7 and 8 do not have, and no resize by its own coordinates before opset 11.
@pytest.mark.parametrize(("name", "opset"), [("blocks", 7), ("blocks", 8), ("blocks", 9), ("gated", 9), ("gated", 10)])
def test_exports_of_the_oldest_opsets(name: str, opset: int, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = imported(exported(made(name), tmp_path / "model.onnx", opset_version=opset))
    assert len(source.graph.nodes) > 10
    assert error_of(source) < 1e-5


@pytest.mark.parametrize("opset", [15, 16, 18, 20, 21, 22, 23, 24, 25])
def test_a_file_that_is_converted_is_the_same_network(opset: int) -> None:
    graph: Graph = GRAPHS["tutorial/resnet18"]()
    arrays = random_arrays(graph)
    model = version_converter.convert_version(proto(graph, arrays), opset)
    source = imported(model, graph.input.shape)
    assert in_inference(source.graph) == in_inference(graph)
    assert all(np.array_equal(source.arrays[key], array) for key, array in arrays.items())


@pytest.mark.parametrize("opset", [7, 12])
def test_axes_that_are_an_attribute_are_added_to_a_constant(opset: int) -> None:
    found = evaluate(node("Unsqueeze", "a", "y", axes=[0, 2]), [Constant(VECTOR, ("a",))], opset)
    assert isinstance(found, Constant)
    assert found.array.shape == (1, 4, 1)
    assert found.names == ("a",)
    wrong = evaluate(node("Unsqueeze", "a", "y", axes=[7]), [Constant(VECTOR)], opset)
    assert not isinstance(wrong, Constant)
