"""Linear layers and products of two values as ONNX nodes."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("linear")
def _linear(op: ops.Linear, builder: NodeBuilder, x: str) -> str:
    if len(builder.node.shape) == 1:
        return builder.add("Gemm", x, builder.parameter("weight"), *builder.optional_bias(op), transB=1)
    # Transposed by a node, so that the file holds the parameter itself; a runtime folds it once.
    product = builder.add("MatMul", x, builder.add("Transpose", builder.parameter("weight"), perm=[1, 0]))
    return builder.add("Add", product, *builder.optional_bias(op)) if op.bias else product


@EMITTERS.register("matmul")
def _matmul(op: ops.MatMul, builder: NodeBuilder, first: str, second: str) -> str:
    rank = len(builder.node.shape) + 1
    turned = [*range(rank - 2), rank - 1, rank - 2]
    first = builder.add("Transpose", first, perm=turned) if op.transpose_first else first
    second = builder.add("Transpose", second, perm=turned) if op.transpose_second else second
    product = builder.add("MatMul", first, second)
    return product if op.factor == 1 else builder.add("Mul", product, builder.reals(op.factor))
