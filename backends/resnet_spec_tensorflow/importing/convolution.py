"""Reads convolutions; a crop after a transposed one is its padding."""

from __future__ import annotations

from typing import Any

from resnet_spec.operations.convolution import usual_gamma
from resnet_spec_tensorflow.importing.activation import activated, is_linear
from resnet_spec_tensorflow.importing.calls import Call, as_list
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, key_of, weight
from resnet_spec_tensorflow.importing.strides import whole_window


def _kernel(variable: Any) -> Any:
    """A kernel (..., in, out) as (out, in, ...)."""
    rank = len(variable.shape) - 2
    return weight(variable, (rank + 1, rank, *range(rank)))


@READERS.register("layers.Conv1D", "layers.Conv2D", "layers.Conv3D", "own.StandardizedConv2D")
def _conv(context: Context) -> Tensor | None:
    layer = context.layer
    if layer.padding == "causal":
        return context.problem("has causal padding, which the language lacks")
    arrays = {"weight": _kernel(layer.kernel)} | _bias(layer)
    op, fields = f"conv{layer.rank}d", _window(layer) | {"groups": layer.groups}
    if hasattr(layer, "factor"):
        op, fields = "std_conv2d", fields | {"epsilon": float(layer.epsilon)}
        if layer.factor is not None:
            arrays["gain"] = weight(layer.gain).reshape(-1, 1, 1, 1)
            gamma = float(layer.factor * arrays["weight"][0].size ** 0.5)
            fields |= {"gain": True, "gamma": usual_gamma(gamma, 1e-12) or round(gamma, 12)}
    return activated(context, _added(context, op, layer.filters, arrays, fields), layer.activation)


@READERS.register("layers.DepthwiseConv1D", "layers.DepthwiseConv2D")
def _depthwise_conv(context: Context) -> Tensor | None:
    layer = context.layer
    kernel = _depthwise(layer.kernel)
    arrays = {"weight": kernel} | _bias(layer)
    fields = _window(layer) | {"groups": len(kernel) // layer.depth_multiplier}
    return activated(context, _added(context, f"conv{layer.rank}d", len(kernel), arrays, fields), layer.activation)


@READERS.register("layers.SeparableConv1D", "layers.SeparableConv2D")
def _separable_conv(context: Context) -> Tensor | None:
    layer = context.layer
    depthwise, pointwise = _depthwise(layer.depthwise_kernel), _kernel(layer.pointwise_kernel)
    op = f"conv{layer.rank}d"
    fields = _window(layer) | {"groups": len(depthwise) // layer.depth_multiplier, "bias": False}
    between = _added(context, op, len(depthwise), {"weight": depthwise}, fields, name=f"{context.name}_depthwise")
    context.remark("layers that are two convolutions, named _depthwise and _pointwise")
    last = between and context.add(
        op,
        between.value,
        between.axes,
        name=f"{context.name}_pointwise",
        arrays={"weight": pointwise} | _bias(layer),
        channels=layer.filters,
        kernel=1,
        bias=layer.use_bias,
    )
    return activated(context, last, layer.activation)


def _depthwise(kernel: Any) -> Any:
    """A kernel (..., in, multiplier) as (in · multiplier, 1, ...)."""
    rank = len(kernel.shape) - 2
    array = weight(kernel, (rank, rank + 1, *range(rank)))
    return array.reshape(-1, 1, *array.shape[2:])


def _bias(layer: Any) -> dict[str, Any]:
    return {"bias": weight(layer.bias)} if layer.use_bias else {}


def _window(layer: Any) -> dict[str, Any]:
    return {
        "kernel": tuple(layer.kernel_size),
        "stride": tuple(layer.strides),
        "dilation": tuple(layer.dilation_rate),
        # A window of one position needs no padding.
        "padding": "same" if layer.padding == "same" and max(layer.kernel_size) > 1 else 0,
        "bias": layer.use_bias,
    }


def _added(
    context: Context, op: str, channels: int, arrays: dict[str, Any], fields: dict[str, Any], name: str = ""
) -> Tensor | None:
    layer = context.layer
    if quantized(context):
        return None
    value = context.channels_first(context.tensor, layer.data_format)
    if context.padding is not None:
        fields = fields | {"padding": context.padding}
    fields = whole_window(context, fields)
    return value and context.add(op, value.value, value.axes, name=name, arrays=arrays, channels=channels, **fields)


def quantized(context: Context) -> bool:
    """Whether a layer's weights are quantized, which is a problem."""
    mode = getattr(context.layer, "quantization_mode", None)
    if mode:
        context.problem(f"is quantized to {mode}; import the model as it was before")
    return bool(mode)


@READERS.register("layers.Conv1DTranspose", "layers.Conv2DTranspose", "layers.Conv3DTranspose")
def _conv_transpose(context: Context) -> Tensor | None:
    layer = context.layer
    if quantized(context):
        return None
    if max(layer.dilation_rate) > 1:
        return context.problem("is dilated; the language's transposed convolution is not")
    if layer.output_padding is not None and (layer.padding == "same" or {*as_list(layer.output_padding)} != {0}):
        return context.problem("has output_padding; leave it at its default")
    unpadded = ((0, 0),) * layer.rank
    padding: Any = "same" if layer.padding == "same" else None if _appends(layer) else unpadded
    if padding is None:
        return context.problem("has a kernel smaller than its stride, which appends zeros; use padding='same'")
    crop = context.only_reader
    if padding == unpadded and is_linear(layer) and crop is not None and _is_crop(crop, layer):
        padding = edges_of(crop.operation.cropping)
        context.absorb(crop)
    value = context.channels_first(context.tensor, layer.data_format)
    added = value and context.add(
        f"conv_transpose{layer.rank}d",
        value.value,
        value.axes,
        arrays={"weight": _kernel(layer.kernel)} | _bias(layer),
        channels=layer.filters,
        kernel=tuple(layer.kernel_size),
        stride=tuple(layer.strides),
        padding=padding,
        bias=layer.use_bias,
    )
    return activated(context, added, layer.activation)


def _appends(layer: Any) -> bool:
    """Whether Keras appends rows, since the kernel is smaller than the stride."""
    smaller = any(kernel < stride for kernel, stride in zip(layer.kernel_size, layer.strides, strict=True))
    return smaller and layer.output_padding is None


def _is_crop(call: Call, layer: Any) -> bool:
    crop = call.operation
    # A signal's crop has no data format.
    last = getattr(crop, "data_format", "channels_last")
    return key_of(crop) == f"layers.Cropping{layer.rank}D" and last == layer.data_format


def edges_of(edges: Any) -> Any:
    """A padding or a crop as Keras has it, one pair for a signal, as a pair for each axis."""
    pairs = [edges] if isinstance(edges[0], int) else edges
    return tuple(tuple(pair) for pair in pairs)
