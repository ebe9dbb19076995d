"""Linear layers against products computed by hand."""

from __future__ import annotations

import numpy as np

from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, layer


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
