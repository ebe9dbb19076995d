"""Comparisons under the recipe for random weights are sensitive and well-conditioned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import resnet_spec
from resnet_spec import Graph
from resnet_spec.operations import Role
from resnet_spec.parity.randomization import last_normalizations, random_images, randomize
from resnet_spec.parity.rounding import rounding_tolerance
from resnet_spec.parity.walk import walk_with_noise
from resnet_spec_torch import TorchBackend

from .gates import GATES

SIZE = 64


def train(graph: Graph, arrays: Mapping[str, NDArray[Any]], images: NDArray[Any]) -> dict[str, NDArray[Any]]:
    backend = TorchBackend()
    model = backend.compile(graph)
    backend.load(model, graph, arrays)
    backend.forward(model, images, training=True)
    return backend.arrays(model, graph)


def small(name: str) -> Graph:
    return resnet_spec.load(name, {"input.height": SIZE, "input.width": SIZE}).to_graph()


def logits(model: nn.Module, images: NDArray[Any]) -> NDArray[Any]:
    with torch.inference_mode():
        return model(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_change_of_one_percent_in_any_tensor_is_detected(name: str) -> None:
    graph = small(name)
    arrays = randomize(graph, train)
    model = resnet_spec.build(resnet_spec.load(name), "torch", weights=arrays, dtype="float64")
    images = random_images((1, 3, SIZE, SIZE), 1)
    wanted = logits(model, images)
    deviation = wanted.std()
    state = model.state_dict()
    unseen = []
    for parameter in graph.parameters():
        tensor = state[parameter.name]
        kept = tensor.clone()
        tensor.mul_(1.01)
        if np.abs(logits(model, images) - wanted).max() / deviation < GATES["float64"]:
            unseen.append(parameter.name)
        tensor.copy_(kept)
    assert unseen == []
    np.testing.assert_array_equal(logits(model, images), wanted)


BEFORE_SOFTMAX = ".conv_attn."
"""Of global context: a softmax ignores its bias, and attends almost equally to all positions whatever its weight."""


def test_a_change_of_one_percent_exceeds_the_bound_of_an_ill_conditioned_network() -> None:
    graph = small("timm/gcresnet33ts")
    arrays = randomize(graph, train)
    backend = TorchBackend()
    model = backend.compile(graph, dtype="float64")
    backend.load(model, graph, arrays)
    images = random_images((1, 3, SIZE, SIZE), 1)
    wanted = logits(model, images)
    moved = walk_with_noise(backend, model, graph, images, np.random.default_rng(0))
    bound = rounding_tolerance(float(np.abs(moved - wanted).max()))
    assert bound > GATES["float32"] * wanted.std()
    state = model.state_dict()
    for parameter in graph.parameters():
        tensor = state[parameter.name]
        kept = tensor.clone()
        tensor.mul_(1.01)
        detected = np.abs(logits(model, images) - wanted).max() > bound
        assert detected or BEFORE_SOFTMAX in parameter.name, parameter.name
        tensor.copy_(kept)


@pytest.mark.parametrize("name", ["resnet18", "resnet152"])
def test_activations_neither_fade_nor_explode(name: str) -> None:
    graph = small(name)
    model = resnet_spec.build(resnet_spec.load(name), "torch", weights=randomize(graph, train))
    deviations: dict[str, float] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda m, i, o, path=path: deviations.__setitem__(path, float(o.std())))
    logits(model, random_images((2, 3, SIZE, SIZE), 1).astype(np.float32))
    assert len(deviations) == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert min(deviations.values()) > 0.01
    assert max(deviations.values()) < 100


def test_the_last_normalization_of_each_branch_is_damped_scale_and_offset() -> None:
    graph = small("resnet50")
    arrays = randomize(graph, train)
    damped = last_normalizations(graph)
    assert damped == {node.name for node in graph.nodes if node.name.endswith(".bn3")}
    assert len(damped) == 16
    for parameter in graph.parameters():
        bounds = {Role.NORM_SCALE: (0.5, 1.5), Role.NORM_OFFSET: (-0.5, 0.5)}.get(parameter.role)
        if bounds:
            factor = 0.2 if parameter.node in damped else 1.0
            assert arrays[parameter.name].min() >= factor * bounds[0] - 1e-6
            assert arrays[parameter.name].max() <= factor * bounds[1] + 1e-6
            assert arrays[parameter.name].std() > 0.2 * factor


def test_the_recipe_gives_the_same_arrays_for_a_seed() -> None:
    graph = small("resnet18")
    first, again, other = randomize(graph, train, 1), randomize(graph, train, 1), randomize(graph, train, 2)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["conv1.weight"], other["conv1.weight"])
