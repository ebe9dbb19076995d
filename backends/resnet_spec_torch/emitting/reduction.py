"""Means, maxima and sums along axes as PyTorch expressions."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_torch.emitting.emitters import EXPRESSIONS


@EXPRESSIONS.register("mean")
def _mean(op: ops.Mean, x: str) -> str:
    return f"{x}.mean({_dims(op.axis)}, keepdim=True)"


@EXPRESSIONS.register("max")
def _max(op: ops.Max, x: str) -> str:
    # amax shares a gradient between equal values, as TensorFlow does; max gives it to one.
    return f"{x}.amax({_dims(op.axis)}, keepdim=True)"


@EXPRESSIONS.register("sum")
def _sum(op: ops.Sum, x: str) -> str:
    return f"{x}.sum({_dims(op.axis)}, keepdim=True)"


def _dims(axes: tuple[int, ...]) -> str:
    """Return axes of a batch as they are written."""
    dims = [axis + 1 for axis in axes]
    return str(tuple(dims) if len(dims) > 1 else dims[0])
