"""Reads a convolution that is strided and dilated, which the backend writes as several layers, as the one that it is.

Keras has no such convolution: ``conv.stride`` picks positions before or after it, a pool of windows of one position.
"""

from __future__ import annotations

from typing import Any

from resnet_spec_tensorflow.importing.calls import Call
from resnet_spec_tensorflow.importing.reader import Context, Tensor, key_of

CONVOLUTIONS = frozenset(
    {"layers.Conv1D", "layers.Conv2D", "layers.Conv3D", "own.StandardizedConv2D"}
    | {"tf.Conv2D", "tf.Conv3D", "tf.DepthwiseConv2dNative"}
)

HELPER = ".stride"
"""Follows the name of a convolution in that of a layer that picks positions for it."""


def deferred(context: Context, stride: tuple[int, ...]) -> Tensor | None:
    """Leave the stride of a pool to the convolution after it, of which the backend wrote it as a part; else None."""
    later = context.only_reader
    if later is None or key_of(later.operation) not in CONVOLUTIONS or not is_helper(context.name, later.name):
        return None
    context.reader.strides[id(context.call.outputs[0])] = stride
    return context.tensor if context.padding is None else context.defer(context.padding)


def is_helper(pool: str, convolution: str, words: str = HELPER) -> bool:
    """Whether a layer's name is one that the backend gives to a part of a convolution.

    >>> is_helper("conv.stride_", "conv"), is_helper("other.stride", "conv")
    (True, False)
    """
    return pool.rstrip("_") == f"{convolution.rstrip('_')}{words}"


def whole_window(context: Context, fields: dict[str, Any], last: Call | None = None) -> dict[str, Any]:
    """A convolution's fields with the positions that are picked before it and after it.

    Args:
        context: The convolution's call.
        fields: Its own ``stride`` and ``dilation``.
        last: The call that adds its bias, if that is another.
    """
    fields = dict(fields)
    before = context.reader.strides.get(id(context.call.inputs[0]))
    if before is not None:
        fields["dilation"] = _product(fields["dilation"], before)
        fields["stride"] = _product(fields["stride"], before)
    later = context.reader.only_reader((last or context.call).outputs[0])
    after = None if later is None or not is_helper(later.name, context.name) else _picked(later)
    if later is not None and after is not None:
        context.absorb(later)
        fields["stride"] = _product(fields["stride"], after)
    return fields


def _product(one: Any, other: Any) -> tuple[int, ...]:
    return tuple(a * b for a, b in zip(one, other, strict=True))


def _picked(call: Call) -> tuple[int, ...] | None:
    """The stride of a pool whose windows are one position; None for anything else."""
    layer = call.operation
    if key_of(layer).startswith(("layers.MaxPooling", "own.ExactMaxPooling")):
        return tuple(layer.strides) if max(layer.pool_size) == 1 else None
    if key_of(layer) in ("tf.MaxPool", "tf.MaxPool3D") and max(layer.attribute("ksize")) == 1:
        return tuple(map(int, layer.attribute("strides")[1:-1]))
    return None
