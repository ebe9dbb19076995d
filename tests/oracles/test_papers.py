"""The networks of papers beside plain PyTorch written from them: names, counts, shapes, logits, dropout, dilation."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import resnet_spec
from resnet_spec import Graph, SpecError, summarize
from resnet_spec.parity.randomization import random_images, randomize
from resnet_spec.spec.assertions import weighted_depth
from tests.shipped import shipped

from .gates import GATES
from .originals.papers import MsraResNet, Network, build

# Trainable parameters, and convolutions and linear layers on the main path.
FIGURES = {
    "cifar/resnet20": (269_722, 20),
    "cifar/resnet32": (464_154, 32),
    "cifar/resnet44": (658_586, 44),
    "cifar/resnet56": (853_018, 56),
    "cifar/resnet110": (1_727_962, 110),
    "cifar/resnet1202": (19_421_274, 1202),
    "cifar/resnet20b": (272_474, 20),
    "cifar/resnet32b": (466_906, 32),
    "cifar/resnet44b": (661_338, 44),
    "cifar/resnet56b": (855_770, 56),
    "cifar/resnet110b": (1_730_714, 110),
    "cifar/preact_resnet110": (1_730_522, 110),
    "cifar/preact_resnet164": (1_703_258, 164),
    "cifar/preact_resnet1001": (10_327_706, 1001),
    "cifar/wrn_16_8": (10_961_370, 14),
    "cifar/wrn_28_10": (36_479_194, 26),
    "cifar/wrn_40_4": (8_949_210, 38),
    "cifar/resnext29_8x64d": (34_426_698, 29),
    "cifar/resnext29_16x64d": (68_155_210, 29),
    "cifar/resnet18": (11_173_962, 18),
    "cifar/resnet50": (23_520_842, 50),
    "faces/iresnet18": (24_025_600, 18),
    "faces/iresnet34": (34_139_328, 34),
    "faces/iresnet50": (43_590_848, 50),
    "faces/iresnet100": (65_156_160, 100),
    "faces/iresnet200": (118_833_920, 198),
    "msra/resnet50": (25_557_032, 50),
    "msra/resnet101": (44_549_160, 101),
    "msra/resnet152": (60_192_808, 152),
    "signals/tsc_resnet": (505_290, 10),
    "simclr/r50_2x_sk1": (144_403_048, 52),
    "swav/resnet50w2": (98_004_072, 50),
    "swav/resnet50w4": (383_571_176, 50),
}

# One of each kind, with the sizes it is run at; the wide ones on small images, which they take as well.
KINDS: dict[str, tuple[tuple[int, int], ...]] = {
    "cifar/resnet20": ((32, 32), (33, 33), (40, 38)),
    "cifar/resnet20b": ((32, 32), (33, 33), (40, 38)),
    "cifar/preact_resnet110": ((32, 32), (19, 22)),
    "cifar/preact_resnet164": ((32, 32), (19, 22)),
    "cifar/wrn_16_8": ((16, 16), (17, 19)),
    "cifar/resnext29_8x64d": ((8, 8), (11, 10)),
    "cifar/resnet18": ((32, 32), (33, 35)),
    "cifar/resnet50": ((32, 32), (17, 18)),
    "msra/resnet50": ((64, 64), (75, 70)),
}


def small(name: str) -> Graph:
    """For weights whose statistics cost less to find."""
    size = 64 if name.startswith("msra") else 16
    overrides = {"input.height": size, "input.width": size, "parameters.classes": 10}
    return resnet_spec.load(name, overrides).to_graph()


def arrays_of(network: Network) -> dict[str, NDArray[Any]]:
    return {key: value.numpy() for key, value in network.model.state_dict().items() if "num_batches" not in key}


def run(model: nn.Module, images: NDArray[Any]) -> NDArray[Any]:
    with torch.inference_mode():
        return model(torch.from_numpy(images)).numpy()


@cache
def randomized(name: str) -> Network:
    """The paper's network for 10 classes, with weights under which a comparison means something."""
    graph = small(name)

    def train(_: Graph, arrays: Any, images: NDArray[Any]) -> Any:
        network = Network(graph, "float32")
        network.set(arrays)
        return network.train(images)

    original = Network(graph, "float64")
    original.set(randomize(graph, train, seed=3))
    return original


FAMILIES = ("cifar/", "faces/", "msra/", "signals/", "simclr/", "swav/")
CLASSES = {"cifar": 10, "faces": 512, "signals": 10}
CHANNELS = {"signals": 1}


