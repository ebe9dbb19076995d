"""The normal form of convolutions."""

from __future__ import annotations

from resnet_spec.operations.fields import MAX_RANK
from resnet_spec.operations.windows import transposed_size
from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.parameters import kernel_and_bias
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS
from resnet_spec_onnx.reading.operations.windows import LIMIT, window_of


@NODE_FORMS.register("Conv")
def _conv_node(node: NodeView) -> Value:
    return _convolution(node)


def _convolution(node: NodeView) -> Computed:
    step, kernel = _kernel(node)
    channels, inputs, *sizes = kernel.array.shape
    groups = node.integer("group", 1)
    window = window_of(node, step, tuple(sizes))
    if groups < 1 or inputs * groups != node.channels(step):
        raise node.error(f"has a kernel for {inputs * groups} channels, but its input has {node.channels(step)}")
    tensors = kernel_and_bias(node, kernel, channels)
    step = node.network.convolution(step, node.source, window, channels, groups, tensors)
    return node.result(step, kernel.array.ndim)


@NODE_FORMS.register("com.microsoft.FusedConv")
def _fused_conv_node(node: NodeView) -> Value:
    """ONNX Runtime's convolution with the activation after it, which its optimizer writes."""
    activation = node.string("activation", "")
    if activation not in ("Relu", "Sigmoid") or node.has_input(3):
        raise node.error(f"has the unsupported activation {activation!r}, or an addition")
    value = _convolution(node)
    step = node.network.add(activation.lower(), (value.step,), node.source, nonnegative=True)
    return node.result(step, len(value.axes))


@NODE_FORMS.register("ConvTranspose")
def _conv_transpose_node(node: NodeView) -> Value:
    step, kernel = _kernel(node)
    node.require(group=1)
    inputs, channels, *kernel_sizes = kernel.array.shape
    window = window_of(node, step, tuple(kernel_sizes))
    rank = len(kernel_sizes)
    output_padding = node.integers("output_padding", [0] * rank)
    crop = window.padding
    if crop == "same" or max(window.dilation) > 1 or node.integers("output_shape") or inputs != node.channels(step):
        raise node.error("is an unsupported transposed convolution")
    if len(output_padding) != rank or any(not 0 <= number < LIMIT for number in output_padding):
        raise node.error(f"has output_padding {list(output_padding)}")
    sizes = map(transposed_size, node.sizes(node.computed())[2:], window.kernel, window.stride, crop)
    after = [size + extra for size, extra in zip(sizes, output_padding, strict=True)]
    if min(after) < 1:
        raise node.error("leaves nothing of its feature map")
    tensors = kernel_and_bias(node, kernel, channels)
    kernel_and_stride = window.kernel[:rank], window.stride[:rank]
    shape = (channels, *after)
    found = node.network.transposed_convolution(step, node.source, shape, tensors, *kernel_and_stride, crop)
    return node.result(found, kernel.array.ndim)


def _kernel(node: NodeView) -> tuple[int, Constant]:
    """Return the step that a convolution reads, and its kernel."""
    kernel = node.constant(1)
    shape = kernel.array.shape
    if (
        not 1 <= kernel.array.ndim - 2 <= MAX_RANK
        or node.integers("kernel_shape", shape[2:]) != shape[2:]
        or 0 in shape
    ):
        raise node.error(f"has a kernel {list(shape)}")
    return node.channels_first(node.computed(), kernel.array.ndim), kernel
