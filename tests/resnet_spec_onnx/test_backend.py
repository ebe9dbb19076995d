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
from resnet_spec.parity.compare import comparing
from resnet_spec_onnx import INPUTS, OUTPUTS, OnnxBackend, execution
from tests.every_operation import alone_and_within, arrays_for, every_operation
from tests.resnet_spec_onnx.support import model_of
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images, small_resnet


def test_the_entry_point_finds_it() -> None:
    backend = get_backend("onnx")
    assert isinstance(backend, OnnxBackend)
    assert (backend.name, backend.outputs, backend.inputs) == ("onnx", OUTPUTS, INPUTS)


def test_onnx_is_imported_when_the_backend_is_asked_for_and_the_runtime_when_a_model_is_run() -> None:
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


def test_an_unknown_attribute_of_the_package_is_none_of_it() -> None:
    import resnet_spec_onnx

    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = resnet_spec_onnx.Other


def test_a_spec_is_built(tmp_path: Path) -> None:
    thin = {"input.height": 32, "input.width": 32, "parameters.classes": 4}
    model = build("resnet18", "onnx", overrides=thin)
    (logits,) = get_backend("onnx").forward(model, random_images(2, 3, 32, 32))
    assert (logits.shape, logits.dtype) == ((2, 4), np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward_takes_any_floating_images_and_leaves_them(dtype: str) -> None:
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


def test_a_node_alone_computes_what_it_does_in_the_model_in_float64() -> None:
    for name, (alone, within) in alone_and_within(OnnxBackend(), "float64").items():
        np.testing.assert_array_equal(alone, within, err_msg=name, strict=True)


def test_a_node_alone_computes_what_it_does_in_the_model_but_for_rounding_in_float32() -> None:
    # Within a model a runtime makes one of a convolution and the normalization after it.
    for name, (alone, within) in alone_and_within(OnnxBackend(), "float32").items():
        assert alone.dtype == within.dtype == np.float32
        assert alone.shape == within.shape
        np.testing.assert_allclose(alone, within, rtol=1e-6, atol=1e-6, err_msg=name)


def test_nodes_are_compared_with_those_of_another_backend(tmp_path: Path) -> None:
    graph = every_operation()
    with comparing(("torch", "onnx")) as comparison:
        report = comparison.compare(graph, arrays_for(graph, "float32"), bisect=True)
    assert report.passed
    assert [node.name for node in report.nodes] == [node.name for node in graph.nodes]


def test_a_missing_runtime_is_told_when_a_model_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_resnet()
    model = model_of(graph, random_arrays(graph))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"pip install 'resnet-spec\[onnx\]'"):
        OnnxBackend().forward(model, random_images(1, 3, 32, 32))


def test_what_the_runtime_refuses_is_told() -> None:
    graph = small_resnet()
    model = model_of(graph, random_arrays(graph))
    model.skeleton.graph.node[0].op_type = "Unheard"
    with pytest.raises(BackendError, match=r"^ONNX Runtime rejects the model: .*Unheard"):
        execution.make_runner(model.skeleton, model.loaded_weights())


def test_the_environment_is_text() -> None:
    environment = OnnxBackend().environment()
    assert {"onnx", "onnxruntime", "providers"} <= environment.keys()
    assert all(isinstance(value, str) and value for value in environment.values())
