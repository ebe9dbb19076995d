"""Run a network node by node with the backend's own layers; a value is dropped after its last use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import Category, StdConv
from resnet_spec.parity.report import largest_difference
from resnet_spec.parity.rounding import Noise, draws_for, with_noise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Backend, DType

FLOAT32 = Noise.of("float32")

_SUMS = (Category.CONVOLUTION, Category.LINEAR, Category.POOLING)


class Walk:
    """One backend's side of a comparison of every node.

    Each step computes the next node of the float64 model from the reference's values of its inputs (``float64``),
    and from this backend's own values (``free``; not for the reference, where both are the same). With a float32
    model ``float32_difference`` is the largest difference from float64, both from inputs rounded to float32; with a
    generator ``rounding_error`` is the float32 rounding error estimated for the node (see ``rounding``).
    """

    def __init__(
        self,
        backend: Backend,
        models: Mapping[DType, Any],
        graph: Graph,
        images: NDArray[Any],
        generator: np.random.Generator | None,
        *,
        leading: bool,
    ) -> None:
        self._backend = backend
        self._models = models
        self._graph = graph
        self._generator = generator
        self._free = Values(graph, images)
        self._shared = Values(graph, images)
        self._nodes = iter(graph.nodes)
        self._last = ""
        self._stopped = leading

    def give(self, value: NDArray[Any]) -> None:
        """Take the reference's value of the last node, for the nodes that need it."""
        self._shared.put(self._last, value)

    def step(self) -> dict[str, NDArray[Any]]:
        """Compute the next node, and return the results by the names above, without ``free`` once shapes do not fit."""
        node = next(self._nodes)
        self._last = node.name
        inputs = self._shared.take(node)
        value = self._apply("float64", node, inputs)
        found: dict[str, Any] = {"float64": value}
        if "float32" in self._models:
            narrow, wide = self.both(node, inputs)
            found["float32_difference"] = largest_difference(narrow, wide)
        if self._generator is not None:
            found["rounding_error"] = self._rounding_error(node, inputs, value, self._generator)
        if not self._stopped:
            try:
                found["free"] = self._apply("float64", node, self._free.take(node))
                self._free.put(node.name, found["free"])
            except Exception:
                # An earlier node has another shape, and is reported.
                self._stopped = True
        return found

    def _rounding_error(
        self, node: Node, inputs: list[NDArray[Any]], value: NDArray[Any], generator: np.random.Generator
    ) -> float:
        exact = self._models["float64"]
        draws = (
            apply_with_noise(self._backend, exact, self._graph, node, inputs, generator)
            for _ in range(draws_for(value.size))
        )
        return max(largest_difference(moved, value) for moved in draws)

    def both(self, node: Node, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return a node's value in float32 and in float64, from its inputs rounded to float32."""
        narrow = [value.astype("float32") for value in inputs]
        return self._apply("float32", node, narrow), self._apply("float64", node, narrow)

    def _apply(self, dtype: DType, node: Node, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        values = [value.astype(dtype, copy=False) for value in inputs]
        return self._backend.apply(self._models[dtype], self._graph, node.name, values)


class Values:
    """Values by the names of their nodes, each kept until its last use."""

    def __init__(self, graph: Graph, images: NDArray[Any]) -> None:
        self._uses = Counter(name for node in graph.nodes for name in node.inputs)
        self._values = {INPUT: images}

    def take(self, node: Node) -> list[NDArray[Any]]:
        """Return the inputs of a node; nodes must be taken in the graph's order."""
        inputs = [self._values[name] for name in node.inputs]
        self._uses.subtract(node.inputs)
        for name in set(node.inputs):
            if not self._uses[name]:
                del self._values[name]
        return inputs

    def put(self, name: str, value: NDArray[Any]) -> None:
        """Keep a node's value, if any node needs it."""
        if self._uses[name]:
            self._values[name] = value


def walk_with_noise(
    backend: Backend,
    model: Any,
    graph: Graph,
    images: NDArray[Any],
    generator: np.random.Generator,
    rounded: Container[str] = (),
    noise: Noise = FLOAT32,
) -> NDArray[Any]:
    """Return the last output of a float64 model with rounding noise; see ``rounding``.

    ``rounded`` are the layers whose parameters were computed, and rounded to float32.
    """
    values = Values(graph, images)
    value = images
    for node in graph.nodes:
        value = apply_with_noise(backend, model, graph, node, values.take(node), generator, rounded, noise)
        values.put(node.name, value)
    return value


def apply_with_noise(
    backend: Backend,
    model: Any,
    graph: Graph,
    node: Node,
    inputs: list[NDArray[Any]],
    generator: np.random.Generator,
    rounded: Container[str] = (),
    noise: Noise = FLOAT32,
) -> NDArray[Any]:
    """Return one node's value with rounding noise in its inputs and in the result.

    Noise in the inputs shows cancellation in a sum; without cancellation it averages out, and noise in the result
    accounts for the roundings that partial sums share.
    """
    # A parameter that was rounded is one rounding more in each of its terms.
    count = node.operation.roundings(*graph.input_shapes(node)) + (node.layer in rounded)
    given, result = noise.deviations(count, of_a_sum=_is_a_sum(node))
    moved = [with_noise(value, given, generator) for value in inputs]
    return with_noise(backend.apply(model, graph, node.name, moved), result, generator)


def _is_a_sum(node: Node) -> bool:
    """Whether a node adds products of what it is given: a standardized kernel is computed first, and rounded."""
    return node.operation.category in _SUMS and not isinstance(node.operation, StdConv)
