"""Learned factors, terms and values as parameters of the module around them, and the expressions that read them."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec.operations.fields import Shape
from resnet_spec_torch.emitting.emitters import PARAMETERS


@PARAMETERS.register("scale")
def _scale(op: ops.Scale, shape: Shape, x: str, parameter: str) -> str:
    return f"{x} * {_broadcast(op, shape, parameter)}"


@PARAMETERS.register("offset")
def _offset(op: ops.Offset, shape: Shape, x: str, parameter: str) -> str:
    return f"{x} + {_broadcast(op, shape, parameter)}"


@PARAMETERS.register("parameter")
def _parameter(op: ops.LearnedValue, shape: Shape, x: str, parameter: str) -> str:
    return f"{parameter}.expand({x}.shape[0], {', '.join('-1' for _ in shape)})"


def _broadcast(op: ops.Scale | ops.Offset, shape: Shape, parameter: str) -> str:
    """Return a parameter that broadcasts with a value (N, *shape)."""
    positions = len(shape) - 1
    return f"{parameter}[:{', None' * positions}]" if op.shape == "channels" and positions else parameter
