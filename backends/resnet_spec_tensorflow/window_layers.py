"""Pools and paddings that Keras does not have, or not in float64.

A ``.keras`` file with one of them needs this package to load. Maps are channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resnet_spec.operations.fields import Edges
from resnet_spec.operations.windows import explicit_padding, same_padding
from resnet_spec_tensorflow.framework import keras, tf


def _pooled_by_axes(pooling: Any, pool: Callable[..., Any], inputs: Any) -> Any:
    """Pool a volume along its rows and columns, then along its depth, which has the same result.

    TensorFlow pools maps in float64, and volumes not.
    """
    padding = pooling.padding.upper()
    (depth, *window), (step, *stride) = pooling.pool_size, pooling.strides
    batch, slices, rows, columns, channels = tf.unstack(tf.shape(inputs))
    maps = pool(tf.reshape(inputs, (batch * slices, rows, columns, channels)), window, stride, padding)
    rows, columns = tf.unstack(tf.shape(maps)[1:3])
    volume = pool(tf.reshape(maps, (batch, slices, rows * columns, channels)), (depth, 1), (step, 1), padding)
    volume = tf.reshape(volume, (batch, tf.shape(volume)[1], rows, columns, channels))
    return tf.ensure_shape(volume, keras.layers.MaxPooling3D.compute_output_shape(pooling, inputs.shape))


@keras.saving.register_keras_serializable(package="resnet_spec")
class ExactMaxPooling3D(keras.layers.MaxPooling3D):
    """MaxPooling3D in float64 too."""

    def call(self, inputs: Any) -> Any:
        """The maxima of the windows of ``inputs`` (batch, depth, height, width, channels)."""
        return _pooled_by_axes(self, tf.nn.max_pool2d, inputs)


@keras.saving.register_keras_serializable(package="resnet_spec")
class ExactAveragePooling3D(keras.layers.AveragePooling3D):
    """AveragePooling3D in float64 too."""

    def call(self, inputs: Any) -> Any:
        """The means of the windows of ``inputs`` (batch, depth, height, width, channels)."""
        return _pooled_by_axes(self, tf.nn.avg_pool2d, inputs)


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
        ones = tf.pad(tf.ones_like(inputs[:1, ..., :1]), _around(self.counted), constant_values=1)
        rest = [
            (before - counted_before, after - counted_after)
            for (before, after), (counted_before, counted_after) in zip(self.edges, self.counted, strict=True)
        ]
        return parent.call(tf.pad(inputs, _around(self.edges))) / parent.call(tf.pad(ones, _around(rest)))

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
        sizes = tf.unstack(tf.shape(inputs)[1:-1])
        return tf.pad(inputs, _around(explicit_padding(sizes, self.kernel, self.strides, maximum=tf.maximum)))

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
