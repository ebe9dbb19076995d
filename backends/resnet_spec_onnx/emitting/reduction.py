"""Means, maxima and sums along axes as ONNX nodes."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("mean")
def _mean(op: ops.Mean, builder: NodeBuilder, x: str) -> str:
    return builder.add("ReduceMean", x, axes=[axis + 1 for axis in op.axis], keepdims=1)


@EMITTERS.register("max")
def _max(op: ops.Max, builder: NodeBuilder, x: str) -> str:
    return builder.add("ReduceMax", x, axes=[axis + 1 for axis in op.axis], keepdims=1)


@EMITTERS.register("sum")
def _sum(op: ops.Sum, builder: NodeBuilder, x: str) -> str:
    # Only of ReduceSum the axes are an input in opset 17.
    return builder.add("ReduceSum", x, builder.integers([axis + 1 for axis in op.axis]), keepdims=1)
