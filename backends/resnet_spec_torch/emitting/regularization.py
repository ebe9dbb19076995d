"""Dropout and stochastic depth as PyTorch modules, which act in training only."""

from __future__ import annotations

from torch import nn

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_torch.emitting.emitters import LAYERS, Options
from resnet_spec_torch.layers import StochasticDepth


@LAYERS.register("dropout")
def _dropout(op: ops.Dropout, shape: Shape, options: Options) -> nn.Dropout:
    return nn.Dropout(op.rate)


@LAYERS.register("stochastic_depth")
def _stochastic_depth(op: ops.StochasticDepth, shape: Shape, options: Options) -> StochasticDepth:
    return StochasticDepth(op.rate)
