"""Layers that Keras does not have; a ``.keras`` file with one of them needs this package to load.

A graph with an unbiased running variance is still compiled with Keras' own layer, unless exact statistics are
requested, so that the saved model loads on a machine without this package. Maps are channels last.

Every layer states the shape of its output. Keras would else run it on a symbolic value, which it takes for a sparse one
after a product with a number.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

from resnet_spec_keras.framework import keras, tf


@keras.saving.register_keras_serializable(package="resnet_spec")
class UnbiasedBatchNormalization(keras.layers.BatchNormalization):
    """BatchNormalization that keeps the running variance divided by n - 1 instead of n.

    Takes the arguments of ``keras.layers.BatchNormalization``; inputs have the channels last. The batch itself is
    still normalized by its biased variance, as in PyTorch. A batch of one value a channel has no unbiased variance
    and counts as 0.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize ``inputs`` (batch, ..., channels); in training mode move the running statistics."""
        parent: Any = super()
        if not (training and self.trainable):
            return parent.call(inputs, training=training, mask=mask)
        # A product, since a read of the variable would see a later assignment.
        kept = self.moving_variance * self.momentum
        outputs = parent.call(inputs, training=training, mask=mask)
        added = self.moving_variance - kept
        # The batch's part times n / (n - 1) is the part plus the part divided by n - 1.
        self.moving_variance.assign_add(added / keras.ops.cast(self._others(inputs), added.dtype))
        return outputs

    def _others(self, inputs: Any) -> Any:
        """Return the number of values per channel in the whole batch minus 1, and at least 1."""
        values = keras.ops.prod(keras.ops.shape(inputs)[:-1])
        if self.synchronized and (replica := tf.distribute.get_replica_context()):
            values = replica.all_reduce(tf.distribute.ReduceOp.SUM, values)
        return keras.ops.maximum(values - 1, 1)


def _positions(inputs: Any) -> tuple[int, ...]:
    """Return the axes of positions of (batch, ..., channels)."""
    return tuple(range(1, len(inputs.shape) - 1))


def _gathered(value: Any, positions: Any, axis: int) -> Any:
    # In TensorFlow the function of keras.ops would also look for negative positions, which there are none of.
    return keras.ops.take(value, positions, axis) if tf is None else tf.gather(value, positions, axis=axis)


def _widened(value: Any) -> Any:
    """Return values in float32 at least, as Keras' own normalizations do: half precision holds no small epsilon."""
    return keras.ops.cast(value, keras.backend.result_type(value.dtype, "float32"))


@keras.saving.register_keras_serializable(package="resnet_spec")
class StandardizedConv2D(keras.layers.Conv2D):
    """Conv2D whose kernel is standardized before use: mean 0 and variance 1 over each output channel's weights.

    Takes the arguments of ``keras.layers.Conv2D``, and ``epsilon``, which is added to the biased variance. With a
    ``factor`` the kernel is multiplied by it and by a learned ``gain`` per output channel.
    """

    def __init__(
        self, *args: Any, epsilon: float, factor: float | None = None, gain_initializer: Any = "ones", **kwargs: Any
    ) -> None:
        parent: Any = super()
        parent.__init__(*args, **kwargs)
        self.epsilon = epsilon
        self.factor = factor
        self.gain_initializer = keras.initializers.get(gain_initializer)

    def build(self, input_shape: Any) -> None:
        """Make the variables for inputs of this shape."""
        parent: Any = super()
        parent.build(input_shape)
        if self.factor is not None:
            shape = (1, 1, 1, self.filters)
            self.gain = self.add_weight(shape=shape, name="gain", initializer=self.gain_initializer)

    def save_own_variables(self, store: Any) -> None:
        """Store the variables, also the one that Keras' own convolution would leave out."""
        parent: Any = super()
        parent.save_own_variables(store)
        if self.built and self.factor is not None:
            store[self._gain_key] = self.gain

    def load_own_variables(self, store: Any) -> None:
        """Load what ``save_own_variables`` stores."""
        parent: Any = super()
        parent.load_own_variables(store)
        if self.built and self.factor is not None:
            self.gain.assign(store[self._gain_key])

    @property
    def _gain_key(self) -> str:
        # After the kernel and the bias.
        return "2" if self.use_bias else "1"

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (batch, height, width, channels) with the standardized kernel."""
        parent: Any = super()
        wide = _widened(kernel)
        mean, variance = keras.ops.moments(wide, axes=(0, 1, 2), keepdims=True)
        standardized = (wide - mean) * keras.ops.rsqrt(variance + self.epsilon)
        if self.factor is not None:
            standardized = standardized * (_widened(self.gain) * self.factor)
        return parent.convolution_op(inputs, keras.ops.cast(standardized, inputs.dtype))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        gain = {"gain_initializer": keras.initializers.serialize(self.gain_initializer)}
        own = {"epsilon": self.epsilon, "factor": self.factor, **gain} if self.factor else {"epsilon": self.epsilon}
        return parent.get_config() | own


@keras.saving.register_keras_serializable(package="resnet_spec")
class BroadcastAdd(keras.layers.Add):
    """A sum of values of any shapes, of which Keras' own takes some for biases of the channels."""

    def _merge_function(self, inputs: Any) -> Any:
        total, *others = inputs
        for value in others:
            total = total + value
        return total


