"""Padding as Keras layers take it, and the steps that add other paddings. Maps are channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from resnet_spec.operations import AvgPool, Conv, MaxPool, StdConv
from resnet_spec.operations.fields import Edges
from resnet_spec.operations.windows import fixed_padding, is_unpadded
from resnet_spec_keras.framework import keras, tf
from resnet_spec_keras.window_layers import ExactAveragePooling3D, ExactMaxPooling3D

CHANNELS_LAST = "channels_last"

Windowed: TypeAlias = Conv | StdConv | MaxPool | AvgPool


def mode_of(op: Windowed) -> str | None:
    """Return Keras' name for an operation's padding, or None if a step before the layer has to add it.

    Explicit padding becomes ``same`` if the two are equal at every input size, which saves a layer and a copy.
    """
    if op.fixed_padding is not None and is_unpadded(op.fixed_padding):
        return "valid"
    dilation = op.dilation if isinstance(op, Conv | StdConv) else None
    same = fixed_padding(op.kernel, op.stride, "same", dilation)
    return "same" if op.padding == "same" or op.fixed_padding == same else None


def of_rank(name: str, rank: int) -> Any:
    """Return Keras' layer for maps of a rank: ``Conv2D`` for ``Conv`` and 2."""
    kind, _, rest = name.partition("_")
    return getattr(keras.layers, f"{kind}{rank}D{rest}")


def zeros(edges: Edges, name: str, dtype: Any, data_format: str = CHANNELS_LAST) -> Any:
    """Return a layer that adds zeros along each axis of positions."""
    return of_rank("ZeroPadding", len(edges))(_sides(edges), data_format=data_format, name=name, dtype=dtype)


def crop(edges: Edges, name: str, dtype: Any) -> Any:
    """Return a layer that removes positions at the ends of each axis."""
    settings = {} if len(edges) == 1 else {"data_format": CHANNELS_LAST}
    return of_rank("Cropping", len(edges))(_sides(edges), name=name, dtype=dtype, **settings)


def _sides(edges: Edges) -> Any:
    """Return a padding as Keras takes it: one pair for a signal, else a pair for each axis."""
    return edges[0] if len(edges) == 1 else edges


def max_pooling(kernel: Sequence[int], stride: Sequence[int], padding: str, common: dict[str, Any]) -> Any:
    """Return a layer for the maxima of windows."""
    return _pooling("MaxPooling", ExactMaxPooling3D, kernel, stride, padding, common)


def average_pooling(kernel: Sequence[int], stride: Sequence[int], padding: str, common: dict[str, Any]) -> Any:
    """Return a layer for the means of windows."""
    return _pooling("AveragePooling", ExactAveragePooling3D, kernel, stride, padding, common)


def _pooling(
    name: str, exact: Any, kernel: Sequence[int], stride: Sequence[int], padding: str, common: dict[str, Any]
) -> Any:
    # TensorFlow pools volumes in float32 only.
    narrow = tf is None or len(kernel) < 3 or common["dtype"].compute_dtype == "float32"
    layer = of_rank(name, len(kernel)) if narrow else exact
    return layer(tuple(kernel), strides=tuple(stride), padding=padding, data_format=CHANNELS_LAST, **common)


class Pad:
    """Padding with any value, or by reflection if it is None, as an operation of the functional model.

    ``edges`` are those of the axes between batch and channels. It saves and loads like a layer.
    """

    def __init__(self, edges: tuple[tuple[int, int], ...], value: float | None, name: str) -> None:
        self._edges = edges
        self._value = value
        self._name = name
        self._operation: Any = None

    def __call__(self, inputs: Any) -> Any:
        """The padded tensor; another call applies the same operation."""
        if self._operation is not None:
            return self._operation(inputs, constant_values=self._value)
        mode = "reflect" if self._value is None else "constant"
        outputs = keras.ops.pad(inputs, ((0, 0), *self._edges, (0, 0)), mode, constant_values=self._value)
        # keras.ops takes no name, and the one it generates could be a node's.
        self._operation = outputs._keras_history.operation
        self._operation.name = self._name
        return outputs
