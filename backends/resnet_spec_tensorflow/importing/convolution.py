"""Reads convolutions; a crop after a transposed one is its padding."""

from __future__ import annotations

from typing import Any

from resnet_spec.operations.fields import UNPADDED
from resnet_spec.operations.windows import fixed_same_padding
from resnet_spec_tensorflow.importing.activation import activated, is_linear
from resnet_spec_tensorflow.importing.calls import Call, as_list
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, key_of, weight

KERNEL = (3, 2, 0, 1)
"""The axes by which a kernel (height, width, in, out) becomes (out, in, height, width)."""


@READERS.register("layers.Conv2D", "own.StandardizedConv2D")
def _conv2d(context: Context) -> Tensor | None:
    layer = context.layer
    arrays = {"weight": weight(layer.kernel, KERNEL)} | _bias(layer)
    op, fields = "conv2d", _window(layer) | {"groups": layer.groups}
    if hasattr(layer, "factor"):
        op, fields = "std_conv2d", fields | {"epsilon": float(layer.epsilon)}
        if layer.factor is not None:
            arrays["gain"] = weight(layer.gain).reshape(-1, 1, 1, 1)
            gamma = round(layer.factor * arrays["weight"][0].size ** 0.5, 12)
            fields |= {"gain": True, "gamma": float(gamma)}
    return activated(context, _added(context, op, layer.filters, arrays, fields), layer.activation)


@READERS.register("layers.DepthwiseConv2D")
def _depthwise_conv2d(context: Context) -> Tensor | None:
    layer = context.layer
    kernel = _depthwise(layer.kernel)
    arrays = {"weight": kernel} | _bias(layer)
    fields = _window(layer) | {"groups": len(kernel) // layer.depth_multiplier}
    return activated(context, _added(context, "conv2d", len(kernel), arrays, fields), layer.activation)


@READERS.register("layers.SeparableConv2D")
def _separable_conv2d(context: Context) -> Tensor | None:
    layer = context.layer
    depthwise, pointwise = _depthwise(layer.depthwise_kernel), weight(layer.pointwise_kernel, KERNEL)
    fields = _window(layer) | {"groups": len(depthwise) // layer.depth_multiplier, "bias": False}
    between = _added(context, "conv2d", len(depthwise), {"weight": depthwise}, fields, name=f"{context.name}_depthwise")
    context.remark("layers that are two convolutions, named _depthwise and _pointwise")
    last = between and context.add(
        "conv2d",
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
    """A kernel (height, width, in, multiplier) as (in · multiplier, 1, height, width)."""
    array = weight(kernel, (2, 3, 0, 1))
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
    return value and context.add(op, value.value, value.axes, name=name, arrays=arrays, channels=channels, **fields)


def quantized(context: Context) -> bool:
    """Whether a layer's weights are quantized, which is a problem."""
    mode = getattr(context.layer, "quantization_mode", None)
    if mode:
        context.problem(f"is quantized to {mode}; import the model as it was before")
    return bool(mode)


@READERS.register("layers.Conv2DTranspose")
def _conv2d_transpose(context: Context) -> Tensor | None:
    layer = context.layer
    if quantized(context):
        return None
    if max(layer.dilation_rate) > 1:
        return context.problem("is dilated; the language's transposed convolution is not")
    if layer.output_padding is not None and (layer.padding == "same" or {*as_list(layer.output_padding)} != {0}):
        return context.problem("has output_padding; leave it at its default")
    padding: Any = "same" if layer.padding == "same" else _appended(layer)
    if padding is None:
        return context.problem("has a kernel smaller than its stride, which appends zeros; use padding='same'")
    crop = context.only_reader
    if padding == UNPADDED and is_linear(layer) and crop is not None and _is_crop(crop, layer.data_format):
        padding = tuple(tuple(pair) for pair in crop.operation.cropping)
        context.absorb(crop)
    value = context.channels_first(context.tensor, layer.data_format)
    added = value and context.add(
        "conv_transpose2d",
        value.value,
        value.axes,
        arrays={"weight": weight(layer.kernel, KERNEL)} | _bias(layer),
        channels=layer.filters,
        kernel=tuple(layer.kernel_size),
        stride=tuple(layer.strides),
        padding=padding,
        bias=layer.use_bias,
    )
    return activated(context, added, layer.activation)


def _appended(layer: Any) -> Any:
    """No crop, or None where Keras appends rows since the kernel is smaller than the stride."""
    smaller = any(kernel < stride for kernel, stride in zip(layer.kernel_size, layer.strides, strict=True))
    return None if smaller and layer.output_padding is None else UNPADDED


def _is_crop(call: Call, data_format: str) -> bool:
    return key_of(call.operation) == "layers.Cropping2D" and call.operation.data_format == data_format


@READERS.register("layers.Conv1D")
def _conv1d(context: Context) -> Tensor | None:
    layer = context.layer
    if quantized(context):
        return None
    if layer.padding == "causal":
        return context.problem("has causal padding, which the language lacks")
    if max(layer.strides) > 1 or max(layer.dilation_rate) > 1 or layer.groups > 1:
        return context.problem("has a stride, a dilation or groups; the language's conv1d has none")
    kernel = layer.kernel_size[0]
    before, after = fixed_same_padding(kernel, 1) or (0, 0)
    same = layer.padding == "same"
    if same and before != after:
        return context.problem(f"pads {before} before and {after} after; the language's conv1d pads both ends alike")
    padding = before if same else 0
    if context.padding is not None:
        ((padding, _),) = context.padding
    value = context.channels_first(context.tensor, layer.data_format)
    added = value and context.add(
        "conv1d",
        value.value,
        value.axes,
        arrays={"weight": weight(layer.kernel, (2, 1, 0))} | _bias(layer),
        channels=layer.filters,
        kernel=kernel,
        padding=padding,
        bias=layer.use_bias,
    )
    return activated(context, added, layer.activation)