@keras.saving.register_keras_serializable(package="resnet_spec")
class ExactLeakyReLU(keras.layers.LeakyReLU):
    """LeakyReLU whose slope is not rounded to float32, as TensorFlow's kernel rounds it whatever the input's dtype."""

    def call(self, inputs: Any) -> Any:
        """Multiply the negative values of ``inputs`` by the slope."""
        return keras.ops.where(inputs > 0, inputs, self.negative_slope * inputs)


@keras.saving.register_keras_serializable(package="resnet_spec")
def gelu_erf(x: Any) -> Any:
    """GELU by the error function; TensorFlow's own rounds √½ to float32, whatever the dtype of ``x``."""
    return x * (1 + keras.ops.erf(x * sqrt(0.5))) * 0.5


@keras.saving.register_keras_serializable(package="resnet_spec")
def gelu_tanh(x: Any) -> Any:
    """GELU with the approximation by tanh, for which Keras has no name, and TensorFlow float32 constants."""
    return x * (1 + keras.ops.tanh((x + x * x * x * 0.044715) * sqrt(2 / pi))) * 0.5


@keras.saving.register_keras_serializable(package="resnet_spec")
class EvoNormalization(keras.layers.GroupNormalization):
    """EvoNorm-S0 (Liu et al. 2020): x · sigmoid(v · x) / sqrt(variance + epsilon) · gamma + beta.

    Takes the arguments of ``keras.layers.GroupNormalization``, whether the sigmoid is a ``gate``, and the initializer
    of ``v``, which belongs to the gate. Inputs are (batch, height, width, channels); the variance is that of a group of
    channels at all positions, divided by n.
    """

    def __init__(self, *args: Any, gate: bool = True, v_initializer: Any = "ones", **kwargs: Any) -> None:
        parent: Any = super()
        parent.__init__(*args, **kwargs)
        self.gate = gate
        self.v_initializer = keras.initializers.get(v_initializer)

    def build(self, input_shape: Any) -> None:
        """Make the variables for inputs of this shape."""
        parent: Any = super()
        parent.build(input_shape)
        if self.gate:
            self.v = self.add_weight(shape=(input_shape[-1],), name="v", initializer=self.v_initializer)

    def call(self, inputs: Any) -> Any:
        """Normalize and activate ``inputs`` (batch, height, width, channels)."""
        shape, positions = keras.ops.shape(inputs), _positions(inputs)
        x, gamma, beta = map(_widened, (inputs, self.gamma, self.beta))
        grouped = keras.ops.reshape(x, (*shape[:-1], self.groups, inputs.shape[-1] // self.groups))
        scale = keras.ops.rsqrt(keras.ops.var(grouped, axis=(*positions, -1), keepdims=True) + self.epsilon)
        normalized = keras.ops.reshape(grouped * scale, shape)
        if self.gate:
            normalized = normalized * keras.ops.sigmoid(_widened(self.v) * x)
        return keras.ops.cast(normalized * gamma + beta, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        initializer = keras.initializers.serialize(self.v_initializer)
        return parent.get_config() | {"gate": self.gate, "v_initializer": initializer}


@keras.saving.register_keras_serializable(package="resnet_spec")
class FilterResponseNormalization(keras.layers.Layer):
    """Division by each channel's root mean square (Singh and Krishnan 2020), then scale and offset.

    Inputs are (batch, height, width, channels). With ``threshold`` the larger of that and a learned ``tau`` follows,
    the paper's thresholded linear unit.
    """

    def __init__(
        self,
        epsilon: float,
        threshold: bool,
        gamma_initializer: Any = "ones",
        beta_initializer: Any = "zeros",
        tau_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        parent: Any = super()
        parent.__init__(**kwargs)
        self.epsilon = epsilon
        self.threshold = threshold
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.tau_initializer = keras.initializers.get(tau_initializer)

    def build(self, input_shape: Any) -> None:
        """Make the variables for inputs of this shape."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, name="gamma", initializer=self.gamma_initializer)
        self.beta = self.add_weight(shape=shape, name="beta", initializer=self.beta_initializer)
        if self.threshold:
            self.tau = self.add_weight(shape=shape, name="tau", initializer=self.tau_initializer)

    def call(self, inputs: Any) -> Any:
        """Normalize ``inputs`` (batch, height, width, channels)."""
        x, gamma, beta = map(_widened, (inputs, self.gamma, self.beta))
        power = keras.ops.mean(keras.ops.square(x), axis=_positions(inputs), keepdims=True)
        outputs = x * keras.ops.rsqrt(power + self.epsilon) * gamma + beta
        outputs = keras.ops.maximum(outputs, _widened(self.tau)) if self.threshold else outputs
        return keras.ops.cast(outputs, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        return parent.get_config() | {
            "epsilon": self.epsilon,
            "threshold": self.threshold,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "beta_initializer": keras.initializers.serialize(self.beta_initializer),
            "tau_initializer": keras.initializers.serialize(self.tau_initializer),
        }


class _Learned(keras.layers.Layer):
    """A layer with one array, ``value``, whose shape depends on ``shape`` and the input's."""

    def __init__(self, shape: Any, value_initializer: Any = "zeros", **kwargs: Any) -> None:
        parent: Any = super()
        parent.__init__(**kwargs)
        self.shape = shape
        self.value_initializer = keras.initializers.get(value_initializer)

    def build(self, input_shape: Any) -> None:
        """Make the variable for inputs of this shape."""
        shapes = {"scalar": (), "channels": input_shape[-1:], "map": input_shape[1:]}
        shape = shapes[self.shape] if isinstance(self.shape, str) else self.shape
        self.value = self.add_weight(shape=shape, name="value", initializer=self.value_initializer)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        initializer = keras.initializers.serialize(self.value_initializer)
        return parent.get_config() | {"shape": self.shape, "value_initializer": initializer}


@keras.saving.register_keras_serializable(package="resnet_spec")
class LearnedScale(_Learned):
    """The input times a learned number (``scalar``), one per channel (``channels``) or per element (``map``)."""

    def __init__(self, shape: str, value_initializer: Any = "ones", **kwargs: Any) -> None:
        super().__init__(shape, value_initializer, **kwargs)

    def call(self, inputs: Any) -> Any:
        """Multiply ``inputs`` (batch, ..., channels)."""
        return inputs * self.value

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the input."""
        return input_shape


@keras.saving.register_keras_serializable(package="resnet_spec")
class LearnedOffset(_Learned):
    """The input plus a learned number (``scalar``), one per channel (``channels``) or per element (``map``)."""

    def call(self, inputs: Any) -> Any:
        """Add to ``inputs`` (batch, ..., channels)."""
        return inputs + self.value

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the input."""
        return input_shape


@keras.saving.register_keras_serializable(package="resnet_spec")
class LearnedValue(_Learned):
    """A learned array of a shape (..., channels), for each image of the batch; the images do not matter."""

    def call(self, inputs: Any) -> Any:
        """Return the array once per image of ``inputs`` (batch, ...)."""
        return keras.ops.broadcast_to(self.value, (keras.ops.shape(inputs)[0], *self.shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for inputs of this shape."""
        return (input_shape[0], *self.shape)


@keras.saving.register_keras_serializable(package="resnet_spec")
class Resize2D(keras.layers.Layer):
    """A map resized by interpolation, at positions computed in the map's dtype, and with nearest in whole numbers.

    Without ``scale`` and ``size`` it takes two maps, and the second gives height and width. ``coordinates`` are
    ``half_pixel``, ``align_corners``, or ``asymmetric``, whose nearest position is rounded down.
    """

    def __init__(
        self,
        mode: str,
        coordinates: str,
        scale: tuple[int, int] | None = None,
        size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        parent: Any = super()
        parent.__init__(**kwargs)
        self.mode = mode
        self.coordinates = coordinates
        self.scale = scale
        self.size = size

    def call(self, inputs: Any) -> Any:
        """Resize ``inputs`` (batch, height, width, channels)."""
        value: Any = inputs
        like: Any = inputs
        if self.scale is None and self.size is None:
            value, like = inputs
        for index in (0, 1):
            before = keras.ops.shape(value)[index + 1]
            if self.scale is not None:
                after = before * self.scale[index]
            else:
                after = self.size[index] if self.size is not None else keras.ops.shape(like)[index + 1]
            resized = self._nearest if self.mode == "nearest" else self._interpolated
            value = resized(value, index + 1, before, after)
        return value

    def _nearest(self, value: Any, axis: int, before: Any, after: Any) -> Any:
        positions = keras.ops.arange(after)
        if self.coordinates == "half_pixel":
            return _gathered(value, (2 * positions + 1) * before // (2 * after), axis)
        return _gathered(value, positions * before // after, axis)

    def _interpolated(self, value: Any, axis: int, before: Any, after: Any) -> Any:
        wide = _widened(value)
        positions, *sizes = (keras.ops.cast(number, wide.dtype) for number in (keras.ops.arange(after), before, after))
        if self.coordinates == "half_pixel":
            positions = keras.ops.maximum((positions + 0.5) * (sizes[0] / sizes[1]) - 0.5, 0)
        else:
            positions = positions * ((sizes[0] - 1) / keras.ops.maximum(sizes[1] - 1, 1))
        lower = keras.ops.minimum(keras.ops.cast(keras.ops.floor(positions), "int32"), before - 1)
        weight = keras.ops.reshape(positions - keras.ops.cast(lower, wide.dtype), [-1] + [1] * (3 - axis))
        first = _gathered(wide, lower, axis)
        second = _gathered(wide, keras.ops.minimum(lower + 1, before - 1), axis)
        return keras.ops.cast(first * (1 - weight) + second * weight, value.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for inputs of these shapes, whose sizes may be unknown."""
        if self.scale is None and self.size is None:
            (batch, _, _, channels), like = input_shape
            return batch, *like[1:3], channels
        batch, *sizes, channels = input_shape
        if self.scale is not None:
            sizes = [size and size * scale for size, scale in zip(sizes, self.scale, strict=True)]
        return batch, *(self.size or sizes), channels

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        own = {"mode": self.mode, "coordinates": self.coordinates, "scale": self.scale, "size": self.size}
        return parent.get_config() | own


@keras.saving.register_keras_serializable(package="resnet_spec")
class L2Normalization(keras.layers.Layer):
    """Division by the Euclidean norm along an axis, at least ``epsilon``; Keras' UnitNormalization has none."""

    def __init__(self, axis: int, epsilon: float, **kwargs: Any) -> None:
        parent: Any = super()
        parent.__init__(**kwargs)
        self.axis = axis
        self.epsilon = epsilon

    def call(self, inputs: Any) -> Any:
        """Normalize ``inputs`` (batch, ..., channels)."""
        wide = _widened(inputs)
        squares = keras.ops.sum(keras.ops.square(wide), axis=self.axis, keepdims=True)
        # The bound inside the root, whose gradient at 0 is infinite.
        norm = keras.ops.sqrt(keras.ops.maximum(squares, self.epsilon**2))
        return keras.ops.cast(wide / norm, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        return parent.get_config() | {"axis": self.axis, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="resnet_spec")
class GeneralizedMeanPooling2D(keras.layers.Layer):
    """Generalized mean over all positions: mean(max(x, epsilon)^p)^(1/p), with a learned ``p``."""

    def __init__(self, epsilon: float, p_initializer: Any = "ones", **kwargs: Any) -> None:
        parent: Any = super()
        parent.__init__(**kwargs)
        self.epsilon = epsilon
        self.p_initializer = keras.initializers.get(p_initializer)

    def build(self, input_shape: Any) -> None:
        """Make the variable."""
        self.p = self.add_weight(shape=(1,), name="p", initializer=self.p_initializer)

    def call(self, inputs: Any) -> Any:
        """The means of ``inputs`` (batch, ..., channels), as one position."""
        x, p = map(_widened, (inputs, self.p))
        means = keras.ops.mean(
            keras.ops.power(keras.ops.maximum(x, self.epsilon), p), axis=_positions(x), keepdims=True
        )
        return keras.ops.cast(keras.ops.power(means, 1 / p), inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the input at one position."""
        return (input_shape[0], *(1 for _ in input_shape[1:-1]), input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer."""
        parent: Any = super()
        own = {"epsilon": self.epsilon, "p_initializer": keras.initializers.serialize(self.p_initializer)}
        return parent.get_config() | own
