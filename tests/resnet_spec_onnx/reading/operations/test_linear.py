"""Linear layers: a convolution of one position."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto

from tests.resnet_spec_onnx.reading.files import (
    assert_equal,
    made,
    node,
    read,
    refused,
)
from tests.resnet_spec_torch.graphs import Builder, random_arrays


def test_a_linear_layer_is_a_convolution_of_one_position(tmp_path: Path) -> None:
    b = Builder(4, 8, 8).add("pool", "global_avg_pool").add("fc", "conv2d", channels=3, kernel=1, bias=True)
    graph = b.add("flatten", "flatten").graph()
    arrays = random_arrays(graph)
    nodes = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f a b", "y", transB=1)]
    model = made(nodes, {"a": arrays["fc.weight"].reshape(3, 4), "b": arrays["fc.bias"]}, (1, 4, 8, 8))
    assert_equal(read(model, graph, tmp_path), arrays)


def test_a_size_dependent_layer_is_reported_by_its_shape(tmp_path: Path) -> None:
    graph = Builder(3, 4, 4).add("flatten", "flatten").add("fc", "linear", features=2).graph()
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f k b", "y", transB=1)]
    model = made(nodes, {"k": np.zeros((2, 768), np.float32), "b": np.zeros(2, np.float32)})
    assert read(model, graph, tmp_path).tensors["fc.weight"].shape == (2, 768)


@pytest.mark.parametrize(
    ("nodes", "shape", "message"),
    [
        ([node("MatMul", "x kernel", "y")], (4,), "'y' (MatMul) has a kernel [4]"),
        ([node("MatMul", "x kernel", "y")], (5, 3), "'y' (MatMul) has a kernel for 5 features, but its input has 4"),
        ([node("Gemm", "x kernel", "y", alpha=2.0)], (4, 3), "'y' (Gemm) has an unsupported value of 'alpha'"),
        ([node("Gemm", "x kernel", "y", transA=1)], (4, 3), "'y' (Gemm) has an unsupported value of 'transA'"),
    ],
)
def test_unsupported_products_are_reported(
    nodes: list[NodeProto], shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    graph = Builder(4).add("fc", "linear", features=3, bias=False).graph()
    model = made(nodes, {"kernel": np.ones(shape, np.float32)}, (1, 4))
    assert message in refused(model, graph, tmp_path)
