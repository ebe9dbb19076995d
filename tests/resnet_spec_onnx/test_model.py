"""Weights of a model: set, copied, and returned with the proto."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.errors import BackendError
from resnet_spec_onnx import OnnxBackend
from tests.resnet_spec_onnx.support import model_of, single
from tests.resnet_spec_torch.graphs import random_arrays, random_images, small_resnet


def test_the_model_is_available_as_a_proto_with_its_weights() -> None:
    graph = small_resnet()
    arrays = random_arrays(graph)
    model = model_of(graph, arrays)
    proto = model.to_proto()
    assert {tensor.name: tensor.raw_data for tensor in proto.graph.initializer} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    assert not any(tensor.raw_data for tensor in model.skeleton.graph.initializer)


def test_weights_come_back_as_they_were_loaded() -> None:
    graph = small_resnet()
    arrays = random_arrays(graph)
    backend = OnnxBackend()
    model = model_of(graph, arrays)
    kept = backend.arrays(model, graph)
    assert list(kept) == [parameter.name for parameter in graph.parameters()]
    for name, array in arrays.items():
        np.testing.assert_array_equal(kept[name], array, strict=True)
        assert not np.shares_memory(kept[name], model.weights[name])
        assert model.weights[name] is array


def test_read_only_arrays_are_copied() -> None:
    graph = single("linear", 5, features=3)
    arrays = random_arrays(graph)
    for array in arrays.values():
        array.flags.writeable = False
    model = model_of(graph, arrays)
    assert not any(np.shares_memory(model.weights[name], array) for name, array in arrays.items())


def test_weights_may_be_set_again() -> None:
    graph = single("linear", 2, features=1, bias=False)
    backend = OnnxBackend()
    model = model_of(graph, {"x.weight": np.array([[1, 2]], np.float32)})
    images = np.ones((1, 2), np.float32)
    assert backend.forward(model, images)[0].item() == 3
    backend.load(model, graph, {"x.weight": np.array([[3, 4]], np.float32)})
    assert backend.forward(model, images)[0].item() == 7


def test_a_model_without_weights_is_reported() -> None:
    backend = OnnxBackend()
    graph = small_resnet()
    with pytest.raises(BackendError, match=r"^the ONNX model has no weights yet; load them first$"):
        backend.forward(backend.compile(graph), random_images(1, 3, 32, 32))
