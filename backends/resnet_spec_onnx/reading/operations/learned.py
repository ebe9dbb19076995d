"""The normal form of learned factors, terms and values.

A file's product with an initializer is one of these only for a spec that has such operations; for others it is a folded
normalization, one number per channel.
"""

from __future__ import annotations

from math import prod

import numpy as np

from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value


def is_learned(node: NodeView, constant: Constant) -> bool:
    """Whether a constant is an initializer that may be a learned value of the spec."""
    return bool(constant.names) and node.layout.learned.issuperset(constant.names)


def learned(node: NodeView, value: Computed, constant: Constant, kind: str) -> Value:
    """Return a value times, or plus, an initializer that broadcasts with it, whatever axes it varies along."""
    sizes, array = node.sizes(value), constant.array
    if array.dtype.kind != "f" or array.ndim > len(sizes):
        raise node.error(f"joins {list(sizes)} with a constant {list(array.shape)} of {array.dtype}")
    array = array.reshape((1,) * (len(sizes) - array.ndim) + array.shape)
    if any(size not in (1, wanted) for size, wanted in zip(array.shape, (1, *sizes[1:]), strict=True)):
        raise node.error(f"joins {list(sizes)} with a constant {list(constant.array.shape)}")
    rank = len(node.network.steps[value.step].shape)
    longer = {axis: index for index, axis in enumerate(value.axes) if axis is not None and array.shape[index] != 1}
    # In the order of the step's own axes, without those of size 1, which comparing restores.
    order = [longer[axis] for axis in sorted(longer)]
    rest = [index for index in range(array.ndim) if index not in order]
    tensor = node.tensor(constant, array.transpose([*rest, *order]).reshape([array.shape[index] for index in order]))
    varying = tuple(axis - 1 for axis in range(1, rank + 1) if axis in longer)
    step = node.network.add(kind, (value.step,), node.source, None, {"": tensor}, along=varying)
    return Computed(step, value.axes)


def expanded(node: NodeView) -> Value | None:
    """Return an initializer that is repeated for each image, None for any other constant."""
    constant = node.constant(0)
    if not is_learned(node, constant):
        return None
    array, target = constant.array, node.integer_input(1, "") or ()
    try:
        batch, *shape = np.broadcast_shapes(array.shape, target)
    except ValueError:
        batch, shape = 0, []
    if not 1 <= len(shape) <= 4 or batch != node.layout.batch or array.size != prod(shape):
        raise node.error(f"expands {list(array.shape)} to {list(target)}, which is not once per image")
    tensors = {"": node.tensor(constant, array.reshape(shape))}
    return node.result(node.network.add("parameter", (0,), node.source, tuple(shape), tensors), 1 + len(shape))
