"""A network that is a shipped one apart from a few words is written as these words, and only if it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resnet_spec import load
from resnet_spec.document.dump import to_yaml
from resnet_spec.graph import Graph
from resnet_spec.importing.architecture import architecture
from resnet_spec.importing.known import known_spec
from resnet_spec.importing.overriding import loaded

STEM = {"stem.conv1.conv2d.kernel": 3, "stem.conv1.conv2d.stride": 1, "stem.conv1.conv2d.padding": 1}


def written(graph: Graph) -> str:
    """The text of the document that is found, empty if there is none; it is the network."""
    document = known_spec(graph, {p.name: np.broadcast_to(np.float32(0), p.shape) for p in graph.parameters()})
    if document is None:
        return ""
    text = to_yaml(document)
    assert architecture(loaded(text, "net").to_graph(), layers=True) == architecture(graph, layers=True)
    return text


@pytest.mark.parametrize(
    ("spec", "overrides", "lines"),
    [
        (
            "torchvision/resnet50",
            {"parameters.classes": 7, **STEM},
            "parameters: {classes: 7}\nstem: {conv1: {conv2d: {kernel: 3, stride: 1, padding: 1}}}\n",
        ),
        (
            "torchvision/resnet18",
            {"input.height": 32, "input.width": 32, **STEM, "stem.maxpool": None},
            "input: {height: 32, width: 32}\n"
            "stem:\n  conv1: {conv2d: {kernel: 3, stride: 1, padding: 1}}\n  maxpool: null\n",
        ),
        ("torchvision/resnet18", {"layers.act": "silu"}, "layers: {act: silu}\n"),
        (
            "torchvision/resnet18",
            {"layers.norm.batch_norm.epsilon": 1e-3, "layers.norm.batch_norm.momentum": 0.01},
            "layers: {norm: {batch_norm: {epsilon: 0.001, momentum: 0.01}}}\n",
        ),
        (
            "torchvision/resnet18",
            {"layers.norm": {"group_norm": {"groups": 32, "epsilon": 1e-3}}},
            "layers:\n  norm:\n    batch_norm: null\n    group_norm: {groups: 32, epsilon: 0.001}\n",
        ),
        ("torchvision/resnet50", {"stages.layer3.repeat": 8}, "stages: {layer3: {repeat: 8}}\n"),
        ("torchvision/resnet50", {"parameters.output_stride": 16}, "parameters: {output_stride: 16}\n"),
        ("torchvision/resnet50", {"parameters.base_width": 96}, "parameters: {base_width: 96}\n"),
        (
            "torchvision/resnet18",
            {"stem.conv1.conv2d.channels": 32, **{f"stages.layer{i}.channels": 16 * 2**i for i in (1, 2, 3, 4)}},
            "stem: {conv1: {conv2d: {channels: 32}}}\n"
            "stages:\n"
            "  layer1: {channels: 32}\n  layer2: {channels: 64}\n"
            "  layer3: {channels: 128}\n  layer4: {channels: 256}\n",
        ),
    ],
)
def test_a_few_words_are_overrides(spec: str, overrides: dict[str, Any], lines: str) -> None:
    assert written(load(spec, overrides).to_graph()) == f"extends: {spec}\n{lines}"


@pytest.mark.parametrize(
    "overrides",
    [
        # Four changes, and one that no override says.
        {**STEM, "layers.act": "silu", "layers.norm.batch_norm.epsilon": 1e-3, "stages.layer1.repeat": 4},
        {"stages.layer2.first": {"stride": 4}},
    ],
)
def test_more_is_another_network(overrides: dict[str, Any]) -> None:
    assert written(load("torchvision/resnet18", overrides).to_graph()) == ""


@pytest.mark.parametrize(
    "lines",
    [
        "head: {fc: null}\n",
        "parameters: {classes: 7}\n"
        "head:\n  fc: null\n  fc.0: {dropout: {rate: 0.5}}\n  fc.1: {linear: {features: classes}}\n",
        "parameters: {classes: 7}\n"
        "stem:\n  conv1: {conv2d: {kernel: 3, stride: 1, padding: 1}}\n  maxpool: null\n"
        "head:\n  fc: null\n  fc.0: {linear: {features: 64}}\n  fc.1: relu\n  fc.2: {linear: {features: classes}}\n",
    ],
)
def test_another_head_is_an_override(lines: str) -> None:
    text = f"extends: torchvision/resnet18\n{lines}"
    assert written(loaded(text, "net").to_graph()) == text