def test_every_network_of_a_paper_is_shipped() -> None:
    assert {name for name in resnet_spec.available() if name.startswith(FAMILIES)} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_names_order_and_shapes_are_the_originals(name: str) -> None:
    graph = shipped(name)
    with torch.device("meta"):
        family = name.partition("/")[0]
        original = build(name, CHANNELS.get(family, 3), CLASSES.get(family, 1000))
    state = {key: tuple(value.shape) for key, value in original.state_dict().items() if "num_batches" not in key}
    assert [(parameter.name, parameter.shape) for parameter in graph.parameters()] == list(state.items())
    assert summarize(graph).parameters == sum(value.numel() for value in original.parameters()) == FIGURES[name][0]
    assert weighted_depth(graph) == FIGURES[name][1]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("cifar/resnet56", ["layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer3.8.conv2.weight", "linear.weight"]),
        ("cifar/resnet20b", ["layer2.0.shortcut.0.weight", "layer2.0.shortcut.1.running_mean"]),
        ("cifar/preact_resnet110", ["conv.weight", "stage1.block1.bn1.weight", "stage2.block1.shortcut.conv.weight"]),
        ("cifar/wrn_28_10", ["block1.layer.0.convShortcut.weight", "block3.layer.3.bn2.bias", "bn1.weight", "fc.bias"]),
        (
            "cifar/resnext29_8x64d",
            [
                "conv_1_3x3.weight",
                "stage_1.stage_1_bottleneck_0.shortcut.shortcut_conv.weight",
                "stage_3.stage_3_bottleneck_2.conv_conv.weight",
                "classifier.weight",
            ],
        ),
        ("cifar/resnet50", ["layer1.0.shortcut.0.weight", "layer4.2.conv3.weight", "linear.bias"]),
        ("msra/resnet101", ["stem.conv1.norm.weight", "res2.0.shortcut.norm.bias", "res4.22.conv3.weight"]),
    ],
)
def test_keys_are_those_of_the_checkpoints_people_have(name: str, keys: list[str]) -> None:
    assert set(keys) <= {parameter.name for parameter in shipped(name).parameters()}


# -- figures -------------------------------------------------------------------------------------------------------


def unit_macs(inputs: int, outputs: int, size: int, projected: bool) -> int:
    """Of two 3×3 convolutions at the output's size, and a projection."""
    return size * size * outputs * (9 * (inputs + outputs) + inputs * projected)


def basic_macs(widths: tuple[int, ...], count: int, option_a: bool = False) -> int:
    """Of a network of basic units on 32×32, by hand: the stem, the first unit of each stage, the others, 10 classes."""
    start = widths[0]
    total, inputs = 32 * 32 * 27 * start, start
    for stage, width in enumerate(widths[1:]):
        size = 32 // 2**stage
        total += unit_macs(inputs, width, size, inputs != width and not option_a)
        total += (count - 1) * unit_macs(width, width, size, projected=False)
        inputs = width
    return total + 10 * inputs


def bottleneck_macs(start: int, stages: list[tuple[int, int, int, int, int]], stride_in_first: bool) -> int:
    """Of units of (width, channels, groups, count) at an output size, by hand, without stem and classifier."""
    total, inputs, before = 0, start, stages[0][4]
    for width, channels, groups, count, size in stages:
        first = size if stride_in_first else before
        rest = 9 * width * width // groups + width * channels
        total += first * first * inputs * width + size * size * (rest + inputs * channels)
        total += (count - 1) * size * size * (channels * width + rest)
        inputs, before = channels, size
    return total


