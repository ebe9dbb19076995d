"""Functions of each element, and softmax, as PyTorch modules and expressions."""

from __future__ import annotations

import torch
from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_torch.emitting.emitters import EXPRESSIONS, LAYERS, Options, empty
from resnet_spec_torch.layers import ExactHardsigmoid


@LAYERS.register("relu")
def _relu(op: ops.ReLU, shape: Shape, options: Options) -> nn.ReLU:
    return nn.ReLU()


@LAYERS.register("relu6")
def _relu6(op: ops.ReLU6, shape: Shape, options: Options) -> nn.ReLU6:
    return nn.ReLU6()


@LAYERS.register("leaky_relu")
def _leaky_relu(op: ops.LeakyReLU, shape: Shape, options: Options) -> nn.LeakyReLU:
    return nn.LeakyReLU(op.slope)


@LAYERS.register("prelu")
def _prelu(op: ops.PReLU, shape: Shape, options: Options) -> nn.PReLU:
    return empty(nn.PReLU, shape[0] if op.per_channel else 1, dtype=options.dtype)


@LAYERS.register("elu")
def _elu(op: ops.ELU, shape: Shape, options: Options) -> nn.ELU:
    return nn.ELU(op.alpha)


@LAYERS.register("silu")
def _silu(op: ops.SiLU, shape: Shape, options: Options) -> nn.SiLU:
    return nn.SiLU()


@LAYERS.register("gelu")
def _gelu(op: ops.GELU, shape: Shape, options: Options) -> nn.GELU:
    return nn.GELU("tanh" if op.approximate else "none")


@LAYERS.register("mish")
def _mish(op: ops.Mish, shape: Shape, options: Options) -> nn.Mish:
    return nn.Mish()


@LAYERS.register("sigmoid")
def _sigmoid(op: ops.Sigmoid, shape: Shape, options: Options) -> nn.Sigmoid:
    return nn.Sigmoid()


@LAYERS.register("hard_sigmoid")
def _hard_sigmoid(op: ops.HardSigmoid, shape: Shape, options: Options) -> nn.Hardsigmoid:
    return ExactHardsigmoid() if options.dtype == torch.float64 else nn.Hardsigmoid()


@LAYERS.register("hard_swish")
def _hard_swish(op: ops.HardSwish, shape: Shape, options: Options) -> nn.Hardswish:
    return nn.Hardswish()


@LAYERS.register("tanh")
def _tanh(op: ops.Tanh, shape: Shape, options: Options) -> nn.Tanh:
    return nn.Tanh()


@LAYERS.register("softplus")
def _softplus(op: ops.Softplus, shape: Shape, options: Options) -> nn.Softplus:
    # Above PyTorch's default threshold, 20, the identity is too coarse for float64.
    return nn.Softplus(threshold=40)


@EXPRESSIONS.register("softmax")
def _softmax(op: ops.Softmax, x: str) -> str:
    return f"torch.softmax({x}, {op.axis + 1})"
