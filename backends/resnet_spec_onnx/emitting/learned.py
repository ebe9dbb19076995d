"""Learned factors, terms and values as ONNX nodes."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("scale")
def _scale(op: ops.Scale, builder: NodeBuilder, x: str) -> str:
    return builder.add("Mul", x, _broadcast(op, builder))


@EMITTERS.register("offset")
def _offset(op: ops.Offset, builder: NodeBuilder, x: str) -> str:
    return builder.add("Add", x, _broadcast(op, builder))


@EMITTERS.register("parameter")
def _parameter(op: ops.LearnedValue, builder: NodeBuilder, x: str) -> str:
    batch = builder.add("Shape", x, start=0, end=1)
    shape = builder.add("Concat", batch, builder.integers(op.shape), axis=0)
    return builder.add("Expand", builder.parameter(""), shape)


def _broadcast(op: ops.Scale | ops.Offset, builder: NodeBuilder) -> str:
    return builder.per_channel("") if op.shape == "channels" else builder.parameter("")
