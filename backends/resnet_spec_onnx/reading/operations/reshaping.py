"""The normal form of pads and reshapes, and of nodes that only change a value's type, layout or axes."""

from __future__ import annotations

from itertools import accumulate
from math import prod

import numpy as np

from resnet_spec_onnx.reading.constant_folding import Constant
from resnet_spec_onnx.reading.node_view import Computed, NodeView, Value
from resnet_spec_onnx.reading.operations.tables import NODE_FORMS
from resnet_spec_onnx.reading.operations.windows import LIMIT
from resnet_spec_onnx.reading.protobuf import FLOAT_TYPES

# ---------------------------------------------------------------------------------------------------------------
# Pads


@NODE_FORMS.register("Pad")
def _pad_node(node: NodeView) -> Value:
    value = node.computed()
    rank = len(value.axes)
    pads = node.integer_input(1, "pads") or node.integers("paddings")
    axes = node.integer_input(3, "", range(rank)) or ()
    mode = node.string("mode", "constant")
    constant = float(node.constant(2).array.reshape(-1)[0]) if node.has_input(2) else node.real("value", 0.0)
    if len(pads) != 2 * len(axes) or not 3 <= rank <= 5 or mode not in ("constant", "reflect", "edge"):
        raise node.error("is an unsupported pad")
    edges: dict[int, tuple[int, int]] = dict.fromkeys(range(5), (0, 0))
    for index, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        axis = value.axes[node.positive_axis(index, rank)]
        if not (0 <= before < LIMIT and 0 <= after < LIMIT) or (axis is None and (before or after)):
            raise node.error(f"has pads {list(pads)}")
        edges[0 if axis is None else axis] = before, after
    if edges[0] != (0, 0) or (mode != "constant" and edges[1] != (0, 0)):
        raise node.error(f"has pads {list(pads)}")
    step = node.network.pad(
        value.step, node.source, tuple(edges[axis] for axis in range(2, max(4, rank))), edges[1], mode, constant
    )
    return Computed(step, value.axes)


# ---------------------------------------------------------------------------------------------------------------
# Reshapes


@NODE_FORMS.register("Flatten")
def _flatten_node(node: NodeView) -> Value:
    sizes = node.sizes(node.computed())
    axis = node.positive_axis(node.integer("axis", 1), len(sizes) + 1)
    return _reshaped(node, (prod(sizes[:axis]), prod(sizes[axis:])))


@NODE_FORMS.register("Reshape")
def _reshape_node(node: NodeView) -> Value:
    sizes = node.sizes(node.computed())
    target = node.integer_input(1, "shape") or ()
    if 0 in target:
        node.require(allowzero=0)
    wanted = [sizes[index] if size == 0 and index < len(sizes) else size for index, size in enumerate(target)]
    if wanted.count(-1) == 1:
        rest = -prod(wanted)
        wanted[wanted.index(-1)] = prod(sizes) // rest if rest > 0 else 0
    return _reshaped(node, tuple(wanted))


def _reshaped(node: NodeView, wanted: tuple[int, ...]) -> Value:
    """Return the same value if only axes of size 1 come and go, else that of a new step."""
    value, sizes = node.computed(), node.sizes(node.computed())
    if prod(wanted) != prod(sizes) or min(wanted, default=0) < 1:
        raise node.error(f"cannot reshape {list(sizes)} to {list(wanted)}")
    longer = [(axis, size) for axis, size in zip(value.axes, sizes, strict=True) if size != 1]
    if [size for _, size in longer] == [size for size in wanted if size != 1]:
        axes = iter(axis for axis, _ in longer)
        return Computed(value.step, tuple(next(axes) if size != 1 else None for size in wanted))
    if not wanted or wanted[0] != node.layout.batch or len(wanted) > 5:
        raise node.error(f"reshapes {list(sizes)} to {list(wanted)}, which is not a batch of maps or vectors")
    step = node.channels_first(value, len(sizes))
    return node.result(node.network.reshape(step, node.source, wanted[1:]), len(wanted))


# ---------------------------------------------------------------------------------------------------------------
# Parts


