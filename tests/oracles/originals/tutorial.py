"""The TensorFlow 2 tutorial's ResNets, written in plain Keras from their description."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from .keras import Network as KerasNetwork

REPEATS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


class Network(KerasNetwork):
    """Its last layer ends in a softmax too."""

    version = f"plain Keras {keras.__version__}"
    classifier = "fc"

    def build(self, name: str, dtype: str) -> Any:
        return tutorial(REPEATS[name], dtype)


def tutorial(repeats: tuple[int, ...], dtype: str = "float32", *, softmax: bool = True) -> Any:
    """Keras' defaults wherever the description names no other; one BatchNormalization serves a block twice."""
    inputs = keras.Input((None, None, 3), dtype=dtype)
    x = layers.Conv2D(64, 7, strides=2, padding="same", name="conv", dtype=dtype)(inputs)
    x = layers.ReLU(dtype=dtype)(layers.BatchNormalization(name="bn", dtype=dtype)(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same", dtype=dtype)(x)
    for stage, (channels, count) in enumerate(zip((64, 128, 256, 512), repeats, strict=True), start=1):
        for index in range(count):
            stride = 2 if stage > 1 and index == 0 else 1
            x = block(x, f"res_block{stage}.listLayers.{index}", channels, stride, dtype)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    activation = "softmax" if softmax else None
    return keras.Model(inputs, layers.Dense(10, activation=activation, name="fc", dtype=dtype)(x))


def block(x: Any, name: str, channels: int, stride: int, dtype: str) -> Any:
    shared = layers.BatchNormalization(name=f"{name}.bn", dtype=dtype)
    y = layers.Conv2D(channels, 3, strides=stride, padding="same", name=f"{name}.conv1", dtype=dtype)(x)
    y = layers.ReLU(dtype=dtype)(shared(y))
    y = shared(layers.Conv2D(channels, 3, padding="same", name=f"{name}.conv2", dtype=dtype)(y))
    if stride > 1:
        x = layers.Conv2D(channels, 1, strides=stride, name=f"{name}.conv3", dtype=dtype)(x)
    return layers.ReLU(dtype=dtype)(layers.Add(dtype=dtype)([y, x]))
