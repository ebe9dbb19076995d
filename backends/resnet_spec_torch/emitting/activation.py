"""Functions of each element, and softmax, as PyTorch modules and expressions."""

from __future__ import annotations

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_torch.emitting.emitters import EXPRESSIONS, LAYERS, Options


@LAYERS.register("relu")
def _relu(op: ops.ReLU, shape: Shape, options: Options) -> nn.ReLU:
    return nn.ReLU()


@LAYERS.register("sigmoid")
def _sigmoid(op: ops.Sigmoid, shape: Shape, options: Options) -> nn.Sigmoid:
    return nn.Sigmoid()


@EXPRESSIONS.register("softmax")
def _softmax(op: ops.Softmax, x: str) -> str:
    return f"torch.softmax({x}, 1)"
