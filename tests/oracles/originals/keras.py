"""The ResNets of keras.applications, on TensorFlow."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from resnet_spec import Graph

from ..keras_original import assign, extract, nhwc, variable
from ..original import Original


def application(name: str, dtype: str = "float32", **options: Any) -> Any:
    """``resnet50v2`` as keras.applications has it, for images of any size, with its softmax."""
    known = {key.lower(): value for key, value in vars(keras.applications).items() if callable(value)}
    keras.config.set_dtype_policy(dtype)
    try:
        images = keras.Input((None, None, 3))
        return known[name](weights=None, input_tensor=images, **options)
    finally:
        keras.config.set_dtype_policy("float32")


class Network(Original):
    """A model whose last layer ends in a softmax, which the logits are taken before."""

    version = f"Keras {keras.__version__}"
    classifier = "predictions"

    def __init__(self, graph: Graph, dtype: str) -> None:
        self.graph, self.dtype = graph, dtype
        self.model = self.build(graph.name.rpartition("/")[2], dtype)
        ours = {id(variable(self.model, parameter)) for parameter in graph.parameters()}
        if ours != {id(theirs) for theirs in self.model.variables}:
            raise ValueError("Keras has other variables")

    def build(self, name: str, dtype: str) -> Any:
        """The library's model of this name."""
        return application(name, dtype)

    def set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        differing = sorted(arrays.keys() ^ {parameter.name for parameter in self.graph.parameters()})
        if differing:
            raise ValueError(f"only on one side: {', '.join(differing)}")
        # Raises itself where a shape differs.
        assign(self.model, self.graph, arrays)

    def train(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        self.model(self._channels_last(images), training=True)
        return extract(self.model, self.graph)

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        classifier = self.model.get_layer(self.classifier)
        activation, classifier.activation = classifier.activation, keras.activations.linear
        try:
            return self.model(self._channels_last(images), training=False).numpy()
        finally:
            classifier.activation = activation

    def save(self, folder: Path) -> list[Path]:
        paths = [folder / "model.h5", folder / "model.keras", folder / "model.weights.h5"]
        with warnings.catch_warnings():
            # Keras reads its variables in a way that NumPy 2 deprecates.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            for path in paths[:2]:
                self.model.save(path)
            self.model.save_weights(paths[2])
        return paths

    def _channels_last(self, images: NDArray[Any]) -> list[NDArray[Any]]:
        # A list, as Keras makes a model with an input tensor of one's own.
        return [nhwc(images).astype(self.dtype)]

    def parameters(self) -> int:
        return sum(int(np.prod(variable.shape)) for variable in self.model.trainable_variables)
