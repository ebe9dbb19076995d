"""Sums and products as PyTorch expressions."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_torch.emitting.emitters import EXPRESSIONS


@EXPRESSIONS.register("add")
def _add(op: ops.Add, *terms: str) -> str:
    return " + ".join(terms)


@EXPRESSIONS.register("multiply")
def _multiply(op: ops.Multiply, *factors: str) -> str:
    return " * ".join(factors)
