"""Reads the nodes of TensorFlow's graphs that pool, reduce, pad, reshape, slice or resize."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np

from resnet_spec_tensorflow.importing.calls import as_list
from resnet_spec_tensorflow.importing.graph_attributes import FORMATS, format_of, padding_of, window_of
from resnet_spec_tensorflow.importing.graph_def import Constant, GraphNode, layer_name, owner_name, slice_of
from resnet_spec_tensorflow.importing.graph_normalization import by_position
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, identity, is_single
from resnet_spec_tensorflow.importing.reshaping import parts, reshaped, transposed
from resnet_spec_tensorflow.importing.strides import HELPER, deferred

# -- pools and reductions ----------------------------------------------------------------------------------------


@READERS.register("tf.MaxPool", "tf.AvgPool", "tf.MaxPool3D", "tf.AvgPool3D")
def _pool(context: Context) -> Tensor | None:
    is_max = context.layer.kind.startswith("Max")
    op = f"{'max' if is_max else 'avg'}_pool{len(format_of(context)) - 2}d"
    single = is_max and max(context.layer.attribute("ksize")) == 1
    if single and (picked := deferred(context, window_of(context, "strides"))) is not None:
        return picked
    tensor = context.channels_first(context.tensor, FORMATS[format_of(context)])
    fields: dict[str, Any] = {
        "kernel": window_of(context, "ksize"),
        "stride": window_of(context, "strides"),
        "padding": padding_of(context),
    }
    if not is_max:
        fields["count_include_pad"] = context.padding is not None
    return tensor and context.add(op, tensor.value, tensor.axes, **fields)


@READERS.register("tf.Mean", "tf.Max", "tf.Sum")
def _reduction(context: Context) -> Tensor | None:
    axes, tensor = context.layer.constant(1), context.tensor
    if axes is None:
        return context.problem("reduces axes that depend on the input")
    rank = len(tensor.axes)
    numbers = [int(axis) for axis in np.atleast_1d(axes)]
    places = sorted(place for axis in numbers if (place := context.axis(axis)) is not None)
    if len(places) < len(numbers):
        return None
    pools = {"Mean": "global_avg_pool", "Max": "global_max_pool"}
    if rank >= 3 and places == [*range(1, rank)] and context.layer.kind in pools:
        added = context.add(pools[context.layer.kind], tensor.value, tensor.axes)
    else:
        added = context.add(context.layer.kind.lower(), tensor.value, tensor.axes, axis=places)
    if added is None or context.layer.attribute("keep_dims", False):
        return added
    return context.squeezed(added, {axis + rank if axis < 0 else axis - 1 for axis in numbers})


# -- order, shape and parts --------------------------------------------------------------------------------------


@READERS.register("tf.Pad", "tf.PadV2", "tf.MirrorPad")
def _pad(context: Context) -> Tensor | None:
    node: GraphNode = context.layer
    widths, value = node.constant(1), node.constant(2)
    tensor = context.first(context.tensor)
    if widths is None or tensor is None or len(widths) != len(tensor.axes) + 1 or widths[0].any():
        return tensor and context.problem("pads the batch, or by what depends on the input")
    inner = {axis: (int(before), int(after)) for axis, (before, after) in zip(tensor.axes, widths[1:], strict=True)}
    edges = tuple(inner[axis] for axis in range(1, len(tensor.axes)))
    if len(edges) not in (1, 2, 3):
        return context.problem("pads a value that is no signal, map or volume")
    constant = 0.0 if value is None else float(value)
    if node.kind != "MirrorPad" and inner[0] == (0, 0) and _is_before(context, constant):
        return context.defer(edges)
    if inner[0] != (0, 0):
        if np.any(edges) or constant or node.kind == "MirrorPad":
            return context.problem("pads channels and positions at once, or channels with other than zeros")
        return context.add("pad_channels", tensor.value, tensor.axes, before=inner[0][0], after=inner[0][1])
    if node.kind == "MirrorPad" and node.attribute("mode") != "REFLECT":
        return context.problem("mirrors the edge too")
    mode = "reflect" if node.kind == "MirrorPad" else "constant"
    return context.add(f"pad{len(edges)}d", tensor.value, tensor.axes, padding=edges, mode=mode, value=constant)


def _is_before(context: Context, value: float) -> bool:
    """Whether the backend wrote a padding before the layer that reads it, as part of that layer."""
    later = context.only_reader
    if later is None or not isinstance(later.operation, GraphNode) or later.operation.attribute("padding") != "VALID":
        return False
    if later.operation.kind.startswith("MaxPool") and value == float("-inf"):
        return True
    kernels = [owner_name(kernel) for kernel in later.operation.values if isinstance(kernel, Constant)]
    names = {*(owner.rpartition("/")[2] for owner in kernels), _bare(later.operation.name)}
    return not value and _bare(context.layer.name) in {f"{name.removesuffix(HELPER)}.pad" for name in names}


def _bare(node: str) -> str:
    """The name of a node's layer without its scope and what makes it unique."""
    return re.sub(r"_*\d*$", "", layer_name(node).rpartition("/")[2])


