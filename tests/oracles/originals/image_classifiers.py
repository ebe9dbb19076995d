"""The ResNets of the Keras package image-classifiers, on TensorFlow."""

from __future__ import annotations

import re
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from classification_models.models import resnet
from numpy.typing import NDArray

from .keras import Network as KerasNetwork


class Network(KerasNetwork):
    """A model whose last layer is a softmax, which the logits are taken before.

    Keras numbers the gates' convolutions by how many layers the process has made; here they have the graph's names.
    """

    version = f"image-classifiers {version('image-classifiers')}"

    def build(self, name: str, dtype: str) -> Any:
        known = {key.lower(): value for key, value in vars(resnet).items() if callable(value)}
        # The package is older than Keras 3, whose parts it takes as arguments.
        parts = {part: getattr(keras, part) for part in ("layers", "models", "utils")}
        parts["backend"] = SimpleNamespace(
            image_data_format=keras.config.image_data_format, int_shape=lambda value: tuple(value.shape)
        )
        keras.config.set_dtype_policy(dtype)
        try:
            model = known[name](input_shape=(None, None, 3), **parts)
        finally:
            keras.config.set_dtype_policy("float32")
        numbered = [layer for layer in model.layers if re.fullmatch(r"conv2d(_\d+)?", layer.name)]
        names = [node.name for node in self.graph.nodes if node.name.endswith(("se.fc1", "se.fc2"))]
        for layer, ours in zip(numbered, names, strict=True):
            layer.name = ours
        return model

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        before = keras.Model(self.model.inputs, self.model.get_layer("fc1").output)
        return np.asarray(before(self._channels_last(images), training=False))
