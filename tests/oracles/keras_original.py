"""Keras models of other libraries compared with ours: the same weights in and out by layer name, and their logits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from numpy.typing import NDArray

from resnet_spec import Graph
from resnet_spec.operations import Role

from .common import SHAPES, images

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


def variable(model: Any, parameter: Any) -> Any:
    return getattr(model.get_layer(parameter.node), ATTRIBUTES[parameter.role])


def assign(model: Any, graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> None:
    for parameter in graph.parameters():
        array = arrays[parameter.name]
        order = TO_KERAS.get(parameter.role)
        variable(model, parameter).assign(array.transpose(order) if order else array)


def extract(model: Any, graph: Graph) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for parameter in graph.parameters():
        array = variable(model, parameter).numpy()
        order = FROM_KERAS.get(parameter.role)
        arrays[parameter.name] = np.ascontiguousarray(array.transpose(order)) if order else array
    return arrays


def nhwc(batch: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(batch.transpose(0, 2, 3, 1))


def trainer(make: Callable[[], Any], graph: Graph) -> Callable[[Graph, Any, NDArray[np.float32]], dict[str, Any]]:
    """Runs the original for the recipe: one training-mode batch that the statistics become."""

    def train(_: Graph, arrays: Any, batch: NDArray[np.float32]) -> dict[str, Any]:
        model = make()
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        assign(model, graph, arrays)
        model(nhwc(batch), training=True)
        return extract(model, graph)

    return train


def original_logits(
    make: Callable[[str], Any], graph: Graph, arrays: Mapping[str, NDArray[Any]]
) -> dict[tuple[int, int], dict[str, NDArray[Any]]]:
    """Logits of the original by (size, batch) and dtype; ``make`` gives it in a dtype, without a softmax."""
    logits: dict[tuple[int, int], dict[str, NDArray[Any]]] = {}
    for dtype in ("float32", "float64"):
        model = make(dtype)
        assign(model, graph, arrays)
        for size, batch in SHAPES:
            result = model(nhwc(images(size, batch)).astype(dtype), training=False).numpy()
            assert result.dtype == dtype
            logits.setdefault((size, batch), {})[dtype] = result
    return logits
