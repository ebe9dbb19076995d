"""Convolutions as ONNX nodes."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder
from resnet_spec_onnx.emitting.windows import add_padding, dilation_of, pads, window_attributes


@EMITTERS.register("conv1d", "conv2d", "conv3d")
def _conv(op: ops.Conv, builder: NodeBuilder, x: str) -> str:
    return _convolution(op, builder, x, builder.parameter("weight"))


@EMITTERS.register("std_conv2d")
def _std_conv(op: ops.StdConv, builder: NodeBuilder, x: str) -> str:
    # Standardized by nodes, so that the file holds the parameter itself; a runtime folds them once.
    axes = [1, 2, 3]
    centered = builder.subtract_mean(builder.parameter("weight"), axes)
    kernel = builder.add("Div", centered, builder.root_mean_square(centered, axes, op.epsilon))
    if op.gain:
        factor = builder.reals(op.factor(*builder.input_shapes))
        kernel = builder.add("Mul", kernel, builder.add("Mul", builder.parameter("gain"), factor))
    return _convolution(op, builder, x, kernel)


def _convolution(op: ops.Conv | ops.StdConv, builder: NodeBuilder, x: str, kernel: str) -> str:
    x, padding = add_padding(builder, op, x, 0.0)
    attributes = {"dilations": dilation_of(op), "group": op.groups, **window_attributes(op), **padding}
    return builder.add("Conv", x, kernel, *builder.optional_bias(op), **attributes)


@EMITTERS.register("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(op: ops.ConvTranspose, builder: NodeBuilder, x: str) -> str:
    attributes = {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": pads(tuple((before, max(after, 0)) for before, after in op.crop)),
        "output_padding": [max(-after, 0) for _, after in op.crop],
    }
    return builder.add("ConvTranspose", x, builder.parameter("weight"), *builder.optional_bias(op), **attributes)
