"""Normalizations against NumPy, in inference and training, and compiled."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_spec_torch import TorchBackend
from resnet_spec_torch.layers import BiasedBatchNorm2d
from tests.resnet_spec_torch.graphs import (
    NORM,
    Builder,
    build,
    layer,
    random_arrays,
    random_images,
    run,
)

BACKEND = TorchBackend()


def by_channel(array: NDArray[Any]) -> NDArray[Any]:
    return array[:, None, None]


def vectors(*names: str) -> dict[str, NDArray[Any]]:
    """A vector for each of six channels."""
    return {name: random_images(6, seed=seed) for seed, name in enumerate(names, 2)}


def grouped_variance(images: NDArray[Any], groups: int) -> NDArray[Any]:
    """The biased variance of every channel's group, (batch, channels, 1, 1)."""
    batch, channels = images.shape[:2]
    variance = images.reshape(batch, groups, -1).astype(np.float64).var(2)
    return np.repeat(variance, channels // groups, 1)[..., None, None]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_batch_norm(scale: bool, offset: bool) -> None:
    graph = Builder(2, 3, 3).add("bn", "batch_norm", epsilon=0.5, scale=scale, offset=offset).graph()
    arrays = {
        "bn.weight": np.asarray([2, 3], np.float32),
        "bn.bias": np.asarray([1, -1], np.float32),
        "bn.running_mean": np.asarray([4, 5], np.float32),
        "bn.running_var": np.asarray([3.5, 8.5], np.float32),
    }
    arrays = {p.name: arrays[p.name] for p in graph.parameters()}
    backend = TorchBackend()
    model = backend.compile(graph)
    backend.load(model, graph, arrays)
    images = random_images(2, 2, 3, 3)
    wanted = (images - np.reshape([4, 5], (2, 1, 1))) / np.reshape([2, 3], (2, 1, 1))
    wanted = wanted * np.reshape([2, 3] if scale else [1, 1], (2, 1, 1))
    wanted = wanted + np.reshape([1, -1] if offset else [0, 0], (2, 1, 1))
    np.testing.assert_allclose(backend.forward(model, images)[0], wanted, rtol=1e-5, atol=1e-6)
    assert [name for name in model.state_dict() if not name.endswith("tracked")] == list(arrays)


def test_batch_norm_has_its_fields() -> None:
    norm = layer("batch_norm", epsilon=1e-3, momentum=0.01, running_variance="biased")
    assert type(norm) is nn.BatchNorm2d
    assert (norm.num_features, norm.eps, norm.momentum) == (8, 1e-3, 0.01)


def test_a_batch_without_images_leaves_a_biased_variance_as_it_is() -> None:
    norm = BiasedBatchNorm2d(3)
    assert norm(torch.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_group_norm(groups: int, scale: bool, offset: bool) -> None:
    images = random_images(2, 6, 4, 5) + 3
    arrays = vectors(*["weight"] * scale, *["bias"] * offset)
    result = run("group_norm", images, arrays, groups=groups, epsilon=0.5, scale=scale, offset=offset)
    rows = images.reshape(2, groups, -1)
    wanted = (rows - rows.mean(2, keepdims=True)).reshape(images.shape)
    wanted = wanted / np.sqrt(grouped_variance(images, groups) + 0.5)
    wanted = wanted * by_channel(arrays.get("weight", np.ones(6))) + by_channel(arrays.get("bias", np.zeros(6)))
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)
    norm = layer("group_norm", groups=2, epsilon=0.5, scale=scale, offset=offset)
    assert (type(norm) is nn.GroupNorm) == (scale or not offset)
    assert list(norm.state_dict()) == list(arrays)


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("gated", [True, False])
def test_evo_norm_s0(groups: int, gated: bool) -> None:
    images = random_images(2, 6, 4, 5) + 3
    arrays = vectors("weight", "bias", *["v"] * gated)
    gate = 1 / (1 + np.exp(-by_channel(arrays["v"]) * images)) if gated else 1
    wanted = images * gate / np.sqrt(grouped_variance(images, groups) + 0.5)
    wanted = wanted * by_channel(arrays["weight"]) + by_channel(arrays["bias"])
    result = run("evo_norm_s0", images, arrays, groups=groups, epsilon=0.5, gate=gated)
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)
    assert list(layer("evo_norm_s0", groups=2, epsilon=0.5, gate=gated).state_dict()) == list(arrays)


