"""Activations and softmax against their formulas."""

from __future__ import annotations

import numpy as np

from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, run


def test_activations() -> None:
    image = np.asarray([[[[-1, 0, 2]]]], np.float32)
    assert run("relu", image).tolist() == [[[[0, 0, 2]]]]
    np.testing.assert_allclose(run("sigmoid", image), 1 / (1 + np.exp(-image)), rtol=1e-6)


def test_softmax() -> None:
    graph = Builder(2, 1, 1).add("flat", "flatten").add("softmax", "softmax").graph()
    backend = TorchBackend()
    images = np.log(np.asarray([1, 3], np.float32)).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(backend.forward(backend.compile(graph), images)[0], [[0.25, 0.75]], rtol=1e-6)
