"""Normalizations other than the plain one, and what acts in training only, held against NumPy; gradients of all."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from resnet_spec_torch import TorchBackend, emitters
from tests.resnet_spec_torch.graphs import NORM, Builder, build, layer, random_arrays, random_images, run

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


# -- group normalization and its kin -----------------------------------------------------------------------------


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
def test_evo_norm_s0(groups: int) -> None:
    images = random_images(2, 6, 4, 5) + 3
    arrays = vectors("weight", "bias", "v")
    gate = 1 / (1 + np.exp(-by_channel(arrays["v"]) * images))
    wanted = images * gate / np.sqrt(grouped_variance(images, groups) + 0.5)
    wanted = wanted * by_channel(arrays["weight"]) + by_channel(arrays["bias"])
    result = run("evo_norm_s0", images, arrays, groups=groups, epsilon=0.5)
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)
    assert list(layer("evo_norm_s0", groups=2, epsilon=0.5).state_dict()) == ["weight", "bias", "v"]


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


# -- normalization by position -----------------------------------------------------------------------------------


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


# -- in training only --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["dropout", "stochastic_depth"])
def test_nothing_is_dropped_in_inference(op: str) -> None:
    images = random_images(4, 2, 3, 3)
    np.testing.assert_array_equal(run(op, images, rate=0.75), images)


def test_dropout_drops_elements() -> None:
    dropout = layer("dropout", rate=0.75)
    assert type(dropout) is nn.Dropout
    assert dropout.p == 0.75
    torch.manual_seed(0)
    output = dropout(torch.ones(50, 2, 10, 10))
    assert output.unique().tolist() == [0, 4]
    assert output.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [(2, 3, 3), (7,)])
def test_stochastic_depth_drops_images(shape: tuple[int, ...]) -> None:
    dropping = layer("stochastic_depth", shape, rate=0.75)
    assert repr(dropping) == "StochasticDepth(rate=0.75)"
    images = torch.from_numpy(random_images(4000, *shape)).requires_grad_()
    torch.manual_seed(0)
    output = dropping(images)
    kept = (output != 0).flatten(1).all(1)
    assert kept.float().mean() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(output[kept], 4 * images[kept])
    assert (output[~kept] == 0).all()
    output.sum().backward()
    assert torch.equal(images.grad.flatten(1)[:, 0], 4.0 * kept)


# -- gradients ---------------------------------------------------------------------------------------------------

WINDOW = {"channels": 4, "kernel": 2, "padding": "same"}
CASES = [
    ("std_conv2d", {**WINDOW, "epsilon": 1e-3, "bias": True}),
    ("conv_transpose2d", {**WINDOW, "bias": True}),
    ("conv_transpose2d", {**WINDOW, "stride": 3}),
    ("position_batch_norm", {}),
    ("position_batch_norm", {"running_variance": "biased", "scale": False}),
    ("group_norm", {"groups": 2, "epsilon": 0.1}),
    ("group_norm", {"groups": 4, "epsilon": 0.1, "scale": False}),
    ("group_norm", {"groups": 4, "epsilon": 0.1, "offset": False}),
    ("evo_norm_s0", {"groups": 2, "epsilon": 0.1}),
    ("filter_response_norm", {"epsilon": 0.1, "threshold": True}),
    ("filter_response_norm", {"epsilon": 0.1, "threshold": False}),
    ("max_pool2d", {"kernel": 3, "stride": 2, "padding": [[0, 1], [1, 0]], "ceil_mode": True}),
    ("avg_pool2d", {"kernel": 2, "padding": "same", "count_include_pad": False}),
    ("global_max_pool", {}),
    ("pad2d", {"padding": 2, "mode": "reflect"}),
    ("pad_channels", {"before": 1, "after": 2}),
    ("reshape", {"shape": [5, 4, 3]}),
]


@pytest.mark.parametrize(("op", "fields"), CASES)
def test_gradients_agree_with_finite_differences(op: str, fields: dict[str, Any]) -> None:
    """Also where an activation, and a sum, write over what the operation made."""
    b = Builder(4, 3, 5).add("x", op, **fields).add("relu", "relu").add("gate", "sigmoid")
    graph = b.add("again", op, "input", calls="x", **fields).add("sum", "add", "again", "gate").graph()
    model = build(graph, "float64", exact_statistics=True).train()
    assert ("accumulate" in model.forward.__code__.co_names) == (op in emitters.NEW_VALUE)
    images = torch.rand(3, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in model.named_parameters()]
    assert names == [p.name for p in graph.parameters() if p.trainable]

    def outputs(images: torch.Tensor, *values: torch.Tensor) -> Any:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (images,))

    parameters = [p.detach().clone().requires_grad_() for p in model.parameters()]
    assert torch.autograd.gradcheck(outputs, (images, *parameters), fast_mode=True)


def test_every_new_layer_that_makes_a_value_of_its_own_is_checked() -> None:
    plain = {"conv2d", "conv1d", "linear", "batch_norm", "add", "multiply"}
    assert set(emitters.NEW_VALUE) - plain <= {op for op, _ in CASES}


# -- compilers ---------------------------------------------------------------------------------------------------


def normalized() -> Any:
    b = Builder(3, 6, 6).add("conv", "conv_transpose2d", channels=4, kernel=3, stride=2, padding="same")
    b.add("gn", "group_norm", groups=2, epsilon=1e-5).add("relu", "relu")
    b.add("evo", "evo_norm_s0", groups=4, epsilon=1e-5).add("mirror", "pad2d", padding=1, mode="reflect")
    b.add("frn", "filter_response_norm", epsilon=1e-5, threshold=True).add("wide", "pad_channels", before=1, after=1)
    b.add("drop", "stochastic_depth", rate=0.1).add("max", "global_max_pool").add("row", "reshape", shape=[1, 6])
    b.add("eca", "conv1d", channels=1, kernel=3, padding=1).add("gate", "reshape", shape=[6, 1, 1])
    b.add("scaled", "multiply", "drop", "gate")
    return b.graph()


def test_normalizations_follow_the_size_after_export() -> None:
    model = build(normalized())
    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(model, (torch.rand(2, 3, 6, 6),), dynamic_shapes=(dynamic,)).module()
    for batch, height, width in [(1, 6, 6), (3, 5, 9)]:
        images = torch.rand(batch, 3, height, width)
        torch.testing.assert_close(exported(images), model(images))


@pytest.mark.parametrize("exact", [False, True])
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


def test_new_layers_are_empty() -> None:
    cases = [("evo_norm_s0", {"groups": 2, "epsilon": 1e-5}), ("position_batch_norm", NORM)]
    for op, fields in cases:
        state = torch.get_rng_state()
        assert all(tensor.is_meta for tensor in layer(op, **fields).state_dict().values())
        assert torch.equal(torch.get_rng_state(), state)
