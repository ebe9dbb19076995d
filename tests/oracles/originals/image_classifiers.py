"""The ResNets of the Keras package image-classifiers, on TensorFlow."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import keras
import numpy as np
from classification_models.models import resnet
from numpy.typing import NDArray

from .keras import Network as KerasNetwork


class Network(KerasNetwork):
    """A model whose last layer is a softmax, which the logits are taken before."""

    version = f"image-classifiers {version('image-classifiers')}"

    def build(self, name: str, dtype: str) -> Any:
        known = {key.lower(): value for key, value in vars(resnet).items() if callable(value)}
        # The package is older than Keras 3, whose parts it takes as arguments.
        parts = {part: getattr(keras, part) for part in ("backend", "layers", "models", "utils")}
        keras.config.set_dtype_policy(dtype)
        try:
            return known[name](input_shape=(None, None, 3), **parts)
        finally:
            keras.config.set_dtype_policy("float32")

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        before = keras.Model(self.model.inputs, self.model.get_layer("fc1").output)
        return np.asarray(before(self._channels_last(images), training=False))
