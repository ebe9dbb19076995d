"""Padding, reshaping and slicing."""

from __future__ import annotations

from math import inf, prod

from resnet_spec.backend import Value
from resnet_spec.operations import BatchNorm, ConvTranspose, Flatten, LayerNorm, Transpose
from resnet_spec_torch.importing.call import CALLS, Array, Call, Unreached


@CALLS.register(
    "aten.view", "aten.reshape", "aten.flatten.using_ints", "aten.squeeze.dim", "aten.squeeze.dims", "aten.unsqueeze",
    "aten.squeeze", "aten.unflatten.int",
)  # fmt: skip
def _reshape(call: Call) -> Value | None:
    x = call.value()
    if x is None:
        return None
    if prod(call.shape) != prod(x.shape):
        return call.refuse("changes the batch")
    return _by_position(call, x) or call.reshaped(x)


def _by_position(call: Call, x: Value) -> Value | None:
    """A batch normalization of every position on its own, if a flattened map is normalized and shaped as it was."""
    norm = call.builder.draft(x) if call.alone else None
    flat = call.builder.draft(norm.inputs[0]) if norm and isinstance(norm.operation, BatchNorm) else None
    if norm is None or flat is None or not isinstance(flat.operation, Flatten) or norm.calls is not None:
        return None
    if len(call.shape) < 2 or flat.inputs[0].shape != call.shape:
        return None
    for slot in norm.operation.parameters(norm.shape):
        array = call.arrays[f"{norm.name}.{slot.name}"]
        call.arrays[f"{norm.name}.{slot.name}"] = array._replace(tensor=array.tensor.reshape(call.shape))
    return call.builder.replace(x, flat.inputs, op="position_batch_norm")


@CALLS.register("aten.permute", "aten.transpose.int", "aten.movedim.int")
def _transpose(call: Call) -> Value | None:
    x = call.value()
    if x is None:
        return None
    rank = len(x.shape) + 1
    if "dims" in call.arguments:
        order = [dim % rank for dim in call["dims"]]
    elif "source" in call.arguments:
        order = list(range(rank))
        order.insert(call["destination"] % rank, order.pop(call["source"] % rank))
    else:
        order = list(range(rank))
        first, second = call["dim0"] % rank, call["dim1"] % rank
        order[first], order[second] = order[second], order[first]
    if order[0] != 0:
        return call.refuse("moves the batch to another axis")
    axes = [dim - 1 for dim in order[1:]]
    return x if axes == sorted(axes) else _along_axis(call, x, axes) or call.add("transpose", x, axes=axes)


def _along_axis(call: Call, x: Value, axes: list[int]) -> Value | None:
    """A normalization along an axis, if that was moved to the end and back."""
    norm = call.builder.draft(x) if call.alone else None
    if norm is None or not isinstance(norm.operation, LayerNorm) or norm.calls is not None:
        return None
    moved = call.builder.draft(norm.inputs[0])
    if moved is None or not isinstance(moved.operation, Transpose) or norm.operation.axis != len(axes) - 1:
        return None
    before = moved.operation.axes
    if [before[axis] for axis in axes] != sorted(axes):
        return None
    return call.builder.replace(x, moved.inputs, axis=before[-1])


UNCHANGED = frozenset(
    f"aten.{name}"
    for name in (
        "contiguous", "clone", "detach", "alias", "to.dtype", "_to_copy", "to.dtype_layout", "type_as", "identity",
        "lift_fresh_copy",
    )
)  # fmt: skip


@CALLS.register(*UNCHANGED)
def _unchanged(call: Call) -> Value | None:
    return call.value()


@CALLS.register("aten.expand", "aten.expand_as")
def _expand(call: Call) -> Value | None:
    array = call["self"]
    if isinstance(array, Array):
        return _learned_value(call, array)
    if not call.readers <= {"aten.mul.Tensor", "aten.add.Tensor", "aten.mul_.Tensor", "aten.add_.Tensor"}:
        return call.refuse("repeats values for what is not a sum or a product, which repeat them themselves")
    return call.value()


