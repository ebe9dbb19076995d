"""Models follow PyTorch's default dtype and default device; an explicit dtype wins, and may be a mixed policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import resnet_spec
from resnet_spec.backend.dtypes import HalfDType

SPEC = "cifar/resnet20"


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Restore PyTorch's defaults."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def kinds(model: nn.Module) -> set[tuple[torch.dtype, str]]:
    """The dtype and device of every parameter and buffer that has a fraction, and the device of the others."""
    tensors = [*model.parameters(), *model.buffers()]
    return {(tensor.dtype, tensor.device.type) for tensor in tensors if tensor.is_floating_point()} | {
        (torch.int64, tensor.device.type) for tensor in tensors if not tensor.is_floating_point()
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_default_dtype_is_followed_and_an_explicit_one_wins(dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    model = resnet_spec.build(SPEC, "torch")
    assert kinds(model) == {(dtype, "cpu"), (torch.int64, "cpu")}
    assert model(torch.ones(1, 3, 32, 32)).dtype == dtype
    assert kinds(resnet_spec.build(SPEC, "torch", dtype="float32")) == {(torch.float32, "cpu"), (torch.int64, "cpu")}


def test_arrays_in_bfloat16_are_returned_as_float32() -> None:
    torch.set_default_dtype(torch.bfloat16)
    backend, graph = resnet_spec.get_backend("torch"), resnet_spec.load(SPEC).to_graph()
    model, given = backend.compile(graph), resnet_spec.initialize(graph, 0)
    backend.load(model, graph, given)
    for name, array in backend.arrays(model, graph).items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, given[name], rtol=2**-8)
    assert backend.forward(model, np.ones((1, 3, 32, 32), np.float32))[0].dtype == np.float32


def test_the_default_device_is_followed() -> None:
    torch.set_default_device("meta")
    model = resnet_spec.build(SPEC, "torch")
    assert kinds(model) == {(torch.float32, "meta"), (torch.int64, "meta")}
    assert model(torch.ones(2, 3, 32, 32)).shape == (2, 10)
    torch.set_default_device("cpu")
    assert kinds(resnet_spec.build(SPEC, "torch")) == {(torch.float32, "cpu"), (torch.int64, "cpu")}
    with torch.device("meta"):
        assert kinds(resnet_spec.build(SPEC, "torch")) == {(torch.float32, "meta"), (torch.int64, "meta")}


def test_a_model_of_the_meta_device_gets_its_weights_afterwards() -> None:
    backend, graph = resnet_spec.get_backend("torch"), resnet_spec.load(SPEC).to_graph()
    with torch.device("meta"):
        model = resnet_spec.build(SPEC, "torch")
    backend.load(model, graph, resnet_spec.initialize(graph, 3))
    images = torch.ones(1, 3, 32, 32)
    torch.testing.assert_close(model(images), resnet_spec.build(SPEC, "torch", seed=3)(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_dtype_may_be_half_precision(name: HalfDType, tmp_path: Path) -> None:
    dtype = getattr(torch, name)
    model = resnet_spec.build(SPEC, "torch", dtype=name)
    assert kinds(model) == {(dtype, "cpu"), (torch.int64, "cpu")}
    for path, options in {"w.safetensors": {"half": name}, "w.pth": {}}.items():
        resnet_spec.save(model, tmp_path / path, **options)
        again = resnet_spec.build(SPEC, "torch", tmp_path / path, dtype=dtype)
        state = again.state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items()), path


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_model_of_a_mixed_policy_computes_as_one_in_float32_does_under_autocast(name: str, tmp_path: Path) -> None:
    model = resnet_spec.build(SPEC, "torch", dtype=f"mixed_{name}")  # type: ignore[call-overload]
    single = resnet_spec.build(SPEC, "torch", dtype="float32")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", getattr(torch, name)):
        expected = single(images)
    resnet_spec.save(model, tmp_path / "model.pt2")

    assert kinds(model) == {(torch.float32, "cpu"), (torch.int64, "cpu")}
    assert expected.dtype == getattr(torch, name) != single(images).dtype
    copies = model, copy.deepcopy(model), torch.export.load(tmp_path / "model.pt2").module()
    for each in copies:
        assert torch.equal(each(images), expected)


@pytest.mark.parametrize("name", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_a_model_trains_under_autocast(name: str) -> None:
    model = resnet_spec.build(SPEC, "torch", training=True)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=1024)
    images, targets = torch.randn(8, 3, 32, 32), torch.arange(8)
    losses = []
    for _ in range(6):
        with torch.autocast("cpu", getattr(torch, name)):
            logits = model(images)
            loss = nn.functional.cross_entropy(logits, targets)
        assert logits.dtype == getattr(torch, name)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss.detach()))
    assert kinds(model) == {(torch.float32, "cpu"), (torch.int64, "cpu")}
    assert losses[-1] < losses[0] / 2