@NODE_FORMS.register("Slice")
def _slice_node(node: NodeView) -> Value:
    value, rank = node.computed(), len(node.computed().axes)
    starts, stops = (node.integer_input(index, name) or () for index, name in ((1, "starts"), (2, "ends")))
    axes = node.integer_input(3, "axes", range(len(starts))) or ()
    steps = node.integer_input(4, "", [1] * len(starts)) or ()
    if not len(starts) == len(stops) == len(axes) == len(steps) or set(steps) - {1}:
        raise node.error(f"takes {list(starts)} to {list(stops)} in steps {list(steps)} of axes {list(axes)}")
    for start, stop, axis in zip(starts, stops, axes, strict=True):
        index = node.positive_axis(axis, rank)
        value = _part(node, value, index, *slice(start, stop).indices(node.sizes(value)[index])[:2])
    return value


@NODE_FORMS.register("Split")
def _split_node(node: NodeView) -> tuple[Value, ...]:
    value = node.computed()
    axis = node.positive_axis(node.integer("axis"), len(value.axes))
    size, count = node.sizes(value)[axis], len(node.proto.output)
    # Without sizes the parts are equal, but for a smaller last one.
    share = -(-size // count)
    parts = node.integer_input(1, "split") or [min(share, size - share * index) for index in range(count)]
    if sum(parts) != size or len(parts) != count:
        raise node.error(f"splits {size} values into {list(parts)}")
    ends = [*accumulate(parts)]
    return tuple(_part(node, value, axis, end - part, end) for end, part in zip(ends, parts, strict=True))


def _part(node: NodeView, value: Computed, index: int, start: int, stop: int) -> Computed:
    """Return a part of a value along one of its axes."""
    size, axis = node.sizes(value)[index], value.axes[index]
    if (start, stop) == (0, size):
        return value
    if not axis or not 0 <= start < stop <= size:
        raise node.error(f"takes {start} to {stop} of {size} values")
    return Computed(node.network.slice(value.step, node.source, axis - 1, start, stop), value.axes)


# ---------------------------------------------------------------------------------------------------------------
# Types, layout and axes


@NODE_FORMS.register("Cast", "CastLike")
def _cast_node(node: NodeView) -> Value:
    if node.proto.op_type == "Cast" and node.integer("to") not in FLOAT_TYPES:
        raise node.error("casts a value to a type that is not floating-point")
    return node.computed()


@NODE_FORMS.register("Shape")
def _shape_node(node: NodeView) -> Value:
    sizes = node.sizes(node.computed())
    start, end = node.integer("start"), node.integer("end", len(sizes))
    return Constant(np.array(sizes[start:end], np.int64))


@NODE_FORMS.register("Transpose")
def _transpose_node(node: NodeView) -> Value:
    value = node.computed()
    rank = len(value.axes)
    order = [node.positive_axis(axis, rank) for axis in node.integers("perm", range(rank)[::-1])]
    if sorted(order) != [*range(rank)]:
        raise node.error(f"has perm {order} for {rank} axes")
    return Computed(value.step, tuple(value.axes[axis] for axis in order))


@NODE_FORMS.register("Squeeze")
def _squeeze_node(node: NodeView) -> Value:
    value, sizes = node.computed(), node.sizes(node.computed())
    ones = [index for index, size in enumerate(sizes) if size == 1]
    removed = {node.positive_axis(axis, len(sizes)) for axis in node.integer_input(1, "axes", ones) or ()}
    if not removed <= set(ones):
        raise node.error(f"squeezes axes of {list(sizes)} that are not 1")
    return Computed(value.step, tuple(axis for index, axis in enumerate(value.axes) if index not in removed))


@NODE_FORMS.register("Unsqueeze")
def _unsqueeze_node(node: NodeView) -> Value:
    value = node.computed()
    axes = node.integer_input(1, "axes") or ()
    rank = len(value.axes) + len(axes)
    added = {node.positive_axis(axis, rank) for axis in axes}
    kept = iter(value.axes)
    return Computed(value.step, tuple(None if index in added else next(kept, None) for index in range(rank)))


@NODE_FORMS.register("Expand")
def _expand_node(node: NodeView) -> Value:
    value, sizes = node.computed(), node.sizes(node.computed())
    step = node.channels_first(value, len(sizes))
    target = node.integer_input(1, "shape") or ()
    if len(target) != len(sizes) or any(old not in (1, new) for old, new in zip(sizes, target, strict=True)):
        raise node.error(f"expands {list(sizes)} to {list(target)}, which is not supported")
    if tuple(target) == sizes:
        return value
    return node.result(node.network.add("expand", (step,), node.source, target[1:]), len(sizes))
