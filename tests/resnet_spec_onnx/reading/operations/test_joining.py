"""Sums and products that have no normal form are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto

from tests.resnet_spec_onnx.reading.files import KERNEL, convolution, made, node, refused


@pytest.mark.parametrize(
    ("joining", "message"),
    [
        ([node("Sum", "c c c", "y")], "'y' (Sum) has 3 inputs; only two are supported"),
        ([node("GlobalAveragePool", "c", "p"), node("Add", "c p", "y")], "joins [1, 4, 14, 14] and [1, 4, 1, 1]"),
        ([node("Add", "c integers", "y")], "'y' (Add) has an input of int64 that must be floating-point"),
        ([node("Add", "c empty", "y")], "'y' (Add) joins [1, 4, 14, 14] with a constant [0]"),
        ([node("Sub", "kernel c", "y")], "'y' (Sub) has a constant as an input that must be computed"),
    ],
)
def test_unsupported_joins_are_reported(joining: list[NodeProto], message: str, tmp_path: Path) -> None:
    constants = {"kernel": KERNEL, "integers": np.ones(1, np.int64), "empty": np.ones(0, np.float32)}
    model = made([node("Conv", "x kernel", "c"), *joining], constants)
    assert message in refused(model, convolution(), tmp_path)
