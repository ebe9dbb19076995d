"""Compiles a graph to a Keras functional model: one pass over the nodes, each calling its layers on its inputs."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from resnet_spec.errors import BackendError
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec_keras.emitting import LayerContext, Steps, emit
from resnet_spec_keras.framework import keras
from resnet_spec_keras.parameters import set_initializers
from resnet_spec_keras.quantization import FakeQuantize

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from resnet_spec.operations.fields import Shape
    from resnet_spec.quantization import Quantization


def compile_graph(
    graph: Graph,
    dtype: str | None,
    *,
    exact_statistics: bool = False,
    synchronized: bool = False,
    batch: int | None = None,
    quantization: Quantization | None = None,
) -> Any:
    """Return a ``keras.Model`` of (batch, ..., channels) or (batch, features), its parameters not yet set.

    Layers have the names of the nodes that own them. The sizes of positions are dynamic, unless a parameter's shape
    depends on them; with ``batch`` all sizes are fixed. Several outputs are a list, named outputs a dict. ``dtype`` may
    be the name of any of Keras' dtype policies. With a ``quantization`` the values and kernels that it lists are
    rounded to their grids.

    Raises:
        BackendError: Keras cannot express an operation, or its global dtype policy cannot be followed.
    """
    policy = keras.DTypePolicy(dtype) if dtype else _global_policy()
    contexts = _LayerContexts(graph, policy, exact_statistics, synchronized, quantization)
    shape = (None, *_input_shape(graph)) if batch is None else (batch, *graph.input.shape[1:], graph.input.shape[0])
    input = keras.Input(batch_shape=shape, dtype=policy.variable_dtype, name=INPUT)
    value = input
    for step in contexts.rounding(INPUT):
        value = step(value)
    values: dict[str, Any] = {INPUT: value}
    layers: dict[str, Steps] = {}
    by_node: dict[str, Steps] = {}
    for node in graph.nodes:
        if node.layer not in layers:
            layers[node.layer] = emit(node.operation, contexts.context(node))
        by_node[node.name] = layers[node.layer] + contexts.rounding(node.name)
        values[node.name] = _applied(by_node[node.name], node, [values[name] for name in node.inputs])
    with deep_recursion(len(graph.nodes)):
        model = keras.Model(input, _outputs(graph, values), name=_model_name(graph.name))
    # The model's own is the global policy, and by it Keras decides whether to scale the loss.
    model.dtype_policy = policy
    set_initializers(model, graph)
    _STEPS[model] = by_node
    if quantization is not None:
        QUANTIZATIONS[model] = quantization
    return model


def _global_policy() -> Any:
    """Return Keras' global dtype policy; raises BackendError for one of quantization, or of each layer its own."""
    policy = keras.config.dtype_policy()
    if type(policy) is not keras.DTypePolicy:
        raise BackendError(
            f"Keras' global dtype policy {policy.name!r} is neither one dtype nor a mixed policy, so that the layers"
            " cannot follow it; pass dtype='float32' to build, or set another by keras.config.set_dtype_policy"
        )
    return policy


_STEPS: WeakKeyDictionary[Any, dict[str, Steps]] = WeakKeyDictionary()
"""The steps of each model by node, since Keras does not record which of its layers are one node's."""

QUANTIZATIONS: WeakKeyDictionary[Any, Quantization] = WeakKeyDictionary()
"""What is rounded in each model of an 8-bit network."""


def apply(model: Any, node: Node, inputs: Sequence[Any], *, rounding: bool = True) -> Any:
    """Compute one node's value by a compiled model's own layers, from its inputs' values, channels last.

    Without ``rounding`` it is the value before an 8-bit network rounds it.
    """
    found = steps(model, node)
    if not rounding and found and isinstance(found[-1], FakeQuantize):
        found = found[:-1]
    return _applied(found, node, inputs)


def steps(model: Any, node: Node) -> Steps:
    """The steps that compute one node's value in a compiled model."""
    return _STEPS[model][node.name]


def _applied(steps: Steps, node: Node, inputs: Sequence[Any]) -> Any:
    # The order of an addition's inputs determines the order of layers in Keras, also in its files, where
    # keras.applications has the shortcut first.
    joined = list(reversed(inputs)) if node.operation.op == "add" else list(inputs)
    value = joined if node.operation.joins else joined[0]
    for step in steps:
        value = step(value)
    return value


@contextmanager
def deep_recursion(depth: int) -> Generator[None]:
    """Raise the recursion limit for Keras, which traverses a model with one call per layer."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 4 * depth)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _outputs(graph: Graph, values: Mapping[str, Any]) -> Any:
    outputs = [values[name] for name in graph.outputs]
    if graph.output_names:
        return dict(zip(graph.output_names, outputs, strict=True))
    return outputs if len(outputs) > 1 else outputs[0]


class _LayerContexts:
    """The context of each layer, computed over all its calls."""

    def __init__(
        self,
        graph: Graph,
        policy: Any,
        exact_statistics: bool,
        synchronized: bool,
        quantization: Quantization | None = None,
    ) -> None:
        self._policy = policy
        self._quantization = quantization
        self._exact_statistics = exact_statistics
        self._synchronized = synchronized
        self._taken = {INPUT, *graph.by_name}
        self._producers: dict[str, set[str]] = {}
        self._shapes: dict[str, set[Shape]] = {}
        self._joined: dict[str, set[tuple[Shape, ...]]] = {}
        for node in graph.nodes:
            producer = graph.by_name.get(node.inputs[0])
            self._producers.setdefault(node.layer, set()).add(producer.operation.op if producer else INPUT)
            shapes = graph.input_shapes(node)
            self._shapes.setdefault(node.layer, set()).add(shapes[0])
            self._joined.setdefault(node.layer, set()).add(shapes)

    def context(self, node: Node) -> LayerContext:
        return LayerContext(
            name=node.layer,
            policy=self._policy,
            producers=frozenset(self._producers[node.layer]),
            shapes=frozenset(self._shapes[node.layer]),
            joined=frozenset(self._joined[node.layer]),
            exact_statistics=self._exact_statistics,
            synchronized=self._synchronized,
            free_name=self._free,
            kernel_scales=self._quantization.kernels.get(node.parameter_name("weight")) if self._quantization else None,
        )

    def rounding(self, name: str) -> Steps:
        """The step that rounds a value to its grid, if it has one of its own."""
        grid = self._quantization.values.get(name) if self._quantization else None
        if grid is None:
            return ()
        return (FakeQuantize(grid.scale, grid.zero_point, name=self._free(f"{name}.quantize"), dtype=self._policy),)

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _input_shape(graph: Graph) -> tuple[int | None, ...]:
    channels, *sizes = graph.input.shape
    return (*(size if graph.depends_on_size else None for size in sizes), channels)


def _model_name(name: str) -> str:
    # Keras rejects slashes, and TensorFlow's scopes most other punctuation and a leading dash.
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip("_-") or "resnet"
