"""A network run node by node, each by the backend's own layer; a value is dropped after its last use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.rounding import UNIT, jittered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backends import Backend, DType


class Walk:
    """One backend's part in a comparison of every node.

    Each step computes the next node of a float64 model twice: going on from what this backend computed itself
    (``free``), and from values that all backends share (``float64``), the second in float32 too where such a model is
    there (``float32``). Shared values are ones that float32 holds, so that each precision is given the same. With a
    generator, ``jittered`` is what float32's rounding may make of the shared one.
    """

    def __init__(
        self,
        backend: Backend,
        models: Mapping[DType, Any],
        graph: Graph,
        images: NDArray[Any],
        generator: np.random.Generator | None,
    ) -> None:
        self._backend = backend
        self._models = models
        self._graph = graph
        self._generator = generator
        self._free = Values(graph, images)
        self._shared = Values(graph, images.astype("float32"))
        self._nodes = iter(graph.nodes)
        self._last = ""
        self._strayed = False

    def give(self, value: NDArray[Any]) -> None:
        """Share the last node's value, as the backends go on with it."""
        self._shared.put(self._last, value)

    def step(self) -> dict[str, NDArray[Any]]:
        """Compute the next node; the values by the names above. ``free`` is missing once shapes fit no more."""
        node = next(self._nodes)
        self._last = node.name
        backend, graph = self._backend, self._graph
        inputs = self._shared.take(node)
        found: dict[str, NDArray[Any]] = {}
        for dtype, model in self._models.items():
            found[dtype] = backend.apply(model, graph, node.name, [value.astype(dtype, copy=False) for value in inputs])
        exact = self._models["float64"]
        if self._generator is not None:
            wide = [value.astype("float64") for value in inputs]
            found["jittered"] = apply_jittered(backend, exact, graph, node, wide, self._generator)
        if not self._strayed:
            try:
                found["free"] = backend.apply(exact, graph, node.name, self._free.take(node))
                self._free.put(node.name, found["free"])
            except Exception:
                # A node before this one made another shape; that is told there.
                self._strayed = True
        return found


class Values:
    """Values by the names of their nodes, each kept until the last node that needs it has taken it."""

    def __init__(self, graph: Graph, images: NDArray[Any]) -> None:
        self._left = Counter(name for node in graph.nodes for name in node.inputs)
        self._held = {INPUT: images}

    def take(self, node: Node) -> list[NDArray[Any]]:
        """The inputs of a node, which come in the graph's order."""
        inputs = [self._held[name] for name in node.inputs]
        self._left.subtract(node.inputs)
        for name in set(node.inputs):
            if not self._left[name]:
                del self._held[name]
        return inputs

    def put(self, name: str, value: NDArray[Any]) -> None:
        """Keep a node's value, if any node needs it."""
        if self._left[name]:
            self._held[name] = value


def walk_jittered(
    backend: Backend, model: Any, graph: Graph, images: NDArray[Any], generator: np.random.Generator
) -> NDArray[Any]:
    """The last output of a float64 model that rounds as float32 might: see ``rounding``."""
    values = Values(graph, images)
    value = images
    for node in graph.nodes:
        value = apply_jittered(backend, model, graph, node, values.take(node), generator)
        values.put(node.name, value)
    return value


def apply_jittered(
    backend: Backend,
    model: Any,
    graph: Graph,
    node: Node,
    inputs: list[NDArray[Any]],
    generator: np.random.Generator,
) -> NDArray[Any]:
    """One node's value from inputs moved by what the roundings within it may do, itself rounded once."""
    count = node.operation.roundings(*graph.input_shapes(node))
    unit = UNIT["float32"]
    moved = [jittered(value, count, generator, unit) for value in inputs]
    return jittered(backend.apply(model, graph, node.name, moved), min(count, 1), generator, unit)
