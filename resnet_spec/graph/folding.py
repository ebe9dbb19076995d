"""Batch normalizations folded into the convolutions or linear layers before them, as in deployed files.

In inference a normalization is a factor and an offset per channel, which the kernel and a bias can include: one layer
instead of two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import Graph, Node
from resnet_spec.operations import BatchNorm, Conv, ConvTranspose, Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


def fold(graph: Graph) -> Graph:
    """The same network without the batch normalizations that are the only use of a convolution or a linear layer.

    That layer gets a bias. Layers that are called twice are unchanged, and so is one whose own value is an output.
    """
    convolutions = {norm.name: convolution.name for convolution, norm in _pairs(graph)}
    widened = set(convolutions.values())

    def renamed(name: str) -> str:
        return convolutions.get(name, name)

    def folded(node: Node) -> Node:
        biased = {"operation": node.operation.model_copy(update={"bias": True})} if node.name in widened else {}
        return node.model_copy(update={"inputs": tuple(map(renamed, node.inputs)), **biased})

    return Graph(
        name=graph.name,
        description=graph.description,
        input=graph.input,
        nodes=tuple(folded(node) for node in graph.nodes if node.name not in convolutions),
        outputs=tuple(map(renamed, graph.outputs)),
        output_names=graph.output_names,
        scopes=tuple(scope.model_copy(update={"output": renamed(scope.output)}) for scope in graph.scopes),
        declaration=tuple(name for name in graph.declaration if name not in convolutions),
        initialization=graph.initialization,
    )


def fold_arrays(graph: Graph, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays of ``fold(graph)`` from those of ``graph``, computed in float64 and rounded once.

    The kernel becomes kernel · scale / sqrt(variance + epsilon); the bias becomes
    offset + (bias - mean) · scale / sqrt(variance + epsilon).
    """
    import numpy as np

    folded = dict(arrays)
    for convolution, norm in _pairs(graph):
        own = {name: folded.pop(norm.parameter_name(name)).astype(np.float64) for name in _names(graph, norm)}
        factor = own.get("weight", 1.0) / np.sqrt(own["running_var"] + _epsilon(norm))
        weight, offset = convolution.parameter_name("weight"), convolution.parameter_name("bias")
        kernel, bias = arrays[weight], arrays.get(offset, 0.0)
        axis = 1 if isinstance(convolution.operation, ConvTranspose) else 0
        columns = factor.reshape([-1 if index == axis else 1 for index in range(kernel.ndim)])
        folded[weight] = (kernel * columns).astype(kernel.dtype)
        shifted = own.get("bias", 0.0) + (bias - own["running_mean"]) * factor
        folded[offset] = np.asarray(shifted).astype(kernel.dtype)
    return {parameter.name: folded[parameter.name] for parameter in fold(graph).parameters()}


def _pairs(graph: Graph) -> list[tuple[Node, Node]]:
    """Each convolution or linear layer with the normalization that is its only use."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    calls = Counter(node.layer for node in graph.nodes)
    pairs: list[tuple[Node, Node]] = []
    for norm in graph.nodes:
        convolution = graph.by_name.get(norm.inputs[0])
        if (
            isinstance(norm.operation, BatchNorm)
            and convolution is not None
            and isinstance(convolution.operation, Conv | ConvTranspose | Linear)
            # The features of other values are not the channels that are normalized.
            and (len(convolution.shape) == 1 or not isinstance(convolution.operation, Linear))
            and uses[convolution.name] == calls[norm.layer] == calls[convolution.layer] == 1
            and convolution.name not in graph.outputs
        ):
            pairs.append((convolution, norm))
    return pairs


def _names(graph: Graph, norm: Node) -> list[str]:
    return [slot.name for slot in norm.operation.parameters(*graph.input_shapes(norm))]


def _epsilon(norm: Node) -> float:
    assert isinstance(norm.operation, BatchNorm)  # noqa: S101 - as in every pair
    return norm.operation.epsilon
