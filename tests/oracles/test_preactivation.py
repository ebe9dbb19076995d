"""timm's pre-activation layers and blocks beside ours, one by one on small maps: values in both backends, gradients.

The whole networks are compared elsewhere; here a mistake shows in its own layer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from math import prod, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import resnet_spec
from resnet_spec import Graph, Spec
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.randomization import random_images
from resnet_spec.weights.formats.safetensors import write_safetensors

from .common import relative, worker
from .gates import GATES
from .torchvision_original import models

# timm imports torchvision, whose operators must be registered first.
models()

from timm.layers.create_conv2d import create_conv2d  # noqa: E402
from timm.layers.evo_norm import EvoNorm2dS0  # noqa: E402
from timm.layers.filter_response_norm import FilterResponseNormTlu2d  # noqa: E402
from timm.layers.norm_act import BatchNormAct2d, GroupNormAct  # noqa: E402
from timm.layers.std_conv import StdConv2d  # noqa: E402
from timm.models.resnetv2 import DownsampleAvg, DownsampleConv, PreActBasic, PreActBottleneck  # noqa: E402

CHANNELS = 64
BIT = {
    "conv": {"std_conv2d": {"epsilon": 1e-8}},
    "norm": {"group_norm": {"groups": 32, "epsilon": 1e-5}},
    "act": "relu",
    "downsample": "preact_projection",
}
AVERAGING = {
    "conv": "conv2d",
    "norm": {"batch_norm": {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}},
    "act": "relu",
    "downsample": {"preact_projection": {"average": True}},
}


class Case(NamedTuple):
    """A layer as timm builds it and as a spec defines it."""

    original: Callable[..., nn.Module]
    layer: dict[str, Any]
    definitions: dict[str, Any] = {}  # noqa: RUF012 - never written to


def bottleneck(channels: int, **arguments: Any) -> Case:
    """A block of BiT's, which projects where ``projection`` says so."""
    timms = {key: value for key, value in arguments.items() if key != "projection"} | {"bottle_ratio": 0.5}
    if "projection" in arguments:
        timms["proj_layer"] = DownsampleConv
    conv, norm = partial(StdConv2d, eps=1e-8), partial(GroupNormAct, num_groups=32, eps=1e-5)
    original = partial(PreActBottleneck, CHANNELS, channels, conv_layer=conv, norm_layer=norm, **timms)
    return Case(original, {"preact_bottleneck": {"width": channels // 2, "channels": channels, **arguments}}, BIT)


def basic(channels: int, **arguments: Any) -> Case:
    """A block of resnetv2_18d's first ones, given a projection whether or not it needs one."""
    timms: dict[str, Any] = {
        "conv_layer": create_conv2d,
        "norm_layer": BatchNormAct2d,
        "proj_layer": DownsampleAvg,
        **arguments,
    }
    layer = {"width": channels, "channels": channels, "projection": "downsample", **arguments}
    return Case(partial(PreActBasic, CHANNELS, channels, **timms), {"preact_basic_block": layer}, AVERAGING)


CASES = {
    "standardized convolution": Case(
        partial(StdConv2d, CHANNELS, 32, 3, stride=2, padding=1, eps=1e-8),
        {"std_conv2d": {"channels": 32, "kernel": 3, "stride": 2, "padding": 1, "epsilon": 1e-8}},
    ),
    "grouped and biased": Case(
        partial(StdConv2d, CHANNELS, 32, 3, dilation=2, groups=4, bias=True, padding=0),
        {"std_conv2d": {"channels": 32, "kernel": 3, "dilation": 2, "groups": 4, "bias": True, "epsilon": 1e-6}},
    ),
    "group normalization": Case(
        partial(GroupNormAct, CHANNELS, apply_act=False), {"group_norm": {"groups": 32, "epsilon": 1e-5}}
    ),
    "evonorm": Case(partial(EvoNorm2dS0, CHANNELS), {"evo_norm_s0": {"groups": 32, "epsilon": 1e-5}}),
    "filter response": Case(
        partial(FilterResponseNormTlu2d, CHANNELS), {"filter_response_norm": {"epsilon": 1e-5, "threshold": True}}
    ),
    "bottleneck that projects": bottleneck(256, stride=2, projection="downsample"),
    "dilated bottleneck": bottleneck(CHANNELS, dilation=2, first_dilation=1),
    "basic block that averages": basic(128, stride=2),
    "dilated basic block that averages": basic(CHANNELS, dilation=2, first_dilation=1),
    "basic block that need not project": basic(CHANNELS),
}


class Pair(NamedTuple):
    """timm's module and ours in float64, with the same weights."""

    graph: Graph
    arrays: dict[str, NDArray[np.float32]]
    theirs: nn.Module
    ours: nn.Module


@pytest.fixture(autouse=True)
def _double_throughout(monkeypatch: pytest.MonkeyPatch) -> None:
    # EvoNorm and filter response normalization compute their statistics in float32 for any input type.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.fixture(scope="module")
def tensorflow() -> Iterator[BackendProcess]:
    with worker("tensorflow") as process:
        yield process


@pytest.fixture(params=CASES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    case = CASES[request.param]
    spec = spec_of(case, tmp_path)
    arrays = drawn(spec.to_graph())
    theirs = case.original().double().eval()
    counters = {key: value for key, value in theirs.state_dict().items() if key.endswith("num_batches_tracked")}
    state = {name.removeprefix("layer."): torch.from_numpy(array) for name, array in arrays.items()}
    theirs.load_state_dict(state | counters)
    return Pair(spec.to_graph(), arrays, theirs, resnet_spec.build(spec, "torch", weights=arrays, dtype="float64"))


def spec_of(case: Case, folder: Path) -> Spec:
    """A network of only this layer, on a map with an even and an odd side."""
    size = {"channels": CHANNELS, "height": 10, "width": 13}
    path = folder / "spec.yaml"
    path.write_text(json.dumps({"input": size, "layers": case.definitions, "stem": {"layer": case.layer}}))
    return resnet_spec.load(path)


def drawn(graph: Graph) -> dict[str, NDArray[np.float32]]:
    """Values for every array that differ from its initial ones."""
    rng = np.random.default_rng(0)
    arrays = {p.name: rng.standard_normal(p.shape) / sqrt(prod(p.shape[1:])) for p in graph.parameters()}
    arrays |= {name: abs(array) + 0.5 for name, array in arrays.items() if name.endswith("running_var")}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def maps(graph: Graph) -> NDArray[np.float64]:
    return random_images((2, *graph.input.shape), seed=1)


def value(model: nn.Module, batch: NDArray[Any]) -> NDArray[Any]:
    with torch.no_grad():
        return model(torch.from_numpy(batch)).numpy()


def gradients(model: nn.Module, batch: NDArray[Any]) -> dict[str, Tensor]:
    """The gradients of a training-mode pass, of the parameters and of the input."""
    inputs = torch.from_numpy(batch).requires_grad_()
    result = model.train()(inputs)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    found = torch.autograd.grad((result * weights).sum(), [inputs, *model.parameters()])
    names = (name.removeprefix("layer.") for name, _ in model.named_parameters())
    return dict(zip(["input", *names], found, strict=True))


def test_the_value_equals_timms_in_torch(pair: Pair) -> None:
    wanted = value(pair.theirs, maps(pair.graph))
    assert relative(value(pair.ours, maps(pair.graph)), wanted, wanted.std()) < 1e-12


def test_the_gradients_equal_timms_in_torch(pair: Pair) -> None:
    ours, wanted = gradients(pair.ours, maps(pair.graph)), gradients(pair.theirs, maps(pair.graph))
    assert list(ours) == list(wanted)
    largest = max(float(gradient.norm()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert float((ours[name] - gradient).abs().max()) < 1e-12 * largest, name


def test_the_value_equals_timms_in_tensorflow(pair: Pair, tensorflow: BackendProcess, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "weights.safetensors", pair.arrays)
    tensorflow.load(pair.graph, tmp_path / "weights.safetensors", "float64")
    tensorflow.forward(maps(pair.graph))
    wanted = value(pair.theirs, maps(pair.graph))
    assert relative(tensorflow.outputs()[-1], wanted, wanted.std()) < GATES["float64"]
