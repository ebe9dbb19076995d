"""Pools and paddings that Keras does not have, or not in float64.

A ``.keras`` file with one of them needs this package to load. Maps are channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from resnet_spec.operations.fields import Edges
from resnet_spec.operations.windows import explicit_padding, same_padding
from resnet_spec_keras.framework import keras


def _pooled_by_axes(pooling: Any, pool: Callable[..., Any], inputs: Any) -> Any:
    """Pool a volume along its rows and columns, then along its depth, which has the same result.

    TensorFlow pools maps in float64, and volumes not.
    """
    (depth, *window), (step, *stride) = pooling.pool_size, pooling.strides
    batch, slices, rows, columns, channels = keras.ops.shape(inputs)
    maps = _pooled(pool, keras.ops.reshape(inputs, (-1, rows, columns, channels)), window, stride, pooling.padding)
    rows, columns = keras.ops.shape(maps)[1:3]
    lines = keras.ops.reshape(maps, (batch, slices, rows * columns, channels))
    volume = _pooled(pool, lines, (depth, 1), (step, 1), pooling.padding)
    return keras.ops.reshape(volume, (batch, keras.ops.shape(volume)[1], rows, columns, channels))


def _pooled(pool: Callable[..., Any], maps: Any, window: Sequence[int], stride: Sequence[int], padding: str) -> Any:
    return pool(maps, tuple(window), tuple(stride), padding, "channels_last")


@keras.saving.register_keras_serializable(package="resnet_spec")
class ExactMaxPooling3D(keras.layers.MaxPooling3D):
    """MaxPooling3D in float64 too."""

    def call(self, inputs: Any) -> Any:
        """The maxima of the windows of ``inputs`` (batch, depth, height, width, channels)."""
        return _pooled_by_axes(self, keras.ops.max_pool, inputs)


@keras.saving.register_keras_serializable(package="resnet_spec")
class ExactAveragePooling3D(keras.layers.AveragePooling3D):
    """AveragePooling3D in float64 too."""

    def call(self, inputs: Any) -> Any:
        """The means of the windows of ``inputs`` (batch, depth, height, width, channels)."""
        return _pooled_by_axes(self, keras.ops.average_pool, inputs)


class MaskedAveragePooling:
    """Average pooling of a map with ``edges`` of zeros, of which those within ``counted`` count as values.

    Takes the arguments of Keras' layer. No window may lie outside what counts.
    """

    def __init__(self, *args: Any, edges: Edges, counted: Edges, **kwargs: Any) -> None:
        parent: Any = super()
        parent.__init__(*args, **kwargs)
        self.edges = edges
        self.counted = counted

    def call(self, inputs: Any) -> Any:
        """The means of the windows of ``inputs`` (batch, ..., channels)."""
        parent: Any = super()
        ones = keras.ops.pad(keras.ops.ones_like(inputs[:1, ..., :1]), _around(self.counted), constant_values=1)
        rest = [
            (before - counted_before, after - counted_after)
            for (before, after), (counted_before, counted_after) in zip(self.edges, self.counted, strict=True)
        ]
        padded, counts = keras.ops.pad(inputs, _around(self.edges)), keras.ops.pad(ones, _around(rest))
        return parent.call(padded) / parent.call(counts)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for inputs of this shape."""
        parent: Any = super()
        batch, *sizes, channels = input_shape
        padded = [size and size + sum(edges) for size, edges in zip(sizes, self.edges, strict=True)]
        return parent.compute_output_shape((batch, *padded, channels))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        return parent.get_config() | {"edges": self.edges, "counted": self.counted}


@keras.saving.register_keras_serializable(package="resnet_spec")
class MaskedAveragePooling2D(MaskedAveragePooling, keras.layers.AveragePooling2D):
    """AveragePooling2D with zeros around the map, of which some count."""


@keras.saving.register_keras_serializable(package="resnet_spec")
class MaskedAveragePooling1D(MaskedAveragePooling, keras.layers.AveragePooling1D):
    """``MaskedAveragePooling2D`` for signals."""


@keras.saving.register_keras_serializable(package="resnet_spec")
class MaskedAveragePooling3D(MaskedAveragePooling, ExactAveragePooling3D):
    """``MaskedAveragePooling2D`` for volumes."""


@keras.saving.register_keras_serializable(package="resnet_spec")
class SamePadding2D(keras.layers.Layer):
    """The zeros of TensorFlow's ``same`` padding around a map, for what Keras cannot pad in this way itself.

    ``kernel`` is how many rows and columns a window covers, with its dilation.
    """

    def __init__(self, kernel: tuple[int, ...], strides: tuple[int, ...], **kwargs: Any) -> None:
        parent: Any = super()
        parent.__init__(**kwargs)
        self.kernel = kernel
        self.strides = strides

    def call(self, inputs: Any) -> Any:
        """Pad ``inputs`` (batch, ..., channels) as its size requires."""
        sizes = keras.ops.shape(inputs)[1:-1]
        return keras.ops.pad(inputs, _around(explicit_padding(sizes, self.kernel, self.strides, maximum=_maximum)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for inputs of this shape, whose sizes may be unknown."""
        batch, *sizes, channels = input_shape
        axes = zip(sizes, self.kernel, self.strides, strict=True)
        padded = [size and size + sum(same_padding(size, kernel, stride)) for size, kernel, stride in axes]
        return batch, *padded, channels

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        return parent.get_config() | {"kernel": self.kernel, "strides": self.strides}


def _around(edges: Any) -> Any:
    """Return the padding of each axis of a batch of maps."""
    return [(0, 0), *edges, (0, 0)]


def _maximum(first: Any, second: Any) -> Any:
    # Where sizes are known they must stay numbers: only TensorFlow pads by what is computed.
    known = isinstance(first, int) and isinstance(second, int)
    return max(first, second) if known else keras.ops.maximum(first, second)
