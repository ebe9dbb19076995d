"""Sums and products of several inputs."""

from __future__ import annotations

import numpy as np

from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, random_images


def test_joins() -> None:
    b = Builder(2, 3, 3).add("a", "relu").add("b", "sigmoid", "input").add("c", "global_avg_pool", "input")
    b.add("sum", "add", "a", "b", "input").add("product", "multiply", "sum", "c", "b")
    backend = TorchBackend()
    x = random_images(2, 2, 3, 3)
    result = backend.forward(backend.compile(b.graph()), x)[0]
    gate = 1 / (1 + np.exp(-x))
    wanted = (np.maximum(x, 0) + gate + x) * x.mean((2, 3), keepdims=True) * gate
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-6)
