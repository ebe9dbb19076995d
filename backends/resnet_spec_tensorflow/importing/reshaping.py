"""Reads pads, slices and what only rearranges or reshapes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from resnet_spec.operations.windows import is_unpadded
from resnet_spec_tensorflow.importing.calls import Call, as_list
from resnet_spec_tensorflow.importing.convolution import edges_of
from resnet_spec_tensorflow.importing.normalization import position_batch_norm
from resnet_spec_tensorflow.importing.reader import (
    READERS,
    Context,
    Reader,
    Tensor,
    identity,
    is_single,
    key_of,
    last_first,
)
from resnet_spec_tensorflow.importing.strides import HELPER, is_helper

ORDERING = frozenset(
    {
        "layers.Flatten",
        "layers.Reshape",
        "layers.Permute",
        "layers.Dense",
        "ops.Transpose",
        "tf.Reshape",
        "tf.Softmax",
        "tf.Transpose",
    }
)
"""What defines an order of axes by itself, so that no transpose is needed before it."""

POSITIONED = frozenset({"layers.BatchNormalization", "own.UnbiasedBatchNormalization"})

PASSING = frozenset({"layers.Dropout", "layers.Identity", "layers.Activation", "layers.ReLU", "layers.LeakyReLU"})
"""What computes each element by itself and has no parameters."""


# -- padding -----------------------------------------------------------------------------------------------------


@READERS.register("layers.ZeroPadding1D", "layers.ZeroPadding2D", "layers.ZeroPadding3D")
def _zero_padding(context: Context) -> Tensor | None:
    layer = context.layer
    edges = edges_of(layer.padding)
    reader = context.only_reader
    # A padding that the backend writes before a layer is the layer's; another is as the source has it.
    if reader is not None and _pads(context.name, reader.name) and _takes(reader, layer):
        return context.defer(edges)
    tensor = context.tensor
    *positions, (before, after) = edges
    if layer.data_format == "channels_first" and is_unpadded(tuple(positions)) and tensor.axes[-1] == 0:
        # The last axis is the channels, so that the layer adds channels to a map that is channels last.
        return context.add("pad_channels", tensor.value, tensor.axes, before=before, after=after)
    arranged = context.channels_first(tensor, layer.data_format)
    return arranged and context.add(f"pad{len(edges)}d", arranged.value, arranged.axes, padding=edges)


def _pads(name: str, reader: str) -> bool:
    """Whether a padding's name is that of a part of the layer that reads it, of which positions may be picked first."""
    return is_helper(name, reader, ".pad") or is_helper(name, reader.rstrip("_").removesuffix(HELPER), ".pad")


_PADDED = frozenset(
    f"layers.{kind}{rank}D" for kind in ("Conv", "MaxPooling", "AveragePooling") for rank in (1, 2, 3)
) | {"own.StandardizedConv2D", "own.ExactMaxPooling3D", "own.ExactAveragePooling3D"}
"""Layers before which the backend writes a layer that pads."""


def _takes(call: Call, pad: Any) -> bool:
    layer = call.operation
    return key_of(layer) in _PADDED and layer.padding == "valid" and layer.data_format == pad.data_format


@READERS.register("own.SamePadding2D")
def _same_padding2d(context: Context) -> Tensor | None:
    reader = context.only_reader
    if reader is None or not hasattr(reader.operation, "padding"):
        return context.problem("pads for no convolution or pool")
    return context.defer("same")


@READERS.register("ops.Pad")
def _pad(context: Context) -> Tensor | None:
    layer = context.layer
    widths: list[tuple[int, int]] = [tuple(pair) for pair in layer.pad_width]
    tensor = context.tensor
    rank = len(tensor.axes)
    widths = widths * (rank + 1) if len(widths) == 1 else widths
    value = context.call.kwargs.get("constant_values", 0)
    value = float(value or 0)
    first = context.first(tensor)
    if first is None or len(widths) != rank + 1 or widths[0] != (0, 0):
        return first and context.problem("pads the batch")
    inner = dict(zip(first.axes, widths[1:], strict=True))
    edges = tuple(inner[axis] for axis in range(1, rank))
    reader = context.only_reader
    if layer.mode == "constant" and reader is not None and inner[0] == (0, 0):
        kind = key_of(reader.operation)
        if value == float("-inf") and "MaxPooling" in kind and kind in _PADDED and reader.operation.padding == "valid":
            return context.defer(edges)
    if not edges or (inner[0] != (0, 0) and (not is_unpadded(edges) or value)):
        return context.problem("pads other axes than those of positions, or the channels")
    if inner[0] != (0, 0):
        return context.add("pad_channels", first.value, first.axes, before=inner[0][0], after=inner[0][1])
    return context.add(f"pad{rank - 1}d", first.value, first.axes, padding=edges, mode=layer.mode, value=value)


