"""Linear layers as ONNX nodes."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("linear")
def _linear(op: ops.Linear, builder: NodeBuilder, x: str) -> str:
    return builder.add("Gemm", x, builder.parameter("weight"), *builder.optional_bias(op), transB=1)
