"""Linear layers as PyTorch modules."""

from __future__ import annotations

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_torch.emitting.emitters import LAYERS, Options, empty


@LAYERS.register("linear")
def _linear(op: ops.Linear, shape: Shape, options: Options) -> nn.Linear:
    return empty(nn.Linear, shape[0], op.features, bias=op.bias, dtype=options.dtype)