@READERS.register("layers.Cropping1D", "layers.Cropping2D", "layers.Cropping3D")
def _cropping(context: Context) -> Tensor | None:
    layer = context.layer
    # A signal's crop has no data format.
    result = context.channels_first(context.tensor, getattr(layer, "data_format", "channels_last"))
    for axis, (before, after) in enumerate(edges_of(layer.cropping), 1):
        if result is not None and before + after:
            size = result.value.shape[axis]
            result = context.add("slice", result.value, result.axes, axis=axis, start=before, stop=max(size - after, 1))
    return result


# -- order and shape ---------------------------------------------------------------------------------------------


@READERS.register("layers.Flatten")
def _flatten(context: Context) -> Tensor | None:
    tensor = context.tensor
    rank = len(tensor.axes)
    if rank == 1:
        return tensor
    if normalized := by_position(context, (prod(tensor.shape),)):
        return normalized
    if context.layer.data_format == "channels_first":
        # Keras puts the channels last before it flattens.
        tensor = tensor._replace(axes=(*tensor.axes[1:], tensor.axes[0]))
    return _flattened(context, tensor)


def _flattened(context: Context, tensor: Tensor) -> Tensor | None:
    if is_single(tensor):
        return context.add("flatten", tensor.value, (0,))
    if _feeds_linear(context.reader, context.call):
        flat = context.add("flatten", tensor.value, (0,))
        indices = np.arange(prod(tensor.value.shape)).reshape(tensor.value.shape)
        return flat and flat._replace(order=indices.transpose(tensor.axes).reshape(-1))
    value = context.arranged(tensor, identity(len(tensor.axes)))
    return value and context.add("flatten", value, (0,))


def _feeds_linear(reader: Reader, call: Call) -> bool:
    """Whether only linear layers read a vector, also through functions of each element."""
    waiting = [call]
    while waiting:
        ref = waiting.pop().outputs[0]
        if reader.is_output(ref):
            return False
        for later in reader.readers(ref):
            key = key_of(later.operation)
            if key in PASSING and (key != "layers.Activation" or later.operation.activation.__name__ != "softmax"):
                waiting.append(later)
            elif key != "layers.Dense":
                return False
    return True


@READERS.register("layers.Reshape", "ops.Reshape")
def _reshape(context: Context) -> Tensor | None:
    layer, tensor = context.layer, context.tensor
    wanted = tuple(layer.target_shape) if hasattr(layer, "target_shape") else _unbatched(context, layer.newshape)
    target = wanted and _resolved(tensor, wanted)
    if target is None:
        return context.problem(f"reshapes to {wanted}, which is not fixed")
    if normalized := by_position(context, target):
        return normalized
    return reshaped(context, tensor, target)


def by_position(context: Context, target: tuple[int, ...]) -> Tensor | None:
    """A batch normalization of each position by itself, as it is written: flattened, normalized and shaped back."""
    norm = context.only_reader
    tensor = context.tensor
    if norm is None or key_of(norm.operation) not in POSITIONED or (len(target), len(tensor.axes)) != (1, 3):
        return None
    back = context.reader.only_reader(norm.outputs[0])
    if back is None or key_of(back.operation) != "layers.Reshape":
        return None
    if _resolved(tensor, tuple(back.operation.target_shape)) != tensor.shape:
        return None
    context.absorb(norm)
    context.absorb(back)
    return position_batch_norm(Context(context.reader, norm, [tensor]))


def _unbatched(context: Context, shape: Any) -> tuple[int, ...] | None:
    sizes = tuple(as_list(shape))
    if not all(isinstance(size, int) for size in sizes[1:]) or len(sizes) < 2:
        return None
    # The batch is -1, or not known.
    return sizes[1:] if sizes[0] in (-1, None) and -1 not in sizes[1:] else None


