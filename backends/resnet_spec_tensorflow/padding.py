"""Rows and columns around a map: those a window needs, and the steps that add them. Maps are channels last."""

from __future__ import annotations

from typing import Any, TypeAlias

from resnet_spec.operations import AvgPool2d, Conv2d, MaxPool2d, StdConv2d
from resnet_spec.operations.fields import UNPADDED, Edges
from resnet_spec_tensorflow.framework import keras

CHANNELS_LAST = "channels_last"

Windowed: TypeAlias = Conv2d | StdConv2d | MaxPool2d | AvgPool2d


def edges_of(op: Windowed) -> Edges | None:
    """The rows and columns that a window needs around the map, whatever its size; None where they follow the size.

    Those that ``ceil_mode`` needs are among them: up to a stride less one, but never so many that a window begins
    below the map, which PyTorch drops.
    """
    if op.padding != "same":
        if not isinstance(op, MaxPool2d | AvgPool2d) or not op.ceil_mode:
            return op.padding
        (top, bottom), (left, right) = (
            (before, min(after + stride - 1, kernel - 1))
            for kernel, stride, (before, after) in zip(op.kernel, op.stride, op.padding, strict=True)
        )
        return (top, bottom), (left, right)
    rows, columns = (_same_edges(*axis) for axis in _axes(op))
    return None if rows is None or columns is None else (rows, columns)


def mode_of(op: Windowed) -> str | None:
    """Keras' name for an operation's padding, or None where the rows have to be added before it.

    Explicit padding is ``same`` where the two are equal at every input size, which saves a layer and a copy.
    """
    edges = edges_of(op)
    if edges == UNPADDED:
        return "valid"
    if op.padding == "same" or edges == tuple(_same_edges(*axis) for axis in _axes(op)):
        return "same"
    return None


def _axes(op: Windowed) -> zip[tuple[int, int, int]]:
    dilation = op.dilation if isinstance(op, Conv2d | StdConv2d) else (1, 1)
    return zip(op.kernel, op.stride, dilation, strict=True)


def _same_edges(kernel: int, stride: int, dilation: int) -> tuple[int, int] | None:
    """The rows that equal ``same`` at every input size, or None where there are no such."""
    span = dilation * (kernel - 1)
    return (span // 2, span - span // 2) if stride == 1 or span < 2 else None


def zeros(edges: Edges, name: str, dtype: Any) -> Any:
    """A layer that adds rows and columns of zeros."""
    return keras.layers.ZeroPadding2D(edges, data_format=CHANNELS_LAST, name=name, dtype=dtype)


class Pad:
    """Padding with any value, or the mirrored map where it is None, as an operation of the functional model.

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
        # keras.ops takes no name, and the one it makes up could be a node's.
        self._operation = outputs._keras_history.operation
        self._operation.name = self._name
        return outputs
