"""Reads normalizations."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec.operations.fields import Shape
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.importing.calls import as_list
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, positions, weight


@READERS.register("layers.BatchNormalization", "own.UnbiasedBatchNormalization")
def _batch_normalization(context: Context) -> Tensor | None:
    layer = context.layer
    if getattr(layer, "renorm", False):
        return context.problem("renormalizes batches (renorm=True), which the language lacks")
    tensor = _first(context, layer.axis)
    return tensor and context.add("batch_norm", tensor.value, tensor.axes, arrays=_statistics(layer), **_fields(layer))


def position_batch_norm(context: Context) -> Tensor | None:
    """Read a layer that normalizes each element of a flattened map, which is ``context``'s tensor, by itself."""
    layer, tensor = context.layer, context.tensor
    order = np.argsort(tensor.axes)
    arrays = {name: array.reshape(tensor.shape).transpose(order) for name, array in _statistics(layer).items()}
    return context.add("position_batch_norm", tensor.value, tensor.axes, arrays=arrays, **_fields(layer))


def _fields(layer: Any) -> dict[str, Any]:
    unbiased = type(layer).__name__ == "UnbiasedBatchNormalization"
    return {
        "epsilon": float(layer.epsilon),
        "decay": float(layer.momentum),
        "running_variance": "unbiased" if unbiased else "biased",
        "scale": layer.scale,
        "offset": layer.center,
    }


def _statistics(layer: Any) -> dict[str, Any]:
    """The arrays of a batch normalization."""
    moving = {"running_mean": weight(layer.moving_mean), "running_var": weight(layer.moving_variance)}
    return _affine(layer) | moving


def _affine(layer: Any, shape: Shape | None = None) -> dict[str, Any]:
    arrays = {"weight": weight(layer.gamma)} if layer.scale else {}
    if layer.center:
        arrays["bias"] = weight(layer.beta)
    return {name: array.reshape(shape or array.shape) for name, array in arrays.items()}


def _first(context: Context, axis: Any) -> Tensor | None:
    """The tensor with the axis that a layer normalizes as the value's first."""
    axes = as_list(axis)
    if len(axes) != 1:
        return context.problem("normalizes along several axes; the language's operation has one")
    if context.axis(axes[0]) is None:
        return None
    return context.first(context.tensor, axes[0] - (axes[0] > 0))


@READERS.register("layers.LayerNormalization")
def _layer_normalization(context: Context) -> Tensor | None:
    layer, tensor = context.layer, context.tensor
    if getattr(layer, "rms_scaling", False):
        return context.problem("scales by the root mean square, which the language lacks")
    axes = as_list(layer.axis)
    # Axes of size 1 do not matter.
    places = [context.axis(axis) for axis in axes]
    if None in places:
        return None
    if len(places) > 1:
        places = [place for place in places if place is not None and tensor.value.shape[place] > 1] or places[:1]
    if len(places) > 1:
        return context.problem("normalizes along several axes; the language's operation has one")
    return context.add(
        "layer_norm",
        tensor.value,
        tensor.axes,
        arrays=_affine(layer, (-1,)),
        axis=places[0],
        epsilon=float(layer.epsilon),
        scale=layer.scale,
        offset=layer.center,
    )


@READERS.register("layers.GroupNormalization", "own.EvoNormalization")
def _group_normalization(context: Context) -> Tensor | None:
    layer = context.layer
    tensor = _first(context, layer.axis)
    if tensor is None:
        return None
    fields: dict[str, Any] = {"epsilon": float(layer.epsilon)}
    groups, arrays = layer.groups, _affine(layer)
    if type(layer).__name__ == "EvoNormalization":
        if layer.gate:
            arrays["v"] = weight(layer.v)
        fields |= {"groups": groups, "gate": layer.gate}
        return context.add("evo_norm_s0", tensor.value, tensor.axes, arrays=arrays, **fields)
    fields |= {"scale": layer.scale, "offset": layer.center}
    channels = tensor.value.shape[0]
    groups = channels if groups == -1 else groups
    if groups == channels and positions(tensor) > 1:
        return context.add("instance_norm", tensor.value, tensor.axes, arrays=arrays, **fields)
    return context.add("group_norm", tensor.value, tensor.axes, arrays=arrays, groups=groups, **fields)


@READERS.register("own.FilterResponseNormalization")
def _filter_response_normalization(context: Context) -> Tensor | None:
    layer = context.layer
    tensor = context.first(context.tensor)
    arrays = {"weight": weight(layer.gamma), "bias": weight(layer.beta)}
    if layer.threshold:
        arrays["tau"] = weight(layer.tau)
    return tensor and context.add(
        "filter_response_norm",
        tensor.value,
        tensor.axes,
        arrays=arrays,
        epsilon=float(layer.epsilon),
        threshold=layer.threshold,
    )


@READERS.register("own.L2Normalization", "ops.Normalize")
def _l2_normalization(context: Context) -> Tensor | None:
    layer, tensor = context.layer, context.tensor
    if getattr(layer, "order", 2) != 2 or not isinstance(layer.axis, int):
        return context.problem("divides by another norm than the Euclidean one along one axis")
    axis = context.axis(layer.axis)
    epsilon = keras.backend.epsilon() if layer.epsilon is None else layer.epsilon
    if axis is None:
        return None
    return context.add("l2_normalize", tensor.value, tensor.axes, axis=axis, epsilon=float(epsilon))


@READERS.register("layers.Normalization")
def _normalization(context: Context) -> Tensor | None:
    """The input less a mean, over a deviation; both are constants, or were counted by ``adapt``."""
    layer = context.layer
    if layer.invert:
        return context.problem("is inverted (invert=True); import the model without it")
    mean, variance = (np.asarray(weight(value), np.float64) for value in (layer.mean, layer.variance))
    factor = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
    if mean.shape[0] != 1:
        return context.problem("has a mean for each image of the batch")
    return context.constants([("offset", -mean[0]), ("scale", factor[0])])


@READERS.register("layers.Rescaling")
def _rescaling(context: Context) -> Tensor | None:
    steps = [("scale", np.asarray(context.layer.scale)), ("offset", np.asarray(context.layer.offset))]
    return context.constants(steps)
