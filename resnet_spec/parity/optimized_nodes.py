"""Compare each node of an optimized form with the network itself, in the process of one backend."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.operations.base import NORMALIZING
from resnet_spec.parity.report import Difference, largest_difference, root_mean_square
from resnet_spec.parity.rounding import draws_for, rounding_tolerance
from resnet_spec.parity.walk import Values, apply_with_noise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.optimizing import Forms
    from resnet_spec.backend.protocol import Backend, DType
    from resnet_spec.graph import Graph, Node


class Judged(NamedTuple):
    """What a node of the optimized form differs by, and what rounding explains of it.

    Attributes:
        name: The node's name.
        size: The size of the value that it should have.
        float64: The difference from the value of the network itself, in float64.
        float64_allowed: The largest that is allowed.
        float32: The difference of float32 from float64, from inputs rounded to float32.
        float32_allowed: The largest that is allowed.
    """

    name: str
    size: float
    float64: float
    float64_allowed: float
    float32: float
    float32_allowed: float

    def differences(self, backend: str) -> list[Difference]:
        """Return both as a report has them."""
        name = f"{backend} optimized"
        return [
            Difference("node", "float64", name, backend, self.float64, self.float64_allowed, self.size, self.name),
            Difference(
                "node", "float32", name, f"{name} float64", self.float32, self.float32_allowed, self.size, self.name
            ),
        ]


def rounded_nodes(forms: Forms) -> frozenset[str]:
    """Return the nodes of the last form whose parameters are computed, and so rounded once more than others."""
    computed = forms.rewriting.computed
    return frozenset(parameter.node for parameter in forms.graphs[-1].parameters() if parameter.name in computed)


def judge_nodes(
    backend: Backend, plain: Any, models: dict[DType, Any], forms: Forms, images: NDArray[Any],
    generator: np.random.Generator,
) -> list[Judged]:  # fmt: skip
    """Compare each node of the optimized form with the value of the network's node that it replaces.

    Args:
        backend: The backend.
        plain: The float64 model of the network itself.
        models: The optimized models in float64 and float32.
        forms: The forms of the network.
        images: The images.
        generator: The noise of the estimates.

    Returns:
        One judgment for each node with a counterpart, in order.
    """
    graph, values, rounded = forms.graphs[-1], forms.rewriting.values, rounded_nodes(forms)
    exact = _ExactValues(backend, plain, forms.graphs[0], images, {*values.values()})
    # Nodes without a counterpart have values of their own, whose rounding is part of what comes after them.
    own, noisy = Values(graph, images), Values(graph, images)
    found: list[Judged] = []
    for node in graph.nodes:
        inputs, moved = own.take(node), noisy.take(node)
        value = backend.apply(models["float64"], graph, node.name, inputs)
        if node.name in values:
            wanted = exact.value(values[node.name])
            found.append(_judged(backend, models, graph, node, inputs, moved, value, wanted, rounded, generator))
            own.put(node.name, wanted)
            noisy.put(node.name, wanted)
        else:
            own.put(node.name, value)
            exact_model = models["float64"]
            noisy.put(node.name, apply_with_noise(backend, exact_model, graph, node, moved, generator, rounded))
    return found


class _ExactValues:
    """Values of the network itself, computed as far as they are needed."""

    def __init__(self, backend: Backend, model: Any, graph: Graph, images: NDArray[Any], wanted: set[str]) -> None:
        self._backend, self._model, self._graph = backend, model, graph
        self._nodes = iter(graph.nodes)
        self._values = Values(graph, images)
        self._wanted = Counter(wanted)
        self._kept: dict[str, NDArray[Any]] = {}

    def value(self, name: str) -> NDArray[Any]:
        while name not in self._kept:
            node = next(self._nodes)
            value = self._backend.apply(self._model, self._graph, node.name, self._values.take(node))
            self._values.put(node.name, value)
            if self._wanted[node.name]:
                self._kept[node.name] = value
        return self._kept.pop(name)


def _judged(
    backend: Backend, models: dict[DType, Any], graph: Graph, node: Node, inputs: list[NDArray[Any]],
    moved: list[NDArray[Any]],
    value: NDArray[Any], wanted: NDArray[Any], rounded: frozenset[str], generator: np.random.Generator,
) -> Judged:  # fmt: skip
    exact = models["float64"]
    draws = [
        apply_with_noise(backend, exact, graph, node, moved, generator, rounded) for _ in range(draws_for(value.size))
    ]
    error = max(largest_difference(draw, value) for draw in draws)
    # In float64 both forms round, and so do the formulas, as often as a normalization at most.
    own = any(one is not other for one, other in zip(inputs, moved, strict=True))
    roundings = 1 if own else node.operation.roundings(*graph.input_shapes(node)) + 1
    both = 2 * error * (sqrt((roundings + NORMALIZING) / roundings) if own or node.layer in rounded else 1)
    narrow = [value.astype("float32") for value in inputs]
    low = backend.apply(models["float32"], graph, node.name, narrow)
    high = backend.apply(exact, graph, node.name, [value.astype("float64") for value in narrow])
    return Judged(
        node.name,
        root_mean_square(wanted),
        largest_difference(value, wanted),
        rounding_tolerance(both, "float64"),
        largest_difference(low, high),
        rounding_tolerance(error),
    )