@READERS.register("tf.Reshape")
def _reshape(context: Context) -> Tensor | None:
    shape, tensor = context.layer.constant(1), context.tensor
    if shape is None or len(shape) < 2:
        return context.problem("reshapes to what depends on the input, or moves the batch")
    target = tuple(int(size) for size in shape[1:])
    if -1 in target:
        known = -int(np.prod(target))
        if known <= 0 or int(np.prod(tensor.shape)) % known:
            return context.problem(f"reshapes {tensor.shape} to {target}")
        target = tuple(int(np.prod(tensor.shape)) // known if size == -1 else size for size in target)
    if int(np.prod(target)) != int(np.prod(tensor.shape)):
        return context.problem("moves the batch")
    if normalized := by_position(context, target):
        return normalized
    if len(target) == 1 and len(tensor.axes) > 1:
        value = tensor.value if is_single(tensor) else context.arranged(tensor, identity(len(tensor.axes)))
        return value and context.add("flatten", value, (0,))
    return reshaped(context, tensor, target)


@READERS.register("tf.Squeeze")
def _squeeze(context: Context) -> Tensor | None:
    rank = len(context.tensor.axes)
    axes = as_list(context.layer.attribute("squeeze_dims") or [])
    if not axes:
        return context.problem("removes each axis of size 1, the batch's too")
    return context.squeezed(context.tensor, {axis + rank if axis < 0 else axis - 1 for axis in axes})


@READERS.register("tf.ExpandDims")
def _expand_dims(context: Context) -> Tensor | None:
    axis = context.layer.constant(1)
    shape = [0, *context.tensor.shape]
    if axis is None:
        return context.problem("adds an axis that depends on the input")
    place = int(axis) + len(shape) + 1 if int(axis) < 0 else int(axis)
    shape.insert(place, 1)
    return reshaped(context, context.tensor, tuple(shape[1:])) if place else context.problem("moves the batch")


@READERS.register("tf.Transpose")
def _transpose(context: Context) -> Tensor | None:
    order = context.layer.constant(1)
    if order is None or int(order[0]):
        return context.problem("moves the batch, or by what depends on the input")
    axes = [int(axis) - 1 for axis in order[1:]]
    # A linear layer along the last axis is written with a transpose that exchanges nothing.
    return context.tensor if axes == sorted(axes) else transposed(context, axes)


@READERS.register("tf.ConcatV2")
def _concat(context: Context) -> Tensor | None:
    axis = context.layer.constant(-1)
    found = context.alike(context.tensors)
    if axis is None or found is None or len(context.tensors) < len(context.layer.values) - 1:
        return context.problem("concatenates constants, or along an axis that depends on the input")
    values, axes = found
    place = context.axis(int(axis), Tensor(values[0], axes))
    return None if place is None else context.add("concat", values, axes, axis=place)


@READERS.register("tf.StridedSlice")
def _strided_slice(context: Context) -> Tensor | None:
    bounds = [context.layer.constant(index) for index in (1, 2, 3)]
    if any(bound is None for bound in bounds):
        return context.problem("takes a part that depends on the input")
    try:
        return parts(context, [*slice_of(context.layer, *bounds)])
    except ValueError as error:
        return context.problem(str(error))


@READERS.register("tf.Split", "tf.SplitV")
def _split(context: Context) -> list[Tensor | None] | None:
    node: GraphNode = context.layer
    # The value is the second input of the one and the first of the other.
    plain = node.kind == "Split"
    axis, sizes = node.constant(0 if plain else 2), node.constant(1)
    tensor = context.tensor
    if axis is None or (sizes is None and not plain):
        return context.problem("takes parts that depend on the input")
    place = context.axis(int(axis))
    if place is None:
        return None
    if plain:
        count = int(node.attribute("num_split"))
        equal: dict[str, Any] = {"axis": place, "parts": count}
        return [context.add("slice", tensor.value, tensor.axes, part=part, **equal) for part in range(count)]
    bounds: list[int] = [0, *np.cumsum(np.asarray(sizes)).tolist()]
    return [context.add("slice", tensor.value, tensor.axes, axis=place, start=a, stop=b) for a, b in pairwise(bounds)]
