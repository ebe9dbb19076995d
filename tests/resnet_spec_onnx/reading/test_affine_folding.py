"""Scales and shifts after a convolution become part of it; elsewhere they are differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

from resnet_spec_onnx import OnnxBackend
from tests.resnet_spec_onnx.reading.files import (
    KERNEL,
    VECTORS,
    assert_equal,
    convolution,
    made,
    node,
    read,
    refused,
)
from tests.resnet_spec_onnx.support import model_of
from tests.resnet_spec_torch.graphs import Builder, random_images


def chain(*ops: str, shape: tuple[int, ...] = (4, 1, 1)) -> ModelProto:
    """A convolution followed by constants."""
    names = ["kernel", *(str(index) for index in range(len(ops)))]
    nodes = [node("Conv", "x kernel", "c")]
    for index, op in enumerate(ops):
        nodes.append(node(op, f"{nodes[-1].output[0]} {index}", "y" if index == len(ops) - 1 else f"v{index}"))
    arrays = [KERNEL, *(vector.reshape(shape) for vector in VECTORS[: len(ops)])]
    return made(nodes, dict(zip(names, arrays, strict=True)))


def test_an_offset_after_a_convolution_is_its_bias_bit_for_bit(tmp_path: Path) -> None:
    assert_equal(read(chain("Add"), convolution(bias=True), tmp_path), {"conv.weight": KERNEL, "conv.bias": VECTORS[0]})
    held = read(chain("Sub"), convolution(bias=True), tmp_path)
    assert_equal(held, {"conv.weight": KERNEL, "conv.bias": -VECTORS[0]})
    assert held.remarks == ()


@pytest.mark.parametrize("ops", [("Add", "Sub", "Mul", "Add"), ("Mul", "Sub"), ("Sub", "Div", "Add"), ("Mul",)])
def test_constants_after_a_convolution_are_multiplied_and_rounded_once(ops: tuple[str, ...], tmp_path: Path) -> None:
    held = read(chain(*ops), convolution(bias=True), tmp_path)
    factor, offset = np.ones(4), np.zeros(4)
    for op, vector in zip(ops, VECTORS.astype(np.float64), strict=False):
        if op in ("Add", "Sub"):
            offset = offset + (vector if op == "Add" else -vector)
        else:
            by = vector if op == "Mul" else 1 / vector
            factor, offset = factor * by, offset * by
    wanted = (KERNEL * factor[:, None, None, None]).astype(np.float32), offset.astype(np.float32)
    assert_equal(held, {"conv.weight": wanted[0], "conv.bias": wanted[1]})
    assert held.remarks == (
        "has folded normalizations as nodes after 1 convolutions; they were multiplied into the weights",
    )
    session = onnxruntime.InferenceSession(chain(*ops).SerializeToString(), providers=["CPUExecutionProvider"])
    images = random_images(1, 3, 16, 16)
    graph = convolution(bias=True)
    ours = OnnxBackend().forward(model_of(graph, dict(held.tensors)), images)[0]
    np.testing.assert_allclose(ours, session.run(None, {"x": images})[0], rtol=2e-5, atol=2e-5)


def test_other_constants_are_not_folded(tmp_path: Path) -> None:
    graph = convolution(bias=True)
    along_rows = made(
        [node("Conv", "x kernel", "c"), node("Add", "c b", "y")], {"kernel": KERNEL, "b": np.ones((14, 1), np.float32)}
    )
    assert "'y' (Add) has a constant [14, 1], which is not one number per channel" in refused(
        along_rows, graph, tmp_path
    )
    shared = made(
        [node("Conv", "x kernel", "c"), node("Add", "c b", "d"), node("Add", "c d", "y")],
        {"kernel": KERNEL, "b": VECTORS[0].reshape(4, 1, 1)},
    )
    b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3, bias=True).add("relu", "relu")
    message = refused(shared, b.add("sum", "add", "conv", "relu").graph(), tmp_path)
    assert message.startswith("the spec has 'relu' (relu) where the file has 'd' (Add), one constant per channel")


def test_a_normalization_of_the_input_is_refused(tmp_path: Path) -> None:
    arrays = {"mean": np.full((1, 3, 1, 1), 100, np.float32), "kernel": KERNEL}
    model = made([node("Sub", "x mean", "v"), node("Conv", "v kernel", "y")], arrays)
    assert refused(model, convolution(), tmp_path) == (
        "the spec has 'conv' (conv2d) where the file has 'v' (Sub): it normalizes its input itself, "
        "but the spec does not"
    )


def test_a_normalization_written_as_constants_is_refused(tmp_path: Path) -> None:
    graph = Builder(4, 8, 8).add("relu", "relu").add("norm", "batch_norm").graph()
    nodes = [node("Relu", "x", "r"), node("Mul", "r a", "v"), node("Add", "v b", "y")]
    arrays = {"a": VECTORS[0].reshape(4, 1, 1), "b": VECTORS[1].reshape(4, 1, 1)}
    message = refused(made(nodes, arrays, (1, 4, 8, 8)), graph, tmp_path)
    assert message == (
        "the spec has 'norm' (batch_norm) where the file has 'v' (Mul), one constant per channel: "
        "a normalization written so no longer has its statistics"
    )
