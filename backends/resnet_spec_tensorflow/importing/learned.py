"""Reads layers with numbers of their own: the backend's, and those of keras.applications."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor, last_first, weight


@READERS.register("own.LearnedScale", "own.LearnedOffset")
def _learned(context: Context) -> Tensor | None:
    layer = context.layer
    op = "scale" if type(layer).__name__ == "LearnedScale" else "offset"
    tensor = context.first(context.tensor)
    if tensor is None:
        return None
    array = weight(layer.value)
    if layer.shape == "map":
        array = array.transpose(np.argsort(tensor.axes))
    fields = {"shape": layer.shape} | _initial(layer.value_initializer)
    return context.add(op, tensor.value, tensor.axes, arrays={"": np.array(array, order="C")}, **fields)


def _initial(initializer: Any) -> dict[str, Any]:
    """The field with the number that an array has before training, if it is one number."""
    if isinstance(initializer, keras.initializers.Zeros):
        return {"initial": 0.0}
    if isinstance(initializer, keras.initializers.Ones):
        return {"initial": 1.0}
    return {"initial": float(initializer.value)} if isinstance(initializer, keras.initializers.Constant) else {}


@READERS.register("own.LearnedValue")
def _learned_value(context: Context) -> Tensor | None:
    layer = context.layer
    shape = tuple(layer.shape)
    axes = last_first(len(shape))
    array = np.array(weight(layer.value).transpose(np.argsort(axes)), order="C")
    fields = _initial(layer.value_initializer)
    return context.add("parameter", context.tensor.value, axes, arrays={"": array}, shape=array.shape, **fields)


@READERS.register("own.GeneralizedMeanPooling2D")
def _generalized_mean_pooling2d(context: Context) -> Tensor | None:
    layer = context.layer
    tensor = context.first(context.tensor)
    fields: dict[str, Any] = {"epsilon": float(layer.epsilon)} | _initial(layer.p_initializer)
    arrays = {"p": weight(layer.p)}
    return tensor and context.add("gem_pool", tensor.value, tensor.axes, arrays=arrays, **fields)


@READERS.register("layers.LayerScale")
def _layer_scale(context: Context) -> Tensor | None:
    """ConvNeXt's factor for each channel, as keras.applications has it."""
    return context.constants([("scale", weight(context.layer.gamma))], learned=True)