def _learned_value(call: Call, array: Array) -> Value | None:
    """A learned value, the same for each image; it reads the graph's input, of which only the batch counts."""
    if not array.trainable:
        return call.refuse(f"reads the buffer {array.name!r}, a constant, which no operation does")
    sizes = tuple(array.tensor.shape)
    if sizes not in (call.shape, (1, *call.shape)):
        return call.refuse(f"repeats a parameter {list(sizes)} to {list(call.shape)}")
    value = call.builder.add(
        "parameter", [call.builder.input], array.name, layer=True, where=call.where, shape=call.shape
    )
    call.arrays.setdefault(array.name, array._replace(tensor=array.tensor.reshape(call.shape)))
    return value


@CALLS.register("aten.pad", "aten.constant_pad_nd")
def _pad(call: Call) -> Value | None:
    edges = list(call["pad"])
    mode = call.arguments.get("mode", "constant")
    value = call["value"] or 0.0
    if max(edges) <= 0 and any(edges) and mode == "constant":
        return _crop(call, edges)
    if value == -inf and call.readers <= {"aten.max_pool1d", "aten.max_pool2d", "aten.max_pool3d"}:
        x = call.value()
        pairs = tuple(zip(edges[-2::-2], edges[::-2], strict=True))
        return x and Unreached(x.index, call.shape, padding=pairs, unpadded=x.shape)
    if mode not in ("constant", "reflect"):
        return call.refuse(f"pads with the mode {mode!r}")
    rank = len(call.shape) - 1
    if not any(edges):
        return call.value()
    channels, edges = edges[2 * rank : 2 * rank + 2], edges[: 2 * rank]
    if any(channels) and not any(edges) and min(channels) >= 0 and mode == "constant" and not value and rank:
        return call.add("pad_channels", call.value(), before=channels[0], after=channels[1])
    if any(channels) or min(edges) < 0:
        return call.refuse("pads other axes than those of positions, or crops")
    edges += [0] * (2 * rank - len(edges))
    padding = [list(pair) for pair in zip(edges[-2::-2], edges[::-2], strict=True)]
    fields = {"value": float(value)} if mode == "constant" else {"mode": mode}
    return call.add(f"pad{rank}d", call.value(), padding=padding, **fields)


def _crop(call: Call, edges: list[int]) -> Value | None:
    """Take positions away: ``edges`` of the last axis first, negative."""
    x = call.value()
    crops = [[-before, -after] for before, after in zip(edges[-2::-2], edges[::-2], strict=True)]
    layer = call.made_by(x, "conv_transpose1d", "conv_transpose2d", "conv_transpose3d") if call.alone else None
    if x and layer and layer.calls is None and isinstance(layer.operation, ConvTranspose):
        own = layer.operation.crop
        padding = [[b + more, a + rest] for (b, a), (more, rest) in zip(own, crops, strict=True)]
        return call.builder.replace(x, layer.inputs, padding=padding)
    for axis, (before, after) in enumerate(crops, start=len(call.shape) - len(crops)):
        if x and (before or after):
            x = call.add("slice", x, axis=axis, start=before, stop=x.shape[axis] - after)
    return x


@CALLS.register("aten.slice.Tensor")
def _slice(call: Call) -> Value | None:
    x = call.value()
    if x is None:
        return None
    axis: int = call["dim"] % (len(x.shape) + 1) - 1
    if call.shape == x.shape and (axis < 0 or call["step"] == 1):
        return x
    if axis < 0 or call["step"] != 1:
        return call.refuse("takes a part of the batch, or with a step; a max_pool2d of kernel 1 takes every second row")
    start: int = (call["start"] or 0) % x.shape[axis]
    return call.add("slice", x, axis=axis, start=start, stop=start + call.shape[axis])


@CALLS.register("aten.chunk", "aten.split.Tensor", "aten.split_with_sizes")
def _split(call: Call) -> tuple[Value | None, ...] | None:
    x = call.value()
    if x is None:
        return None
    axis: int = call["dim"] % (len(x.shape) + 1) - 1
    if axis < 0:
        return call.refuse("splits the batch")
    size = x.shape[axis]
    sizes: list[int]
    if "split_sizes" in call.arguments:
        sizes = list(call["split_sizes"])
    else:
        each: int = call["split_size"] if "split_size" in call.arguments else -(-size // call["chunks"])
        sizes = [each] * (size // each) + [size % each] * (size % each > 0)
    if len({*sizes}) == 1:
        return tuple(call.add("slice", x, axis=axis, part=part, parts=len(sizes)) for part in range(len(sizes)))
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return tuple(
        call.add("slice", x, axis=axis, start=end - own, stop=end) for end, own in zip(ends, sizes, strict=True)
    )
