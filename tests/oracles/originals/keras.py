"""The ResNets of keras.applications, on TensorFlow."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from numpy.typing import NDArray

from resnet_spec import Graph
from resnet_spec.operations import Role

from ..original import Original

ATTRIBUTES = {
    Role.CONV_KERNEL: "kernel",
    Role.CONV_BIAS: "bias",
    Role.LINEAR_KERNEL: "kernel",
    Role.LINEAR_BIAS: "bias",
    Role.NORM_SCALE: "gamma",
    Role.NORM_OFFSET: "beta",
    Role.NORM_MEAN: "moving_mean",
    Role.NORM_VARIANCE: "moving_variance",
}
TO_KERAS = {Role.CONV_KERNEL: (2, 3, 1, 0), Role.LINEAR_KERNEL: (1, 0)}
FROM_KERAS = {Role.CONV_KERNEL: (3, 2, 0, 1), Role.LINEAR_KERNEL: (1, 0)}


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

    def __init__(self, graph: Graph, dtype: str) -> None:
        self._dtype = dtype
        self.model = application(graph.name.rpartition("/")[2], dtype)
        parameters = {p.name: p for p in graph.parameters()}
        self._orders = {name: (TO_KERAS.get(p.role), FROM_KERAS.get(p.role)) for name, p in parameters.items()}
        self._variables = {name: _variable(self.model, p.node, p.role) for name, p in parameters.items()}
        if {id(v) for v in self._variables.values()} != {id(v) for v in self.model.variables}:
            raise ValueError("Keras has other variables")

    def set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        if arrays.keys() != self._variables.keys():
            raise ValueError(f"only on one side: {', '.join(sorted(arrays.keys() ^ self._variables.keys()))}")
        for name, array in arrays.items():
            order, _ = self._orders[name]
            # assign() itself raises where a shape differs.
            self._variables[name].assign(array.transpose(order) if order else array)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every variable as it is now, in PyTorch's layout."""
        found: dict[str, NDArray[Any]] = {}
        for name, variable in self._variables.items():
            array, (_, order) = variable.value.numpy(), self._orders[name]
            found[name] = np.ascontiguousarray(array.transpose(order)) if order else array
        return found

    def train(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        self.model(self._channels_last(images), training=True)
        return self.arrays()

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        classifier = self.model.get_layer("predictions")
        activation, classifier.activation = classifier.activation, keras.activations.linear
        try:
            return self.model(self._channels_last(images), training=False).numpy()
        finally:
            classifier.activation = activation

    def save(self, folder: Path) -> list[Path]:
        paths = [folder / "model.h5", folder / "model.keras", folder / "model.weights.h5"]
        with warnings.catch_warnings():
            # Keras reads its variables in a way that NumPy 2 is about to forbid.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            for path in paths[:2]:
                self.model.save(path)
            self.model.save_weights(paths[2])
        return paths

    def _channels_last(self, images: NDArray[Any]) -> list[NDArray[Any]]:
        # A list, as Keras makes a model with an input tensor of one's own.
        return [np.ascontiguousarray(np.moveaxis(images, 1, -1), self._dtype)]

    def parameters(self) -> int:
        return sum(int(np.prod(variable.shape)) for variable in self.model.trainable_variables)


def _variable(model: Any, layer: str, role: Role) -> Any:
    return getattr(model.get_layer(layer), ATTRIBUTES[role])
