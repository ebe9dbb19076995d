"""Layers of an 8-bit network in float, which round values and kernels to their grids.

Gradients go straight through the rounding.

A ``.keras`` file with one of them needs this package to load; a SavedModel has TensorFlow's own operations only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from resnet_spec.quantization.form import HIGH, KERNEL_HIGH, LOW
from resnet_spec_keras.framework import keras


def rounded(values: Any, scale: Any, low: int, high: int) -> Any:
    """The nearest multiples of a scale, of two that are as near the even one, from ``low`` to ``high`` times the scale.

    The gradient is that of the identity; where a value was limited it is 0.
    """
    stop = keras.ops.stop_gradient
    steps = keras.ops.round(values / scale)
    limited = keras.ops.clip(steps, low, high)
    passed = keras.ops.where(steps == limited, values, keras.ops.zeros_like(values))
    # What is added is 0, exactly, and has the gradient.
    return stop(limited * scale) + (passed - stop(passed))


@keras.saving.register_keras_serializable(package="resnet_spec")
class FakeQuantize(keras.layers.Layer):
    """Values rounded to the 256 numbers scale · (code - zero_point), for codes from -128 to 127."""

    def __init__(self, scale: float, zero_point: int, **kwargs: Any) -> None:
        parent: Any = super()
        parent.__init__(**kwargs)
        self.scale = scale
        self.zero_point = zero_point

    def call(self, inputs: Any) -> Any:
        """Round ``inputs``, of any shape."""
        return rounded(inputs, self.scale, LOW - self.zero_point, HIGH - self.zero_point)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for inputs of this shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        return parent.get_config() | {"scale": self.scale, "zero_point": self.zero_point}


class _RoundedKernel:
    """A layer whose kernel, (..., channels), is rounded to multiples of a scale for each channel where it is used.

    Takes the arguments of Keras' layer. The variable itself is not rounded, so that training can move it by less.
    """

    def __init__(self, *args: Any, kernel_scales: Sequence[float], **kwargs: Any) -> None:
        parent: Any = super()
        parent.__init__(*args, **kwargs)
        self.kernel_scales = tuple(kernel_scales)

    def rounded_kernel(self, kernel: Any) -> Any:
        """The kernel that the layer computes with."""
        kernel = keras.ops.convert_to_tensor(kernel)
        scales = keras.ops.convert_to_tensor(self.kernel_scales, kernel.dtype)
        return rounded(kernel, scales, -KERNEL_HIGH, KERNEL_HIGH)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        return parent.get_config() | {"kernel_scales": self.kernel_scales}


class _RoundedConvolution(_RoundedKernel):
    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (batch, ..., channels) with the rounded kernel."""
        parent: Any = super()
        return parent.convolution_op(inputs, self.rounded_kernel(kernel))


@keras.saving.register_keras_serializable(package="resnet_spec")
class RoundedConv1D(_RoundedConvolution, keras.layers.Conv1D):
    """Conv1D whose kernel is rounded; without causal padding, for which Keras' own call reads the kernel itself."""

    def call(self, inputs: Any) -> Any:
        """Convolve (batch, length, channels)."""
        kind: Any = keras.layers.Conv1D
        return cast("Any", super(kind, self)).call(inputs)


@keras.saving.register_keras_serializable(package="resnet_spec")
class RoundedConv2D(_RoundedConvolution, keras.layers.Conv2D):
    """Conv2D whose kernel is rounded."""


@keras.saving.register_keras_serializable(package="resnet_spec")
class RoundedConv3D(_RoundedConvolution, keras.layers.Conv3D):
    """Conv3D whose kernel is rounded."""


@keras.saving.register_keras_serializable(package="resnet_spec")
class RoundedDense(_RoundedKernel, keras.layers.Dense):
    """Dense whose kernel is rounded."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Multiply ``inputs`` (batch, ..., features) by the rounded kernel."""
        layer: Any = self
        outputs = keras.ops.matmul(inputs, self.rounded_kernel(layer.kernel))
        return layer.activation(outputs + layer.bias if layer.use_bias else outputs)


ROUNDED: Mapping[Any, Any] = MappingProxyType(
    {
        keras.layers.Conv1D: RoundedConv1D,
        keras.layers.Conv2D: RoundedConv2D,
        keras.layers.Conv3D: RoundedConv3D,
        keras.layers.Dense: RoundedDense,
    }
)
"""The layer with a rounded kernel for each of Keras' own."""
