"""The backend as the core sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resnet_spec import build
from resnet_spec.backend.optimizers import SGD
from resnet_spec.backend.registry import get_backend
from resnet_spec.errors import BackendError
from resnet_spec_onnx import INPUTS, OUTPUTS, OnnxBackend
from tests.resnet_spec_onnx.support import model_of
from tests.resnet_spec_torch.graphs import random_arrays, random_images, small_resnet


def test_the_entry_point_finds_it() -> None:
    backend = get_backend("onnx")
    assert isinstance(backend, OnnxBackend)
    assert (backend.name, backend.outputs, backend.inputs) == ("onnx", OUTPUTS, INPUTS)


def test_onnx_and_the_runtime_are_imported_at_first_use() -> None:
    code = """
import sys
from resnet_spec.backend.registry import readers, writers, get_backend
assert readers()[".onnx"] == writers()[".onnx"] == "onnx"
assert "onnx" not in sys.modules
backend = get_backend("onnx")
assert "onnx" in sys.modules and backend.environment()
assert not {"onnxruntime", "onnx.reference", "torch", "tensorflow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_attribute_of_the_package_is_an_attribute_error() -> None:
    import resnet_spec_onnx

    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = resnet_spec_onnx.Other


def test_a_spec_is_built(tmp_path: Path) -> None:
    thin = {"input.height": 32, "input.width": 32, "parameters.classes": 4}
    model = build("resnet18", "onnx", overrides=thin)
    (logits,) = get_backend("onnx").forward(model, random_images(2, 3, 32, 32))
    assert (logits.shape, logits.dtype) == ((2, 4), np.float32)


def test_training_is_refused() -> None:
    graph = small_resnet()
    backend, model = OnnxBackend(), model_of(graph, random_arrays(graph))
    images = random_images(1, 3, 32, 32)
    with pytest.raises(
        BackendError, match=r"^the onnx backend computes inference only; list a backend that trains before it"
    ):
        backend.forward(model, images, training=True)
    with pytest.raises(BackendError, match=r"^the onnx backend computes inference only$"):
        backend.gradients(model, graph, images, [np.zeros((1, 5))])
    with pytest.raises(BackendError, match=r"^the onnx backend computes inference only$"):
        backend.train(model, graph, [], SGD())


def test_the_environment_is_text() -> None:
    environment = OnnxBackend().environment()
    assert {"onnx", "onnxruntime", "providers"} <= environment.keys()
    assert all(isinstance(value, str) and value for value in environment.values())
