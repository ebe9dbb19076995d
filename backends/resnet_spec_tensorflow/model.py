"""From a graph to a Keras functional model: one walk over the nodes, each calling its layers on its inputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec_tensorflow.emitters import Site, Steps, emit
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.parameters import set_initializers

if TYPE_CHECKING:
    from resnet_spec.backends import DType

_HELPERS = {"flatten": "permute"}
"""What a step before a layer is called after the layer's name; ``pad`` where nothing else is said."""


def compile_graph(graph: Graph, dtype: DType, *, exact_statistics: bool) -> Any:
    """A ``keras.Model`` that takes (batch, height, width, channels), its parameters not yet set.

    Layers bear the names of the nodes that own them. Height and width are free, unless a parameter's shape depends
    on them. Several outputs are a list.

    Raises:
        BackendError: Keras cannot express an operation.
    """
    sites = _Sites(graph, dtype, exact_statistics)
    image = keras.Input((*_size(graph), graph.input.channels), dtype=dtype, name=INPUT)
    values: dict[str, Any] = {INPUT: image}
    layers: dict[str, Steps] = {}
    for node in graph.nodes:
        if node.layer not in layers:
            layers[node.layer] = emit(node.operation, sites.site(node))
        value = [values[name] for name in node.inputs] if node.operation.joins else values[node.inputs[0]]
        for step in layers[node.layer]:
            value = step(value)
        values[node.name] = value
    outputs = [values[name] for name in graph.outputs]
    model = keras.Model(image, outputs if len(outputs) > 1 else outputs[0], name=_model_name(graph.name))
    set_initializers(model, graph)
    return model


class _Sites:
    """What the emitters are told of each layer, worked out for all its calls at once."""

    def __init__(self, graph: Graph, dtype: DType, exact_statistics: bool) -> None:
        self._graph = graph
        self._policy = keras.DTypePolicy(dtype)
        self._exact_statistics = exact_statistics
        self._taken = {INPUT, *graph.by_name}
        self._producers: dict[str, set[str]] = {}
        for node in graph.nodes:
            producer = graph.by_name.get(node.inputs[0])
            self._producers.setdefault(node.layer, set()).add(producer.operation.op if producer else INPUT)

    def site(self, node: Node) -> Site:
        return Site(
            name=node.layer,
            helper=self._free(f"{node.layer}.{_HELPERS.get(node.operation.op, 'pad')}"),
            policy=self._policy,
            producers=frozenset(self._producers[node.layer]),
            rank=len(self._graph.input_shapes(node)[0]),
            exact_statistics=self._exact_statistics,
        )

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _size(graph: Graph) -> tuple[int | None, int | None]:
    return (graph.input.height, graph.input.width) if graph.depends_on_size else (None, None)


def _model_name(name: str) -> str:
    # Keras refuses slashes, and TensorFlow's scopes most other punctuation and a leading dash.
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip("_-") or "resnet"
