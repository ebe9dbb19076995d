"""Kernels that a layer computes from its weights at each call, and that inference needs only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import Graph
from resnet_spec.operations import Conv, StdConv
from resnet_spec.optimization.rewriting import Formula, Rewriting, replaced

if TYPE_CHECKING:
    from numpy.typing import NDArray


def compute_standardized_kernels(graph: Graph) -> Rewriting:
    """Replace convolutions with weight standardization by convolutions with the standardized kernels.

    Requires:
        Nothing.

    Ensures:
        No ``std_conv2d`` is left. Layers that are called several times are replaced too.

    Args:
        graph: Any graph.

    Returns:
        The graph with convolutions of the same names; their kernels are (weight - mean) / sqrt(variance + epsilon)
        over each output channel, times gain and factor where the layer has a gain.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import compute_standardized_kernels
        >>> graph = resnet_spec.load("timm/resnetv2_50x1_bit").to_graph()
        >>> compute_standardized_kernels(graph).graph.by_name["stem.conv"].operation.op
        'conv2d'
    """
    operations: dict[str, Conv] = {}
    formulas: dict[str, Formula] = {}
    for node in graph.nodes:
        if not isinstance(operation := node.operation, StdConv):
            continue
        operations[node.name] = _plain(operation)
        weight = node.parameter_name("weight")
        factor = operation.factor(*graph.input_shapes(node))
        sources = (weight, node.parameter_name("gain")) if operation.gain else (weight,)
        formulas[weight] = Formula(sources, _standardized(operation.epsilon, factor))
    return replaced(graph, operations, {}, formulas) if operations else Rewriting.unchanged(graph)


def _plain(operation: StdConv) -> Conv:
    fields = {name: getattr(operation, name) for name in Conv.model_fields if name != "op"}
    return Conv.model_validate({"op": "conv2d", **fields})


def _standardized(epsilon: float, factor: float) -> Callable[..., NDArray[Any]]:
    def compute(weight: NDArray[Any], gain: NDArray[Any] | float = 1.0) -> NDArray[Any]:
        axes = tuple(range(1, weight.ndim))
        centered = weight - weight.mean(axes, keepdims=True)
        deviation = ((centered**2).mean(axes, keepdims=True) + epsilon) ** 0.5
        return centered / deviation * gain * factor

    return compute
