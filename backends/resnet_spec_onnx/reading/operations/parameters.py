"""The constants of a node as the parameters of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.structure.steps import Tensor
from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import Computed, NodeView

if TYPE_CHECKING:
    from numpy.typing import NDArray


def kernel_and_bias(node: NodeView, kernel: Constant, channels: int) -> dict[str, Tensor]:
    """Return a kernel, and the bias if the node has one, of a convolution or linear layer."""
    tensors = {"weight": node.tensor(kernel)}
    if node.has_input(2):
        bias = node.constant(2)
        if bias.array.size != channels:
            raise node.error(f"has a bias {list(bias.array.shape)} for {channels} channels")
        tensors["bias"] = node.tensor(bias, bias.array.reshape(channels))
    return tensors


def per_channel(node: NodeView, value: Computed, constant: Constant) -> NDArray[Any]:
    """Return a constant that broadcasts with ``value`` as a vector over its channels; raises if it varies elsewhere."""
    array, sizes = constant.array, node.sizes(value)
    if array.dtype.kind != "f":
        raise node.error(f"has an input of {array.dtype} that must be floating-point")
    channels = node.channels(value.step)
    varying = [index - array.ndim for index, size in enumerate(array.shape) if size != 1]
    if array.ndim > len(sizes) or array.size == 0:
        raise node.error(f"joins {list(sizes)} with a constant {list(array.shape)}")
    if varying and (len(varying) > 1 or value.axes[varying[0]] != 1 or array.size != channels):
        raise node.error(f"has a constant {list(array.shape)}, which is not one number per channel")
    return np.broadcast_to(array.reshape(-1), (channels,))
