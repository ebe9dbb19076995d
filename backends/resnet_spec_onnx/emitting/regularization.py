"""Dropout and stochastic depth, which do nothing in inference and so add no ONNX node."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("dropout", "stochastic_depth")
def _identity(op: ops.Dropout | ops.StochasticDepth, builder: NodeBuilder, x: str) -> str:
    return x
