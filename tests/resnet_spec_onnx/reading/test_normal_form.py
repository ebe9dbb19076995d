"""Files in either layout, and files that have no normal form."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from tests.resnet_spec_onnx.reading.files import (
    KERNEL,
    anonymous,
    assert_equal,
    convolution,
    convolved,
    made,
    node,
    proto,
    read,
    refused,
)
from tests.resnet_spec_torch.graphs import Builder, random_arrays


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_either_layout_is_read(last: bool, tmp_path: Path) -> None:
    """A gate, a global pool and a linear layer, channels first and channels last."""
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3).add("relu", "relu")
    b.add("squeeze", "global_avg_pool").add("excite", "conv2d", channels=4, kernel=1, bias=True).add("gate", "sigmoid")
    b.add("scale", "multiply", "relu", "gate").add("pool", "global_avg_pool").add("flatten", "flatten")
    graph = b.add("fc", "linear", features=2).graph()
    arrays = random_arrays(graph)
    held = {"a": arrays["conv.weight"], "b": arrays["excite.weight"], "c": arrays["excite.bias"]}
    held |= {"d": np.ascontiguousarray(arrays["fc.weight"].T), "e": arrays["fc.bias"]}
    axes, channels = ([1, 2], [1, 1, 1, 4]) if last else ([2, 3], [1, 4, 1, 1])
    there, back = ([0, 3, 1, 2], [0, 2, 3, 1]) if last else ([0, 1, 2, 3], [0, 1, 2, 3])
    held["c"] = held["c"].reshape(channels)
    nodes = [
        node("Transpose", "x", "0", perm=there),
        node("Conv", "0 a", "1"),
        node("Transpose", "1", "2", perm=back),
        node("Relu", "2", "3"),
        node("ReduceMean", "3", "4", axes=axes, keepdims=1),
        node("Transpose", "4", "5", perm=there),
        node("Conv", "5 b", "6"),
        node("Transpose", "6", "7", perm=back),
        node("Add", "7 c", "8"),
        node("Sigmoid", "8", "9"),
        node("Mul", "9 3", "10"),
        node("ReduceMean", "10", "11", axes=axes, keepdims=0),
        node("MatMul", "11 d", "12"),
        node("Add", "12 e", "y"),
    ]
    checkpoint = read(made(nodes, held, ("n", 16, 16, 3) if last else ("n", 3, 16, 16)), graph, tmp_path)
    assert_equal(checkpoint, arrays)
    assert checkpoint.remarks == (("takes channels-last images",) if last else ())


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (convolved(domain="ours"), "'y' (Conv) is an operator of 'ours'"),
        (convolved(node("Softsign", "x", "s"), behind="s"), "'s' (Softsign) is an operator that is not supported"),
        (
            convolved(node("QuantizeLinear", "x kernel", "q"), behind="q"),
            "'q' (QuantizeLinear) is of an 8-bit network; give the one in float",
        ),
        ([node("Conv", "z kernel", "y")], "'y' (Conv) reads 'z' before a node computes it"),
        (
            [node("Relu", "b", "a"), node("Relu", "a", "b"), node("Conv", "b kernel", "y")],
            "'a' (Relu) reads 'b' before",
        ),
        ([node("Relu", "x", "x"), node("Conv", "x kernel", "y")], "'x' (Relu) computes 'x' a second time"),
        ([node("Conv", "x kernel", "z")], "no node computes its output 'y'"),
        ([node("Conv", "x", "y")], "'y' (Conv) has a computed input, or none, that must be a constant"),
        ([node("Conv", "kernel x", "y")], "'y' (Conv) has a computed input, or none, that must be a constant"),
        (convolved(strides=2), "'y' (Conv) has an attribute 'strides' of another type"),
        (convolved(strides=[0, 1]), "'y' (Conv) has [0, 1] for 2 axes"),
        (convolved(pads=[-1, 0, 0, 0]), "'y' (Conv) has pads [-1, 0, 0, 0]"),
        (convolved(dilations=[99, 99]), "'y' (Conv): the feature map vanishes"),
        (
            convolved(node("Transpose", "x", "t", perm=[0, 1, 2, 2]), behind="t"),
            "'t' (Transpose) has perm [0, 1, 2, 2] for 4 axes",
        ),
        (convolved(node("Transpose", "x", "t", perm=[0, 1, 3, 2]), behind="t"), "not batch, channels and"),
        ([node("Identity", "kernel", "y")], "none of its outputs depends on its input"),
        ([node("LSTM", "kernel", "k"), node("Conv", "x k", "y")], "'k' (LSTM) is not evaluated"),
        (
            [node("Sqrt", "kernel", "k"), node("Conv", "x k", "y"), node("Relu", "y", "y")],
            "'y' (Relu) computes 'y' a second",
        ),
    ],
)
def test_unsupported_nodes_are_reported(nodes: list[NodeProto], message: str, tmp_path: Path) -> None:
    assert message in refused(made(nodes, {"kernel": KERNEL}), convolution(), tmp_path)


def test_several_or_integer_inputs_are_refused(tmp_path: Path) -> None:
    model = anonymous(proto(convolution()))
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    assert "it has 2 inputs; one is supported" in refused(model, convolution(), tmp_path)
    del model.graph.input[1]
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    assert "its input 'input' is not floating-point" in refused(model, convolution(), tmp_path)


def test_deep_chains_are_read_up_to_a_limit(tmp_path: Path) -> None:
    def deep(number: int) -> ModelProto:
        names = ["c", *map(str, range(number)), "y"]
        nodes = [node("Conv", "x kernel", "c")]
        nodes += [node("Identity", before, after) for before, after in pairwise(names)]
        return made(nodes, {"kernel": KERNEL})

    assert_equal(read(deep(5_000), convolution(), tmp_path), {"conv.weight": KERNEL})
    assert "it has 70002 nodes; at most 65536 are supported" in refused(deep(70_000), convolution(), tmp_path)
