"""Linear layers as PyTorch modules, and products of two values as expressions."""

from __future__ import annotations

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_torch.emitting.emitters import EXPRESSIONS, LAYERS, Options, empty


@LAYERS.register("linear")
def _linear(op: ops.Linear, shape: Shape, options: Options) -> nn.Linear:
    return empty(nn.Linear, shape[-1], op.features, bias=op.bias, dtype=options.dtype)


@EXPRESSIONS.register("matmul")
def _matmul(op: ops.MatMul, first: str, second: str) -> str:
    # Not .mT, which PyTorch's older exporter to ONNX does not know.
    turned = ".transpose(-2, -1)"
    product = f"{first}{turned * op.transpose_first} @ {second}{turned * op.transpose_second}"
    return product if op.factor == 1 else f"{product} * {op.factor!r}"
