"""The backend as the core sees it."""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from resnet_spec.backend.protocol import Backend, DType
from resnet_spec.backend.registry import get_backend
from resnet_spec_torch import TorchBackend
from tests.every_operation import alone_and_within
from tests.resnet_spec_torch.graphs import Builder, build, random_arrays, random_images, small_resnet

BACKEND: Backend = TorchBackend()


def test_the_entry_point_finds_it() -> None:
    assert type(get_backend("torch")) is TorchBackend
    assert (BACKEND.name, sorted(BACKEND.outputs)) == ("torch", [".pt2", ".pth"])


def test_torch_is_imported_when_the_backend_is_asked_for() -> None:
    code = (
        "import sys, resnet_spec_torch; assert 'torch' not in sys.modules;"
        "resnet_spec_torch.TorchBackend; assert 'torch' in sys.modules;"
        "assert not hasattr(resnet_spec_torch, 'Other')"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_forward_takes_any_floating_images_and_leaves_them() -> None:
    model = build(small_resnet())
    images = random_images(2, 3, 32, 32)
    wanted = BACKEND.forward(model, images)
    assert [output.shape for output in wanted] == [(2, 5)]
    images.flags.writeable = False
    np.testing.assert_array_equal(BACKEND.forward(model, images)[0], wanted[0])
    np.testing.assert_array_equal(BACKEND.forward(model, images.astype(np.float64))[0], wanted[0])
    transposed = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(BACKEND.forward(model, transposed)[0], wanted[0], rtol=1e-5, atol=1e-5)


def test_forward_returns_a_list_of_outputs() -> None:
    b = Builder(2, 4, 4).add("bn", "batch_norm").add("relu", "relu").add("gap", "global_avg_pool")
    outputs = BACKEND.forward(build(b.graph("gap", "bn", "gap")), random_images(2, 2, 4, 4))
    assert [output.shape for output in outputs] == [(2, 2, 1, 1), (2, 2, 4, 4), (2, 2, 1, 1)]
    np.testing.assert_allclose(outputs[0], outputs[1].clip(0).mean((2, 3), keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("outputs", [("gap", "bn"), ("bn", "gap"), ("gap",), ("flat",)])
def test_named_outputs_are_a_dict(outputs: tuple[str, ...]) -> None:
    b = Builder(2, 4, 4).add("bn", "batch_norm").add("relu", "relu").add("gap", "global_avg_pool")
    graph = b.add("flat", "flatten").graph("flat", "gap", "bn")
    plain = build(graph)
    images = random_images(2, 2, 4, 4)
    wanted = dict(zip(graph.outputs, BACKEND.forward(plain, images), strict=True))
    names = tuple(f"{output}-{index}" for index, output in enumerate(outputs))
    model = build(graph.with_outputs(outputs, names))
    returned = model(torch.from_numpy(images))
    assert list(returned) == list(names)
    assert type(returned) is dict
    listed = BACKEND.forward(model, images)
    for output, name, array in zip(outputs, names, listed, strict=True):
        np.testing.assert_array_equal(returned[name].detach().numpy(), wanted[output])
        np.testing.assert_array_equal(array, wanted[output])


def test_a_network_of_vectors() -> None:
    b = Builder(6).add("fc", "linear", features=4).add("relu", "relu").add("block.fc", "linear", features=4)
    graph = b.add("block.sum", "add", "block.fc", "relu").graph()
    images = random_images(5, 6)
    arrays = random_arrays(graph)
    hidden = (images @ arrays["fc.weight"].T + arrays["fc.bias"]).clip(0)
    wanted = hidden + hidden @ arrays["block.fc.weight"].T + arrays["block.fc.bias"]
    np.testing.assert_allclose(BACKEND.forward(build(graph), images)[0], wanted, rtol=1e-5, atol=1e-5)


def test_forward_in_inference_mode_changes_nothing() -> None:
    graph = small_resnet()
    model = build(graph)
    before = BACKEND.arrays(model, graph)
    BACKEND.forward(model, random_images(2, 3, 32, 32))
    for name, array in BACKEND.arrays(model, graph).items():
        np.testing.assert_array_equal(array, before[name])


def test_forward_in_training_mode_moves_the_statistics_and_restores_the_mode() -> None:
    graph = small_resnet()
    model = build(graph)
    model.layer2.train()
    before = BACKEND.arrays(model, graph)
    images = random_images(2, 3, 32, 32)
    outputs = BACKEND.forward(model, images, training=True)
    after = BACKEND.arrays(model, graph)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {p.name for p in graph.parameters() if not p.trainable}
    assert not model.layer1[0].bn1.training
    assert model.layer2[0].bn1.training
    expected = build(graph).train()(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_array_equal(outputs[0], expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_node_alone_computes_what_it_does_in_the_model(dtype: DType) -> None:
    for name, (alone, within) in alone_and_within(BACKEND, dtype).items():
        assert alone.dtype == dtype
        np.testing.assert_array_equal(alone, within, err_msg=name, strict=True)


def test_a_node_alone_is_in_inference_and_moves_no_statistics() -> None:
    graph = small_resnet()
    model = build(graph)
    before = BACKEND.arrays(model, graph)
    BACKEND.apply(model, graph, "bn1", [random_images(2, 4, 16, 16)])
    for name, array in BACKEND.arrays(model, graph).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_network_without_parameters() -> None:
    graph = Builder(2, 4, 4).add("relu", "relu").graph()
    assert BACKEND.forward(build(graph), -np.ones((1, 2, 4, 4), np.float32))[0].max() == 0


def test_compiling_leaves_garbage_collection_as_it_was() -> None:
    assert gc.isenabled()
    BACKEND.compile(small_resnet())
    assert gc.isenabled()
    gc.disable()
    try:
        BACKEND.compile(small_resnet())
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_environment_is_text() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        environment = BACKEND.environment()
    assert environment["torch"] == torch.__version__
    assert {"threads", "onednn", "tf32", "instructions"} <= environment.keys()
    assert all(isinstance(value, str) and value for value in environment.values())
