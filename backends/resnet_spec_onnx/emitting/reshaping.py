"""Pads, reshapes and slices as ONNX nodes."""

from __future__ import annotations

import numpy as np

from resnet_spec import operations as ops
from resnet_spec_onnx.emitting.emitters import EMITTERS
from resnet_spec_onnx.emitting.node_builder import NodeBuilder
from resnet_spec_onnx.emitting.windows import add_pad, pads_of_all_axes


@EMITTERS.register("pad1d", "pad2d", "pad3d")
def _pad(op: ops.Pad, builder: NodeBuilder, x: str) -> str:
    edges = builder.integers(pads_of_all_axes(op.padding))
    if op.mode == "reflect":
        return builder.add("Pad", x, edges, mode="reflect")
    value = op.value
    if value == 0 and any(name.startswith("max_pool") for name in builder.consumers):
        # ONNX Runtime 1.31 fuses a pad of zeros with the max pool after it, whose own padding is minus infinity. It
        # does not fuse a pad of the smallest normal number, which is lost in rounding next to any other value.
        value = float(np.finfo(builder.dtype).tiny)
    return add_pad(builder, x, edges, value)


@EMITTERS.register("pad_channels")
def _pad_channels(op: ops.PadChannels, builder: NodeBuilder, x: str) -> str:
    others = [0] * (len(builder.node.shape) - 1)
    return add_pad(builder, x, builder.integers([0, op.before, *others, 0, op.after, *others]))


@EMITTERS.register("flatten")
def _flatten(op: ops.Flatten, builder: NodeBuilder, x: str) -> str:
    if op.axis:
        # In a Reshape node 0 keeps an axis as it is.
        return builder.add("Reshape", x, builder.integers([0] * (op.axis + 1) + [-1]))
    return builder.add("Flatten", x, axis=1)


@EMITTERS.register("reshape")
def _reshape(op: ops.Reshape, builder: NodeBuilder, x: str) -> str:
    # In a Reshape node 0 keeps an axis as it is: the batch.
    return builder.add("Reshape", x, builder.integers([0, *op.shape]))


@EMITTERS.register("slice")
def _slice(op: ops.Slice, builder: NodeBuilder, x: str) -> str:
    if op.parts is None:
        start, stop = op.start, np.iinfo(np.int64).max if op.stop is None else op.stop
    elif op.axis == 0:
        # The number of channels does not depend on the input's size.
        start, stop = op.bounds(builder.node.shape[0] * op.parts)
    else:
        return builder.add_part(x, op.axis + 1, op.parts, op.part or 0)
    return builder.add("Slice", x, *(builder.integers([number]) for number in (start, stop, op.axis + 1)))


@EMITTERS.register("transpose")
def _transpose(op: ops.Transpose, builder: NodeBuilder, x: str) -> str:
    return builder.add("Transpose", x, perm=[0, *(axis + 1 for axis in op.axes)])
