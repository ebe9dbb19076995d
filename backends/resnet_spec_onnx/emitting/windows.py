"""The attributes and pads of convolutions and pools, in the simplest form that is right at every input size.

Most padding is fixed numbers. ``same`` with a stride is ONNX's SAME_UPPER, defined as TensorFlow's; but ONNX Runtime
supports it neither with a dilation nor for a window narrower than its stride, so there nodes compute the pads.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from resnet_spec.operations import AvgPool, Conv, MaxPool, StdConv
from resnet_spec.operations.fields import Edges
from resnet_spec.operations.windows import effective_kernel
from resnet_spec_onnx.emitting.node_builder import NodeBuilder

Windowed: TypeAlias = Conv | StdConv | MaxPool | AvgPool


def window_attributes(op: Windowed) -> dict[str, Any]:
    """Return a window's attributes except its padding and dilation."""
    return {"kernel_shape": op.kernel, "strides": op.stride}


def pads(edges: Edges) -> list[int]:
    """Return ((top, bottom), (left, right)) in ONNX's order: top, left, bottom, right."""
    return [before for before, _ in edges] + [after for _, after in edges]


def pads_of_all_axes(edges: Edges) -> list[int]:
    """Return the same for all axes of (batch, channels, ...), as a Pad node takes them."""
    befores, afters = zip(*edges, strict=True)
    return [0, 0, *befores, 0, 0, *afters]


def add_padding(builder: NodeBuilder, op: Windowed, x: str, value: float) -> tuple[str, dict[str, Any]]:
    """Pad ``x`` for a window: by the returned attributes if possible, else by a Pad node with ``value``.

    Returns the value that the window reads, and the attributes.
    """
    if op.fixed_padding is not None:
        return x, {"pads": pads(op.fixed_padding)}
    if is_same_upper(op):
        return x, {"auto_pad": "SAME_UPPER"}
    return add_pad(builder, x, add_same_pads(builder, op, x), value), {}


def add_pad(builder: NodeBuilder, x: str, edges: str, value: float = 0.0) -> str:
    """Add a Pad node; ``edges`` names a vector with the pads of all axes."""
    return builder.add("Pad", x, edges, builder.reals(value)) if value else builder.add("Pad", x, edges)


def is_same_upper(op: Windowed) -> bool:
    """Whether ONNX Runtime's SAME_UPPER computes the operation's ``same``."""
    return all(d == 1 and k >= s for k, s, d in zip(op.kernel, op.stride, dilation_of(op), strict=True))


def dilation_of(op: Windowed) -> list[int]:
    """Return the dilation, with 1 along a kernel of 1: ONNX Runtime accepts no other beside SAME_UPPER."""
    dilation = op.dilation if isinstance(op, Conv | StdConv) else (1,) * op.rank
    return [d if k > 1 else 1 for k, d in zip(op.kernel, dilation, strict=True)]


def add_same_pads(builder: NodeBuilder, op: Windowed, x: str) -> str:
    """Add nodes that compute the pads of ``same`` from the size of ``x``; return the vector for all axes.

    The formula is that of ``resnet_spec.operations.windows.same_padding``.
    """
    one, two, none = (builder.integers([number] * op.rank) for number in (1, 2, 0))
    stride = builder.integers(op.stride)
    window = builder.integers([*map(effective_kernel, op.kernel, dilation_of(op))])
    size = builder.add("Shape", x, start=2)
    steps = builder.add("Div", builder.add("Sub", size, one), stride)
    needed = builder.add("Sub", builder.add("Add", builder.add("Mul", steps, stride), window), size)
    total = builder.add("Max", needed, none)
    before = builder.add("Div", total, two)
    others = builder.integers([0, 0])
    return builder.add("Concat", others, before, others, builder.add("Sub", total, before), axis=0)
