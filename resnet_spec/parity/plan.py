"""Batches of a training comparison, generated from a seed, with or without rounding noise."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.dtypes import MIXED, ModelDType, computed_in
from resnet_spec.graph import Graph
from resnet_spec.parity.precision import PRECISIONS
from resnet_spec.parity.randomization import random_images
from resnet_spec.parity.rounding import Noise, with_noise

if TYPE_CHECKING:
    from resnet_spec.backend.protocol import Backend, Batch

UPDATE = 2
"""Roundings of a weight in one step: of its decay, and of its sum with the much smaller step."""


class Plan(NamedTuple):
    """What is trained on.

    Attributes:
        steps: The number of training steps.
        batch: The batch size.
        seed: That of images and targets.
        precision: What images and targets are rounded to, so that models of this precision and of float64 get the same;
            also the precision of the rounding noise. A mixed policy updates weights in float32.
    """

    steps: int
    batch: int
    seed: int
    precision: ModelDType = "float64"

    @property
    def noise(self) -> Noise:
        """The rounding noise of values and sums."""
        return Noise.of(self.precision)

    @property
    def update_noise(self) -> Noise:
        """The rounding noise of a step of an optimizer."""
        return Noise.of("float32") if self.precision.startswith(MIXED) else self.noise


def random_batch(graph: Graph, batch: int, seed: int) -> Batch:
    """Return images, and targets of each output's shape, all random."""
    targets = [
        random_images((batch, *graph.by_name[name].shape), seed + 10**6 * index)
        for index, name in enumerate(graph.outputs, start=1)
    ]
    return random_images((batch, *graph.input.shape), seed), targets


def batches(graph: Graph, plan: Plan) -> Iterator[Batch]:
    """Yield a batch for each step, generated from the plan's seed."""
    # Random images are exact in float32.
    rounded = PRECISIONS.get(computed_in(plan.precision), lambda value: value)
    for step in range(plan.steps):
        images, targets = random_batch(graph, plan.batch, plan.seed + step)
        yield rounded(images), [rounded(target) for target in targets]


def perturbed_batches(backend: Backend, model: Any, graph: Graph, plan: Plan, draw: int) -> Iterator[Batch]:
    """Yield the same batches, and add the precision's rounding noise to the model that is trained on them.

    For each step every parameter is moved at random by √k · u of itself, k the terms of its layer's sums, and the
    images by √K · u, K the terms of all sums forward and backward: the noise of every operation added at the start,
    since the images move every value within the network. After the step the parameters are moved back, and by the
    rounding of the update.
    """
    import numpy as np

    generator = np.random.default_rng([plan.seed, draw, 3])
    noise = plan.noise
    parts = {name: noise.accumulated(1, count) for name, count in _terms(graph).items()}
    everywhere, update = image_deviation(graph, plan.batch, noise), plan.update_noise.accumulated(UPDATE, UPDATE)
    for images, targets in batches(graph, plan):
        before = backend.arrays(model, graph)
        moved = {name: with_noise(before[name], part, generator) for name, part in parts.items()}
        backend.load(model, graph, before | moved)
        yield with_noise(images, everywhere, generator), targets
        after = backend.arrays(model, graph)
        steps = {name: before[name] + (after[name] - moved[name]) for name in parts}
        backend.load(model, graph, after | {name: with_noise(w, update, generator) for name, w in steps.items()})


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


def image_deviation(graph: Graph, batch: int, noise: Noise) -> float:
    """Return the standard deviation of the rounding that is added to the images, as a part of them.

    It is that of all sums forward and backward, and of each value that the parameters' own noise does not move: the
    images' and those of operations without parameters.
    """
    given = {node.name: (node.operation, graph.input_shapes(node)) for node in graph.nodes}
    values = 1 + sum(
        not operation.parameters(*shapes) and operation.roundings(*shapes) > 0 for operation, shapes in given.values()
    )
    return noise.accumulated(values, all_terms(graph, batch))
