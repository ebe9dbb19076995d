"""The normal form of convolutions."""

from __future__ import annotations

from collections.abc import Mapping

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Edges, Shape
from resnet_spec.operations.windows import transposed_size
from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.parameters import kernel_and_bias
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS, OPERATION_FORMS, OperationView
from resnet_spec_onnx.reading.operations.windows import LIMIT, window_of
from resnet_spec_onnx.reading.steps import NormalForm, Tensor, Window


@OPERATION_FORMS.register("conv2d")
def _conv2d(op: ops.Conv2d, view: OperationView, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, op.dilation)
    return view.network.convolution(x, view.source, window, op.channels, op.groups, view.tensors)


@OPERATION_FORMS.register("conv1d")
def _conv1d(op: ops.Conv1d, view: OperationView, x: int) -> int:
    window = Window((op.kernel, 1), (1, 1), ((op.padding, op.padding), (0, 0)))
    return view.network.convolution(x, view.source, window, op.channels, 1, view.tensors)


@OPERATION_FORMS.register("conv_transpose2d")
def _conv_transpose2d(op: ops.ConvTranspose2d, view: OperationView, x: int) -> int:
    return _transposed(view.network, x, view.source, view.shape, view.tensors, op.kernel, op.stride, op.crop)


@NODE_FORMS.register("Conv")
def _conv_node(node: NodeView) -> Value:
    return _convolution(node)


def _convolution(node: NodeView) -> Computed:
    step, kernel = _kernel(node, (3, 4))
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
    step, kernel = _kernel(node, (4,))
    node.require(group=1)
    inputs, channels, *kernel_sizes = kernel.array.shape
    window = window_of(node, step, tuple(kernel_sizes))
    output_padding = node.integers("output_padding", [0, 0])
    crop = window.padding
    if crop == "same" or window.dilation != (1, 1) or node.integers("output_shape") or inputs != node.channels(step):
        raise node.error("is an unsupported transposed convolution")
    if len(output_padding) != 2 or any(not 0 <= number < LIMIT for number in output_padding):
        raise node.error(f"has output_padding {list(output_padding)}")
    sizes = map(transposed_size, node.network.steps[step].shape[1:], window.kernel, window.stride, crop)
    height, width = (size + extra for size, extra in zip(sizes, output_padding, strict=True))
    if min(height, width) < 1:
        raise node.error("leaves nothing of its feature map")
    shape = channels, height, width
    tensors = kernel_and_bias(node, kernel, channels)
    return node.result(_transposed(node.network, step, node.source, shape, tensors, window.kernel, window.stride, crop))


def _kernel(node: NodeView, ranks: tuple[int, ...]) -> tuple[int, Constant]:
    """Return the step that a convolution reads, and its kernel."""
    kernel = node.constant(1)
    shape = kernel.array.shape
    if kernel.array.ndim not in ranks or node.integers("kernel_shape", shape[2:]) != shape[2:] or 0 in shape:
        raise node.error(f"has a kernel {list(shape)}")
    return node.channels_first(node.computed(), kernel.array.ndim), kernel


def _transposed(
    network: NormalForm,
    x: int,
    source: str,
    shape: Shape,
    tensors: Mapping[str, Tensor],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    crop: Edges,
) -> int:
    # What is cropped after the map follows from the shape.
    before = tuple(before for before, _ in crop)
    return network.add(
        "transposed_convolution", (x,), source, shape, tensors, kernel=kernel, stride=stride, crop=before
    )