@pytest.mark.parametrize("threshold", [True, False])
def test_filter_response_norm(threshold: bool) -> None:
    images = random_images(2, 6, 4, 5) + 3
    arrays = vectors("weight", "bias", *["tau"] * threshold)
    wanted = images / np.sqrt(np.square(images).mean((2, 3), keepdims=True) + 0.5)
    wanted = wanted * by_channel(arrays["weight"]) + by_channel(arrays["bias"])
    if threshold:
        assert (wanted < by_channel(arrays["tau"])).any()
        wanted = np.maximum(wanted, by_channel(arrays["tau"]))
    result = run("filter_response_norm", images, arrays, epsilon=0.5, threshold=threshold)
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)
    norm = layer("filter_response_norm", epsilon=0.5, threshold=threshold)
    assert list(norm.state_dict()) == list(arrays)
    assert repr(norm) == f"FilterResponseNorm(8, epsilon=0.5, threshold={threshold})"


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_position_batch_norm(scale: bool, offset: bool) -> None:
    graph = Builder(2, 3, 4).add("bn", "position_batch_norm", epsilon=0.5, scale=scale, offset=offset).graph()
    arrays = random_arrays(graph)
    model = BACKEND.compile(graph)
    BACKEND.load(model, graph, arrays)
    images = random_images(3, 2, 3, 4)
    wanted = (images - arrays["bn.running_mean"]) / np.sqrt(arrays["bn.running_var"] + 0.5)
    wanted = wanted * arrays.get("bn.weight", 1) + arrays.get("bn.bias", 0)
    np.testing.assert_allclose(BACKEND.forward(model, images)[0], wanted, rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == [*arrays, "bn.num_batches_tracked"]
    assert model.state_dict()["bn.running_var"].shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("stated", "exact", "divisor"),
    [("biased", True, 5), ("biased", False, 4), ("unbiased", True, 4), ("unbiased", False, 4)],
)
def test_position_batch_norm_in_training(stated: str, exact: bool, divisor: int) -> None:
    b = Builder(2, 3, 4).add("bn", "position_batch_norm", momentum=0.25, running_variance=stated)
    graph = b.graph()
    model = build(graph, exact_statistics=exact)
    before = BACKEND.arrays(model, graph)
    images = random_images(5, 2, 3, 4)
    squares = np.square(images - images.mean(0)).sum(0)
    wanted = (images - images.mean(0)) / np.sqrt(squares / 5 + 1e-5) * before["bn.weight"] + before["bn.bias"]
    result = BACKEND.forward(model, images, training=True)[0]
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)
    after = BACKEND.arrays(model, graph)
    mean = 0.75 * before["bn.running_mean"] + 0.25 * images.mean(0)
    variance = 0.75 * before["bn.running_var"] + 0.25 * squares / divisor
    np.testing.assert_allclose(after["bn.running_mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["bn.running_var"], variance, rtol=1e-5, atol=1e-6)
    assert model.bn.num_batches_tracked == 1
    BACKEND.load(model, graph, before)
    assert model.bn.num_batches_tracked == 0


@pytest.mark.parametrize("exact", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_position_batch_norm_compiles(exact: bool) -> None:
    b = Builder(2, 3, 4).add("bn", "position_batch_norm", running_variance="biased").add("relu", "relu")
    model = build(b.graph(), exact_statistics=exact).train()
    plain = copy.deepcopy(model)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    images = torch.rand(4, 2, 3, 4)
    for each in (compiled, plain):
        each(images).square().mean().backward()
    torch.compiler.reset()
    torch.testing.assert_close(model.state_dict(), plain.state_dict())
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("op", ["batch_norm", "position_batch_norm"])
@pytest.mark.parametrize(("stated", "divisor"), [("biased", 5), ("unbiased", 4)])
def test_statistics_of_all_batches_are_their_mean(op: str, stated: str, divisor: int) -> None:
    """``update_bn`` of ``torch.optim.swa_utils`` computes them with a momentum of None."""
    size = (3, 4) if op == "position_batch_norm" else (1, 1)
    model = build(Builder(2, *size).add("bn", op, running_variance=stated).graph(), exact_statistics=True)
    batches = [random_images(5, 2, *size, seed=seed) for seed in range(3)]
    torch.optim.swa_utils.update_bn([torch.from_numpy(images) for images in batches], model.train())
    assert model.bn.num_batches_tracked == 3
    mean = np.mean([images.mean(0) for images in batches], 0)
    variance = np.mean([images.var(0) for images in batches], 0) * 5 / divisor
    shape = model.bn.running_mean.shape
    np.testing.assert_allclose(model.bn.running_mean, mean.reshape(shape), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.bn.running_var, variance.reshape(shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", ["batch_norm", "position_batch_norm"])
@pytest.mark.parametrize("stated", ["biased", "unbiased"])
def test_untracked_statistics_stay(op: str, stated: str) -> None:
    """What keeps them where checkpointing computes the activations again."""
    model = build(Builder(2, 3, 4).add("bn", op, running_variance=stated).graph(), exact_statistics=True).train()
    images = torch.from_numpy(random_images(5, 2, 3, 4))
    before = copy.deepcopy(model.state_dict())
    model.bn.track_running_stats = False
    untracked = model(images)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    model.bn.track_running_stats = True
    assert torch.equal(model(images), untracked)
    assert model.bn.num_batches_tracked == 1


def test_new_layers_are_empty() -> None:
    cases = [("evo_norm_s0", {"groups": 2, "epsilon": 1e-5}), ("position_batch_norm", NORM)]
    for op, fields in cases:
        state = torch.get_rng_state()
        assert all(tensor.is_meta for tensor in layer(op, **fields).state_dict().values())
        assert torch.equal(torch.get_rng_state(), state)


def test_batch_norm_of_a_vector_is_the_native_layer() -> None:
    fields = NORM | {"epsilon": 1e-3, "momentum": 0.01, "offset": False}
    norm = layer("batch_norm", (6,), **fields)
    assert type(norm) is nn.BatchNorm1d
    assert (norm.num_features, norm.eps, norm.momentum, norm.bias) == (6, 1e-3, 0.01, None)
    own = {name: abs(array) for name, array in vectors("weight", "running_mean", "running_var").items()}
    images = random_images(3, 6)
    wanted = (images - own["running_mean"]) / np.sqrt(own["running_var"] + 1e-3) * own["weight"]
    np.testing.assert_allclose(run("batch_norm", images, own, **fields), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("stated", "exact", "divisor"),
    [("biased", True, 5), ("biased", False, 4), ("unbiased", True, 4), ("unbiased", False, 4)],
)
def test_batch_norm_of_a_vector_in_training(stated: str, exact: bool, divisor: int) -> None:
    graph = Builder(6).add("bn", "batch_norm", momentum=0.25, running_variance=stated).graph()
    arrays, images = random_arrays(graph, dtype="float64"), random_images(5, 6).astype(np.float64)
    model = BACKEND.compile(graph, dtype="float64", exact_statistics=exact)
    before = copy.deepcopy(arrays)
    BACKEND.load(model, graph, arrays)
    (output,) = BACKEND.forward(model, images, training=True)
    after = BACKEND.arrays(model, graph)
    squares = (images - images.mean(0)) ** 2
    wanted = (images - images.mean(0)) / np.sqrt(squares.mean(0) + 1e-5) * before["bn.weight"] + before["bn.bias"]
    np.testing.assert_allclose(output, wanted, rtol=1e-9)
    np.testing.assert_allclose(after["bn.running_mean"], 0.75 * before["bn.running_mean"] + 0.25 * images.mean(0))
    variance = 0.75 * before["bn.running_var"] + 0.25 * squares.sum(0) / divisor
    np.testing.assert_allclose(after["bn.running_var"], variance)


@pytest.mark.parametrize("shape", [(4,), (4, 6), (4, 3, 2), (2, 3, 2, 2)])
def test_native_modules_for_values_of_any_rank(shape: tuple[int, ...]) -> None:
    rank = max(1, len(shape) - 1)
    norm = layer("batch_norm", shape, epsilon=1e-5, momentum=0.1, running_variance="unbiased")
    assert type(norm) is [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][rank - 1]
    assert type(layer("group_norm", shape, groups=2 if len(shape) < 4 else 1, epsilon=1e-5)) is nn.GroupNorm
    assert type(layer("layer_norm", shape, axis=len(shape) - 1, epsilon=1e-5)) is nn.LayerNorm
    if len(shape) > 1:
        kinds = [nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d]
        assert type(layer("instance_norm", shape, epsilon=1e-5)) is kinds[rank - 1]
        assert isinstance(layer("layer_norm", shape, epsilon=1e-5), nn.LayerNorm)


def test_a_group_of_one_channel_with_only_an_offset_of_any_rank() -> None:
    for shape in ((4,), (4, 6), (2, 2, 3, 2)):
        x = random_images(3, *shape).astype(np.float64)
        b = Builder(*(shape if len(shape) == 1 else (4, 2, 3)))
        b = b if len(shape) == 1 else b.add("values", "reshape", shape=shape)
        graph = b.add("x", "group_norm", groups=1, epsilon=0.1, scale=False).graph()
        images = x if len(shape) == 1 else x.reshape(3, 4, 2, 3)
        model = build(graph, "float64")
        offset = model.get_parameter("x.bias").detach().numpy().reshape(1, -1, *[1] * (len(shape) - 1))
        axes = tuple(range(1, x.ndim))
        expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.1) + offset
        np.testing.assert_allclose(TorchBackend().forward(model, images)[0], expected, rtol=0, atol=1e-12)
