"""Computes the values within a model: Keras' layers are called one after another, and a graph's tensors are fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec_keras.execution import quiet
from resnet_spec_tensorflow.framework import keras, tf
from resnet_spec_tensorflow.importing.calls import Call, Calls, Ref
from resnet_spec_tensorflow.importing.reader import Axes, Reader, Tensor, identity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Fetch = Callable[[Any, Sequence[Ref]], list[Any]]
    """Computes some values of the flat list of calls for images as the model takes them."""


def inner_values(
    reader: Reader, calls: Calls, graph: Graph, axes: Axes, fetch: Fetch
) -> Callable[[NDArray[np.float32], Sequence[str]], dict[str, NDArray[Any]]]:
    """Return a function that computes the values of some nodes, by name.

    ``axes`` are those of the model's input.
    """
    known = _nodes(reader, calls, graph)

    def values(images: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        wanted = {name: known[name] for name in names if name in known}
        arranged = np.ascontiguousarray(images.transpose(0, *(axis + 1 for axis in axes)))
        with quiet():
            outputs = fetch(arranged, [ref for ref, _ in wanted.values()])
        found = zip(wanted.items(), outputs, strict=True)
        return {name: in_the_graphs_layout(output, tensor) for (name, (_, tensor)), output in found}

    return values


def _nodes(reader: Reader, calls: Calls, graph: Graph) -> dict[str, tuple[Ref, Tensor]]:
    """The call's output that has each node's value, by the node's name: the last, since one node may be several."""
    found: dict[str, tuple[Ref, Tensor]] = {}
    for call in calls.calls:
        for ref in call.outputs:
            tensor = reader.tensor_of(ref)
            # What is left to a later call, as padding is, is not in the value yet.
            if tensor is not None and tensor.value.index >= 0 and id(ref) not in reader.paddings:
                name = reader.builder.names[tensor.value.index]
                node = graph.by_name.get(name)
                if node is not None and node.shape == tensor.value.shape:
                    found[name] = ref, tensor
    return found


def in_the_graphs_layout(output: Any, tensor: Tensor) -> NDArray[Any]:
    """A value of the model with its axes, and the elements of a flattened map, in the graph's order."""
    array = np.asarray(output)
    if tensor.order is not None:
        ordered = np.empty_like(array)
        ordered[:, tensor.order] = array
        return ordered
    return np.ascontiguousarray(array.transpose(0, *(int(axis) + 1 for axis in np.argsort(tensor.axes))))


def fetching_calls(calls: Calls, axes: Axes) -> Fetch:
    """A function that calls a model's layers one after another."""

    def run(images: Any, wanted: Sequence[Ref]) -> list[Any]:
        known: dict[int, Any] = {id(calls.input): images}

        def filled(part: Any) -> Any:
            return known[id(part)] if isinstance(part, Ref) else part

        for call in calls.calls:
            args, kwargs = keras.tree.map_structure(filled, (call.args, dict(call.kwargs)))
            # Augmentations are in training mode by default.
            if "training" in signature(call.operation.call).parameters:
                kwargs["training"] = False
            outputs = keras.tree.flatten(call.operation(*args, **kwargs))
            known.update((id(ref), output) for ref, output in zip(call.outputs, outputs, strict=True))
        return [known[id(ref)] for ref in wanted]

    def fetch(images: Any, wanted: Sequence[Ref]) -> list[Any]:
        if len(axes) > 1 and axes == identity(len(axes)):
            # TensorFlow's own kernels for the CPU are channels last.
            compiled: Any = tf.function(partial(run, wanted=wanted), jit_compile=True)
            return compiled(images)
        return run(tf.constant(images), wanted)

    return fetch


def fetching_tensors(calls: Sequence[Call], run: Callable[[Any, Sequence[str]], list[Any]]) -> Fetch:
    """A function that fetches tensors of a graph by their names, given a call for each of its nodes."""
    names: Mapping[int, str] = {
        id(ref): f"{call.operation.name}:{index}" for call in calls for index, ref in enumerate(call.outputs)
    }
    return lambda images, wanted: run(images, [names[id(ref)] for ref in wanted])