def resnet_stages(counts: tuple[int, ...], size: int) -> list[tuple[int, int, int, int, int]]:
    return [(64 * 2**i, 256 * 2**i, 1, count, size // 2**i) for i, count in enumerate(counts)]


def expected_macs(name: str) -> int:
    family, _, network = name.partition("/")
    if family == "msra":
        counts = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}[network]
        blocks = bottleneck_macs(64, resnet_stages(counts, 56), stride_in_first=True)
        return 112 * 112 * 49 * 3 * 64 + blocks + 2048 * 1000
    if network == "resnet18":
        return basic_macs((64, 64, 128, 256, 512), 2)
    if network == "resnet50":
        blocks = bottleneck_macs(64, resnet_stages((3, 4, 6, 3), 32), stride_in_first=False)
        return 32 * 32 * 27 * 64 + blocks + 10 * 2048
    if network.startswith("resnext29"):
        groups = int(network.removeprefix("resnext29_").partition("x")[0])
        stages = [(64 * groups * 2**i, 256 * 2**i, groups, 3, 32 // 2**i) for i in range(3)]
        return 32 * 32 * 27 * 64 + bottleneck_macs(64, stages, stride_in_first=False) + 10 * 1024
    if network.startswith("wrn"):
        depth, factor = map(int, network.removeprefix("wrn_").split("_"))
        return basic_macs((16, 16 * factor, 32 * factor, 64 * factor), (depth - 4) // 6)
    depth = int(network.removeprefix("preact_").removeprefix("resnet").removesuffix("b"))
    if network in ("preact_resnet164", "preact_resnet1001"):
        stages = [(16 * 2**i, 64 * 2**i, 1, (depth - 2) // 9, 32 // 2**i) for i in range(3)]
        return 32 * 32 * 27 * 16 + bottleneck_macs(16, stages, stride_in_first=True) + 10 * 256
    option_a = not network.startswith("preact_") and not network.endswith("b")
    return basic_macs((16, 16, 32, 64), (depth - 2) // 6, option_a)


@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith(("cifar/", "msra/"))])
def test_multiply_accumulates_are_those_counted_by_hand(name: str) -> None:
    assert summarize(shipped(name)).macs == expected_macs(name)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # He et al. 2015, table 1
        ("msra/resnet50", 3.8e9),
        ("msra/resnet101", 7.6e9),
        ("msra/resnet152", 11.3e9),
        # Li et al. 2017, "Pruning Filters for Efficient ConvNets", table 1
        ("cifar/resnet56", 1.25e8),
        ("cifar/resnet110", 2.53e8),
    ],
)
def test_multiply_accumulates_are_those_published(name: str, published: float) -> None:
    assert summarize(shipped(name)).macs == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("cifar/resnet1202", [(16, 32, 32), (32, 16, 16), (64, 8, 8)]),
        ("cifar/resnet110b", [(16, 32, 32), (32, 16, 16), (64, 8, 8)]),
        ("cifar/preact_resnet110", [(16, 32, 32), (32, 16, 16), (64, 8, 8)]),
        ("cifar/preact_resnet1001", [(64, 32, 32), (128, 16, 16), (256, 8, 8)]),
        ("cifar/wrn_28_10", [(160, 32, 32), (320, 16, 16), (640, 8, 8)]),
        ("cifar/wrn_40_4", [(64, 32, 32), (128, 16, 16), (256, 8, 8)]),
        ("cifar/resnext29_16x64d", [(256, 32, 32), (512, 16, 16), (1024, 8, 8)]),
        ("cifar/resnet18", [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]),
        ("cifar/resnet50", [(256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)]),
        ("msra/resnet152", [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]),
    ],
)
def test_shapes_of_the_stages(name: str, shapes: list[tuple[int, ...]]) -> None:
    graph = shipped(name)
    stages = [scope for scope in graph.scopes if scope.kind == "stage"]
    assert [graph.by_name[stage.output].shape for stage in stages] == shapes


# -- what they compute ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_logits_equal_the_originals_in_float64(name: str, tmp_path: Path) -> None:
    original = randomized(name)
    spec = resnet_spec.load(name, {"parameters.classes": 10})
    model = resnet_spec.build(spec, "torch", weights=original.save(tmp_path)[0], dtype="float64")
    images = [random_images((2, 3, *size), seed=size[0]) for size in KINDS[name]]
    wanted = [original.logits(batch) for batch in images]
    deviation = np.concatenate(wanted).std()
    for batch, logits in zip(images, wanted, strict=True):
        assert np.abs(run(model, batch) - logits).max() / deviation < GATES["float64"]


@pytest.mark.parametrize("name", ["cifar/resnet20", "cifar/preact_resnet110"])
def test_a_training_step_equals_the_originals(name: str) -> None:
    arrays = arrays_of(randomized(name))
    original = Network(small(name), "float64")
    original.set(arrays)
    ours = resnet_spec.build(name, "torch", weights=arrays, dtype="float64")
    batch = torch.from_numpy(random_images((3, 3, 12, 12), seed=5))
    gradients, state = trained(ours, batch)
    wanted_gradients, wanted_state = trained(original.model, batch)
    assert list(state) == list(wanted_state)
    for key, value in wanted_state.items():
        torch.testing.assert_close(state[key], value, rtol=1e-11, atol=1e-11, msg=key)
    largest = max(float(gradient.norm()) for gradient in wanted_gradients.values())
    for key, gradient in wanted_gradients.items():
        assert float((gradients[key] - gradient).abs().max()) < 1e-11 * largest, key


def trained(model: nn.Module, batch: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The gradients of a training-mode pass, and the state after it."""
    model.train()
    model(batch).square().sum().backward()
    gradients = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    assert len(gradients) == len(list(model.parameters()))
    return gradients, model.state_dict()


@pytest.mark.parametrize(("output_stride", "size"), [(16, 75), (8, 64)])
def test_the_dilated_network_equals_the_original_dilated(output_stride: int, size: int) -> None:
    arrays = arrays_of(randomized("msra/resnet50"))
    original = MsraResNet(50, 3, 10, output_stride).double().eval()
    counters = {key: value for key, value in original.state_dict().items() if "num_batches" in key}
    original.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()} | counters)
    spec = resnet_spec.load("msra/resnet50", {"parameters.output_stride": output_stride, "parameters.classes": 10})
    model = resnet_spec.build(spec, "torch", weights=arrays, dtype="float64")
    images = random_images((1, 3, size, size), seed=size)
    wanted = run(original, images)
    assert np.abs(run(model, images) - wanted).max() / wanted.std() < GATES["float64"]
    assert spec.to_graph().stride("res5.2.relu3") == (output_stride, output_stride)


def test_another_output_stride_is_refused() -> None:
    with pytest.raises(SpecError, match="output_stride must be 8, 16 or 32"):
        resnet_spec.load("msra/resnet50", {"parameters.output_stride": 4}).to_graph()


# -- dropout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [None, 0.5])
def test_dropout_has_the_stated_rate_and_acts_in_training_only(rate: float | None) -> None:
    overrides = {"parameters.width": 1} | ({} if rate is None else {"parameters.dropout_rate": rate})
    model = resnet_spec.build(resnet_spec.load("cifar/wrn_16_8", overrides), "torch", seed=1)
    dropouts = {name: module for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert list(dropouts) == [f"block{stage}.layer.{index}.dropout" for stage in (1, 2, 3) for index in (0, 1)]
    images = torch.from_numpy(random_images((2, 3, 32, 32), seed=1)).float()
    with torch.no_grad():
        assert torch.equal(model.eval()(images), model(images))
        model.train()
        torch.manual_seed(0)
        assert not torch.equal(model(images), model(images))
        for dropout in dropouts.values():
            kept = dropout(torch.ones(100_000))
            assert float((kept == 0).float().mean()) == pytest.approx(rate or 0.3, abs=0.01)
            assert float(kept.max()) == pytest.approx(1 / (1 - (rate or 0.3)))


def test_without_a_rate_dropout_is_absent() -> None:
    graph = resnet_spec.load("cifar/wrn_16_8", {"parameters.dropout_rate": 0}).to_graph()
    assert not [node.name for node in graph.nodes if node.operation.op == "dropout"]


# -- variants ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar/resnet20", "cifar/preact_resnet164", "cifar/resnext29_8x64d", "msra/resnet50"])
def test_other_channels_and_classes_change_the_first_and_the_last_layer_alone(name: str) -> None:
    changed = resnet_spec.load(name, {"input.channels": 1, "parameters.classes": 7}).to_graph().parameters()
    different = [new.shape for old, new in zip(shipped(name).parameters(), changed, strict=True) if old != new]
    assert different[0][1] == 1
    assert [shape[0] for shape in different[1:]] == [7, 7]


@pytest.mark.parametrize(
    ("name", "last"),
    [("cifar/wrn_28_10", "relu"), ("cifar/preact_resnet110", "relu"), ("cifar/resnet110", "layer3.17.relu2")],
)
def test_without_the_head_the_last_activation_is_left(name: str, last: str) -> None:
    graph = resnet_spec.load(name, {"head": None}).to_graph()
    assert graph.outputs == (last,)
    assert graph.by_name[last].shape[1:] == (8, 8)


@pytest.mark.parametrize(
    ("name", "parameter", "variance"),
    [
        ("cifar/resnet20", "layer3.0.conv1.weight", 2 / (32 * 9)),  # over 32 channels in
        ("cifar/wrn_16_8", "block2.layer.0.conv1.weight", 2 / (256 * 9)),  # over 256 channels out
        ("cifar/resnet18", "layer2.0.conv1.weight", 1 / (3 * 64 * 9)),  # over 64 channels in
        ("msra/resnet50", "linear.weight", 0.01**2),
    ],
)
def test_first_weights_have_the_originals_variance(name: str, parameter: str, variance: float) -> None:
    assert resnet_spec.initialize(shipped(name))[parameter].var() == pytest.approx(variance, rel=0.05)
