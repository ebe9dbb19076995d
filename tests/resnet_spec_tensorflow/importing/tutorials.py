"""Keras models as people write them, by hand and in the styles of tutorials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resnet_spec_tensorflow.framework import keras

layers, ops = keras.layers, keras.ops


def sequential() -> Any:
    """Automatic names, activations as arguments, a flattened map before the head."""
    return keras.Sequential(
        [
            keras.Input((20, 16, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(12, 3, padding="same", activation="elu"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(16, activation="relu"),
            layers.Dense(5, activation="softmax"),
        ]
    )


def _conv_norm(x: Any, channels: int, kernel: int, stride: int = 1, act: bool = True) -> Any:
    x = layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.Activation("relu")(x) if act else x


def _residual(x: Any, channels: int, stride: int) -> Any:
    shortcut = _conv_norm(x, channels, 1, stride, act=False) if stride > 1 else x
    x = _conv_norm(x, channels, 3, stride)
    x = _conv_norm(x, channels, 3, act=False)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def functional() -> Any:
    """A residual network by helper functions."""
    inputs = keras.Input((32, 32, 3))
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(8, 7, strides=2, kernel_regularizer="l2")(x)
    x = layers.BatchNormalization()(x)
    x = layers.LeakyReLU(negative_slope=0.1)(x)
    for channels, stride in ((8, 1), (16, 2), (16, 1)):
        x = _residual(x, channels, stride)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(7)(x), name="my_resnet")


class Residual(layers.Layer):
    """A block as a layer of its own."""

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.convs = [layers.Conv2D(channels, 3, padding="same") for _ in range(2)]
        self.norm = layers.BatchNormalization(name="norm")
        self.gain = self.add_weight(shape=(channels,), initializer="ones", name="gain")

    def call(self, x: Any, training: bool = False) -> Any:
        """The block's value."""
        y = self.convs[0](x)
        y = ops.relu(self.norm(y, training=training))
        if training:
            y = keras.random.dropout(y, 0.1)
        return x + self.convs[1](y) * self.gain


class Subclassed(keras.Model):
    """A subclassed model with a list of blocks."""

    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.stem = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")
        self.blocks = [Residual(8, name=f"block{index}") for index in range(2)]
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(4, name="head")

    def call(self, x: Any, training: bool = False) -> Any:
        """The logits."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.pool(x))


def subclassed() -> Any:
    """A subclassed model that was called once, as training would."""
    model = Subclassed()
    model(keras.random.normal((1, 17, 17, 3)))
    return model


def shared() -> Any:
    """Layers called twice, functions, and a constant."""
    inputs = keras.Input((12, 12, 4))
    conv, norm = layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(name="shared_norm")
    x = norm(conv(inputs))
    x = norm(conv(ops.relu(x)))
    x = ops.concatenate([x, ops.silu(inputs)], axis=-1)
    left, right = ops.split(x, 2, axis=-1)
    x = ops.maximum(left, right) - ops.max(x, axis=(1, 2), keepdims=True)[..., :4]
    x = layers.BatchNormalization()(ops.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0))))
    x = layers.AveragePooling2D(3, 2, padding="same")(x)
    return keras.Model(inputs, layers.Dense(3)(ops.mean(x, axis=[1, 2])))


def transfer() -> Any:
    """A head on a base model, images scaled and augmented in front."""
    inner = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv")(inner)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.SeparableConv2D(12, 3, activation="swish", name="separable")(x)
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Reshape((1, 1, 12))(gate)
    gate = layers.Conv2D(12, 1, activation="sigmoid")(gate)
    base = keras.Model(inner, layers.Multiply()([x, gate]), name="base")
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)], name="augmentation")
    inputs = keras.Input((24, 24, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(augmentation(inputs))
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(x)
    x = layers.GlobalMaxPooling2D()(base(x))
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(6, name="classes")(x))


def decoder() -> Any:
    """From a vector to an image."""
    inputs = keras.Input((6,))
    x = layers.Dense(4 * 5 * 8, activation="relu")(inputs)
    x = layers.Reshape((4, 5, 8))(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="tanh")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Conv2DTranspose(4, 4, strides=2)(x)
    x = layers.Cropping2D(((1, 1), (2, 1)))(x)
    x = layers.Cropping2D(1)(x)
    return keras.Model(inputs, layers.Conv2D(3, 3, padding="same", activation="sigmoid")(x))


def attention() -> Any:
    """ConvNeXt's linear layers over channels, and attention over positions."""
    inputs = keras.Input((8, 6, 5))
    x = layers.DepthwiseConv2D(7, padding="same")(inputs)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Dense(20, activation="gelu")(x)
    x = layers.Add()([inputs, layers.Dense(5)(x)])
    x = layers.Reshape((48, 5))(x)
    query, key, value = (layers.Dense(5)(x) for _ in range(3))
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 5**0.5
    x = ops.matmul(layers.Softmax()(scores), value) + x
    x = layers.GroupNormalization(4)(layers.Permute((2, 1))(x))
    x = layers.PReLU()(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, layers.Dense(2)(x))


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "sequential": (sequential, (3, 20, 16)),
    "functional": (functional, (3, 32, 32)),
    "subclassed": (subclassed, (3, 17, 17)),
    "shared": (shared, (4, 12, 12)),
    "transfer": (transfer, (3, 24, 24)),
    "decoder": (decoder, (6,)),
    "attention": (attention, (5, 8, 6)),
}
"""By style: a function that makes the model, and the input's shape, channels first."""
