"""Operations of two or more values as ONNX nodes."""

from __future__ import annotations

from functools import reduce

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder


@EMITTERS.register("add")
def _add(op: ops.Add, builder: NodeBuilder, *terms: str) -> str:
    return reduce(lambda total, term: builder.add("Add", total, term), terms)


@EMITTERS.register("multiply")
def _multiply(op: ops.Multiply, builder: NodeBuilder, *factors: str) -> str:
    constants = () if op.factor == 1 else (builder.reals(op.factor),)
    return reduce(lambda product, factor: builder.add("Mul", product, factor), (*factors, *constants))


@EMITTERS.register("subtract")
def _subtract(op: ops.Subtract, builder: NodeBuilder, first: str, second: str) -> str:
    return builder.add("Sub", first, second)


@EMITTERS.register("maximum")
def _maximum(op: ops.Maximum, builder: NodeBuilder, *values: str) -> str:
    return reduce(lambda largest, value: builder.add("Max", largest, value), values)


@EMITTERS.register("concat")
def _concat(op: ops.Concat, builder: NodeBuilder, *values: str) -> str:
    return builder.add("Concat", *values, axis=op.axis + 1)
