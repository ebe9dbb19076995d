"""Batches of a training comparison, generated from a seed, with or without rounding noise."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.graph import Graph
from resnet_spec.parity.randomization import random_images
from resnet_spec.parity.rounding import UNIT, with_rounding_noise

if TYPE_CHECKING:
    from resnet_spec.backend.protocol import Backend, Batch

UPDATE = 2
"""Roundings of a weight in one step: of its decay, and of its sum with the much smaller step."""

U = UNIT["float64"]


class Plan(NamedTuple):
    """The number of training steps, the batch size, and the seed of images and targets."""

    steps: int
    batch: int
    seed: int


def random_batch(graph: Graph, batch: int, seed: int) -> Batch:
    """Return images, and targets of each output's shape, all random."""
    targets = [
        random_images((batch, *graph.by_name[name].shape), seed + 10**6 * index)
        for index, name in enumerate(graph.outputs, start=1)
    ]
    return random_images((batch, *graph.input.shape), seed), targets


def batches(graph: Graph, plan: Plan) -> Iterator[Batch]:
    """Yield a batch for each step, generated from the plan's seed."""
    for step in range(plan.steps):
        yield random_batch(graph, plan.batch, plan.seed + step)


def perturbed_batches(backend: Backend, model: Any, graph: Graph, plan: Plan, draw: int) -> Iterator[Batch]:
    """Yield the same batches, and add float64's rounding noise to the model that is trained on them.

    For each step every parameter is moved at random by √k · u of itself, k the terms of its layer's sums, and the
    images by √K · u, K the terms of all sums forward and backward: the noise of every operation added at the start,
    since the images move every value within the network. After the step the parameters are moved back, and by the
    rounding of the update.
    """
    import numpy as np

    generator = np.random.default_rng([plan.seed, draw, 3])
    terms = _terms(graph)
    everywhere = all_terms(graph, plan.batch)
    for images, targets in batches(graph, plan):
        before = backend.arrays(model, graph)
        moved = {name: with_rounding_noise(before[name], count, generator, U) for name, count in terms.items()}
        backend.load(model, graph, before | moved)
        yield with_rounding_noise(images, everywhere, generator, U), targets
        after = backend.arrays(model, graph)
        steps = {name: before[name] + (after[name] - moved[name]) for name in terms}
        backend.load(model, graph, after | {n: with_rounding_noise(w, UPDATE, generator, U) for n, w in steps.items()})


def _terms(graph: Graph) -> dict[str, int]:
    """Return the number of terms in the sums that each trainable parameter is part of, by its name."""
    found: dict[str, int] = {}
    for parameter in graph.parameters():
        if parameter.trainable:
            node = graph.by_name[parameter.node]
            found[parameter.name] = node.operation.roundings(*graph.input_shapes(node))
    return found


def all_terms(graph: Graph, batch: int) -> int:
    """Return the number of terms of all nodes' sums, and of their gradients' sums over images and positions."""
    return sum(
        node.operation.roundings(*graph.input_shapes(node)) + batch * prod(node.shape[1:]) for node in graph.nodes
    )
