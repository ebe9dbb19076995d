"""Running a model: images of any type, networks without parameters, and a runtime that is missing or rejects it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from resnet_spec.errors import BackendError
from resnet_spec_onnx import OnnxBackend, execution
from tests.resnet_spec_onnx.support import model_of
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images, small_resnet


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward_accepts_any_floating_point_images_and_does_not_change_them(dtype: str) -> None:
    graph = small_resnet()
    model = model_of(graph, random_arrays(graph), dtype)
    images = random_images(2, 3, 32, 32)
    results = [OnnxBackend().forward(model, images.astype(kind))[0] for kind in ("float32", "float64")]
    np.testing.assert_array_equal(*results, strict=True)
    assert results[0].dtype == dtype
    strided = np.asfortranarray(images)
    np.testing.assert_array_equal(OnnxBackend().forward(model, strided)[0], results[0])
    np.testing.assert_array_equal(images, random_images(2, 3, 32, 32))


def test_a_network_without_parameters() -> None:
    model = model_of(Builder(3, 4, 4).add("x", "relu").graph(), {})
    images = random_images(2, 3, 4, 4)
    np.testing.assert_array_equal(OnnxBackend().forward(model, images)[0], images.clip(0))


def test_a_missing_runtime_is_reported_when_a_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_resnet()
    model = model_of(graph, random_arrays(graph))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"pip install 'resnet-spec\[onnx\]'"):
        OnnxBackend().forward(model, random_images(1, 3, 32, 32))


def test_a_model_rejected_by_the_runtime_is_reported() -> None:
    graph = small_resnet()
    model = model_of(graph, random_arrays(graph))
    model.skeleton.graph.node[0].op_type = "Unheard"
    with pytest.raises(BackendError, match=r"^ONNX Runtime rejects the model: .*Unheard"):
        execution.make_runner(model.skeleton, model.loaded_weights())
