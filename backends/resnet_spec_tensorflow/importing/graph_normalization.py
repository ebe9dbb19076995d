"""Reads batch normalizations of TensorFlow's graphs, fused or decomposed, of channels or of each position."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from resnet_spec_tensorflow.importing.graph_attributes import FORMATS, SUMS, format_of, layer_of, own_array
from resnet_spec_tensorflow.importing.graph_def import Constant, GraphNode
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor


@READERS.register("tf.FusedBatchNorm", "tf.FusedBatchNormV2", "tf.FusedBatchNormV3")
def _fused_batch_norm(context: Context) -> Tensor | None:
    node: GraphNode = context.layer
    arrays = [value for value in node.values[1:] if isinstance(value, Constant)]
    if len(arrays) != 4 or node.attribute("is_training", True):
        return context.problem("normalizes by the batch's own statistics; freeze the graph in inference mode")
    node.owner = arrays[2]
    tensor = context.channels_first(context.tensor, FORMATS[format_of(context)])
    names = ("weight", "bias", "running_mean", "running_var")
    return tensor and _batch_norm(
        context,
        tensor,
        {name: own_array(value.array) for name, value in zip(names, arrays, strict=True)},
        float(node.attribute("epsilon", 1e-4)),
        layer_of(arrays[2]),
    )


def _batch_norm(
    context: Context, tensor: Tensor, arrays: dict[str, Any], epsilon: float, name: str, op: str = "batch_norm"
) -> Tensor | None:
    context.remark(
        "batch normalizations of a frozen graph, which does not state their momentum; it is read as 0.01", name
    )
    return context.add(
        op,
        tensor.value,
        tensor.axes,
        name=name,
        arrays=arrays,
        # The number that is this one in float32.
        epsilon=float(str(np.float32(epsilon))),
        momentum=0.01,
        running_variance="biased",
        scale="weight" in arrays,
        offset="bias" in arrays,
    )


def normalizes(node: GraphNode) -> bool:
    """Whether a node adds or multiplies what a decomposed batch normalization does."""
    constants = [value for value in node.values if isinstance(value, Constant)]
    return any(value.op in ("Sub", "Neg") or _root(value) is not None for value in constants)


def _root(constant: Constant) -> tuple[Constant, float, Constant | None] | None:
    """The variance, the epsilon and the scale of a factor scale · rsqrt(variance + epsilon)."""
    scale: Constant | None = None
    while constant.op in ("Reshape", "Squeeze", "ExpandDims", "Cast"):
        constant = constant.inputs[0]
    if constant.op == "Mul":
        roots = [value for value in constant.inputs if value.op == "Rsqrt"]
        if len(roots) != 1:
            return None
        scale = next(value for value in constant.inputs if value is not roots[0])
        constant = roots[0]
    if constant.op != "Rsqrt" or constant.inputs[0].op not in ("Add", "AddV2"):
        return None
    # One channel has a variance of one number too: the epsilon has fewer axes, or else is added to the variance.
    one, other = constant.inputs[0].inputs
    epsilon, variance = sorted((other, one), key=lambda value: (value.array.size, value.array.ndim))
    return (variance, float(epsilon.array.reshape(-1)[0]), scale) if epsilon.array.size == 1 else None


def by_position(context: Context, target: tuple[int, ...]) -> Tensor | None:
    """A batch normalization of each position by itself, as it is written: flattened, normalized and shaped back."""
    tensor, product = context.tensor, context.only_reader
    if (len(target), len(tensor.axes)) != (1, 3) or product is None or getattr(product.operation, "kind", "") != "Mul":
        return None
    total = context.reader.only_reader(product.outputs[0])
    back = None if total is None else context.reader.only_reader(total.outputs[0])
    factor = next((value for value in product.operation.values if isinstance(value, Constant)), None)
    if back is None or factor is None or getattr(back.operation, "kind", "") != "Reshape":
        return None
    if back.outputs[0].shape[1:] != tensor.shape:
        return None
    found = decomposed(Context(context.reader, product, [tensor]), factor)
    if found is not None:
        context.absorb(product)
        context.absorb(back)
    return found


def decomposed(context: Context, factor: Constant) -> Tensor | None:
    """x · factor + (offset - mean · factor) as a batch normalization; None, without a problem, if it is none.

    Its arrays have a number for each channel, or for each position of a map that is flattened before it.
    """
    root = _root(factor)
    later = context.only_reader
    if root is None or later is None or not isinstance(later.operation, GraphNode):
        return None
    node: GraphNode = later.operation
    shift = next((value for value in node.values if isinstance(value, Constant)), None)
    if shift is None or node.kind not in SUMS:
        return None
    variance, epsilon, scale = root
    product, offset = shift, None
    if shift.op == "Sub":
        offset, product = shift.inputs
    elif shift.op in ("Add", "AddV2"):
        product = next((value for value in shift.inputs if value.op == "Mul"), shift)
        offset = next((value for value in shift.inputs if value is not product), None)
    mean = _mean_of(product, factor)
    if mean is None:
        return None
    context.absorb(later)
    arrays = {"weight": scale, "bias": offset, "running_mean": mean, "running_var": variance}
    found = {name: own_array(value.array.reshape(-1)) for name, value in arrays.items() if value is not None}
    if shift.op != "Sub":
        # What is added is minus the mean.
        found["running_mean"] = -found["running_mean"]
        mean = mean.inputs[0] if mean.op == "Neg" else mean
    context.layer.owner = mean
    tensor = context.tensor
    if len(tensor.axes) == 3 and found["running_mean"].size == prod(tensor.shape) > tensor.shape[-1]:
        order = np.argsort(tensor.axes)
        maps = {slot: own_array(array.reshape(tensor.shape).transpose(order)) for slot, array in found.items()}
        return _batch_norm(context, tensor, maps, epsilon, layer_of(mean), "position_batch_norm")
    tensor = context.first(tensor)
    return tensor and _batch_norm(context, tensor, found, epsilon, layer_of(mean))


def _mean_of(product: Constant, factor: Constant) -> Constant | None:
    """The mean in mean · factor, of which the factor may be the same node."""
    if product.op == "Neg":
        return None
    if product.op != "Mul" or factor not in product.inputs:
        return None
    return next((value for value in product.inputs if value is not factor), None)
