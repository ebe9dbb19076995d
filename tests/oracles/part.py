"""The networks that CI runs on each change: cheap ones that touch every operation and every original between them.

Every block is compared with its original by a golden trace, which takes no time.
"""

from __future__ import annotations

from collections.abc import Mapping

import resnet_spec
from resnet_spec import Graph, summarize
from tests.shipped import shipped

from .verification import LIBRARIES


def touched(name: str, graph: Graph) -> frozenset[str]:
    """What a network exercises: its operations, and the module that builds its original."""
    family = name.partition("/")[0]
    operations = {node.operation.op for node in graph.nodes}
    return frozenset(operations | {f"original {LIBRARIES[family]}", f"family {family}"})


def thinner(name: str) -> tuple[str, ...]:
    """Overrides that make a large network fit CI's memory and time."""
    if name.startswith("mirror/decoder"):
        return ("parameters.filters=128", "parameters.height=64", "parameters.width=96")
    if name.startswith("simclr/"):
        return ("input.height=64", "input.width=64")
    return ("input.height=64", "input.width=96") if name.startswith("mirror/") else ()


WITH_TESTS_OF_THEIR_OWN = ("keras", "torchvision", "tutorial")
"""Families that other test modules compare with their originals on each change, including a training step."""


def candidates() -> dict[str, Graph]:
    """The other networks, made thinner where necessary."""
    names = [name for name in resnet_spec.available() if name.partition("/")[0] not in WITH_TESTS_OF_THEIR_OWN]
    thin = {name: thinner(name) for name in names}
    return {name: resnet_spec.load(name, thin[name]).to_graph() if thin[name] else shipped(name) for name in names}


PART = (
    "cifar/resnet20",
    "faces/iresnet18",
    "image_classifiers/resnet18",
    "keras_hub/resnet_18",
    "mirror/decoder50",
    "monai/resnet10",
    "msra/resnet50",
    "pytorchcv/cbam_resnet18",
    "pytorchcv/ibn_resnet50",
    "signals/tsc_resnet",
    "simclr/r50_2x_sk1",
    "slim/resnet_v2_50",
    "smp/unet_resnet34",
    "swav/resnet50w2",
    "timm/bat_resnext26ts",
    "timm/gcresnext26ts",
    "timm/nf_regnet_b0",
    "timm/regnetz_b16_evos",
    "timm/resnet50_clip",
    "timm/resnetv2_50d_frn",
    "timm/resnetv2_50x1_bit",
)
"""What ``chosen`` finds, which takes too long for every start of the tests."""


def chosen(graphs: Mapping[str, Graph]) -> tuple[str, ...]:
    """The names of some networks: greedily, at each step the one with the most that is new for its operations."""
    cost = {name: summarize(graph).macs + 5 * 10**8 for name, graph in graphs.items()}
    left = {name: touched(name, graph) for name, graph in graphs.items()}
    names: list[str] = []
    while any(left.values()):
        best = max(left, key=lambda name: (len(left[name]) / cost[name], name))
        names.append(best)
        new = left[best]
        left = {name: features - new for name, features in left.items()}
    return tuple(sorted(names))
