"""Activations and softmax as ONNX nodes.

Attributes are float32: a number that is not is written as a constant into a float64 model.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("relu")
def _relu(op: ops.ReLU, builder: NodeBuilder, x: str) -> str:
    return builder.add("Relu", x)


@EMITTERS.register("relu6")
def _relu6(op: ops.ReLU6, builder: NodeBuilder, x: str) -> str:
    return builder.add("Clip", x, builder.reals(0.0), builder.reals(6.0))


@EMITTERS.register("leaky_relu")
def _leaky_relu(op: ops.LeakyReLU, builder: NodeBuilder, x: str) -> str:
    if _is_exact(op.slope, builder):
        return builder.add("LeakyRelu", x, alpha=op.slope)
    return _plus_negative(builder, x, builder.add("Min", x, builder.reals(0.0)), op.slope)


@EMITTERS.register("prelu")
def _prelu(op: ops.PReLU, builder: NodeBuilder, x: str) -> str:
    return builder.add("PRelu", x, builder.per_channel("weight") if op.per_channel else builder.parameter("weight"))


@EMITTERS.register("elu")
def _elu(op: ops.ELU, builder: NodeBuilder, x: str) -> str:
    if _is_exact(op.alpha, builder):
        return builder.add("Elu", x, alpha=op.alpha)
    negative = builder.add("Elu", builder.add("Min", x, builder.reals(0.0)))
    return _plus_negative(builder, x, negative, op.alpha)


@EMITTERS.register("silu")
def _silu(op: ops.SiLU, builder: NodeBuilder, x: str) -> str:
    return builder.add("Mul", x, builder.add("Sigmoid", x))


@EMITTERS.register("gelu")
def _gelu(op: ops.GELU, builder: NodeBuilder, x: str) -> str:
    if op.approximate:
        cube = builder.add("Mul", builder.add("Mul", x, x), x)
        sum_ = builder.add("Add", x, builder.add("Mul", cube, builder.reals(0.044715)))
        normal = builder.add("Tanh", builder.add("Mul", sum_, builder.reals(sqrt(2 / pi))))
    else:
        normal = builder.add("Erf", builder.add("Div", x, builder.reals(sqrt(2))))
    doubled = builder.add("Mul", x, builder.add("Add", normal, builder.reals(1.0)))
    return builder.add("Mul", doubled, builder.reals(0.5))


@EMITTERS.register("mish")
def _mish(op: ops.Mish, builder: NodeBuilder, x: str) -> str:
    return builder.add("Mul", x, builder.add("Tanh", builder.add("Softplus", x)))


@EMITTERS.register("sigmoid")
def _sigmoid(op: ops.Sigmoid, builder: NodeBuilder, x: str) -> str:
    return builder.add("Sigmoid", x)


@EMITTERS.register("hard_sigmoid")
def _hard_sigmoid(op: ops.HardSigmoid, builder: NodeBuilder, x: str) -> str:
    if _is_exact(1 / 6, builder):
        return builder.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    raised = builder.add("Add", x, builder.reals(3.0))
    return builder.add("Div", builder.add("Clip", raised, builder.reals(0.0), builder.reals(6.0)), builder.reals(6.0))


@EMITTERS.register("hard_swish")
def _hard_swish(op: ops.HardSwish, builder: NodeBuilder, x: str) -> str:
    return builder.add("Mul", x, _hard_sigmoid(ops.HardSigmoid(op="hard_sigmoid"), builder, x))


@EMITTERS.register("tanh")
def _tanh(op: ops.Tanh, builder: NodeBuilder, x: str) -> str:
    return builder.add("Tanh", x)


@EMITTERS.register("softplus")
def _softplus(op: ops.Softplus, builder: NodeBuilder, x: str) -> str:
    return builder.add("Softplus", x)


@EMITTERS.register("softmax")
def _softmax(op: ops.Softmax, builder: NodeBuilder, x: str) -> str:
    return builder.add("Softmax", x, axis=op.axis + 1)


def _plus_negative(builder: NodeBuilder, x: str, negative: str, factor: float) -> str:
    """Add the positive part of ``x`` plus a factor times what its negative part becomes."""
    return builder.add("Add", builder.add("Relu", x), builder.add("Mul", negative, builder.reals(factor)))


def _is_exact(value: float, builder: NodeBuilder) -> bool:
    """Return whether an attribute holds a number as precisely as the model computes."""
    return builder.dtype == np.float32 or float(np.float32(value)) == value
