"""Sums and products of two or more values as ONNX nodes."""

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
    return reduce(lambda product, factor: builder.add("Mul", product, factor), factors)
