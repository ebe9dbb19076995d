"""Convolutions as ONNX nodes."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder
from resnet_spec_onnx.emitting.windows import add_padding, dilation_of, window_attributes


@EMITTERS.register("conv2d")
def _conv2d(op: ops.Conv2d, builder: NodeBuilder, x: str) -> str:
    return _convolution(op, builder, x, builder.parameter("weight"))


@EMITTERS.register("std_conv2d")
def _std_conv2d(op: ops.StdConv2d, builder: NodeBuilder, x: str) -> str:
    # Standardized by nodes, so that the file holds the parameter itself; a runtime folds them once.
    axes = [1, 2, 3]
    centered = builder.subtract_mean(builder.parameter("weight"), axes)
    kernel = builder.add("Div", centered, builder.root_mean_square(centered, axes, op.epsilon))
    if op.gain:
        factor = builder.reals(op.factor(*builder.input_shapes))
        kernel = builder.add("Mul", kernel, builder.add("Mul", builder.parameter("gain"), factor))
    return _convolution(op, builder, x, kernel)


def _convolution(op: ops.Conv2d | ops.StdConv2d, builder: NodeBuilder, x: str, kernel: str) -> str:
    x, padding = add_padding(builder, op, x, 0.0)
    attributes = {"dilations": dilation_of(op), "group": op.groups, **window_attributes(op), **padding}
    return builder.add("Conv", x, kernel, *builder.optional_bias(op), **attributes)


@EMITTERS.register("conv_transpose2d")
def _conv_transpose2d(op: ops.ConvTranspose2d, builder: NodeBuilder, x: str) -> str:
    (top, bottom), (left, right) = op.crop
    attributes = {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": [top, left, max(bottom, 0), max(right, 0)],
        "output_padding": [max(-bottom, 0), max(-right, 0)],
    }
    return builder.add("ConvTranspose", x, builder.parameter("weight"), *builder.optional_bias(op), **attributes)


@EMITTERS.register("conv1d")
def _conv1d(op: ops.Conv1d, builder: NodeBuilder, x: str) -> str:
    attributes = {"kernel_shape": [op.kernel], "pads": [op.padding, op.padding]}
    return builder.add("Conv", x, builder.parameter("weight"), *builder.optional_bias(op), **attributes)
