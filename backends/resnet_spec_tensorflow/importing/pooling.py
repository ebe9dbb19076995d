"""Reads pools over windows and over whole maps."""

from __future__ import annotations

from typing import Any

from resnet_spec.operations.fields import Edges
from resnet_spec.operations.windows import fixed_ceil_padding, is_unpadded
from resnet_spec_tensorflow.importing.convolution import edges_of
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor
from resnet_spec_tensorflow.importing.strides import deferred


@READERS.register("layers.MaxPooling1D", "layers.MaxPooling2D", "layers.MaxPooling3D", "own.ExactMaxPooling3D")
def _max_pooling(context: Context) -> Tensor | None:
    padding, layer = context.padding, context.layer
    if max(layer.pool_size) == 1 and (picked := deferred(context, tuple(layer.strides))) is not None:
        return picked
    if padding is None:
        return _pool(context, "max_pool", padding="same" if layer.padding == "same" else 0)
    return _pool(context, "max_pool", **_rounded(padding, tuple(layer.pool_size), tuple(layer.strides)))


def _rounded(edges: Edges, kernel: tuple[int, ...], stride: tuple[int, ...]) -> dict[str, Any]:
    """The padding, and whether windows are counted by rounding up, with which a pool has these positions."""
    if any(before != after for before, after in edges):
        even: Any = tuple((before, before) for before, _ in edges)
        if tuple(map(fixed_ceil_padding, kernel, stride, even)) == edges:
            return {"padding": even, "ceil_mode": True}
    return {"padding": edges}


@READERS.register(
    "layers.AveragePooling1D", "layers.AveragePooling2D", "layers.AveragePooling3D", "own.ExactAveragePooling3D"
)
def _average_pooling(context: Context) -> Tensor | None:
    if context.padding is not None:
        return _pool(context, "avg_pool", padding=context.padding, count_include_pad=True)
    padding = "same" if context.layer.padding == "same" else 0
    return _pool(context, "avg_pool", padding=padding, count_include_pad=False)


@READERS.register("own.MaskedAveragePooling1D", "own.MaskedAveragePooling2D", "own.MaskedAveragePooling3D")
def _masked_average_pooling(context: Context) -> Tensor | None:
    layer = context.layer
    edges, counted = edges_of(layer.edges), edges_of(layer.counted)
    if not is_unpadded(counted):
        fields = {"padding": counted, "ceil_mode": edges != counted, "count_include_pad": True}
    else:
        fields = _rounded(edges, tuple(layer.pool_size), tuple(layer.strides)) | {"count_include_pad": False}
    return _pool(context, "avg_pool", **fields)


def _pool(context: Context, op: str, **fields: Any) -> Tensor | None:
    layer = context.layer
    tensor = context.channels_first(context.tensor, layer.data_format)
    window = {"kernel": tuple(layer.pool_size), "stride": tuple(layer.strides)}
    return tensor and context.add(f"{op}{len(layer.pool_size)}d", tensor.value, tensor.axes, **window, **fields)


@READERS.register(*(f"layers.Global{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)))
def _global_pooling(context: Context) -> Tensor | None:
    layer = context.layer
    op = "global_avg_pool" if "Average" in type(layer).__name__ else "global_max_pool"
    tensor = context.channels_first(context.tensor, layer.data_format)
    pooled = tensor and context.add(op, tensor.value, tensor.axes)
    if pooled is None or layer.keepdims:
        return pooled
    return context.add("flatten", pooled.value, (0,), name=f"{context.name}_flatten")


def reduced(context: Context, op: str) -> Tensor | None:
    """Read a function that reduces axes, which stay or not."""
    layer, tensor = context.layer, context.tensor
    rank = len(tensor.axes)
    if getattr(layer, "initial", None) is not None or layer.axis is None:
        return context.problem("reduces the batch, or has an initial value")
    places = [context.axis(axis) for axis in layer.axis]
    if None in places or tensor.order is not None:
        return None if None in places else context.problem("reduces a flattened map")
    added = context.add(op, tensor.value, tensor.axes, axis=sorted(place for place in places if place is not None))
    if added is None or layer.keepdims:
        return added
    gone = {axis + rank if axis < 0 else axis - 1 for axis in layer.axis}
    return context.squeezed(added, gone)


@READERS.register("ops.Mean")
def _mean(context: Context) -> Tensor | None:
    return reduced(context, "mean")


@READERS.register("ops.Max", "ops.Amax")
def _max(context: Context) -> Tensor | None:
    return reduced(context, "max")


@READERS.register("ops.Sum")
def _sum(context: Context) -> Tensor | None:
    return reduced(context, "sum")