def _resolved(tensor: Tensor, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    total, known = prod(tensor.shape), prod(size for size in shape if size != -1)
    if -1 in shape and known:
        shape = tuple(total // known if size == -1 else size for size in shape)
    return shape if prod(shape) == total else None


def reshaped(context: Context, tensor: Tensor, target: tuple[int, ...]) -> Tensor | None:
    """Reshape a tensor to a shape as Keras has it, with as few transposes as possible."""
    rank, source = len(target), tensor.shape
    if source == target:
        return tensor
    if tensor.order is not None:
        return context.problem("reshapes a flattened map")
    undone = _undone(context, tensor, target)
    if undone is not None:
        return undone
    axes = last_first(rank)
    if tensor.axes == last_first(len(source)) and source[-1] == target[-1] and rank > 1:
        # The channels stay, and the order of the positions is the same.
        kept = len(target) - 2
        if rank < len(source) and source[:kept] == target[:kept]:
            return context.add("flatten", tensor.value, axes, axis=kept + 1)
        return context.add("reshape", tensor.value, axes, shape=(target[-1], *target[:-1]))
    value = tensor.value if is_single(tensor) else context.arranged(tensor, identity(len(source)))
    if value is None:
        return None
    # Where the order of the elements is the same both ways, it is that of a map, unless it is permuted next.
    single = target[-1] == 1 or prod(target[:-1]) == 1
    if context.reader.usual(rank) == axes and single and not _is_permuted(context):
        return context.add("reshape", value, axes, shape=(target[-1], *target[:-1]))
    return context.add("reshape", value, identity(rank), shape=target)


def _is_permuted(context: Context) -> bool:
    """Whether the axes are exchanged next, other than by a softmax that brings its axis to the end."""
    later = context.only_reader
    if later is None or key_of(later.operation) not in ("layers.Permute", "tf.Transpose"):
        return False
    after = context.reader.only_reader(later.outputs[0])
    return after is None or key_of(after.operation) != "tf.Softmax" or after.name != later.name


def _undone(context: Context, tensor: Tensor, target: tuple[int, ...]) -> Tensor | None:
    """The tensor before a flattening that a reshape takes back, as of a pooled map for a gate."""
    made = context.reader.made(tensor.value)
    if made is None or made.op != "flatten" or len(tensor.axes) != 1:
        return None
    before = made.input
    axes = context.reader.usual(len(before.shape))
    same = len(target) == len(before.shape) and tuple(before.shape[axis] for axis in axes) == target
    return Tensor(before, axes) if same and prod(before.shape[1:]) == 1 else None


@READERS.register("layers.Permute")
def _permute(context: Context) -> Tensor | None:
    return transposed(context, [axis - 1 for axis in context.layer.dims])


@READERS.register("ops.Transpose", "ops.Swapaxes", "ops.Moveaxis")
def _transpose(context: Context) -> Tensor | None:
    layer = context.layer
    rank = len(context.tensor.axes) + 1
    order = [*range(rank)]
    if hasattr(layer, "axis1"):
        first, second = layer.axis1 % rank, layer.axis2 % rank
        order[first], order[second] = order[second], order[first]
    elif hasattr(layer, "source"):
        sources = [axis % rank for axis in layer.source]
        order = [axis for axis in order if axis not in sources]
        for place, axis in sorted(zip((axis % rank for axis in layer.destination), sources, strict=True)):
            order.insert(place, axis)
    elif layer.axes is not None:
        order = [axis % rank for axis in layer.axes]
    else:
        order.reverse()
    if order[0] != 0:
        return context.problem("moves the batch")
    return transposed(context, [axis - 1 for axis in order[1:]])


def transposed(context: Context, order: Sequence[int]) -> Tensor | None:
    """Read a permutation of a tensor's axes, which are counted without the batch."""
    tensor = context.tensor
    turned = Tensor(tensor.value, tuple(tensor.axes[axis] for axis in order))
    usual = context.reader.usual(len(order))
    (ref,) = context.call.outputs
    later = [key_of(call.operation) for call in context.reader.readers(ref)]
    if turned.axes == usual or (later and {*later} <= ORDERING and not context.reader.is_output(ref)):
        return turned
    value = context.reader.arranged(context.call, turned, usual, named=True)
    return value and Tensor(value, usual)


@READERS.register("ops.Squeeze")
def _squeeze(context: Context) -> Tensor | None:
    axis, tensor = context.layer.axis, context.tensor
    rank = len(tensor.axes)
    if axis is None:
        gone = {place for place, size in enumerate(tensor.shape) if size == 1}
    else:
        gone = {place + rank if place < 0 else place - 1 for place in as_list(axis)}
    return context.squeezed(tensor, gone)


@READERS.register("ops.ExpandDims")
def _expand_dims(context: Context) -> Tensor | None:
    axes = as_list(context.layer.axis)
    shape = [0, *context.tensor.shape]
    total = len(shape) + len(axes)
    for axis in sorted(place + total if place < 0 else place for place in axes):
        shape.insert(axis, 1)
    # The batch has the size 0 here.
    return reshaped(context, context.tensor, tuple(shape[1:])) if shape[0] == 0 else context.problem("moves the batch")


# -- parts -------------------------------------------------------------------------------------------------------


@READERS.register("ops.GetItem")
def _get_item(context: Context) -> Tensor | None:
    return parts(
        context, as_list(context.call.kwargs.get("key", context.call.args[1] if len(context.call.args) > 1 else None))
    )


def parts(context: Context, keys: list[Any]) -> Tensor | None:
    """Read a part of a tensor by a number or a slice for each axis, the batch first."""
    tensor: Tensor | None = context.tensor
    rank = len(context.tensor.axes) + 1
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = [slice(None)] * (rank - len(keys) + 1)
    if len(keys) > rank or not all(isinstance(key, slice | int) for key in keys) or keys[0] != slice(None):
        return context.problem("takes parts of the batch, or by what is not a number or a slice")
    gone: set[int] = set()
    for place, key in enumerate(keys[1:]):
        if tensor is None:
            return None
        axis = tensor.axes[place]
        size = tensor.value.shape[axis]
        if isinstance(key, int):
            start, stop, step = key % size, key % size + 1, 1
            gone.add(place)
        else:
            start, stop, step = key.indices(size)
        if step != 1:
            return context.problem(f"takes every {step}. position")
        if (start, stop) != (0, size):
            tensor = _part(context, tensor, axis, start, stop)
    return context.squeezed(tensor, gone) if tensor is not None and gone else tensor


def _part(context: Context, tensor: Tensor, axis: int, start: int, stop: int) -> Tensor | None:
    if tensor.order is not None or stop <= start:
        return context.problem("takes nothing, or a part of a flattened map")
    return context.add("slice", tensor.value, tensor.axes, axis=axis, start=start, stop=stop)


@READERS.register("ops.Take")
def _take(context: Context) -> Tensor | None:
    arguments = [*context.call.args[1:], *context.call.kwargs.values()]
    indices = np.asarray(as_list(arguments[0] if arguments else []))
    rows: list[int] = indices.reshape(-1).tolist() if indices.dtype.kind == "i" and indices.ndim == 1 else []
    if context.layer.axis is None or not rows or rows != [*range(rows[0], rows[-1] + 1)] or rows[0] < 0:
        return context.problem("takes positions that are not one after another")
    axis = context.axis(context.layer.axis)
    return None if axis is None else _part(context, context.tensor, axis, rows[0], rows[-1] + 1)


@READERS.register("ops.Split")
def _split(context: Context) -> list[Tensor | None] | None:
    layer, tensor = context.layer, context.tensor
    axis = context.axis(layer.axis)
    if axis is None or tensor.order is not None:
        return None
    size, sections = tensor.value.shape[axis], layer.indices_or_sections
    if isinstance(sections, int):
        equal: dict[str, Any] = {"axis": axis, "parts": sections}
        return [context.add("slice", tensor.value, tensor.axes, part=part, **equal) for part in range(sections)]
    return [_part(context, tensor, axis, start, stop) for start, stop in pairwise([0, *sections, size])]


# -- sizes -------------------------------------------------------------------------------------------------------


@READERS.register("layers.UpSampling2D")
def _up_sampling2d(context: Context) -> Tensor | None:
    layer = context.layer
    tensor = context.channels_first(context.tensor, layer.data_format)
    return tensor and _resized(context, tensor, layer.interpolation, scale=tuple(layer.size))


def _resized(context: Context, tensor: Tensor, mode: str, **fields: Any) -> Tensor | None:
    if mode not in ("nearest", "bilinear"):
        return context.problem(f"has the interpolation {mode!r}; the language has nearest and bilinear")
    # With a whole factor the positions of nearest are the same both ways.
    whole = {"coordinates": "asymmetric", "rounding": "floor"}
    other = {"coordinates": "half_pixel", "rounding": "half_up"}
    nearest = whole if "scale" in fields else other
    how = nearest if mode == "nearest" else {"coordinates": "half_pixel"}
    return context.add("resize", tensor.value, tensor.axes, mode=mode, **how, **fields)


@READERS.register("own.Resize2D")
def _resize2d(context: Context) -> Tensor | None:
    layer = context.layer
    tensors = [context.first(tensor) for tensor in context.tensors]
    if None in tensors:
        return None
    values = [tensor.value for tensor in tensors if tensor is not None]
    fields: dict[str, Any] = {"mode": layer.mode, "coordinates": layer.coordinates}
    if layer.mode == "nearest":
        fields["rounding"] = "half_up" if layer.coordinates == "half_pixel" else "floor"
    if layer.scale is not None:
        fields["scale"] = tuple(layer.scale)
    elif layer.size is not None:
        fields["size"] = tuple(layer.size)
    else:
        fields["like"] = True
    return context.add("resize", values, last_first(3), **fields)


@READERS.register("layers.Resizing")
def _resizing(context: Context) -> Tensor | None:
    layer = context.layer
    tensor = context.channels_first(context.tensor, layer.data_format)
    if layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio or layer.antialias:
        return context.problem("crops, pads or filters while it resizes")
    size = layer.height, layer.width
    return tensor and _resized(context, tensor, layer.interpolation, size=size)
