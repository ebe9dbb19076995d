"""Linear layers against products computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, build, layer, random_images, run


def test_linear() -> None:
    b = Builder(3, 1, 1).add("flat", "flatten").add("fc", "linear", features=2)
    graph = b.graph()
    backend = TorchBackend()
    model = backend.compile(graph)
    weight = np.asarray([[1, 2, 3], [4, 5, 6]], np.float32)
    backend.load(model, graph, {"fc.weight": weight, "fc.bias": np.asarray([10, 20], np.float32)})
    images = np.asarray([1, 0, 2], np.float32).reshape(1, 3, 1, 1)
    assert backend.forward(model, images)[0].tolist() == [[17, 36]]
    assert layer("linear", (3,), features=2, bias=False).bias is None


def test_the_last_axis_of_a_value_of_several_axes() -> None:
    x, weight, bias = random_images(2, 4, 5, 3), random_images(6, 3), random_images(6)
    result = run("linear", x, {"weight": weight, "bias": bias}, features=6)
    np.testing.assert_allclose(result, x @ weight.T + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_products_of_two_values(first: bool, second: bool) -> None:
    b = Builder(4, 5, 5).add("one", "slice", stop=1).add("gate", "sigmoid", "input")
    fields = {"transpose_first": first, "transpose_second": second, "factor": 0.25}
    graph = b.add("x", "matmul", "one", "gate", **fields).graph()
    x = random_images(3, 4, 5, 5).astype(np.float64)
    a, c = x[:, :1], 1 / (1 + np.exp(-x))
    wanted = (a.swapaxes(2, 3) if first else a) @ (c.swapaxes(2, 3) if second else c) / 4
    backend = TorchBackend()
    result = backend.forward(backend.compile(graph, dtype="float64"), x)[0]
    np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-12)


def test_an_activation_after_a_transpose_does_not_overwrite_its_input() -> None:
    b = Builder(3, 4, 5).add("conv", "conv2d", channels=4, kernel=1).add("turned", "transpose", axes=(1, 0, 2))
    graph = b.add("act", "relu").add("back", "transpose", axes=(1, 0, 2)).add("sum", "add", "back", "conv").graph()
    model, images = build(graph), torch.from_numpy(random_images(2, 3, 4, 5))
    with torch.no_grad():
        value = model.get_submodule("conv")(images)
        assert torch.equal(model(images), value.relu() + value)
