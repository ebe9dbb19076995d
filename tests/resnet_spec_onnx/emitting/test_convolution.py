"""Convolutions at even and odd sizes, against the torch backend and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.resnet_spec_onnx.support import MAPS, assert_as_torch, run, single
from tests.resnet_spec_torch.graphs import Builder, random_images


@pytest.mark.parametrize("op", ["conv2d", "std_conv2d"])
@pytest.mark.parametrize("padding", [0, 1, [[0, 1], [1, 0]], [[2, 0], [0, 3]], "same"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (2, 2), ([1, 3], [2, 1])])
def test_convolutions(op: str, padding: Any, stride: Any, dilation: Any) -> None:
    fields = {"channels": 6, "kernel": [3, 2], "stride": stride, "dilation": dilation, "groups": 2, "bias": True}
    if op == "std_conv2d":
        fields["epsilon"] = 1e-6
    assert_as_torch(single(op, 4, 9, 9, padding=padding, **fields), *MAPS)


@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_a_standardized_kernel_has_mean_0_and_variance_1(epsilon: float) -> None:
    kernel = 3 * random_images(6, 2, 3, 3).astype(np.float64) + 1
    rows = kernel.reshape(6, -1)
    wanted = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + epsilon)
    # A convolution of a map of zeros and a single 1 is the kernel itself, rotated by 180°.
    image = np.zeros((1, 2, 5, 5))
    for channel in (0, 1):
        image[:] = 0
        image[0, channel, 2, 2] = 1
        result = run("std_conv2d", image, {"weight": kernel}, channels=6, kernel=3, epsilon=epsilon)
        np.testing.assert_allclose(result[0, :, ::-1, ::-1], wanted.reshape(kernel.shape)[:, channel], atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, [2, 5]])
@pytest.mark.parametrize("stride", [1, 2, 3, [3, 2]])
@pytest.mark.parametrize("padding", [0, 1, [[0, 1], [1, 0]], [[2, 1], [0, 2]], "same"])
def test_transposed_convolutions(kernel: Any, stride: Any, padding: Any) -> None:
    graph = single("conv_transpose2d", 3, 6, 7, channels=2, kernel=kernel, stride=stride, padding=padding, bias=True)
    assert_as_torch(graph, (2, 3, 6, 7), (1, 3, 9, 5))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_conv1d(padding: int, bias: bool) -> None:
    b = Builder(6, 1, 1).add("reshape", "reshape", shape=[2, 3])
    graph = b.add("x", "conv1d", channels=2, kernel=3, padding=padding, bias=bias).graph()
    assert_as_torch(graph, (2, 6, 1, 1))
