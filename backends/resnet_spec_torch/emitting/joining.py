"""Sums, products, differences, maxima and concatenations as PyTorch expressions."""

from __future__ import annotations

from functools import reduce

from resnet_spec import operations as ops
from resnet_spec_torch.emitting.emitters import EXPRESSIONS


@EXPRESSIONS.register("add")
def _add(op: ops.Add, *terms: str) -> str:
    return " + ".join(terms)


@EXPRESSIONS.register("multiply")
def _multiply(op: ops.Multiply, *factors: str) -> str:
    return " * ".join(factors if op.factor == 1 else (*factors, repr(op.factor)))


@EXPRESSIONS.register("subtract")
def _subtract(op: ops.Subtract, first: str, second: str) -> str:
    return f"{first} - {second}"


@EXPRESSIONS.register("maximum")
def _maximum(op: ops.Maximum, *values: str) -> str:
    return reduce(lambda largest, value: f"torch.maximum({largest}, {value})", values)


@EXPRESSIONS.register("concat")
def _concat(op: ops.Concat, *values: str) -> str:
    return f"torch.cat([{', '.join(values)}], dim={op.axis + 1})"
