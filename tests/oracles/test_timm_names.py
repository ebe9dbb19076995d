"""Every residual network of timm compared with ours: keys, shapes and sizes of the state_dict, and the feature maps.

timm builds on the meta device, where parameters have shapes and no values, so that all of them are compared in seconds.
"""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch

import resnet_spec
from resnet_spec import Graph
from tests.shipped import shipped

from .torchvision_original import models

# timm imports torchvision, whose operators must be registered first.
models()

import timm  # noqa: E402

NAMES = [name for name in resnet_spec.available() if name.startswith("timm/")]

DILATABLE = (
    "timm/resnet18",
    "timm/resnet34d",
    "timm/resnet50",
    "timm/resnext50d_32x4d",
    "timm/resnetrs50",
    "timm/resnetblur18",
    "timm/resnetblur50d",
    "timm/resnetaa34d",
    "timm/seresnetaa50d",
    "timm/ecaresnet50t",
    "timm/senet154",
    "timm/test_resnet",
    "timm/resnetv2_50",
    "timm/resnetv2_50d",
    "timm/resnetv2_50d_gn",
    "timm/resnetv2_50x1_bit",
    "timm/regnetx_002",
    "timm/regnety_002",
    "timm/regnetv_040",
    "timm/regnetv_064",
    "timm/regnetz_005",
    "timm/seresnext26ts",
    "timm/resnet33ts",
    "timm/regnetz_d8",
)
"""One network of each kind."""

AFTER_THE_STAGES = "final_conv"
"""timm's last tap where a network may have a convolution after its last stage; ours is the stage."""


def original(name: str, **arguments: Any) -> Any:
    with torch.device("meta"):
        return timm.create_model(name.removeprefix("timm/"), pretrained=False, **arguments)


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A network's name and timm's model of it."""
    return request.param, original(request.param)


def reductions(graph: Graph) -> list[int]:
    """The stride of each output, equal in both directions."""
    strides = [graph.stride(name) for name in graph.outputs]
    assert all(stride is not None and stride[0] == stride[1] for stride in strides)
    return [int(stride[0]) for stride in strides if stride is not None]


def assert_taps_equal(graph: Graph, model: Any) -> None:
    taps = model.feature_info
    assert reductions(graph) == [tap["reduction"] for tap in taps]
    for name, node, tap in zip(graph.output_names, graph.outputs, taps, strict=True):
        if tap["module"] != AFTER_THE_STAGES:
            # Where timm's module is a chain of layers, ours is the last of them.
            assert f"{name}.".startswith(f"{tap['module']}.")
            assert graph.by_name[node].shape[0] == tap["num_chs"]


def test_every_network_of_timms_two_oldest_modules_is_shipped() -> None:
    complete = {f"timm/{name}" for module in ("resnet", "resnetv2") for name in timm.list_models(module=module)}
    partly = ("byobnet", "nfnet", "regnet", "res2net", "resnest", "senet", "sknet")
    others = {f"timm/{name}" for module in partly for name in timm.list_models(module=module)}
    assert complete <= set(NAMES) <= complete | others


def test_keys_order_shapes_and_sizes_equal_timms(pair: tuple[str, Any]) -> None:
    name, model = pair
    graph = shipped(name)
    theirs = {key: tuple(value.shape) for key, value in model.state_dict().items() if "num_batches" not in key}
    assert [(parameter.name, parameter.shape) for parameter in graph.parameters()] == list(theirs.items())
    trainable = sum(prod(parameter.shape) for parameter in graph.parameters() if parameter.trainable)
    assert trainable == sum(parameter.numel() for parameter in model.parameters())
    assert graph.input.shape == model.default_cfg["input_size"]


def test_feature_maps_are_tapped_where_timm_taps_them(pair: tuple[str, Any]) -> None:
    name, model = pair
    graph = resnet_spec.load(name, {"outputs": "features", "named_outputs": True}).to_graph()
    assert_taps_equal(graph, model)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("name", DILATABLE)
def test_dilated_feature_maps_are_timms(name: str, stride: int) -> None:
    overrides = {"outputs": "features", "named_outputs": True, "parameters.output_stride": stride}
    graph = resnet_spec.load(name, overrides).to_graph()
    assert_taps_equal(graph, original(name, output_stride=stride))
    assert reductions(graph) == [min(reduction, stride) for reduction in (2, 4, 8, 16, 32)]
