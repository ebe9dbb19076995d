"""Padding as Keras layers take it, and the steps that add other paddings. Maps are channels last."""

from __future__ import annotations

from typing import Any, TypeAlias

from resnet_spec.operations import AvgPool2d, Conv2d, MaxPool2d, StdConv2d
from resnet_spec.operations.fields import UNPADDED, Edges
from resnet_spec.operations.windows import fixed_padding
from resnet_spec_tensorflow.framework import keras

CHANNELS_LAST = "channels_last"

Windowed: TypeAlias = Conv2d | StdConv2d | MaxPool2d | AvgPool2d


def mode_of(op: Windowed) -> str | None:
    """Return Keras' name for an operation's padding, or None if a step before the layer has to add it.

    Explicit padding becomes ``same`` if the two are equal at every input size, which saves a layer and a copy.
    """
    if op.fixed_padding == UNPADDED:
        return "valid"
    dilation = op.dilation if isinstance(op, Conv2d | StdConv2d) else (1, 1)
    same = fixed_padding(op.kernel, op.stride, "same", dilation)
    return "same" if op.padding == "same" or op.fixed_padding == same else None


def zeros(edges: Edges, name: str, dtype: Any) -> Any:
    """Return a layer that adds rows and columns of zeros."""
    return keras.layers.ZeroPadding2D(edges, data_format=CHANNELS_LAST, name=name, dtype=dtype)


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
