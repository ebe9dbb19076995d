"""Layers that are a factor and an offset per channel in inference, as arrays that other layers can include."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.graph import Graph, Node
from resnet_spec.operations import BatchNorm, Multiply, Offset, Scale

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Affine(NamedTuple):
    """What a node computes of its input: ``factor`` · input + ``offset``, one number of each per channel.

    Attributes:
        sources: Names of the parameters that both are computed from.
        factor: Computes the factors from their arrays, as a vector or a single number; None if they are 1.
        offset: Computes the offsets, as a vector or a single number; None if they are 0.
    """

    sources: tuple[str, ...]
    factor: Callable[..., NDArray[Any]] | None
    offset: Callable[..., NDArray[Any]] | None


def normalization(graph: Graph, node: Node) -> Affine | None:
    """Return what a batch normalization computes in inference.

    Args:
        graph: The graph.
        node: One of its nodes.

    Returns:
        None for a node of another kind.
    """
    if not isinstance(operation := node.operation, BatchNorm):
        return None
    slots = [slot.name for slot in operation.parameters(*graph.input_shapes(node))]
    epsilon = operation.epsilon

    def factor(*arrays: NDArray[Any]) -> NDArray[Any]:
        own = dict(zip(slots, arrays, strict=True))
        return own.get("weight", 1.0) / (own["running_var"] + epsilon) ** 0.5

    def offset(*arrays: NDArray[Any]) -> NDArray[Any]:
        own = dict(zip(slots, arrays, strict=True))
        return own.get("bias", 0.0) - own["running_mean"] * factor(*arrays)

    return Affine(tuple(map(node.parameter_name, slots)), factor, offset)


def learned_factor(graph: Graph, node: Node) -> Affine | None:
    """Return what a learned or constant factor, or a learned term, computes.

    Args:
        graph: The graph.
        node: One of its nodes.

    Returns:
        None for a node of another kind, and where there is a number for each element.
    """
    operation = node.operation
    if isinstance(operation, Multiply) and len(node.inputs) == 1:
        constant = operation.factor
        return Affine((), lambda: _vector(constant), None)
    if isinstance(operation, Scale) and operation.shape != "map":
        return Affine((node.parameter_name(""),), _vector, None)
    if isinstance(operation, Offset) and operation.shape != "map":
        return Affine((node.parameter_name(""),), None, _vector)
    return None


def _vector(value: Any) -> NDArray[Any]:
    import numpy as np

    return np.reshape(np.asarray(value, np.float64), -1)


def evaluated(affine: Affine, arrays: Sequence[NDArray[Any]], channels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute both vectors.

    Args:
        affine: A layer.
        arrays: The arrays of its ``sources``.
        channels: The number of channels.

    Returns:
        Factors and offsets, one of each per channel.
    """
    import numpy as np

    factor = affine.factor(*arrays) if affine.factor else np.ones(1)
    offset = affine.offset(*arrays) if affine.offset else np.zeros(1)
    return np.broadcast_to(factor, channels), np.broadcast_to(offset, channels)
